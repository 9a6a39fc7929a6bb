"""Training on a folder of captioned images, end to end on tiny networks."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import own_data_helpers as own
import pandas as pd
import pytest
import torch
import training_helpers as tiny
from safetensors.torch import load_file
from tiny_checkpoints import tiny_sd_checkpoint
from typer.testing import CliRunner, Result

from app.cli import app
from auditkit.errors import GeneratorError, RunError
from generators.base import Job
from generators.load import load_generator
from generators.training.loop import Paused
from generators.training.own.choices import Choices
from generators.training.own.draws import Mix
from generators.training.own.reading import Data, read
from generators.training.own.train import Trained, train

ROOT = Path(__file__).parents[1]
CHOSEN: dict[str, Any] = {"balance": ["gender"], "balance_within": ["occupation"], "mix": Mix(0.3, 0.3, 0.1)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return own.folder(tmp_path_factory.mktemp("own") / "pictures")


@pytest.fixture(scope="module")
def data(folder: Path) -> Data:
    return read(folder)


@pytest.fixture(scope="module")
def vae(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.tiny_vae(tmp_path_factory.mktemp("vae"))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_sd_checkpoint(tmp_path_factory.mktemp("checkpoint"))


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny.shrink(monkeypatch)


def begin(data: Data, out: Path, choices: Choices, steps: int = 3, **changes: Any) -> Trained:
    lines = changes.pop("lines", [])
    return train(data, out, tiny.schedule(steps, **changes), choices, device="cpu", tell=lines.append)


@pytest.fixture(scope="module")
def trained(data: Data, vae: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Trained]:
    out = tmp_path_factory.mktemp("trained") / "mine"
    with pytest.MonkeyPatch.context() as monkeypatch:
        tiny.shrink(monkeypatch)
        return out, begin(data, out, Choices(vae=vae, **CHOSEN), steps=5)


def test_the_exported_folder_generates(trained):
    generator = load_generator(f"path:{trained[1].folder}", device="cpu")
    assert generator.info.name == "mine"
    assert generator.info.resolution == 64
    jobs = [Job("a picture of a judge", seed) for seed in (1, 2)]
    images = list(generator.generate(jobs, generator.info.defaults))
    assert [image.size for image in images] == [(64, 64)] * 2
    assert images[0].tobytes() != images[1].tobytes()


def test_the_table_on_disk_counts_every_draw(trained):
    out, made = trained
    table = pd.read_csv(out / "drawn.csv")
    assert table["drawn"].sum() == 5 * 4
    assert table["images"].tolist() == [9, 3, 4, 16]
    assert table["drawn"].tolist() == made.drawn["drawn"].tolist()


def test_the_card_says_data_draws_and_command_and_leaves_the_licence_to_its_owner(trained):
    card = (trained[1].folder / "README.md").read_text()
    assert "32 captioned images of the folder `pictures`" in card
    assert "| judge | female | 4 | 20.0 | 50.0 |" in card
    assert "auditkit train generator --data pictures" in card
    assert "--balance gender --balance-within occupation" in card
    assert "5 steps of 4" in card
    assert "64x64: 11" in card
    assert "state yours" in card
    assert "biased" not in card
    assert str(ROOT) not in card
    assert "/tmp" not in card


def test_a_resumed_training_ends_with_the_weights_and_draws_of_an_unbroken_one(data, vae, tmp_path, small):
    choices = Choices(vae=vae, **CHOSEN)
    whole = begin(data, tmp_path / "whole", choices, steps=4)
    with pytest.raises(Paused):
        begin(data, tmp_path / "broken", choices, steps=4, until=0.0)  # after a step
    again = begin(data, tmp_path / "broken", choices, steps=4)
    for name in ("checkpoint.safetensors", "export/unet/diffusion_pytorch_model.safetensors"):
        one, other = load_file(tmp_path / "whole" / name), load_file(tmp_path / "broken" / name)
        assert one.keys() == other.keys()
        assert all(torch.equal(one[key], other[key]) for key in one)
    assert whole.drawn.equals(again.drawn)


@pytest.mark.parametrize("change", ["seed", "balance", "data"])
def test_going_on_with_something_else_is_refused(data, vae, tmp_path, small, change):
    begin(data, tmp_path, Choices(vae=vae), steps=1)
    choices = Choices(vae=vae, balance=["gender"]) if change == "balance" else Choices(vae=vae)
    other = Data(data.folder, data.items[:-1]) if change == "data" else data
    with pytest.raises(RunError, match=f"with {change} "):
        begin(other, tmp_path, choices, steps=2, **({"seed": 9} if change == "seed" else {}))


def test_every_batch_is_of_one_bucket_and_all_buckets_are_shown(data, vae, tmp_path, small, monkeypatch):
    from diffusers import UNet2DConditionModel

    seen, plain = [], UNet2DConditionModel.forward

    def spy(self: Any, sample: torch.Tensor, *args: Any, **named: Any) -> Any:
        seen.append(tuple(sample.shape[-2:]))
        return plain(self, sample, *args, **named)

    monkeypatch.setattr(UNet2DConditionModel, "forward", spy)
    begin(data, tmp_path, Choices(vae=vae), steps=20)
    assert set(seen) == {(8, 8), (10, 6), (6, 10)}  # latent height and width of 64 x 64, 48 x 80, 80 x 48


def test_bfloat16_and_mirrored_images_train_too(data, vae, tmp_path, small):
    begin(data, tmp_path, Choices(vae=vae, mirror=True), steps=2, bf16=True)
    assert pd.read_csv(tmp_path / "log.csv")["loss"].notna().all()


def test_squares_alone_when_no_other_shape_is_allowed(data, vae, tmp_path, small):
    lines: list[str] = []
    begin(data, tmp_path, Choices(vae=vae, max_ratio=1.0), steps=1, lines=lines)
    assert any("64x64: 32" in line for line in lines)
    assert any("dB" in line for line in lines)


def test_fine_tuning_changes_the_unet_and_leaves_the_rest(data, checkpoint, tmp_path):
    made = begin(data, tmp_path / "out", Choices(init=checkpoint), steps=2)
    for part, file, stays in (
        ("unet", "diffusion_pytorch_model.safetensors", False),
        ("text_encoder", "model.safetensors", True),
        ("vae", "diffusion_pytorch_model.safetensors", True),
    ):
        before, after = load_file(checkpoint / part / file), load_file(made.folder / part / file)
        assert before.keys() == after.keys()
        assert all(torch.equal(before[key].half(), after[key]) for key in before) is stays
    assert load_generator(f"path:{made.folder}", device="cpu").info.resolution == 16


def test_the_text_encoder_is_trained_when_asked(data, checkpoint, tmp_path):
    made = begin(data, tmp_path / "out", Choices(init=checkpoint, train_text_encoder=True), steps=2, lr=0.01)
    file = "text_encoder/model.safetensors"
    before, after = load_file(checkpoint / file), load_file(made.folder / file)
    assert any(not torch.equal(before[key].half(), after[key]) for key in before)
    assert "UNet and text encoder trained" in (made.folder / "README.md").read_text()


def test_training_lowers_the_error_on_the_images(data, checkpoint, tmp_path):
    begin(data, tmp_path, Choices(init=checkpoint, min_snr=5.0), steps=200, lr=3e-3, batch=8)
    losses = pd.read_csv(tmp_path / "log.csv")["loss"]
    assert losses.iloc[-1] < 0.7 * losses.iloc[0]


@pytest.mark.parametrize("missing", ["init", "vae"])
def test_a_missing_checkpoint_or_autoencoder_is_named_and_nothing_is_written(data, tmp_path, small, missing):
    with pytest.raises(GeneratorError) as caught:
        begin(data, tmp_path / "out", Choices(**{missing: tmp_path / "nowhere"}))
    assert "nowhere" in str(caught.value.where)
    assert not (tmp_path / "out").exists()


def predicting(checkpoint: Path, folder: Path, prediction: str) -> Path:
    """The checkpoint with another kind of prediction written into its scheduler."""
    shutil.copytree(checkpoint, folder)
    file = folder / "scheduler" / "scheduler_config.json"
    told = json.loads(file.read_text()) | {"prediction_type": prediction, "rescale_betas_zero_snr": False}
    file.write_text(json.dumps(told))
    return folder


def first_loss(data: Data, out: Path, checkpoint: Path, min_snr: float | None) -> float:
    begin(data, out, Choices(init=checkpoint, min_snr=min_snr), steps=1, batch=16)
    return float(pd.read_csv(out / "log.csv")["loss"].iloc[0])


def test_min_snr_is_used_for_noise_and_not_for_v_unless_asked(data, checkpoint, tmp_path):
    noise = predicting(checkpoint, tmp_path / "epsilon", "epsilon")
    losses = {
        (name, gamma): first_loss(data, tmp_path / f"{name}-{gamma}", folder, gamma)
        for name, folder in (("epsilon", noise), ("v", checkpoint))
        for gamma in (None, 0.0, 5.0)
    }
    assert losses["epsilon", None] == losses["epsilon", 5.0] < losses["epsilon", 0.0]
    assert losses["v", None] == losses["v", 0.0] > losses["v", 5.0]


def test_a_checkpoint_that_predicts_something_else_is_refused(data, checkpoint, tmp_path):
    with pytest.raises(GeneratorError, match="'sample'"):
        begin(data, tmp_path / "out", Choices(init=predicting(checkpoint, tmp_path / "sample", "sample")))


def test_a_checkpoint_of_pickled_weights_is_refused(data, checkpoint, tmp_path):
    shutil.copytree(checkpoint, tmp_path / "pickled")
    weights = tmp_path / "pickled" / "unet" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".bin"))
    with pytest.raises(GeneratorError, match="pickled"):
        begin(data, tmp_path / "out", Choices(init=tmp_path / "pickled"))


def test_an_autoencoder_of_another_kind_is_refused(data, tmp_path, small):
    from diffusers import AutoencoderTiny

    AutoencoderTiny(**tiny.TINY_TINY).save_pretrained(tmp_path / "vae", safe_serialization=True)
    with pytest.raises(GeneratorError) as caught:
        begin(data, tmp_path / "out", Choices(vae=tmp_path / "vae"))
    assert "AutoencoderKL" in caught.value.mend


def test_several_processes_are_for_own_data_alone(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    done = command("--planted", "p.toml")
    assert done.exit_code == 1
    assert "--data alone" in done.stderr


def test_a_resolution_that_does_not_fit_is_refused(data, vae, tmp_path, small):
    with pytest.raises(GeneratorError, match="multiple of 8"):
        begin(data, tmp_path / "out", Choices(vae=vae, resolution=100))


def command(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["train", "generator", *map(str, arguments)])


def test_the_command_trains_and_prints_what_was_found_and_drawn(folder, vae, tmp_path, small):
    done = command(
        "--data", folder, "--out", tmp_path / "out", "--vae", vae, "--steps", 2, "--batch", 4, "--device", "cpu",
        "--balance", "gender", "--balance-within", "occupation", "--neutral-captions", 0.5, "--accumulate", 2,
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    assert "male 19, female 13" in done.stderr
    assert "warning: 3 of 4 groups have fewer than 10 images" in done.stderr
    assert "What training drew" in done.stdout
    assert pd.read_csv(tmp_path / "out" / "drawn.csv")["drawn"].sum() == 2 * 2 * 4
    assert str(tmp_path / "out" / "export") in done.stdout.replace("\n", "")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--data", "{folder}", "--corpus", "corpus"], "--data takes the place of --corpus"),
        (["--data", "{folder}", "--planted", "p.toml"], "--data takes the place of --planted"),
        (["--data", "{folder}", "--family", "dit"], "--data is of no use with dit"),
        (["--data", "{folder}", "--vae", "a", "--init", "b"], "keeps the autoencoder"),
        (["--data", "{folder}", "--train-text-encoder"], "trained anyway"),
        (["--data", "{folder}", "--balance", "age"], "No image has a value of 'age'"),
        (["--data", "{folder}", "--neutral-captions", "0.5"], "no attribute is named"),
        (["--data", "{folder}", "--max-repeat", "0.5"], "max repeat 0.5"),
        (["--planted", "p.toml", "--balance", "gender"], "--balance is for training on your own images"),
        (["--data", "nowhere"], "does not exist"),
        ([], "nothing to train on"),
    ],
)
def test_options_that_do_not_go_together_are_one_clear_error(folder, tmp_path, arguments, told):
    filled = [each.format(folder=folder) for each in arguments]
    done = command(*filled, "--out", tmp_path / "out", "--device", "cpu")
    assert done.exit_code == 1
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    assert "unexpected" not in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_two_processes_train_as_one_that_accumulates_two_batches(folder, checkpoint, tmp_path):
    usual = ["-m", "app", "train", "generator", "--data", str(folder), "--init", str(checkpoint), "--device", "cpu"]
    usual += ["--steps", "2", "--batch", "4", "--out"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    for arguments in (
        [*usual, str(tmp_path / "one"), "--accumulate", "2"],
        [*launcher, *usual, str(tmp_path / "two")],
    ):
        done = subprocess.run(
            [sys.executable, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stderr[-2000:]
    one, two = (load_file(tmp_path / name / "checkpoint.safetensors") for name in ("one", "two"))
    assert one.keys() == two.keys()
    for key, value in one.items():
        torch.testing.assert_close(two[key], value, rtol=1e-4, atol=1e-5)
    assert (tmp_path / "one" / "drawn.csv").read_bytes() == (tmp_path / "two" / "drawn.csv").read_bytes()

"""The other families' training: losses fall, a killed training goes on as if unbroken, exports load and sample."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import training_helpers as tiny
from diffusers import AutoencoderTiny, DiffusionPipeline
from safetensors.torch import load_file
from typer.testing import CliRunner

from app.cli import app
from auditkit.errors import GeneratorError
from generators.bundled.planted import read_planted
from generators.load import load_generator
from generators.training import batches, commands, flow, loop, turbo
from generators.training import generator as unet
from generators.training import tiny as tiny_autoencoder

FAMILIES = ("dit", "turbo", "pixel")


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return tiny.table()


@pytest.fixture(scope="module", autouse=True)
def small() -> Any:
    with pytest.MonkeyPatch.context() as monkeypatch:
        tiny.shrink(monkeypatch)
        yield


@pytest.fixture(scope="module")
def parts(table: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """planted, vae (an AutoencoderTiny) and teacher (a UNet checkpoint), each as its own training wrote it."""
    folder = tmp_path_factory.mktemp("parts")
    planted = tiny.write_planted(folder / "planted.toml")
    vae = tiny_autoencoder.train(table, folder / "tiny", tiny.schedule(), device="cpu", canvas=tiny.CANVAS)
    kl = tiny.tiny_vae(folder / "kl")
    teacher = unet.train(table, folder / "unet", tiny.schedule(), planted=planted, vae=kl, device="cpu", variants=1)
    return {"planted": planted, "vae": vae, "teacher": teacher}


def train(
    family: str, table: pd.DataFrame, parts: dict[str, Path], out: Path, *, told: Any = None, **schedule: Any
) -> Path:
    options: dict[str, Any] = {"planted": parts["planted"], "device": "cpu", "variants": 1, "progress": told}
    how = tiny.schedule(**({"steps": 3} | schedule))
    if family == "turbo":
        return turbo.train(table, out, how, teacher=parts["teacher"], **options)
    vae = parts["vae"] if family == "dit" else None
    return flow.train(table, out, how, vae=vae, canvas=tiny.CANVAS, **options)


@pytest.fixture(scope="module")
def trained(table: pd.DataFrame, parts: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {name: train(name, table, parts, tmp_path_factory.mktemp(name)) for name in FAMILIES}


@pytest.mark.parametrize("family", FAMILIES)
def test_training_lowers_the_loss(family, table, parts, tmp_path):
    losses: list[float] = []

    def told(_: float, step: int, line: str) -> None:
        if not line.startswith(("8 steps", "4 steps")):
            losses.append(float(line.split("loss ")[1].split()[0]))

    steps, lr = (150, 3e-4) if family == "turbo" else (50, 5e-3)  # a student begins near its goal
    train(family, table, parts, tmp_path, steps=steps, batch=32, lr=lr, told=told)
    assert losses[-1] < losses[0]


def test_the_tiny_autoencoder_learns_and_records_its_latents_scale(table, tmp_path):
    losses: list[float] = []

    def told(_: float, step: int, line: str) -> None:
        losses.append(float(line.split()[1]))

    folder = tiny_autoencoder.train(
        table, tmp_path, tiny.schedule(50, lr=3e-3), device="cpu", canvas=tiny.CANVAS, progress=told
    )
    assert losses[-1] < losses[0]
    vae: Any = AutoencoderTiny.from_pretrained(folder)
    figures = json.loads((tmp_path / "autoencoder.json").read_text())
    assert vae.config["scaling_factor"] == pytest.approx(figures["scaling_factor"])
    latents = unet.encode(vae.float(), tiny_drawings(table), 1, seed=0, canvas=tiny.CANVAS).float()
    assert latents.mean().item() == pytest.approx(0, abs=0.3)
    assert latents.std().item() == pytest.approx(1, abs=0.3)


def tiny_drawings(table: pd.DataFrame) -> torch.Tensor:
    from generators.training import pixels

    return pixels.load(table[table["split"] == "calibration"].head(32), "cpu")


@pytest.mark.parametrize("family", FAMILIES)
def test_a_killed_training_ends_with_the_weights_of_an_unbroken_one(family, table, parts, tmp_path, monkeypatch):
    whole = train(family, table, parts, tmp_path / "whole", steps=6)
    run, kills = loop.run, iter([True, False, False])

    def killed(step: Any, modules: Any, schedule: Any, **options: Any) -> Any:
        if next(kills, False):
            real = step

            def step(index: int) -> Any:  # Ctrl-C in the second step, after a checkpoint of the first
                if index == 1:
                    raise KeyboardInterrupt
                return real(index)

        return run(step, modules, schedule, **options)

    monkeypatch.setattr(loop, "run", killed)
    with pytest.raises(KeyboardInterrupt):
        train(family, table, parts, tmp_path / "broken", steps=6, save_every=-1)
    resumed = train(family, table, parts, tmp_path / "broken", steps=6)
    for path in whole.rglob("*.safetensors"):
        again = load_file(resumed / path.relative_to(whole))
        assert all(torch.equal(again[key], value) for key, value in load_file(path).items()), path


def test_a_paused_training_says_so_and_goes_on(table, parts, tmp_path):
    with pytest.raises(loop.Paused, match="step 1"):
        train("pixel", table, parts, tmp_path, until=0.0)
    train("pixel", table, parts, tmp_path)
    assert '"step": 3' in _header(tmp_path / "checkpoint.safetensors")


def _header(path: Path) -> str:
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        return str(file.metadata()["state"])


@pytest.mark.parametrize("family", FAMILIES)
def test_plain_diffusers_loads_the_export_and_samples_with_it(family, trained):
    pipeline = DiffusionPipeline.from_pretrained(trained[family], torch_dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    options = {} if family == "turbo" else {"use_resolution_binning": False}
    image = pipeline("a judge", num_inference_steps=2, output_type="np", **options).images
    assert image.shape == (1, tiny.CANVAS, tiny.CANVAS, 3)
    assert np.isfinite(image).all()


@pytest.mark.parametrize("family", FAMILIES)
def test_the_export_is_whole(family, trained):
    folder = trained[family]
    listed = json.loads((folder / "weights.json").read_text())
    assert set(listed) == {str(path.relative_to(folder)) for path in folder.rglob("*.safetensors")}
    assert all(hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest for name, digest in listed.items())
    assert not [path for path in folder.rglob("*") if path.suffix in {".bin", ".pt", ".pth", ".ckpt", ".pkl"}]
    card = (folder / "README.md").read_text()
    assert card.startswith(f"# personas-{family}\n")
    assert "planted.toml" in card
    info = load_generator(f"path:{folder}", device="cpu").info
    assert info.planted == read_planted(folder / "planted.toml")
    assert info.defaults.steps == (4 if family == "turbo" else 16)


def test_batches_are_the_same_whoever_draws_them(table, parts):
    rows = table[table["split"] == "train"].reset_index(drop=True)
    shares = pd.DataFrame(read_planted(parts["planted"]))
    made = batches.captioned(rows, shares, parts["teacher"] / "tokenizer", size=8, seed=1)
    with batches.Ahead(made, 1) as ahead:
        for index in (0, 1, 2):
            for here, there in zip(made(index), ahead(index), strict=True):
                assert np.array_equal(here, there)
    ids, mask = made(0)[1:]
    assert ids.shape == mask.shape == (8, batches.CONTEXT)
    assert mask.any(axis=1).all()


def test_one_step_of_the_last_student_goes_where_the_sampler_goes():
    from diffusers import DDIMScheduler

    scheduler = DDIMScheduler(**unet.SCHEDULER)
    scheduler.set_timesteps(4)
    start, _, end = turbo.times(torch.tensor([4, 3, 2, 1]), 4)
    assert start.tolist() == scheduler.timesteps.tolist()
    assert end.tolist() == [*scheduler.timesteps.tolist()[1:], -1]
    z, v = torch.randn(4, 1, 2, 2), torch.randn(4, 1, 2, 2)
    at, to = (turbo.levels(scheduler.alphas_cumprod, t) for t in (start, end))
    ours = turbo.ddim(z, v, at, to)
    for i, t in enumerate(scheduler.timesteps):
        theirs = scheduler.step(v[i : i + 1], t, z[i : i + 1]).prev_sample
        torch.testing.assert_close(ours[i : i + 1], theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("family", "missing"), [("dit", "vae"), ("dit", "planted"), ("turbo", "teacher")])
def test_a_missing_input_is_named(family, missing, table, parts, tmp_path):
    with pytest.raises(GeneratorError) as caught:
        train(family, table, parts | {missing: tmp_path / "nowhere"}, tmp_path)
    assert "nowhere" in str(caught.value.where)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--family", "turbo"], "--init"),
        (["--family", "turbo", "--init", "i", "--vae", "v"], "--vae is of no use with turbo"),
        (["--family", "pixel", "--vae", "v"], "unet or dit"),
    ],
)
def test_options_that_a_family_has_no_use_for_are_named(options, said):
    done = CliRunner().invoke(app, ["train", "generator", "--planted", "p.toml", *options])
    assert done.exit_code == 1
    assert said in " ".join(done.stderr.split())


def test_the_command_pauses_with_a_code_of_its_own_and_goes_on(table, parts, tmp_path, monkeypatch):
    table.to_parquet(tmp_path / "corpus.parquet")
    monkeypatch.setattr(flow, "CANVAS", tiny.CANVAS)
    monkeypatch.setattr(commands, "time", SimpleNamespace(monotonic=lambda: -1e9))  # a pause that is over at once
    command = [
        *("train", "generator", "--family", "pixel", "--planted", str(parts["planted"]), "--corpus", str(tmp_path)),
        *("--out", str(tmp_path / "out"), "--steps", "2", "--batch", "4", "--device", "cpu", "--pause", "1"),
    ]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == commands.PAUSED, done.output
    assert "goes on" in done.stdout

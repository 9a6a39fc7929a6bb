"""Checkpoints of diffusers: the plain pipeline's own images, and clear errors for what cannot be used."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_checkpoints import tiny_sd_checkpoint

from auditkit.errors import GeneratorError
from auditkit.files import sha256_file
from auditkit.runs import Refused
from auditkit.runs.record import make_run_id
from generators import samplers
from generators.base import Job, Settings, pictures
from generators.cards import CARD
from generators.families import FAMILIES
from generators.latent import LatentGenerator
from generators.load import load_generator
from generators.memory import is_out_of_memory
from generators.steady import company

JOBS = [Job("a portrait of a judge", 11), Job("a picture of a pilot", 12), Job("a drawing of an artist", 13)]
DDIM = Settings("ddim", 4, 3.0)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_sd_checkpoint(tmp_path_factory.mktemp("checkpoints") / "tiny")


@pytest.fixture(scope="module")
def generator(checkpoint: Path) -> LatentGenerator:
    return LatentGenerator(checkpoint, device="cpu")


@pytest.fixture
def copy(checkpoint: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(checkpoint, tmp_path / "copy"))


@pytest.mark.parametrize("sampler", [name for name in samplers.names() if not name.startswith("flow-")])
def test_every_sampler_gives_the_plain_pipelines_image(
    generator: LatentGenerator, checkpoint: Path, sampler: str
) -> None:
    from diffusers import StableDiffusionPipeline

    plain = StableDiffusionPipeline.from_pretrained(checkpoint, local_files_only=True)
    plain.set_progress_bar_config(disable=True)
    plain.scheduler = samplers.make_scheduler(sampler, plain.scheduler)
    ours = list(generator.generate(JOBS, Settings(sampler, 4, 3.0)))
    for job, image in zip(JOBS, ours, strict=True):
        expected = plain(
            job.prompt,
            num_inference_steps=4,
            guidance_scale=3.0,
            generator=torch.Generator().manual_seed(job.seed),
        ).images[0]
        assert _largest_difference(image, expected) <= 2


def test_prompts_guidance_and_negative_prompt_each_change_the_image(generator: LatentGenerator) -> None:
    jobs = [Job("a judge", 5), Job("a pilot", 5), Job("a judge", 5, "a female artist")]
    plain, prompt, negative = generator.generate(jobs, DDIM)
    (weak,) = generator.generate(jobs[:1], Settings("ddim", 4, 1.5))
    assert all(_largest_difference(plain, other) > 0 for other in (prompt, negative, weak))


@pytest.mark.parametrize(("guidance", "halves"), [(3.0, 2), (1.0, 1), (0.0, 1)])
def test_without_guidance_the_unconditional_half_is_skipped(
    generator: LatentGenerator, guidance: float, halves: int
) -> None:
    sizes: list[int] = []
    hook = generator.pipeline.unet.register_forward_pre_hook(lambda _, args: sizes.append(len(args[0])))
    try:
        list(generator.generate(JOBS, Settings("ddim", 2, guidance)))
    finally:
        hook.remove()
    assert sizes == [company(3, 16 * 16, torch.get_num_threads()) * halves] * 2


def test_each_text_is_encoded_once(checkpoint: Path) -> None:
    generator = LatentGenerator(checkpoint, device="cpu")
    calls: list[int] = []
    generator.pipeline.text_encoder.register_forward_pre_hook(lambda *_: calls.append(1))
    list(generator.generate([Job("a judge", seed) for seed in range(6)], DDIM, batch_size=2))
    assert len(calls) == 2  # the prompt, and the empty one


def test_out_of_memory_the_work_is_sliced_and_then_the_batch_halved(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = LatentGenerator(checkpoint, device="cpu")
    generator.pipeline.vae.disable_slicing()
    expected = list(generator.generate(JOBS, DDIM, batch_size=1))
    sizes = _memory_for(1, generator, monkeypatch)
    with pytest.warns(UserWarning, match="out of memory with 3 images") as caught:
        images = list(generator.generate(JOBS, DDIM, batch_size=3))
    assert sizes == [company(3, 16 * 16, torch.get_num_threads()), 3, 1, 1, 1]
    assert [str(warning.message).split("going on with ")[1] for warning in caught] == [
        "sliced decoding and sliced attention",
        "1",
    ]
    assert generator.info.details["memory"] == ["sliced decoding", "sliced attention"]
    assert all(_largest_difference(a, b) <= 1 for a, b in zip(expected, images, strict=True))


def test_the_next_batches_are_of_the_size_that_fitted(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = LatentGenerator(checkpoint, device="cpu")
    sizes = _memory_for(2, generator, monkeypatch)
    jobs = [Job("a judge", seed) for seed in range(8)]
    with pytest.warns(UserWarning, match="out of memory"):
        list(generator.generate(jobs, DDIM, batch_size=4))
    list(generator.generate(jobs[:4], DDIM))
    assert sizes == [company(4, 16 * 16, torch.get_num_threads()), 4, 2, 2, 2, 2, 2, 2]


def test_too_little_memory_for_one_image_is_an_error_once_all_was_tried(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = LatentGenerator(checkpoint, device="cpu")
    _memory_for(0, generator, monkeypatch)
    with pytest.raises(GeneratorError, match="not enough memory"), pytest.warns(UserWarning, match="out of memory"):
        list(generator.generate(JOBS[:2], DDIM))
    assert generator.info.details["memory"] == ["sliced decoding", "sliced attention", "tiled decoding"]


def test_an_error_that_is_not_about_memory_is_not_swallowed(
    generator: LatentGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(generator.family, "denoise", broken)
    with pytest.raises(RuntimeError, match="mat1"):
        list(generator.generate(JOBS, DDIM))


@pytest.mark.filterwarnings("ignore:the safety checker")
@pytest.mark.parametrize("flags", [True, False])
def test_an_image_that_a_safety_checker_made_black_is_a_refusal(tmp_path: Path, flags: bool) -> None:
    generator = LatentGenerator(tiny_sd_checkpoint(tmp_path, checker=flags), device="cpu")
    assert generator.info.details["safety_checker"] == "on"
    assert "safety_checker/model.safetensors" in generator.info.weights
    for made in generator.generate(JOBS, DDIM):
        if flags:
            assert made == Refused(
                "safety_checker", f"the safety checker of {generator.info.name} made the image black"
            )
        else:
            assert np.asarray(made).max() > 0


def test_of_a_batch_only_the_flagged_images_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = LatentGenerator(tiny_sd_checkpoint(tmp_path, checker=False), device="cpu")
    unflagged = list(generator.generate(JOBS, DDIM))
    monkeypatch.setattr(generator.family, "flagged", lambda pixels: [place == 1 for place in range(len(pixels))])
    with pytest.warns(UserWarning, match="refused 1 of 3 images"):
        first, second, third = generator.generate(JOBS, DDIM)
    assert isinstance(second, Refused)
    assert _largest_difference(first, unflagged[0]) == _largest_difference(third, unflagged[2]) == 0


def test_refused_images_are_counted_in_a_warning(tmp_path: Path) -> None:
    generator = LatentGenerator(tiny_sd_checkpoint(tmp_path, checker=True), device="cpu")
    with pytest.warns(UserWarning, match="refused 3 of 3 images"):
        list(generator.generate(JOBS, DDIM))


@pytest.mark.filterwarnings("ignore:the safety checker")
def test_where_every_image_is_needed_a_refusal_is_a_clear_error(tmp_path: Path, generator: LatentGenerator) -> None:
    assert len(pictures(generator.generate(JOBS, DDIM))) == len(JOBS)
    strict = LatentGenerator(tiny_sd_checkpoint(tmp_path, checker=True), device="cpu")
    with pytest.raises(GeneratorError, match="refused image 1") as caught:
        pictures(strict.generate(JOBS, DDIM))
    assert caught.value.where == "safety_checker"


def test_a_prompt_longer_than_the_model_reads_is_warned_of_once(checkpoint: Path) -> None:
    generator = LatentGenerator(checkpoint, device="cpu")
    long = Job("a portrait of a judge " * 8, 1)
    with pytest.warns(UserWarning, match="reads 16 tokens"):
        list(generator.generate([long], DDIM))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        list(generator.generate([Job(long.prompt + "x", 1)], DDIM))


def test_loading_and_generating_print_nothing(checkpoint: Path, capfd: pytest.CaptureFixture[str]) -> None:
    list(LatentGenerator(checkpoint, device="cpu").generate(JOBS, DDIM))
    assert capfd.readouterr() == ("", "")


def test_the_info_records_weights_scheduler_and_safety_checker(generator: LatentGenerator, checkpoint: Path) -> None:
    info = generator.info
    unet = "unet/diffusion_pytorch_model.safetensors"
    assert info.weights[unet] == sha256_file(checkpoint / unet)
    assert len(info.weights) == 3
    assert (info.name, info.resolution, info.defaults.sampler) == ("tiny", 16, "as-shipped")
    assert info.details["safety_checker"] == "none"
    assert info.details["scheduler"] == "DDIMScheduler"
    assert json.loads(json.dumps(info.as_dict())) == info.as_dict()


@pytest.mark.parametrize(
    ("trainings", "expected"),
    [([40.0, 104.5], {"training_kilojoules": 144.5}), ([40.0, None], {}), ([], {})],
    ids=["metered", "one of them not metered", "none listed"],
)
def test_the_model_cards_training_energy_is_in_the_details_where_all_of_it_was_metered(
    copy: Path, trainings: list[float | None], expected: dict[str, float]
) -> None:
    (copy / CARD).write_text(_card(trainings))
    details = LatentGenerator(copy, device="cpu").info.details
    assert {key: value for key, value in details.items() if key == "training_kilojoules"} == expected


def test_without_a_model_card_no_training_energy_is_claimed(generator: LatentGenerator) -> None:
    assert "training_kilojoules" not in generator.info.details


def test_a_damaged_model_card_is_a_clear_error(copy: Path) -> None:
    (copy / CARD).write_text("title = 3")
    with pytest.raises(GeneratorError, match=r"card\.toml") as caught:
        LatentGenerator(copy, device="cpu")
    assert caught.value.where == copy / CARD


def test_what_a_card_says_of_energy_does_not_change_the_runs_id(copy: Path) -> None:
    spec = {"name": "tiny"}
    before = make_run_id(spec, LatentGenerator(copy, device="cpu").info.as_dict())
    (copy / CARD).write_text(_card([40.0]))
    after = LatentGenerator(copy, device="cpu").info.as_dict()
    assert after["details"]["training_kilojoules"] == 40.0
    assert make_run_id(spec, after) == before


def test_defaults_come_from_the_checkpoints_own_notes(copy: Path) -> None:
    (copy / "auditkit.toml").write_text('name = "mine"\nsampler = "unipc"\nsteps = 9\nguidance = 2.5\nbatch_size = 7')
    info = LatentGenerator(copy, device="cpu").info
    assert (info.name, info.defaults, info.batch_size) == ("mine", Settings("unipc", 9, 2.5), 7)


@pytest.mark.parametrize(
    ("notes", "match"),
    [("step = 9", "step"), ("steps = 0", "steps"), ("steps =", "not TOML"), ('sampler = "dim"', "ddim")],
)
def test_wrong_notes_are_an_error(copy: Path, notes: str, match: str) -> None:
    (copy / "auditkit.toml").write_text(notes)
    with pytest.raises(GeneratorError, match=match):
        LatentGenerator(copy, device="cpu")


def test_weights_that_differ_from_their_hashes_are_an_error(copy: Path, generator: LatentGenerator) -> None:
    (copy / "weights.json").write_text(json.dumps(generator.info.weights))
    assert LatentGenerator(copy, device="cpu").info.weights == generator.info.weights
    file = copy / "unet" / "diffusion_pytorch_model.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with pytest.raises(GeneratorError, match=r"weights\.json") as caught:
        LatentGenerator(copy, device="cpu")
    assert caught.value.where == file
    assert "git checkout" in str(caught.value.mend)


def _single_file(folder: Path) -> None:
    shutil.move(folder / "unet" / "diffusion_pytorch_model.safetensors", folder.with_name("file"))
    shutil.rmtree(folder)
    folder.with_name("file").rename(folder)


def _garbage(folder: Path) -> None:
    (folder / "vae" / "diffusion_pytorch_model.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1")


def _component_missing(folder: Path) -> None:
    shutil.rmtree(folder / "vae")


def _own_component(folder: Path) -> None:
    _edit_index(folder, unet=["my_module", "MyUNet"])


def _code_beside_weights(folder: Path) -> None:
    (folder / "unet" / "my_unet.py").write_text("raise SystemExit")


def _own_pipeline(folder: Path) -> None:
    _edit_index(folder, _class_name=["my_pipeline", "MyPipeline"])


def _component_elsewhere(folder: Path) -> None:
    _edit_index(folder, **{"../unet": ["diffusers", "UNet2DConditionModel"]})


def _no_safetensors(folder: Path) -> None:
    for file in folder.rglob("*.safetensors"):
        file.unlink()


def _pickled(folder: Path) -> None:
    file = folder / "unet" / "diffusion_pytorch_model.safetensors"
    file.rename(file.with_suffix(".bin"))


def _one_missing(folder: Path) -> None:
    (folder / "vae" / "diffusion_pytorch_model.safetensors").unlink()


def _truncated(folder: Path) -> None:
    file = folder / "unet" / "diffusion_pytorch_model.safetensors"
    file.write_bytes(file.read_bytes()[:1000])


def _unknown_class(folder: Path) -> None:
    _edit_index(folder, _class_name="MysteryPipeline")


def _broken_index(folder: Path) -> None:
    (folder / "model_index.json").write_text("{")


def _no_index(folder: Path) -> None:
    (folder / "model_index.json").unlink()


def _gone(folder: Path) -> None:
    shutil.rmtree(folder)


@pytest.mark.parametrize(
    ("damage", "match"),
    [
        (_no_safetensors, "no safetensors"),
        (_pickled, "pickled"),
        (_one_missing, "'vae' has no safetensors"),
        (_truncated, "damaged or cut short"),
        (_garbage, "damaged or cut short"),
        (_component_missing, "component 'vae' of the checkpoint is missing"),
        (_single_file, "single file"),
        (_own_component, r"my_module\.MyUNet"),
        (_code_beside_weights, "code from checkpoints is never run"),
        (_own_pipeline, r"my_pipeline\.MyPipeline"),
        (_component_elsewhere, "names a component"),
        (_unknown_class, "MysteryPipeline"),
        (_broken_index, "damaged"),
        (_no_index, "not a diffusers checkpoint"),
        (_gone, "does not exist"),
    ],
)
def test_a_checkpoint_that_cannot_be_used_is_a_clear_error(copy: Path, damage: Any, match: str) -> None:
    damage(copy)
    with pytest.raises(GeneratorError, match=match) as caught:
        load_generator(f"path:{copy}", device="cpu")
    assert str(copy) in str(caught.value.where)
    assert caught.value.mend


def test_an_unknown_class_is_answered_with_those_that_can_be_used(copy: Path) -> None:
    _unknown_class(copy)
    with pytest.raises(GeneratorError) as caught:
        load_generator(f"path:{copy}", device="cpu")
    assert all(name in str(caught.value.mend) for name in FAMILIES)


def test_a_single_file_by_its_name_is_answered_with_how_to_convert_it(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"")
    with pytest.raises(GeneratorError, match="single file") as caught:
        load_generator(str(file), device="cpu")
    assert "from_single_file" in str(caught.value.mend)


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        (Settings("dpm++2n", 4, 3.0), r"dpm\+\+2m"),
        (Settings("ddim", 0, 3.0), "from 1 to 1000"),
        (Settings("ddim", 5000, 3.0), "from 1 to 1000"),
    ],
)
def test_settings_that_do_not_hold_are_an_error_before_any_work(
    generator: LatentGenerator, settings: Settings, match: str
) -> None:
    with pytest.raises(GeneratorError, match=match):
        generator.generate(JOBS, settings)


@pytest.mark.parametrize("name", ["personae", "no/such/folder", "hf:no one/nothing", "hf:nobody/nothing-here"])
def test_an_unknown_generator_is_a_clear_error(name: str) -> None:
    with pytest.raises(GeneratorError) as caught:
        load_generator(name, device="cpu")
    assert name in str(caught.value.where)


@pytest.mark.parametrize("device", ["gpu", "cuda:99", "tpu"])
def test_a_device_that_is_not_there_is_a_clear_error(checkpoint: Path, device: str) -> None:
    with pytest.raises(GeneratorError, match=device):
        LatentGenerator(checkpoint, device=device)


def test_bfloat16_gives_nearly_the_same_image(generator: LatentGenerator, checkpoint: Path) -> None:
    fast = LatentGenerator(checkpoint, device="cpu", precision="bfloat16")
    assert (generator.info.dtype, fast.info.dtype) == ("float32", "bfloat16")
    for a, b in zip(generator.generate(JOBS, DDIM), fast.generate(JOBS, DDIM), strict=True):
        assert _largest_difference(a, b) <= 12


def test_an_unknown_precision_is_a_clear_error(checkpoint: Path) -> None:
    with pytest.raises(GeneratorError, match="int8"):
        LatentGenerator(checkpoint, device="cpu", precision="int8")


def _edit_index(folder: Path, **changes: Any) -> None:
    file = folder / "model_index.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def _card(trainings: list[float | None]) -> str:
    """A model card with a training for each energy in kJ; None is not metered."""
    text = "".join(f'{key} = "x"\n' for key in ("title", "what", "use", "data", "licence", "sampling"))
    text += 'limits = ["x"]\n'
    for kilojoules in trainings:
        text += '[[training]]\npart = "x"\ncommand = "x"\nminutes = 1.0\nsteps = 1\nbatch = 1\ndevice = "x"\n'
        text += "" if kilojoules is None else f"kilojoules = {kilojoules}\n"
    return text


def _memory_for(images: int, generator: LatentGenerator, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let denoising fail as a full GPU does when it gets more images; returns the sizes asked for."""
    sizes: list[int] = []
    denoise = generator.family.denoise

    def limited(wanted: Any, *rest: Any) -> torch.Tensor:
        sizes.append(len(wanted))
        if sizes[-1] > images:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return denoise(wanted, *rest)

    monkeypatch.setattr(generator.family, "denoise", limited)
    return sizes


def _largest_difference(a: object, b: object) -> int:
    return int(np.abs(np.asarray(a, dtype=int) - np.asarray(b, dtype=int)).max())


def test_a_cpu_that_cannot_allocate_is_out_of_memory() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**50)
    assert is_out_of_memory(caught.value)
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))


def test_a_large_image_is_decoded_alone_on_a_cpu(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("generators.steady.SMALL", 15 * 15)
    generator = LatentGenerator(checkpoint, device="cpu")
    sizes: list[int] = []
    generator.pipeline.vae.decoder.register_forward_hook(lambda _, given, __: sizes.append(len(given[0])))
    list(generator.generate(JOBS, DDIM))
    assert sizes == [1] * 3

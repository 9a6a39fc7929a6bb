"""Every pipeline class: one image alone is what diffusers' own pipeline gives, with and without guidance."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline
from PIL import Image
from tiny_checkpoints import (
    CHECKPOINTS,
    tiny_flux_checkpoint,
    tiny_pixart_checkpoint,
    tiny_sana_checkpoint,
    tiny_sd3_checkpoint,
)

from auditkit.errors import GeneratorError
from generators import samplers
from generators.base import Job, Settings
from generators.checkpoint import quiet
from generators.families import FAMILIES
from generators.latent import LatentGenerator

PLAIN = Job("a portrait of a judge", 7)
NEGATIVE = Job("a portrait of a judge", 7, "a picture of a female pilot")
CALL: dict[str, dict[str, Any]] = {
    "pixart-alpha": {"clean_caption": False, "use_resolution_binning": False},
    "pixart-sigma": {"clean_caption": False, "use_resolution_binning": False},
    "sana": {"use_resolution_binning": False, "height": 32, "width": 32},
    "flux-dev": {"height": 16, "width": 16},
    "flux-schnell": {"height": 16, "width": 16},
    "prx": {"use_resolution_binning": False},
    "prx-pixel": {"use_resolution_binning": False},
    "sd3-without-t5": {},
}
"""What our images are made with, where it is not the default of the pipeline's call."""
KINDS = {
    "sd": "latent-unet", "sdxl": "latent-unet", "sd3": "latent-flow", "sd3-without-t5": "latent-flow",
    "flux-dev": "latent-flow", "flux-schnell": "latent-flow", "pixart-alpha": "latent-dit",
    "pixart-sigma": "latent-dit", "sana": "latent-flow", "prx": "latent-flow", "prx-pixel": "pixel-flow",
}  # fmt: skip


@pytest.fixture(scope="module", params=CHECKPOINTS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def generator(name: str, tmp_path_factory: pytest.TempPathFactory) -> LatentGenerator:
    return LatentGenerator(CHECKPOINTS[name](tmp_path_factory.mktemp("tiny") / name), device="cpu")


@pytest.fixture(scope="module")
def pipeline(generator: LatentGenerator, name: str) -> Any:
    without = {"text_encoder_3": None, "tokenizer_3": None} if name == "sd3-without-t5" else {}
    with quiet():
        loaded: Any = DiffusionPipeline.from_pretrained(generator.folder, local_files_only=True, **without)
    loaded.set_progress_bar_config(disable=True)
    loaded.shipped = loaded.scheduler
    return loaded


def theirs(pipeline: Any, name: str, job: Job, settings: Settings) -> np.ndarray:
    pipeline.scheduler = samplers.make_scheduler(settings.sampler, pipeline.shipped)
    more = {"guidance_scale": settings.guidance, **CALL.get(name, {})}
    if job.negative is not None:
        more["negative_prompt"] = job.negative
        if name.startswith("flux"):
            more |= {"true_cfg_scale": settings.guidance, "guidance_scale": 1.0}
    with quiet():
        images = pipeline(
            job.prompt,
            num_inference_steps=settings.steps,
            generator=torch.Generator().manual_seed(job.seed),
            output_type="np",
            **more,
        ).images
    return np.round(images[0] * 255)


@pytest.mark.parametrize("guidance", [1.0, 4.0])
@pytest.mark.parametrize("job", [PLAIN, NEGATIVE], ids=["no negative", "negative"])
def test_an_image_is_the_plain_pipelines(
    generator: LatentGenerator, pipeline: Any, name: str, job: Job, guidance: float
) -> None:
    settings = Settings("as-shipped", 3, guidance)
    ours = np.asarray(next(generator.generate([job], settings)), dtype=float)
    assert ours.std() > 3  # a picture of something, not a grey square that would equal any other
    assert np.abs(ours - theirs(pipeline, name, job, settings)).max() <= 1


def test_every_sampler_that_fits_gives_the_plain_pipelines_image(
    generator: LatentGenerator, pipeline: Any, name: str
) -> None:
    assert len(generator.samplers) >= 2
    for sampler in generator.samplers:
        settings = Settings(sampler, 4, 4.0)
        ours = np.asarray(next(generator.generate([PLAIN], settings)), dtype=float)
        assert np.abs(ours - theirs(pipeline, name, PLAIN, settings)).max() <= 2, sampler


def test_it_says_its_kind_its_noise_and_what_it_reads(generator: LatentGenerator, name: str) -> None:
    info = generator.info
    assert info.kind == KINDS[name]
    assert FAMILIES[info.details["pipeline"]].kind == info.kind
    channels, height, width = info.details["latent_shape"]
    assert height == width == info.resolution // generator.family.scale
    assert channels == (3 if name == "prx-pixel" else 4)
    tokens = {"sd3": 256, "flux-dev": 512, "flux-schnell": 512, "pixart-alpha": 120, "pixart-sigma": 300, "sana": 300}
    assert info.details["prompt_tokens"] == tokens.get(name, 16)
    assert json.loads(json.dumps(info.as_dict())) == info.as_dict()


def test_noise_by_hand_is_the_seeds_own_noise(generator: LatentGenerator) -> None:
    shape = [1, *generator.info.details["latent_shape"]]
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(3))[0].numpy()
    seeded, given = generator.generate(
        [Job("a judge", 3), Job("a judge", 9, noise=noise)], Settings("as-shipped", 2, 1.0)
    )
    assert _largest_difference(seeded, given) <= 1


def test_running_out_of_memory_halves_the_batch_and_goes_on(
    generator: LatentGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = [Job(PLAIN.prompt, seed, negative) for seed, negative in enumerate([None, "a pilot", None, None])]
    settings = Settings("as-shipped", 2, 4.0)
    expected = list(generator.generate(jobs, settings))
    denoise = generator.family.denoise

    def limited(wanted: Any, *rest: Any) -> torch.Tensor:
        if len(wanted) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return denoise(wanted, *rest)

    monkeypatch.setattr(generator.family, "denoise", limited)
    monkeypatch.setattr(generator, "_fits", None)
    with pytest.warns(UserWarning, match="going on with 2"):
        images = list(generator.generate(jobs, settings))
    assert all(_largest_difference(a, b) <= 2 for a, b in zip(expected, images, strict=True))


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_gives_nearly_the_same_images(generator: LatentGenerator, name: str, precision: str) -> None:
    half = LatentGenerator(generator.folder, device="cpu", precision=precision)
    assert half.info.dtype == precision
    settings = Settings("as-shipped", 3, 3.0)
    for a, b in zip(
        generator.generate([PLAIN, NEGATIVE], settings), half.generate([PLAIN, NEGATIVE], settings), strict=True
    ):
        assert np.abs(np.asarray(a, dtype=int) - np.asarray(b, dtype=int)).mean() < 6


def test_flux_is_guided_by_its_own_input_and_by_negative_prompts(tmp_path: Path) -> None:
    dev = LatentGenerator(tiny_flux_checkpoint(tmp_path / "dev"), device="cpu")
    schnell = LatentGenerator(tiny_flux_checkpoint(tmp_path / "schnell", guidance_embeds=False), device="cpu")
    assert (dev.info.defaults.steps, schnell.info.defaults.steps) == (28, 4)

    def changes(generator: LatentGenerator, job: Job) -> bool:
        weak, strong = (next(generator.generate([job], Settings("as-shipped", 2, scale))) for scale in (2.0, 6.0))
        return _largest_difference(weak, strong) > 0

    assert changes(dev, PLAIN)
    assert not changes(schnell, PLAIN)
    assert changes(schnell, NEGATIVE)


def test_a_sampler_that_the_pipeline_cannot_call_is_an_error_before_any_work(tmp_path: Path) -> None:
    flux = LatentGenerator(tiny_flux_checkpoint(tmp_path), device="cpu")
    with pytest.raises(GeneratorError, match="flow-heun") as caught:
        flux.generate([PLAIN], Settings("flow-heun", 2, 1.0))
    assert "flow-euler" in str(caught.value.mend)


def test_sana_takes_flow_samplers_though_its_solver_has_a_beta_schedule(tmp_path: Path) -> None:
    sana = LatentGenerator(tiny_sana_checkpoint(tmp_path), device="cpu")
    assert sana.samplers == ["as-shipped", "flow-euler", "flow-heun"]
    shipped = sana.pipeline.scheduler
    assert samplers.make_scheduler("flow-euler", shipped).config.shift == shipped.config.flow_shift


@pytest.mark.parametrize("sampler", ["ddpm", "ddim", "lcm"])
def test_latents_are_not_clipped_where_the_checkpoint_ships_a_scheduler_that_never_does(
    tmp_path: Path, sampler: str
) -> None:
    pixart = LatentGenerator(tiny_pixart_checkpoint(tmp_path), device="cpu")
    assert "clip_sample" not in pixart.pipeline.scheduler.config
    assert samplers.make_scheduler(sampler, pixart.pipeline.scheduler).config.clip_sample is False


def test_a_checkpoint_can_be_sampled_at_another_size(tmp_path: Path) -> None:
    folder = tiny_sd3_checkpoint(tmp_path)
    (folder / "auditkit.toml").write_text("resolution = 24")
    generator = LatentGenerator(folder, device="cpu")
    image = next(generator.generate([PLAIN], Settings("as-shipped", 2, 4.0)))
    assert (image.size, generator.info.details["latent_shape"]) == ((24, 24), [4, 12, 12])
    (folder / "auditkit.toml").write_text("resolution = 23")
    with pytest.raises(GeneratorError, match="multiple of 4") as caught:
        LatentGenerator(folder, device="cpu")
    assert "24" in str(caught.value.mend)


def _largest_difference(a: Image.Image, b: Image.Image) -> int:
    return int(np.abs(np.asarray(a, dtype=int) - np.asarray(b, dtype=int)).max())

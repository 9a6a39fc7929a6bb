"""From images back to their noise, and noise that jobs bring along."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler
from PIL import Image
from tiny_checkpoints import SCHEDULER, TINY, tiny_pixart_checkpoint, tiny_sd_checkpoint, tiny_sdxl_checkpoint

from auditkit.errors import GeneratorError
from auditkit.watermark.keys import Key
from auditkit.watermark.payload import Payload
from auditkit.watermark.tree_ring import TreeRing
from generators import inversion
from generators.base import Job, Settings
from generators.bundled import personas
from generators.inversion import invert
from generators.latent import LatentGenerator
from generators.regeneration import diffusion
from generators.samplers import make_scheduler

KEY = Key.from_secret(bytes(range(32)))
FOUR = Settings("ddim", 4, 1.0)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four latent channels, as Stable Diffusion has, of 16 x 16."""
    return tiny_sd_checkpoint(tmp_path_factory.mktemp("checkpoints") / "tiny", size={**TINY, "sample": 16})


@pytest.fixture(scope="module")
def generator(checkpoint: Path) -> LatentGenerator:
    return LatentGenerator(checkpoint, device="cpu")


def test_a_job_with_noise_leaves_its_batch_mates_alone(generator: LatentGenerator) -> None:
    noise = np.ones((4, 16, 16), np.float32)
    for sampler in ("ddim", "euler", "euler-a"):
        settings = Settings(sampler, 3, 3.0)
        plain = [Job("a judge", 1), Job("a pilot", 2), Job("an artist", 3)]
        mixed = [plain[0], Job("a pilot", 2, noise=noise), plain[2]]
        before, after = (list(map(np.asarray, generator.generate(jobs, settings))) for jobs in (plain, mixed))
        assert [(a == b).all() for a, b in zip(before, after, strict=True)] == [True, False, True]


@pytest.mark.parametrize("sampler", ["ddim", "euler", "euler-a", "dpm++2m"])
def test_the_seeds_own_noise_given_by_hand_gives_the_same_image(generator: LatentGenerator, sampler: str) -> None:
    noise = torch.randn([1, 4, 16, 16], generator=torch.Generator().manual_seed(7))[0].numpy()
    jobs = [Job("a judge", 7), Job("a judge", 7, noise=noise)]
    plain, given = generator.generate(jobs, Settings(sampler, 3, 3.0), batch_size=1)
    assert (np.asarray(plain) == np.asarray(given)).all()


@pytest.mark.parametrize("noise", [np.zeros((4, 8, 8), np.float32), np.full((4, 16, 16), np.nan, np.float32)])
def test_noise_that_does_not_fit_is_an_error_before_any_work(generator: LatentGenerator, noise: np.ndarray) -> None:
    with pytest.raises(GeneratorError, match="initial noise"):
        generator.generate([Job("a judge", 1, noise=noise)], FOUR)


def test_the_latents_shape_is_recorded(generator: LatentGenerator) -> None:
    assert generator.info.details["latent_shape"] == [4, 16, 16]


@pytest.mark.parametrize("prediction", ["v_prediction", "epsilon", "sample"])
def test_inversion_undoes_ddim_where_the_network_is_constant(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch, prediction: str
) -> None:
    # With an answer that does not depend on its input, every step can be undone exactly.
    generator = LatentGenerator(checkpoint, device="cpu")
    config: dict[str, Any] = {"prediction_type": prediction, "rescale_betas_zero_snr": prediction == "v_prediction"}
    scheduler = type(generator._shipped).from_config(generator._shipped.config, **config)
    generator.pipeline.scheduler = scheduler
    answer = torch.randn([1, 4, 16, 16], generator=torch.Generator().manual_seed(0)) / 2
    generator.pipeline.unet.forward = lambda x, *_, **__: type("Out", (), {"sample": answer.expand_as(x)})()
    start = torch.randn([2, 4, 16, 16], generator=torch.Generator().manual_seed(1))
    scheduler.set_timesteps(10)
    x = start
    for t in scheduler.timesteps:
        x = scheduler.step(answer.expand_as(x), t, x).prev_sample
    times, angles, kind = inversion._schedule(generator, 10)
    back = inversion._backwards(generator, x, times, angles, kind)
    if prediction == "sample":  # its last step forgets the noise: what comes back is what the answer implies
        assert torch.isfinite(back).all()
    else:
        assert torch.allclose(back, start, atol=1e-3)


def test_images_of_other_sizes_are_resized_and_it_is_said(generator: LatentGenerator) -> None:
    with pytest.warns(UserWarning, match="resized to the 32 px"):
        found = invert(generator, [Image.new("RGB", (50, 40), "red"), Image.new("L", (32, 32))], refinements=0)
    assert (found.shape, found.dtype) == ((2, 4, 16, 16), np.float32)
    assert np.isfinite(found).all()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert invert(generator, []).shape == (0, 4, 16, 16)


@pytest.mark.parametrize("steps", [0, 5000])
def test_steps_out_of_range_are_an_error(generator: LatentGenerator, steps: int) -> None:
    with pytest.raises(GeneratorError, match="cannot be recovered"):
        invert(generator, [Image.new("RGB", (32, 32))], steps=steps)


def test_latents_of_a_stable_diffusion_checkpoint_give_back_their_noise(generator: LatentGenerator) -> None:
    # From latents, since an autoencoder of random weights does not invert its own decoder.
    noise = torch.randn([2, 4, 16, 16], generator=torch.Generator().manual_seed(0))
    pipeline = generator.pipeline
    latents = pipeline(
        prompt_embeds=generator.encode("a judge")["prompt_embeds"].expand(2, -1, -1), latents=noise, height=32,
        width=32, num_inference_steps=8, guidance_scale=1.0, output_type="latent",
    ).images  # fmt: skip
    with torch.inference_mode():
        back = inversion._backwards(generator, latents, *inversion._schedule(generator, 8))
    assert np.corrcoef(noise.numpy().ravel(), back.numpy().ravel())[0, 1] > 0.9


def test_a_checkpoint_of_two_text_encoders_gives_back_its_noise_too(tmp_path: Path) -> None:
    generator = LatentGenerator(tiny_sdxl_checkpoint(tmp_path), device="cpu")
    noise = torch.randn([2, 4, 8, 8], generator=torch.Generator().manual_seed(0))
    jobs = [Job("a judge", i, noise=each.numpy()) for i, each in enumerate(noise)]
    # A random network that predicts noise has no smooth path back; one that predicts v has.
    generator.pipeline.scheduler = DDIMScheduler(**SCHEDULER)
    scheduler = make_scheduler("ddim", generator.pipeline.scheduler)
    latents = generator._denoise(jobs, Settings("ddim", 8, 1.0), scheduler)
    with torch.inference_mode():
        back = inversion._backwards(generator, latents, *inversion._schedule(generator, 8))
    assert np.corrcoef(noise.numpy().ravel(), back.numpy().ravel())[0, 1] > 0.9
    (again,) = [diffusion(generator, 0.2, steps=5)(np.full((16, 16, 3), 90, np.uint8))]
    assert again.shape == (16, 16, 3)


def test_noise_of_a_transformer_cannot_be_recovered_and_that_is_said(tmp_path: Path) -> None:
    generator = LatentGenerator(tiny_pixart_checkpoint(tmp_path), device="cpu")
    with pytest.raises(GeneratorError, match="cannot be recovered"):
        invert(generator, [Image.new("RGB", (16, 16))])


def test_marked_images_of_the_bundled_generator_are_told_from_unmarked_ones() -> None:
    generator, scheme = personas(device="cpu"), TreeRing()
    shape = generator.info.details["latent_shape"]
    marks = [scheme.noise(shape, KEY, Payload(1), seed=i) for i in range(2)]
    jobs = [Job("a portrait of a judge", i, noise=z) for i, z in enumerate(marks)]
    images = generator.generate([*jobs, Job("a portrait of a judge", 3)], generator.info.defaults)
    p = [scheme.evidence(z, KEY).p_value for z in invert(generator, list(images))]
    assert max(p[:2]) < 1e-6
    assert p[2] > 1e-3
    assert json.dumps(generator.info.as_dict())

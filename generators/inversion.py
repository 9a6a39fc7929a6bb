"""Back from images to the noise they were made from: what latent watermarks are read in.

DDIM inversion (Song et al. 2021) with the empty prompt and no guidance, since neither the prompt nor the guidance of an
image is known to whoever checks it, from latents that the decoder confirms (Hong et al. 2024, gradient-free decoder
inversion): z <- z + (E(x) - E(D(z))) where the encoder alone is off by some 14% of a latent's spread.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from auditkit.errors import GeneratorError

if TYPE_CHECKING:
    import torch

    from generators.latent import LatentGenerator

STEPS = 12
"""Steps back. More recover no more of the bundled generators' noise (benchmarks/watermark_latent.py)."""
REFINEMENTS = 6
"""Corrections of the latent by the decoder; each costs one decoding and one encoding."""


def invert(
    generator: LatentGenerator,
    images: Sequence[Image.Image],
    *,
    steps: int = STEPS,
    refinements: int = REFINEMENTS,
    batch_size: int | None = None,
) -> np.ndarray:
    """The initial noise that `images` were probably made from: float32 [n, c, h, w], as `Job.noise`.

    Any sampler that follows the probability flow (ddim, dpm++2m, unipc, euler) is inverted alike; those that add noise
    on their way (ddpm, euler-a, lcm) are not inverted by this. The recovered values are smaller than the true ones.

    Args:
        images: of any size and mode; other sizes than the generator's are resized, with one warning.
        batch_size: images at a time; None is `generator.info.batch_size`.

    Raises:
        GeneratorError: steps out of range, or a checkpoint that was not trained on a beta schedule.
    """
    import torch

    size = (generator.info.resolution,) * 2
    if any(image.size != size for image in images):
        text = f"images of another size are resized to the {size[0]} px of {generator.info.name}"
        warnings.warn(text + " before their noise is recovered", stacklevel=2)
    times, angles, prediction = _schedule(generator, steps)
    shape = generator.info.details["latent_shape"]
    found = [np.zeros((0, *shape), np.float32)]
    batch = batch_size or generator.info.batch_size
    with torch.inference_mode():
        for start in range(0, len(images), batch):
            fitted = [_fitted(image, size) for image in images[start : start + batch]]
            latents = _encoded(generator, fitted, refinements)
            found.append(_backwards(generator, latents, times, angles, prediction).float().cpu().numpy())
    return np.concatenate(found)


def _fitted(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    image = image.convert("RGB")
    return image if image.size == size else image.resize(size, Image.Resampling.LANCZOS)


def _schedule(generator: LatentGenerator, steps: int) -> tuple[list[int], list[float], str]:
    """Times from clean to noise [steps], noise levels as angles [steps + 1] (0 clean, pi/2 nothing but noise)."""
    from generators.samplers import make_scheduler

    scheduler = make_scheduler("ddim", generator.pipeline.scheduler)
    prediction = str(scheduler.config.prediction_type)
    known = prediction in ("epsilon", "v_prediction", "sample") and generator.family.conditions is not None
    if not known or not 1 <= steps <= scheduler.config.num_train_timesteps:
        raise GeneratorError(
            "the noise of images cannot be recovered with this checkpoint and these steps",
            where=f"{generator.info.name}: steps={steps}, prediction_type={prediction}",
            mend=f"use 1 to {scheduler.config.num_train_timesteps} steps, and a UNet that predicts noise or v",
        )
    scheduler.set_timesteps(steps)
    times = [int(t) for t in reversed(scheduler.timesteps)]
    levels = [float(scheduler.final_alpha_cumprod)] + [float(scheduler.alphas_cumprod[t]) for t in times]
    return times, [math.acos(math.sqrt(min(1.0, max(0.0, level)))) for level in levels], prediction


def _encoded(generator: LatentGenerator, images: list[Image.Image], refinements: int) -> torch.Tensor:
    """Latents [n, c, h, w] of RGB images of the generator's size: the encoder's mean, corrected by the decoder."""
    import torch

    vae: Any = generator.pipeline.vae
    scale, shift = vae.config.scaling_factor, getattr(vae.config, "shift_factor", None) or 0.0
    pixels = torch.from_numpy(np.stack([np.asarray(image) for image in images])).permute(0, 3, 1, 2)
    pixels = (pixels.float() / 127.5 - 1).to(vae.device, vae.dtype)

    def encoded(images: torch.Tensor) -> torch.Tensor:
        found = vae.encode(images)
        mean = found.latent_dist.mean if hasattr(found, "latent_dist") else found.latents  # a tiny one has no spread
        return (mean - shift) * scale

    target = encoded(pixels)
    latents, error = target, torch.full((len(images), 1, 1, 1), math.inf, device=target.device)
    best = target
    for _ in range(refinements):
        miss = target - encoded(vae.decode(latents / scale + shift).sample)
        size = miss.float().square().mean((1, 2, 3), keepdim=True)
        # Each image keeps its best latent: the iteration need not converge on images that no decoder made.
        best = torch.where(size < error, latents, best)
        error = torch.minimum(size, error)
        latents = latents + miss
    return best


def _backwards(
    generator: LatentGenerator, latents: torch.Tensor, times: list[int], angles: list[float], prediction: str
) -> torch.Tensor:
    """DDIM's steps the other way, each with the network's answer for the noisier of its two ends.

    With levels as angles, a step of DDIM turns (latents, v) by their difference; turning back stays regular where the
    last level has no signal at all (zero terminal SNR), which the usual formula divides by.
    """
    unet = generator.pipeline.unet
    x = latents.to(unet.dtype)
    text: Any = generator.encode("")
    conditions = generator.family.conditions(text, len(x))
    for time, here, there in zip(times, angles[:-1], angles[1:], strict=True):
        answer = unet(x, time, **conditions).sample
        turn = there - here
        if prediction == "v_prediction":
            x = (x + math.sin(turn) * answer) / math.cos(turn)
        elif prediction == "epsilon":
            clean = (x - math.sin(here) * answer) / math.cos(here)
            x = math.cos(there) * clean + math.sin(there) * answer
        else:
            # The network says the clean image itself; what is left of x is noise, at its noisier end where x is clean.
            at = here if here > 0 else there
            noise = (x - math.cos(at) * answer) / math.sin(at)
            x = math.cos(there) * answer + math.sin(there) * noise
    return x

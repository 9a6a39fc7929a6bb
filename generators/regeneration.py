"""Images made again by a latent diffusion model: the attacks that remove marks from pixels.

`autoencoder` encodes and decodes; `diffusion` noises the latent part of the way and denoises it with an empty prompt
(SDEdit, Meng et al. 2022; as an attack on watermarks, Zhao et al. 2024). Images of any size are taken in overlapping
tiles of the model's own resolution.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from auditkit.errors import GeneratorError
from generators.samplers import make_scheduler

if TYPE_CHECKING:
    import torch

    from generators.base import Generator

Regenerate = Callable[[np.ndarray], np.ndarray]
"""An image, uint8 [h, w, 3], to one of the same shape."""

SIDE_AT_ONCE = 16
"""Tiles that go through the networks together at 128 px; fewer of larger ones."""


STRENGTHS = (0.05, 0.1, 0.2)
"""Of diffusion, in `regenerations`: what changes an image little, some, and much."""


def regenerations(generator: Generator, *, strengths: Sequence[float] = STRENGTHS) -> dict[str, Regenerate]:
    """The attacks for `auditkit.watermark.bench.run(regenerate=...)`: 'autoencoder', 'diffusion:0.1' and so on.

    Raises:
        GeneratorError: the generator is no latent diffusion model.
    """
    noised = {f"diffusion:{strength:g}": diffusion(generator, strength) for strength in strengths}
    return {"autoencoder": autoencoder(generator), **noised}


def autoencoder(generator: Generator, *, overlap: float = 0.25) -> Regenerate:
    """Through the generator's autoencoder and back.

    Args:
        overlap: of neighbouring tiles, as a share of their side.

    Raises:
        GeneratorError: the generator has no autoencoder.
    """
    pipeline = _pipeline(generator)

    def through(tiles: torch.Tensor) -> torch.Tensor:
        return _decode(pipeline, _encode(pipeline, tiles))

    return _tiled(pipeline, generator.info.resolution, overlap, through)


def diffusion(
    generator: Generator, strength: float, *, steps: int = 20, overlap: float = 0.25, seed: int = 0
) -> Regenerate:
    """Noised to `strength` of the way in the latent, then denoised by DDIM with an empty prompt.

    Args:
        strength: in (0, 1]; 1 forgets the image. The last `round(strength * steps)` of `steps` steps are taken.
        seed: of the noise, which is the same for every image.

    Raises:
        GeneratorError: the generator is no latent diffusion model, or the strength is out of range.
    """
    import torch

    pipeline = _pipeline(generator)
    if not 0 < strength <= 1:
        raise GeneratorError("the strength of regeneration lies above 0 and up to 1", where=f"strength={strength}")
    scheduler = make_scheduler("ddim", pipeline.scheduler)
    scheduler.set_timesteps(steps, device=pipeline.device)
    timesteps = scheduler.timesteps[-max(1, round(strength * steps)) :]
    latent: Any = generator
    empty = latent.encode("")

    def through(tiles: torch.Tensor) -> torch.Tensor:
        latents = _encode(pipeline, tiles)
        noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(seed)).to(latents)
        latents = scheduler.add_noise(latents, noise, timesteps[:1].expand(len(latents)))
        conditions = latent.family.conditions(empty, len(latents))
        for t in timesteps:
            predicted = pipeline.unet(latents, t, **conditions).sample
            latents = scheduler.step(predicted, t, latents).prev_sample
        return _decode(pipeline, latents)

    return _tiled(pipeline, generator.info.resolution, overlap, through)


def _pipeline(generator: Any) -> Any:
    pipeline = getattr(generator, "pipeline", None)
    if pipeline is None or not all(hasattr(pipeline, part) for part in ("vae", "unet", "scheduler")):
        raise GeneratorError(
            "images can be made again only by a latent diffusion model",
            where=f"generator={generator.info.name}",
            mend="use personas, or path:FOLDER of a diffusers checkpoint",
        )
    return pipeline


def _encode(pipeline: Any, tiles: torch.Tensor) -> torch.Tensor:
    """float [n, 3, s, s] in [-1, 1] to scaled latents [n, c, h, w], the mode of their distribution."""
    vae = pipeline.vae
    found = vae.encode(tiles)
    mode = found.latent_dist.mode() if hasattr(found, "latent_dist") else found.latents  # a tiny one has no noise
    return (mode - (getattr(vae.config, "shift_factor", None) or 0.0)) * vae.config.scaling_factor


def _decode(pipeline: Any, latents: torch.Tensor) -> torch.Tensor:
    vae = pipeline.vae
    scaled = latents / vae.config.scaling_factor + (getattr(vae.config, "shift_factor", None) or 0.0)
    return vae.decode(scaled, return_dict=False)[0]


def _tiled(pipeline: Any, side: int, overlap: float, through: Callable[[torch.Tensor], torch.Tensor]) -> Regenerate:
    import torch

    at_once = max(1, SIDE_AT_ONCE * 128**2 // side**2)

    def regenerate(image: np.ndarray) -> np.ndarray:
        height, width = image.shape[:2]
        padding = ((0, max(0, side - height)), (0, max(0, side - width)), (0, 0))
        whole = np.pad(image, padding, mode="symmetric")
        places = list(_places(whole.shape[0], whole.shape[1], side, overlap))
        window = _window(side, round(overlap * side))[..., None]
        total, weight = np.zeros(whole.shape, np.float32), np.zeros((*whole.shape[:2], 1), np.float32)
        for start in range(0, len(places), at_once):
            some = places[start : start + at_once]
            tiles = np.stack([whole[y : y + side, x : x + side] for y, x in some]).transpose(0, 3, 1, 2)
            with torch.inference_mode():
                given = torch.from_numpy(tiles.astype(np.float32) / 127.5 - 1).to(pipeline.device, pipeline.vae.dtype)
                made = through(given).float().cpu().numpy().transpose(0, 2, 3, 1)
            for (y, x), tile in zip(some, made, strict=True):
                total[y : y + side, x : x + side] += window * tile
                weight[y : y + side, x : x + side] += window
        values = (total / weight + 1) * 127.5
        return np.clip(np.rint(values), 0, 255).astype(np.uint8)[:height, :width]

    return regenerate


def _places(height: int, width: int, side: int, overlap: float) -> Iterator[tuple[int, int]]:
    """Top and left of tiles that cover the image, evenly spaced, overlapping by `overlap` of their side at least."""
    step = side - round(overlap * side)

    def starts(length: int) -> np.ndarray:
        return np.linspace(0, length - side, -(-(length - side) // step) + 1).round().astype(int)

    return ((int(y), int(x)) for y in starts(height) for x in starts(width))


def _window(side: int, margin: int) -> np.ndarray:
    """Weights of a tile, float32 [side, side]: 1 in the middle, falling towards each edge over `margin` pixels."""
    edge = (np.minimum(np.arange(side), np.arange(side)[::-1]) + 0.5) / max(1, margin)
    ramp = np.minimum(1.0, edge)
    return np.outer(ramp, ramp).astype(np.float32)

"""What tells a perturbation from noise: three kinds of signal, each a number of an image.

- **Brittle embeddings.** A perturbation that was searched for loses its effect when it is smoothed away or moved by a
  pixel or two; noise has hardly any effect to lose. For an encoder f, a median filter D and the residual r = x - D(x):
  |f(x) - f(D(x))|, and its ratio to |f(D(x) + r moved) - f(D(x))|, in which r has the same energy in the same places
  but no aim. After Xu et al. 2018 (feature squeezing, arXiv 1704.01155), with the moved residual as control.
- **Latents that are off.** The same for an autoencoder's latent, and how far its reconstruction misses the image.
- **Residuals.** Noise against local texture, correlation between channels and neighbours, tails.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from detectors.perturbation.victims import ClipVictim, LatentVictim, to_tensor

if TYPE_CHECKING:
    from torch import Tensor

MIN_SIDE = 64
"""Pixels of the shorter side under which nothing is said of an image."""
RESIDUAL_SIDE = 256
MOVE = (1, -2)
"""Pixels by which the residual is moved for the control; it leaves the 8 x 8 grid of JPEG."""
LATENT_SIDE = 96
"""The middle of an image that the autoencoder probes, in pixels."""
_TINY = 1e-6

LATENT = (
    "latent: shift", "latent: shift over control", "latent: reconstruction over texture",
    "latent: coarse reconstruction",
)  # fmt: skip
RESIDUAL = (
    "residual: quiet level", "residual: median level", "residual: slope on texture", "residual: tails",
    "residual: red-green", "residual: green-blue", "residual: neighbour", "residual: second neighbour",
    "residual: flat share", "residual: grid",
)  # fmt: skip


def names(probes: Sequence[str]) -> list[str]:
    """The signals' names, in the order of `signals`; `probes` are names of the CLIP encoders."""
    of_probes = [f"{probe}: {what}" for probe in probes for what in ("shift", "shift over control")]
    return [*of_probes, *LATENT, *RESIDUAL]


def signals(image: np.ndarray, probes: Sequence[ClipVictim], autoencoder: LatentVictim) -> NDArray[np.float32]:
    """All signals of one image, uint8 [h, w, 3], float32 [d]; NaN throughout where it is under `MIN_SIDE`."""
    import torch

    if min(image.shape[:2]) < MIN_SIDE:
        return np.full(len(names([probe.name for probe in probes])), np.nan, np.float32)
    with torch.inference_mode():
        values = [value for probe in probes for value in _brittle(image, probe)]
        values += _latent(image, autoencoder)
    return np.asarray([*values, *residual_statistics(image)], np.float32)


def _brittle(image: np.ndarray, probe: ClipVictim) -> list[float]:
    import torch

    view = probe.view(to_tensor([image], probe.device))
    smooth = _median(view)
    moved = (smooth + torch.roll(view - smooth, MOVE, (-2, -1))).clamp(0, 1)
    found, calm, control = probe.embed_view(torch.cat([view, smooth, moved]))
    shift, unaimed = ((1 - (one * calm).sum()).clamp(min=0) for one in (found, control))
    return [_log(shift), _log(shift) - _log(unaimed)]


def _latent(image: np.ndarray, autoencoder: LatentVictim) -> list[float]:
    import torch
    from torch.nn.functional import avg_pool2d

    view = autoencoder.view(to_tensor([image], autoencoder.device))
    smooth = _median(view)
    moved = (smooth + torch.roll(view - smooth, MOVE, (-2, -1))).clamp(0, 1)
    latents = autoencoder.latents(torch.cat([view, smooth, moved]))
    size = latents[1].norm() + _TINY
    shift, control = (latents[0] - latents[1]).norm() / size, (latents[2] - latents[1]).norm() / size
    miss = view - autoencoder.decode(latents[:1])
    texture = (view - smooth).square().mean()
    coarse = avg_pool2d(miss, 8).square().mean()
    return [_log(shift), _log(shift) - _log(control), _log(miss.square().mean()) - _log(texture), _log(coarse)]


def _median(view: Tensor) -> Tensor:
    """A view [1, 3, h, w] in [0, 1] without its finest detail: median of 3 x 3 pixels."""
    import torch

    done = ndimage.median_filter(view[0].cpu().numpy(), (1, 3, 3))
    return torch.from_numpy(done)[None].to(view.device)


def residual_statistics(image: np.ndarray) -> list[float]:
    """Of the middle of an image, uint8 [h, w, 3]: the signals named 'residual', in their order."""
    height, width = (min(RESIDUAL_SIDE, side) // 8 * 8 for side in image.shape[:2])
    top, left = ((image.shape[0] - height) // 2 // 8 * 8, (image.shape[1] - width) // 2 // 8 * 8)
    pixels = image[top : top + height, left : left + width].astype(np.float32)
    residual = pixels - ndimage.gaussian_filter(pixels, (1, 1, 0))
    texture = np.log(_block_std(ndimage.gaussian_filter(pixels.mean(-1), 1.5)) + 0.1)
    level = np.log(_block_std(residual.mean(-1)) + 0.1)
    quiet = level <= np.quantile(level, 0.3)
    rows = _blocks(residual)[quiet]  # [blocks, 8, 8, 3]
    inner = rows - rows.mean((1, 2), keepdims=True)
    spread = float(inner.std()) + 0.05
    slope = np.cov(texture.ravel(), level.ravel(), bias=True)
    across, down = np.abs(np.diff(pixels.mean(-1), axis=1)), np.abs(np.diff(pixels.mean(-1), axis=0))
    seams = (across[:, 7::8].mean() + down[7::8].mean()) / (across.mean() + down.mean() + 0.05)
    return [
        float(np.log(spread)),
        float(np.median(level)),
        float(slope[0, 1] / (slope[0, 0] + 0.05)),
        float(np.log((inner**4).mean() / spread**4 + 0.05)),
        _correlation(inner[..., 0], inner[..., 1]),
        _correlation(inner[..., 1], inner[..., 2]),
        _correlation(inner[:, :, 1:], inner[:, :, :-1]),
        _correlation(inner[:, :, 2:], inner[:, :, :-2]),
        float((level < np.log(0.2)).mean()),
        float(np.log(seams + 0.05)),
    ]


def _blocks(pixels: np.ndarray) -> np.ndarray:
    """[h, w, ...] as [h/8, w/8, 8, 8, ...]."""
    height, width = pixels.shape[:2]
    return pixels.reshape(height // 8, 8, width // 8, 8, *pixels.shape[2:]).swapaxes(1, 2)


def _block_std(grey: np.ndarray) -> np.ndarray:
    deviation: np.ndarray = _blocks(grey).std((-2, -1))
    return deviation


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Without centring; nearly 0 where there is nothing to correlate."""
    return float((one * other).mean() / (np.sqrt((one**2).mean() * (other**2).mean()) + 0.05))


def _log(value: Tensor) -> float:
    return float(np.log(float(value) + _TINY))

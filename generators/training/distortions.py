"""Attacks on a batch of marked images, on the device and differentiable, each sample at its own strength.

They are for training alone: `auditkit.watermark.attacks` has those that figures are measured with.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch
    from torch import Tensor

# Annex K of ITU-T T.81, which libjpeg scales by its quality.
LUMA = np.array([
    [16, 11, 10, 16, 24, 40, 51, 61], [12, 12, 14, 19, 26, 58, 60, 55], [14, 13, 16, 24, 40, 57, 69, 56],
    [14, 17, 22, 29, 51, 87, 80, 62], [18, 22, 37, 56, 68, 109, 103, 77], [24, 35, 55, 64, 81, 104, 113, 92],
    [49, 64, 78, 87, 103, 121, 120, 101], [72, 92, 95, 98, 112, 100, 103, 99],
], np.float32)  # fmt: skip


@dataclass(frozen=True)
class Seen:
    """What the decoder is given: images, the size to work at (None: the usual), and how to undo the geometry."""

    images: Tensor
    working: tuple[int, int] | None = None
    back: Tensor | None = None
    """float [n, 2, 3]: where each point of the encoder's frame, in -1..1, lies in the seen frame, in -1..1."""


@dataclass(frozen=True)
class Attack:
    """Ranges (low, high) that each sample draws its own strength from; None leaves the step out.

    Attributes:
        rotation: degrees. scale: of the content. keep: side of the window that stays, as a share; the window's size
            is drawn once a batch, its place for each sample. Together they are the geometry.
        brightness, contrast: factors. blur: sigma in pixels. resize: a side to scale to and stay at, once a batch.
        noise: sigma in grey levels. jpeg: quality.
    """

    rotation: tuple[float, float] | None = None
    scale: tuple[float, float] = (1.0, 1.0)
    keep: tuple[float, float] = (1.0, 1.0)
    brightness: tuple[float, float] | None = None
    contrast: tuple[float, float] | None = None
    blur: tuple[float, float] | None = None
    resize: tuple[float, float] | None = None
    noise: tuple[float, float] | None = None
    jpeg: tuple[float, float] | None = None
    share: float = 1.0
    """Chance of each of brightness, contrast, blur, noise and jpeg for each sample."""

    def __call__(self, x: Tensor, generator: torch.Generator) -> Seen:
        """The attacked images of float [n, 3, h, h] in [0, 1]."""
        import torch

        n, device, side = len(x), x.device, x.shape[-1]

        def drawn(span: tuple[float, float]) -> Tensor:
            return span[0] + (span[1] - span[0]) * torch.rand(n, 1, 1, 1, generator=generator, device=device)

        def some(after: Tensor, before: Tensor) -> Tensor:
            if self.share >= 1:
                return after
            chosen = torch.rand(n, 1, 1, 1, generator=generator, device=device) < self.share
            return torch.where(chosen, after, before)

        working, back = None, None
        if self.brightness is not None:
            x = some((x * drawn(self.brightness)).clamp(0, 1), x)
        if self.contrast is not None:
            mean = x.mean((1, 2, 3), keepdim=True)
            x = some(((x - mean) * drawn(self.contrast) + mean).clamp(0, 1), x)
        if self.blur is not None:
            x = some(blurred(x, drawn(self.blur)), x)
        if self.rotation is not None:
            keep = float(drawn(self.keep)[0])
            window = max(96, round(side * keep / 8) * 8)
            x, back = turned(x, window, drawn(self.rotation).flatten(), drawn(self.scale).flatten(), generator)
            working = (window // 2, window // 2)
        if self.resize is not None:
            small = int(float(drawn(self.resize)[0]))
            x = torch.nn.functional.interpolate(x, size=(small, small), mode="bilinear", antialias=True)
        if self.noise is not None:
            noise = torch.randn(x.shape, generator=generator, device=device)
            x = some((x + noise * drawn(self.noise) / 255).clamp(0, 1), x)
        if self.jpeg is not None:
            x = some(jpeg(x, drawn(self.jpeg)), x)
        return Seen(x, working, back)


def turned(
    x: Tensor, window: int, degrees: Tensor, scale: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """A window of `window` px of each image, at its own place, rotation and scale; and `Seen.back`.

    Args:
        x: float [n, c, side, side]. degrees, scale: float [n]; the content grows by `scale`.
    """
    import torch
    import torch.nn.functional as F

    n, side = len(x), x.shape[-1]
    angle = torch.deg2rad(degrees)
    ratio = window / side / scale  # half-width of the window in the image's own -1..1
    room = (1 - ratio).clamp(min=0.0)
    centre = (torch.rand(n, 2, generator=generator, device=x.device) * 2 - 1) * room[:, None]
    turn = torch.stack([torch.stack([angle.cos(), -angle.sin()], 1), torch.stack([angle.sin(), angle.cos()], 1)], 1)
    there = torch.cat([turn * ratio[:, None, None], centre[:, :, None]], 2)
    inverse = turn.transpose(1, 2) / ratio[:, None, None]
    back = torch.cat([inverse, -inverse @ centre[:, :, None]], 2)
    grid = F.affine_grid(there.float(), [n, x.shape[1], window, window], align_corners=False)
    return F.grid_sample(x.float(), grid, mode="bilinear", align_corners=False), back


def undone(mark: Tensor, back: Tensor, side: int = 256) -> tuple[Tensor, Tensor]:
    """The estimate of the mark in the encoder's frame, [n, 1, side, side], and 1 where the seen frame reached."""
    import torch
    import torch.nn.functional as F

    grid = F.affine_grid(back.float(), [len(mark), 1, side, side], align_corners=False)
    both = torch.cat([mark.float(), torch.ones_like(mark, dtype=torch.float32)], 1)
    placed = F.grid_sample(both, grid, mode="bilinear", align_corners=False)
    return placed[:, :1], placed[:, 1:]


def blurred(x: Tensor, sigma: Tensor) -> Tensor:
    """Gaussian blur, each sample at its own `sigma` [n, 1, 1, 1] in pixels."""
    import torch
    import torch.nn.functional as F

    n, channels, height, width = x.shape
    reach = 12
    ramp = torch.arange(-reach, reach + 1, device=x.device).float()
    kernel = torch.exp(-0.5 * (ramp / sigma.view(n, 1).clamp(min=0.05)).square())
    kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(channels, 0)
    y = F.pad(x.float().reshape(1, n * channels, height, width), (reach,) * 4, mode="reflect")
    y = F.conv2d(y, kernel[:, None, None, :], groups=n * channels)
    return F.conv2d(y, kernel[:, None, :, None], groups=n * channels).view(n, channels, height, width)


@lru_cache
def _dct() -> np.ndarray:
    k, i = np.mgrid[:8, :8]
    basis = np.cos((2 * i + 1) * k * math.pi / 16) * 0.5
    basis[0] *= math.sqrt(0.5)
    return basis.astype(np.float32)


def jpeg(x: Tensor, quality: Tensor) -> Tensor:
    """JPEG's quantisation of luminance at `quality` [n, 1, 1, 1]; gradients pass straight through.

    Chroma is left alone: the mark lives in luminance. Checked against libjpeg in tests/test_watermark_codec.py.
    """
    import torch
    import torch.nn.functional as F

    with torch.no_grad():
        weights = x.new_tensor([0.299, 0.587, 0.114])[:, None, None].float()
        luma = (x.float() * weights).sum(1) * 255 - 128
        height, width = luma.shape[-2:]
        padded = F.pad(luma[:, None], (0, -width % 8, 0, -height % 8), mode="replicate")[:, 0]
        n, rows, columns = len(x), padded.shape[-2] // 8, padded.shape[-1] // 8
        dct = torch.from_numpy(_dct()).to(x.device)
        q = quality.view(n, 1, 1, 1, 1).float()
        percent = torch.where(q < 50, 5000 / q, 200 - 2 * q)
        table = ((torch.from_numpy(LUMA).to(x.device) * percent + 50) / 100).floor().clamp(1, 255)
        with torch.autocast(x.device.type, enabled=False):
            blocks = padded.view(n, rows, 8, columns, 8).permute(0, 1, 3, 2, 4)
            coefficients = dct @ blocks @ dct.T
            restored = dct.T @ ((coefficients / table).round() * table) @ dct
        restored = restored.permute(0, 1, 3, 2, 4).reshape(n, rows * 8, columns * 8)[:, :height, :width]
        gap = (restored - luma)[:, None] / 255
    return (x + gap).clamp(0, 1)


def drawn(index: int, seed: int, hardness: float) -> Attack:
    """The attack of training step `index`: a third each of pixels, geometry and resizing, growing with `hardness`."""
    choose = random.Random(seed * 7_919 + index)
    h = hardness
    pixels: dict[str, Any] = {
        "brightness": (1 - 0.5 * h, 1 + 0.9 * h),
        "contrast": (1 - 0.5 * h, 1 + 0.8 * h),
        "blur": (0.05, 0.3 + 3.5 * h),
        "noise": (0.0, 2 + 20 * h),
        "jpeg": (95 - 75 * h, 95.0),
        "share": 0.15 + 0.25 * h,
    }
    kind = choose.random()
    if kind < 0.1 or h == 0:
        return Attack()
    if kind < 0.5:
        return Attack(**pixels)
    if kind < 0.8:
        wide = 180.0 if choose.random() < 0.2 else 5 + 25 * h
        return Attack(
            rotation=(-wide, wide), scale=(1 - 0.25 * h, 1 + 0.3 * h), keep=(1 - 0.6 * h, 1.0),
            **(pixels | {"blur": (0.05, 0.3 + 1.5 * h), "noise": (0.0, 1 + 10 * h), "jpeg": (95 - 55 * h, 95.0)}),
        )  # fmt: skip
    return Attack(resize=(512 - 400 * h, 512 + 256 * h), **(pixels | {"blur": (0.05, 0.3 + 1.5 * h)}))

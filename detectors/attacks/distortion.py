"""How much an attacked image differs from the one it was made of, both with 8 bits."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from auditkit.watermark.bench.quality import psnr, ssim


@dataclass(frozen=True)
class Distortion:
    """NaN throughout where the size changed.

    Attributes:
        linf: the largest change of a value, in grey levels: Linf / 255.
        l2: Euclidean length of the change of values in [0, 1]; it grows with the size of the image.
        psnr: dB; inf for equal images.
        ssim: structural similarity, 1 for equal images.
    """

    linf: float
    l2: float
    psnr: float
    ssim: float


UNTOLD = Distortion(math.nan, math.nan, math.nan, math.nan)


def distortion(before: np.ndarray, after: np.ndarray) -> Distortion:
    """Of two images, uint8 [h, w, 3]."""
    if before.shape != after.shape:
        return UNTOLD
    change = after.astype(np.float64) - before
    return Distortion(
        linf=float(np.abs(change).max()),
        l2=float(np.sqrt((change**2).sum())) / 255,
        psnr=psnr(before, after),
        ssim=ssim(before, after),
    )

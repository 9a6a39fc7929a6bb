"""How much a mark changes an image: PSNR, SSIM and a perceptual distance that needs no weights."""

from __future__ import annotations

import math

import numpy as np

from auditkit.errors import WatermarkError
from auditkit.watermark.attacks.valuemetric import LUMA

GMSD_CONSTANT = 170.0
"""c of the paper, for values in [0, 255]."""


def psnr(original: np.ndarray, changed: np.ndarray) -> float:
    """Peak signal-to-noise ratio over all RGB values, dB; inf where the two, uint8 [h, w, 3], are equal.

    Raises:
        WatermarkError: the shapes differ.
    """
    _check(original, changed)
    difference = original.astype(np.float32) - changed
    error = float(np.einsum("hwc,hwc->", difference, difference, dtype=np.float64)) / difference.size
    return math.inf if error == 0 else 10 * math.log10(255**2 / error)


def ssim(original: np.ndarray, changed: np.ndarray) -> float:
    """Structural similarity (Wang et al. 2004), windows of 7 px, mean over channels: 1 for equal images.

    NaN where a side has fewer than 7 px.

    Raises:
        WatermarkError: the shapes differ.
    """
    from skimage.metrics import structural_similarity

    _check(original, changed)
    if min(original.shape[:2]) < 7:
        return math.nan
    return float(structural_similarity(original, changed, channel_axis=2, data_range=255))


def gmsd(original: np.ndarray, changed: np.ndarray) -> float:
    """Gradient magnitude similarity deviation (Xue et al. 2014) of the grey images: 0 for equal ones, larger is worse.

    As in the paper: halved by a 2 x 2 mean, Prewitt gradients, the standard deviation of their similarity.

    Raises:
        WatermarkError: the shapes differ.
    """
    _check(original, changed)
    first, second = _gradient(original), _gradient(changed)
    similarity = (2 * first * second + GMSD_CONSTANT) / (first**2 + second**2 + GMSD_CONSTANT)
    return float(similarity.std())


def _gradient(image: np.ndarray) -> np.ndarray:
    """Prewitt gradient magnitude of the grey image at half its size: float32 [h // 2, w // 2]."""
    from scipy.ndimage import prewitt

    grey = image.astype(np.float32) @ LUMA
    grey = grey[: grey.shape[0] // 2 * 2, : grey.shape[1] // 2 * 2]
    half = (grey[::2, ::2] + grey[1::2, ::2] + grey[::2, 1::2] + grey[1::2, 1::2]) / 4
    across, down = (prewitt(half, axis, mode="nearest") / 3 for axis in (1, 0))
    return np.asarray(np.hypot(across, down))


def _check(original: np.ndarray, changed: np.ndarray) -> None:
    if original.shape != changed.shape:
        raise WatermarkError(
            "only images of one size can be compared",
            where=f"{original.shape[1]} x {original.shape[0]} and {changed.shape[1]} x {changed.shape[0]}",
            mend="compare the marked image before it is attacked",
        )

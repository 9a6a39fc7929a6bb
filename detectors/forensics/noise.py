"""The noise residual of an image: what a wavelet-domain Wiener filter takes away (Mihcak et al. 1999)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601
SIGMA = 3.0
"""Standard deviation of the noise that is looked for, in grey levels; PRNU work has used 2 to 5 since Lukas et al."""
WAVELET, LEVELS = "db4", 4
WINDOWS = (3, 5, 7, 9)


def luminance(image: np.ndarray) -> NDArray[np.float32]:
    """float32 [h, w] in 0..255 of uint8 [h, w, 3]."""
    return image.astype(np.float32) @ LUMA


def residual(image: np.ndarray, *, sigma: float = SIGMA) -> NDArray[np.float32]:
    """The noise of an image's luminance, float32 [h, w] in grey levels, of uint8 [h, w, 3] or grey float [h, w].

    Four levels of Daubechies' wavelet with four vanishing moments; in each detail band the variance of the signal is
    the smallest of four local estimates, and the part of each coefficient that is noise is kept.
    """
    import pywt

    grey = luminance(image) if image.ndim == 3 else np.asarray(image, np.float32)
    levels = min(LEVELS, max(pywt.dwtn_max_level(grey.shape, WAVELET), 1))
    coarse, *details = pywt.wavedec2(grey, WAVELET, level=levels, mode="symmetric")
    noisy = [tuple(wiener_noise(band, sigma**2) for band in bands) for bands in details]
    made = pywt.waverec2([np.zeros_like(coarse), *noisy], WAVELET, mode="symmetric")
    return made[: grey.shape[0], : grey.shape[1]].astype(np.float32)


def wiener_noise(band: NDArray[np.floating], variance: float) -> NDArray[np.floating]:
    """The part of each coefficient, [h, w], that a local Wiener filter holds for noise of the given variance."""
    power = np.square(band)
    signal = np.minimum.reduce([uniform_filter(power, size=size, mode="reflect") for size in WINDOWS])
    return band * (variance / (np.maximum(signal - variance, 0) + variance))

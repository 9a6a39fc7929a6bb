"""The image under the mark: working size, whitening against the image's own content, folding, perceptual mask."""

from __future__ import annotations

import numpy as np

from auditkit.watermark.spread.carriers import TILE, lines

BASE_SIDE = 512
"""Images whose shorter side reaches twice this are read and marked at a half, a quarter, ... of their size; those
under half of it at twice their size."""

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
_FINE, _COARSE = 0.7, 2.5  # of the band pass, in pixels
_WINDOW = 21  # of the local variance, in pixels
_FLOOR = 1.5  # grey levels: below it the image counts as quiet, whatever is in it
_GAMMA = 1.2  # of the local deviation that the band-passed image is divided by
_CLIP = 2.5  # local deviations
_MASK_WINDOW, _MASK_FLOOR, _MASK_POWER, _MASK_MOST = 9, 1.0, 0.8, 6.0


def pitch(height: int, width: int) -> float:
    """Pixels of the image to one of the working image.

    The power of two that leaves the working image's shorter side in [512, 1024); 1 from 256 to 511, and 1/2 below,
    where the mark must be finer than elsewhere to fit.
    """
    side = min(height, width)
    return 0.5 if side < BASE_SIDE // 2 else float(1 << max(0, int(np.log2(side / BASE_SIDE))))


def working(image: np.ndarray, step: float) -> np.ndarray:
    """Luma of uint8 [h, w, 3] averaged over `step` x `step` pixels: float32 [ceil(h/step), ceil(w/step)]."""
    if step <= 1:
        return resized(image.astype(np.float32) @ _LUMA, 1 / step)
    whole, (height, width) = int(step), image.shape[:2]
    rows = []
    strip = whole * max(1, 2_000_000 // (whole * width))  # bounds the float copy
    for top in range(0, height, strip):
        luma = image[top : top + strip].astype(np.float32) @ _LUMA
        luma = np.pad(luma, ((0, -luma.shape[0] % whole), (0, -width % whole)), mode="edge")
        rows.append(luma.reshape(luma.shape[0] // whole, whole, -1, whole).mean(axis=(1, 3)))
    return np.concatenate(rows)


def resized(luma: np.ndarray, scale: float) -> np.ndarray:
    """float32 [h, w], resampled to `scale` times its size."""
    from PIL import Image

    if scale == 1:
        return luma
    size = [max(1, round(side * scale)) for side in luma.shape[::-1]]
    return np.asarray(Image.fromarray(luma).resize(size, Image.Resampling.BICUBIC))


def whitened(luma: np.ndarray) -> np.ndarray:
    """Band-passed luma over a power of its local deviation, clipped: float32 [h, w]. Bright edges weigh no more."""
    from scipy.ndimage import gaussian_filter, uniform_filter

    passed = gaussian_filter(luma, _FINE, truncate=2.5) - gaussian_filter(luma, _COARSE, truncate=2.5)
    variance = uniform_filter(passed * passed, _WINDOW)
    deviation = np.sqrt(np.maximum(variance, 0) + _FLOOR**2)
    limit = _CLIP * deviation
    return np.clip(passed, -limit, limit) / deviation**_GAMMA


def fold(values: np.ndarray) -> np.ndarray:
    """The sum of all tiles of float32 [h, w], as its Fourier lines: complex64 [n], in the order of `lines()`."""
    from scipy.fft import rfft2

    height, width = values.shape
    padded = np.zeros((-(-height // TILE) * TILE, -(-width // TILE) * TILE), np.float32)
    padded[:height, :width] = values
    tile = padded.reshape(-1, TILE, padded.shape[1] // TILE, TILE).sum(axis=(0, 2))
    spectrum = rfft2(tile.T).T  # rows 0..TILE/2, all columns: the half plane of `lines()`
    power = np.log(np.abs(spectrum) ** 2 + 1e-6)
    at = lines()
    return (spectrum / np.exp(0.5 * _smooth(power)))[at[:, 0], at[:, 1]].astype(np.complex64)


def _smooth(power: np.ndarray) -> np.ndarray:
    """Mean over neighbouring frequencies; of logarithms, so that the mark's own strong lines count little."""
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(power, 2.0, mode=("nearest", "wrap"), truncate=2.5)


def mask(luma: np.ndarray) -> np.ndarray:
    """How much mark each pixel takes, of mean square 1: float32 [h, w]; more where the image is busy."""
    from scipy.ndimage import gaussian_filter, uniform_filter

    detail = luma - gaussian_filter(luma, _COARSE, truncate=2.5)
    deviation = np.sqrt(np.maximum(uniform_filter(detail * detail, _MASK_WINDOW), 0) + _MASK_FLOOR**2)
    weight = np.minimum((deviation / _MASK_FLOOR) ** _MASK_POWER, _MASK_MOST)
    return weight / np.sqrt(np.mean(weight * weight))


def tiled(tile: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """`tile` [TILE, TILE] repeated over `shape` (rows, columns)."""
    return np.tile(tile, (-(-shape[0] // TILE), -(-shape[1] // TILE)))[: shape[0], : shape[1]]

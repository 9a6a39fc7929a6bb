"""8 x 8 blocks, their cosine transform, and the quantisation tables of JPEG (ITU-T T.81)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from detectors.forensics.noise import luminance

BLOCK = 8
FEWEST_WHOLE = 100
QUALITIES = range(1, 101)
LUMINANCE = np.array([
    [16, 11, 10, 16, 24, 40, 51, 61],
    [12, 12, 14, 19, 26, 58, 60, 55],
    [14, 13, 16, 24, 40, 57, 69, 56],
    [14, 17, 22, 29, 51, 87, 80, 62],
    [18, 22, 37, 56, 68, 109, 103, 77],
    [24, 35, 55, 64, 81, 104, 113, 92],
    [49, 64, 78, 87, 103, 121, 120, 101],
    [72, 92, 95, 98, 112, 100, 103, 99],
])  # fmt: skip
"""Example table of Annex K.1, in rows and columns of frequency, which the Independent JPEG Group scales by quality."""
ZIGZAG = sorted(range(64), key=lambda at: (sum(divmod(at, 8)), (at % 8) if sum(divmod(at, 8)) % 2 == 0 else at // 8))
"""Place in a table, row by row, of each step of the zigzag."""


def table_of(quality: int) -> NDArray[np.int64]:
    """The luminance table, [8, 8] in 1..255, that libjpeg writes at a quality in 1..100."""
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    return np.clip((LUMINANCE * scale + 50) // 100, 1, 255)


def blocks(plane: NDArray[np.floating], offset: tuple[int, int] = (0, 0)) -> NDArray[np.float32]:
    """The whole blocks of a plane [h, w] from `offset` (row, column) on: [n, 8, 8]."""
    part = plane[offset[0] :, offset[1] :]
    rows, columns = part.shape[0] // BLOCK, part.shape[1] // BLOCK
    cut = part[: rows * BLOCK, : columns * BLOCK].reshape(rows, BLOCK, columns, BLOCK)
    return np.ascontiguousarray(cut.swapaxes(1, 2).reshape(-1, BLOCK, BLOCK), np.float32)


def coefficients(image: np.ndarray, offset: tuple[int, int] = (0, 0)) -> NDArray[np.float32]:
    """Orthonormal DCT-II of the luminance's blocks, less 128: [n, 8, 8] as JPEG quantises them; of uint8 [h, w, 3].

    Blocks in which a colour touches 0 or 255 are left out where enough others are: a decoder has clipped them, and
    they are no longer what was coded.
    """
    found = blocks(luminance(image) - 128, offset)
    extreme = blocks(((image == 0) | (image == 255)).any(axis=-1), offset).any(axis=(1, 2))
    enough = (~extreme).sum() >= max(FEWEST_WHOLE, len(found) // 20)
    return transform(found[~extreme] if enough else found)


def transform(found: NDArray[np.floating]) -> NDArray[np.float32]:
    """Orthonormal DCT-II of blocks [n, 8, 8]."""
    return np.asarray(_COSINES @ np.asarray(found, np.float32) @ _COSINES.T, np.float32)


def _cosines() -> NDArray[np.float32]:
    frequency, at = np.mgrid[:BLOCK, :BLOCK]
    wave = np.cos((2 * at + 1) * frequency * np.pi / (2 * BLOCK)) * np.sqrt(2 / BLOCK)
    wave[0] /= np.sqrt(2)
    return wave.astype(np.float32)


_COSINES = _cosines()

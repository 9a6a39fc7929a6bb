"""The quality at which an image was compressed as JPEG: read from a file's tables, or from the pixels that are left.

From pixels: coefficients of a decoded JPEG lie near multiples of their quantisation step. The likelihood of each of the
100 luminance tables of the Independent JPEG Group is taken, with coefficients that are Laplacian or nearly 0 and
rounding noise of a decoder (after Fan and de Queiroz 2003; Neelamani et al. 2006, who estimate steps likewise).
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from auditkit.errors import ImageError
from detectors.forensics.dct import QUALITIES, coefficients, table_of

NOISE = 0.35
"""Standard deviation of a decoded coefficient around its multiple: luminance and colours are rounded to 8 bits."""
OUTLIERS = 0.02
"""Share of coefficients that are allowed to lie anywhere."""
REACH, WIDTH = 60.0, 0.1
"""Coefficients up to REACH are counted, in bins of WIDTH."""
FEWEST_BLOCKS = 64
FINE, LEAST_GAIN = 93, -0.075
"""From quality FINE on, smooth pixels that were never compressed look alike: then quantisation must also explain the
coefficients better than none, by so many nats each (training photographs, uncompressed: at most -0.081)."""
GRID_SIDE = 256
"""Pixels a side of the corner in which the grid is looked for."""
STANDS_OUT = 0.005
"""Share of coefficients by which JPEG's grid has more near 0 than any other; training photographs: 0.003 at most
without compression, 0.009 at least at qualities up to 95."""
FINEST = 98
"""Above this quality nearly all steps are 1, and nothing is left to see."""


@dataclass(frozen=True)
class Quality:
    """What can be said of the last compression.

    Attributes:
        quality: on the scale of the Independent JPEG Group, 1..100; NaN where there is no sign of compression.
        source: 'tables' of a file, or 'pixels'.
        exact: the table is one of the Group's; from pixels never.
        grid: (row, column) of the first whole block; not (0, 0) where an image was cropped after compression.
        gain: nats a coefficient by which the steps found explain the pixels better than none; NaN for tables.
        why: a sentence, for people.
    """

    quality: float
    source: str
    exact: bool
    grid: tuple[int, int]
    gain: float
    why: str


def quality_of_file(data: bytes) -> Quality | None:
    """From the luminance table of a JPEG; None for other formats.

    Raises:
        ImageError: the file is no image.
    """
    try:
        with Image.open(io.BytesIO(data)) as image:
            tables = getattr(image, "quantization", None) if image.format in ("JPEG", "MPO") else None
    except Exception as error:  # a decoder fed with broken bytes may raise anything
        raise ImageError(f"the file is no readable image: {error}", where="bytes", mend="replace it") from error
    if not tables:
        return None
    found = np.asarray(tables[min(tables)], np.int64).reshape(8, 8)
    apart = [float(np.abs(np.log(found / table_of(quality))).mean()) for quality in QUALITIES]
    best = int(np.argmin(apart)) + 1
    exact = apart[best - 1] == 0
    kind = "the table is libjpeg's own" if exact else "the table is not libjpeg's; this is the nearest of its qualities"
    return Quality(float(best), "tables", exact, (0, 0), np.nan, f"Last saved as JPEG at quality {best}: {kind}.")


def quality_of_pixels(image: np.ndarray) -> Quality:
    """From the pixels, uint8 [h, w, 3], of an image that was decoded from JPEG and not scaled since."""
    grid = grid_of(image)
    counts, blocks = histogram(image, grid)
    if blocks < FEWEST_BLOCKS:
        return Quality(np.nan, "pixels", False, grid, np.nan, f"Too few blocks to tell: {blocks} of {FEWEST_BLOCKS}.")
    steps = _log_likelihoods(counts)
    total = steps[np.arange(1, 64), _tables()[:, 1:]].sum(axis=1)
    best = int(np.argmax(total)) + 1
    gain = float((total[best - 1] - steps[1:, 0].sum()) / counts[1:].sum())
    if best > FINEST or (best >= FINE and gain < LEAST_GAIN):
        why = f"No sign of JPEG in the pixels; compression at a quality over {FINEST}, or before scaling, leaves none."
        return Quality(np.nan, "pixels", False, (0, 0), gain, why)
    where = "" if grid == (0, 0) else f", and cropped since (its blocks begin at row {grid[0]}, column {grid[1]})"
    return Quality(float(best), "pixels", False, grid, gain, f"Once saved as JPEG at about quality {best}{where}.")


def grid_of(image: np.ndarray) -> tuple[int, int]:
    """Row and column, 0..7, of the first whole block of JPEG's grid; (0, 0) where there is none.

    Of the 64 grids the one whose blocks have the most coefficients near 0, if it stands out from the others.
    """
    part = image[: GRID_SIDE + 8, : GRID_SIDE + 8]
    if min(part.shape[:2]) < 32:
        return (0, 0)
    shares = np.zeros((8, 8))
    for row in range(8):
        for column in range(8):
            found = coefficients(part, (row, column))
            shares[row, column] = (np.abs(found) < 0.5).mean() if len(found) else 0
    best = divmod(int(np.argmax(shares)), 8)
    others = np.delete(shares.ravel(), best[0] * 8 + best[1])
    return best if shares[best] - others.max() > STANDS_OUT else (0, 0)


def histogram(image: np.ndarray, grid: tuple[int, int]) -> tuple[NDArray[np.float64], int]:
    """How often each frequency's coefficient has each size: [64, bins], and of how many blocks."""
    found = np.abs(coefficients(image, grid)).reshape(-1, 64)
    found = found[found[:, 1:].max(axis=1, initial=0) > 2 * NOISE]  # a flat block is the same at every quality
    bins = round(REACH / WIDTH)
    place = np.minimum((found / WIDTH).astype(np.int64), bins)
    flat = np.bincount((place + np.arange(64) * (bins + 1)).ravel(), minlength=64 * (bins + 1))
    return flat.reshape(64, bins + 1)[:, :bins].astype(np.float64), len(found)


@lru_cache(maxsize=1)
def _tables() -> NDArray[np.int64]:
    return np.stack([table_of(quality).ravel() for quality in QUALITIES])


def _log_likelihoods(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of each frequency's coefficients at each step, [64, 256]; step 0 is no quantisation."""
    models = _models()
    each = models.reshape(-1, models.shape[-1]) @ counts.T.astype(np.float32)
    return each.reshape(256, -1, 64).max(axis=1).T.astype(np.float64)


@lru_cache(maxsize=1)
def _models() -> NDArray[np.float32]:
    """Log density of a coefficient's size, [256 steps, shapes, bins].

    The shapes are Laplacians of several widths, each with several shares of coefficients at 0.
    """
    x = (np.arange(round(REACH / WIDTH)) + 0.5) * WIDTH
    width = np.array([0.15, 0.3, 0.6, 1.2, 2.5, 5, 10, 20, 40])[:, None]
    zeros = np.array([0, 0.3, 0.6, 0.8, 0.95])[:, None, None]
    smooth = np.exp(-x / width) / width
    models = np.zeros((256, len(zeros) * len(width), len(x)), np.float32)
    for step in range(1, 256):
        nearest = np.round(x / step)
        inner, outer = np.maximum(nearest - 0.5, 0) * step, (nearest + 0.5) * step
        mass = np.exp(-inner / width) - np.exp(-outer / width)  # of a multiple and its negative
        at_zero = nearest == 0
        spread = _noise(x - nearest * step) * np.where(at_zero, 2, 1)
        mixed = (zeros * at_zero + (1 - zeros) * mass) * spread
        models[step] = np.log((1 - OUTLIERS) * mixed + OUTLIERS * smooth + 1e-12).reshape(-1, len(x))
    models[0] = np.log(zeros * 2 * _noise(x) + (1 - zeros) * smooth + 1e-12).reshape(-1, len(x))
    return models


def _noise(x: NDArray[np.floating]) -> NDArray[np.floating]:
    """Density of what rounding adds: nothing much in flat blocks, where all pixels round alike."""
    return 0.6 * _normal(x, NOISE) + 0.4 * _normal(x, NOISE / 3)


def _normal(x: NDArray[np.floating], deviation: float) -> NDArray[np.floating]:
    return np.exp(-0.5 * (x / deviation) ** 2) / (deviation * np.sqrt(2 * np.pi))

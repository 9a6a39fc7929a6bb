"""Whether an image was compressed as JPEG twice, on the same grid: a first quality leaves gaps in what a second keeps.

The histogram of each frequency's quantised coefficients is held against two predictions (after Lukas and Fridrich 2003;
Popescu and Farid 2004 describe the gaps): coefficients quantised once, and quantised at a first step, rounded to
pixels, and quantised again. What the coefficients were before is taken from the same image with its grid shifted by
about half a block. Nothing is trained; the threshold was set on photographs.

Twice compressed means saved twice: by a camera and an editor, by a phone and a site. It does not mean generated.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from detectors.forensics.dct import ZIGZAG, coefficients, table_of
from detectors.forensics.jpeg_quality import FEWEST_BLOCKS, NOISE

MODES = ZIGZAG[1:29]
"""The 28 lowest frequencies but the mean: the others are mostly 0."""
FIRST = range(30, 100)
"""First qualities that are tried."""
SIZES = 24
"""Quantised coefficients from this size on are counted together."""
REACH, WIDTH = 400.0, 0.25
SMOOTHING = 2e-3
SHIFTS = ((4, 4), (3, 5), (5, 3), (4, 2))
THRESHOLD = 0.13
"""Nats a block from which on an image counts as compressed twice; one of 92 training photographs compressed once
reaches it."""


@dataclass(frozen=True)
class Double:
    """What the histograms say.

    Attributes:
        verdict: 'twice', 'once' (no sign of an earlier compression, which does not say that there was none) or
            'not applicable'.
        score: nats a block by which two compressions explain the histograms better than one; NaN where not applicable.
        first: the likeliest first quality; NaN unless 'twice'.
        second: the quality of the last compression, as given.
    """

    verdict: str
    score: float
    first: float
    second: float


def double_compression(image: np.ndarray, second: float, grid: tuple[int, int] = (0, 0)) -> Double:
    """Whether uint8 [h, w, 3] was compressed before.

    Args:
        second: quality of its last compression, in 1..100, by `quality_of_file` or `quality_of_pixels`; NaN for none.
        grid: of that compression.
    """
    nothing = Double("not applicable", np.nan, np.nan, second)
    if np.isnan(second) or min(image.shape[:2]) < 24:
        return nothing
    kept = coefficients(image, grid).reshape(-1, 64)[:, MODES]
    shifted = [coefficients(image, ((grid[0] + row) % 8, (grid[1] + column) % 8)) for row, column in SHIFTS]
    before = np.concatenate(shifted).reshape(-1, 64)[:, MODES]
    if min(len(kept), len(before)) < FEWEST_BLOCKS:
        return nothing
    steps = table_of(round(second)).ravel()[MODES]
    observed = _counts(np.abs(np.round(kept / steps)), SIZES).astype(np.float64)
    fine = _counts(np.abs(before) / WIDTH, round(REACH / WIDTH)).astype(np.float64)
    fine /= fine.sum(axis=1, keepdims=True)
    tables = np.stack([table_of(quality).ravel()[MODES] for quality in FIRST])
    gains = np.zeros(tables.shape)
    for mode, step in enumerate(steps):
        once = _smoothed(_quantised_once(fine[mode], int(step)))
        for first in np.unique(tables[:, mode]):
            if first != step:
                twice = _smoothed(_quantised_twice(fine[mode], int(first), int(step)))
                gains[tables[:, mode] == first, mode] = observed[mode] @ np.log(twice / once)
    total = gains.sum(axis=1) / len(kept)
    best = int(np.argmax(total))
    score = float(total[best])
    if score < THRESHOLD:
        return Double("once", score, np.nan, second)
    return Double("twice", score, float(FIRST[best]), second)


def _counts(sizes: NDArray[np.floating], bins: int) -> NDArray[np.int64]:
    """How often each whole size comes up in each column: [columns, bins]; the last bin takes larger ones."""
    place = np.minimum(sizes.astype(np.int64), bins - 1) + np.arange(sizes.shape[1]) * bins
    return np.bincount(place.ravel(), minlength=sizes.shape[1] * bins).reshape(-1, bins)


def _sizes() -> NDArray[np.floating]:
    return (np.arange(round(REACH / WIDTH)) + 0.5) * WIDTH


def _quantised_once(fine: NDArray[np.floating], step: int) -> NDArray[np.floating]:
    """Distribution of sizes, [SIZES], of coefficients with the fine distribution [bins]."""
    return np.asarray(
        np.bincount(np.minimum(np.round(_sizes() / step).astype(int), SIZES - 1), fine, SIZES), np.float64
    )


def _quantised_twice(fine: NDArray[np.floating], first: int, second: int) -> NDArray[np.floating]:
    """The same after a first quantisation, whose multiples are blurred by rounding to pixels."""
    multiple = np.bincount(np.round(_sizes() / first).astype(int), fine)
    value = np.arange(len(multiple)) * first
    edges = (np.arange(SIZES + 1) - 0.5) * second
    edges[0], edges[-1] = -np.inf, np.inf
    within = np.diff(ndtr((edges - value[:, None]) / NOISE), axis=1)
    return multiple @ within


def _smoothed(distribution: NDArray[np.floating]) -> NDArray[np.floating]:
    return (1 - SMOOTHING) * distribution + SMOOTHING / SIZES

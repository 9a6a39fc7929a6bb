"""How far people agree who labelled the same images: Krippendorff's alpha, with an interval over images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Level = Literal["nominal", "ordinal"]

FEWEST = 0.9
"""Share of the bootstrap's replicates that must have an alpha for there to be an interval."""


@dataclass(frozen=True)
class Agreement:
    """Agreement of raters.

    Attributes:
        alpha: Krippendorff's, at most 1; 0 is what chance gives, below 0 raters disagree by more. NaN where no image
            has two labels, or all labels are of one category: then there is nothing to agree about.
        low, high: bootstrap interval over images; NaN where too few replicates have an alpha.
        n_units: images with two labels or more. n_pairable: their labels.
        observed: share of pairs of labels of one image that are the same (nominal, whatever the level).
    """

    alpha: float
    low: float
    high: float
    n_units: int
    n_pairable: int
    observed: float


def krippendorff_alpha(
    counts: ArrayLike,
    *,
    level: Level = "nominal",
    replicates: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Agreement:
    """alpha = 1 - D_o / D_e from the matrix of coincidences (Krippendorff 2011, "Computing Krippendorff's Alpha").

    An image with m labels adds n_c (n_k - [c = k]) / (m - 1) to the coincidence of c and k; images with fewer than two
    labels add nothing. The interval is the percentile bootstrap over images, D_e computed anew in each replicate.

    Args:
        counts: [n_images, n_categories], how many raters gave each image each category; categories in their order
            for `ordinal`.
        level: `nominal` counts every disagreement alike; `ordinal` by the ranks between the categories.
        replicates: R >= 1.

    >>> round(krippendorff_alpha([[2, 0], [0, 2], [1, 1], [2, 0]]).alpha, 4)
    0.5333
    """
    c = np.asarray(counts, float)
    if c.ndim != 2 or np.any(c < 0):
        raise ValueError("counts must be [n_images, n_categories] and not negative")
    c = c[c.sum(axis=1) >= 2]
    nan = float("nan")
    if len(c) == 0:
        return Agreement(nan, nan, nan, 0, 0, nan)
    m = c.sum(axis=1)
    k = c.shape[1]
    each = (c[:, :, None] * c[:, None, :] - c[:, :, None] * np.eye(k)) / (m - 1)[:, None, None]
    whole = each.sum(axis=0)
    alpha = float(_alpha(whole[None], level)[0])
    agreeing = float((c * (c - 1)).sum() / (m * (m - 1)).sum())
    low, high = nan, nan
    if np.isfinite(alpha) and len(c) > 1:
        draws = np.random.default_rng(seed).multinomial(len(c), np.full(len(c), 1 / len(c)), size=replicates)
        found = _alpha((draws @ each.reshape(len(c), -1)).reshape(-1, k, k), level)
        found = found[np.isfinite(found)]
        if len(found) >= FEWEST * replicates:
            low, high = map(float, np.quantile(found, [(1 - confidence) / 2, (1 + confidence) / 2]))
        if agreeing == 1:
            low = _least_after_none(whole.sum(axis=0), len(c), confidence)
    return Agreement(alpha, low, high, len(c), int(m.sum()), agreeing)


def _least_after_none(totals: Floats, n_units: int, confidence: float) -> float:
    """Lower limit where nobody disagreed, which a bootstrap cannot see beyond: disagreements as frequent as
    Clopper and Pearson's limit after none in n images allows, and spread as by chance."""
    n = totals.sum()
    by_chance = 1 - (totals * (totals - 1)).sum() / (n * (n - 1))
    return float(1 - (1 - ((1 - confidence) / 2) ** (1 / n_units)) / by_chance)


def _alpha(coincidences: Floats, level: Level) -> Floats:
    """alpha of each matrix [R, k, k]; NaN where one category holds all labels."""
    totals = coincidences.sum(axis=2)
    n = totals.sum(axis=1)
    distance = _distance(totals, level)
    seen = (coincidences * distance).sum(axis=(1, 2))
    expected = (totals[:, :, None] * totals[:, None, :] * distance).sum(axis=(1, 2))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(expected > 0, 1 - (n - 1) * seen / expected, np.nan)


def _distance(totals: Floats, level: Level) -> Floats:
    """Squared difference of categories [R, k, k]: 1 for nominal; for ordinal the labels from one to the other."""
    k = totals.shape[1]
    if level == "nominal":
        return np.broadcast_to(1 - np.eye(k), (len(totals), k, k))
    if level != "ordinal":
        raise ValueError(f"level is nominal or ordinal, not {level!r}")
    # Sum of n_g for g from c to k, less half of both ends: the distance between the categories' mid-ranks.
    middle = np.cumsum(totals, axis=1) - totals / 2
    return (middle[:, :, None] - middle[:, None, :]) ** 2

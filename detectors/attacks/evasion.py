"""The cost of evasion: how much an image must be changed until the detector errs.

For each image that the detector judges rightly the budget of a white-box attack is bisected; the image counts as
fooled only as it is saved, with 8 bits. What is found is an upper bound: a better attack may need less. Images that
stay right at the largest budget are censored there, and the median is that of Kaplan and Meier (1958).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from auditkit.errors import DetectorError
from auditkit.stats.association import resampling_weights
from auditkit.stats.bootstrap import expanded_percentile
from detectors.attacks.base import Direction, Norm, Problem, Score, problem, saved, uint8
from detectors.attacks.distortion import distortion
from detectors.attacks.pgd import pgd

Floats = NDArray[np.float64]

MEASURES = ("linf", "l2", "psnr", "ssim")
HALVINGS = 8
"""Of the L2 budget: the cost is known to 1/256 of the largest. Linf budgets are whole grey levels, as files have."""
REPLICATES = 1000


@dataclass(frozen=True)
class Cost:
    """The distortion at which half of the rightly judged images are fooled.

    Attributes:
        measure: linf (grey levels of 255), l2 (values in [0, 1]), psnr (dB), ssim.
        median: Kaplan-Meier; inf (psnr: -inf, ssim: -inf) where fewer than half are fooled within the budget.
        low, high: 95% interval by source; an end not reached is infinite, too.
        fooled, n_images, n_sources: images fooled within the budget, of all that were judged rightly before.
        status: 'ok', 'not reached' (within the budget), 'insufficient' (too few sources; numbers are NaN).
    """

    measure: str
    median: float
    low: float
    high: float
    fooled: int
    n_images: int
    n_sources: int
    status: str


@dataclass(frozen=True)
class Evasion:
    """What it costs to fool a detector in one direction.

    Attributes:
        costs: one for each of `MEASURES`.
        images: a row an image: source, right (before the attack), fooled, and linf, l2, psnr, ssim of the least
            change found; of an image that was not fooled those of the attack at the largest budget.
        wrong_already: images that the detector errs about untouched; they are in no cost.
        not_scored: images without a score.
        most: the largest budget tried, in the norm of the attack, of values in [0, 1].
    """

    direction: Direction
    norm: Norm
    most: float
    costs: tuple[Cost, ...]
    images: pd.DataFrame
    wrong_already: int
    not_scored: int


def cost_of_evasion(
    score: Score,
    images: Sequence[np.ndarray],
    sources: ArrayLike,
    *,
    direction: Direction = "evasion",
    threshold: float,
    norm: Norm = "linf",
    most: float = 16 / 255,
    steps: int = 20,
    seed: int = 0,
    device: str = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> Evasion:
    """Bisect the budget of PGD for each image.

    Args:
        score: see `attacks.base.Score`.
        images: uint8 [h, w, 3] each, sizes may differ; all generated for evasion, all real for framing.
        sources: the original of each, [n].
        most: largest budget, of values in [0, 1]; for linf at least 1/255.
        steps: of PGD at each budget.

    Raises:
        DetectorError: no images, a budget too small to survive saving, a detector without gradients.
    """
    if norm == "linf" and most < 1 / 255 - 1e-9:
        raise DetectorError(
            "a change of less than one grey level is lost in saving", where=f"most={most:g}", mend="ask for 1/255"
        )  # fmt: skip
    if not len(images):
        raise DetectorError("there is no image to attack", where=direction, mend="give at least one")
    if not len(images) == len(np.asarray(sources)):
        raise DetectorError(f"{len(images)} images and {len(np.asarray(sources))} sources do not match")
    rows = []
    for done, image in enumerate(images):
        one = problem(
            score, [image], direction=direction, threshold=threshold, norm=norm, eps=most, seed=seed, device=device
        )
        rows.append(_least(one, image, steps))
        if progress:
            progress(done + 1, len(images))
    table = pd.DataFrame(rows)
    table.insert(0, "source", np.asarray(sources, str))
    right = table[table["right"].astype(bool)]
    costs = tuple(_cost(right, measure, seed) for measure in MEASURES)
    unscored = int((~table["scored"]).sum())
    wrong = len(table) - len(right) - unscored
    return Evasion(direction, norm, most, costs, table.drop(columns="scored"), wrong, unscored)


def kaplan_meier_median(values: ArrayLike, reached: ArrayLike, weights: ArrayLike | None = None) -> Floats:
    """The smallest value at which half are reached, inf where there is none (Kaplan and Meier 1958, JASA 53:457).

    Args:
        values: [n], of the event, or of the censoring where it was not reached.
        reached: bool [n].
        weights: [R, n] or [n], such as of a bootstrap; 1 each by default.

    Returns:
        [R], or a scalar array.

    >>> float(kaplan_meier_median([1, 2, 3, 4], [True, True, True, False]))
    2.0
    >>> float(kaplan_meier_median([1, 2, 3], [True, False, False]))
    inf
    """
    t, event = np.asarray(values, float), np.asarray(reached, bool)
    w = np.ones(len(t)) if weights is None else np.asarray(weights, float)
    # Of equal values the events come first: what is censored there was still at risk.
    order = np.lexsort((~event, t))
    t, event, w = t[order], event[order], w[..., order]
    at_risk = np.cumsum(w[..., ::-1], axis=-1)[..., ::-1]
    with np.errstate(invalid="ignore", divide="ignore"):
        left = np.where(event & (at_risk > 1e-12), 1 - w / at_risk, 1.0)
    survival = np.cumprod(np.maximum(left, 0), axis=-1)
    half = survival <= 0.5 + 1e-9
    first = np.argmax(half, axis=-1)
    found = t[first] if len(t) else np.full(w.shape[:-1], np.inf)
    return np.where(half.any(axis=-1), found, np.inf)


def _least(one: Problem, image: np.ndarray, steps: int) -> dict[str, object]:
    """The least change found of one image."""
    gain = one.gain(one.clean)
    scored = bool(gain.isfinite().all())
    right = scored and not bool(one.fooled(gain))
    row: dict[str, object] = {"scored": scored, "right": right, "fooled": False}
    if not right:
        return row | dict.fromkeys(MEASURES, math.nan)
    most = float(one.eps[0])
    unit = 1 / 255 if one.norm == "linf" else most / 2**HALVINGS
    low, high = 0, max(1, round(most / unit))

    def attempt(units: int) -> tuple[bool, np.ndarray]:
        found = pgd(replace(one, eps=one.eps * 0 + units * unit), steps=steps)
        return bool(one.fooled(one.gain(saved(found)))), uint8(found)[0]

    fooled, changed = attempt(high)
    while fooled and high - low > 1:
        middle = (low + high) // 2
        done, tried = attempt(middle)
        if done:
            high, changed = middle, tried
        else:
            low = middle
    return row | {"fooled": fooled} | asdict(distortion(image, changed))


def _cost(right: pd.DataFrame, measure: str, seed: int) -> Cost:
    from detectors.metrics import FEWEST_SOURCES

    usable = right[right[measure].notna()]
    n, fooled = len(usable), int(usable["fooled"].sum())
    names, cluster = np.unique(usable["source"].to_numpy(str), return_inverse=True)
    if len(names) < FEWEST_SOURCES:
        return Cost(measure, math.nan, math.nan, math.nan, fooled, n, len(names), "insufficient")
    # Quality falls as the change grows: it is turned, so that more is always more change.
    turn = -1.0 if measure in ("psnr", "ssim") else 1.0
    values, reached = turn * usable[measure].to_numpy(float), usable["fooled"].to_numpy(bool)
    median = float(kaplan_meier_median(values, reached))
    weights = resampling_weights(len(names), np.random.default_rng(seed), REPLICATES)[:, cluster]
    draws = kaplan_meier_median(values, reached, weights)
    # Percentiles take no infinities: a value beyond every other stands for them.
    top = float(np.max(values[np.isfinite(values)], initial=-1e9))
    low, high = (float(x) for x in expanded_percentile(np.clip(draws, None, top + 1), len(names)))
    low, high = min(low, median, top), math.inf if high > top else max(high, median)
    limits = sorted((turn * low, turn * high))
    status = "ok" if math.isfinite(median) else "not reached"
    return Cost(measure, turn * median, limits[0], limits[1], fooled, n, len(names), status)

"""Distances between class shares and a target, their expectation under the target, and intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from auditkit.stats.confusion import Confusion
from auditkit.stats.corrected import constrained_shares

Floats = NDArray[np.float64]


def total_variation(p: ArrayLike, t: ArrayLike) -> Floats:
    """Half the sum of |p - t| over the last axis, in [0, 1]: the least share of images that must differ.

    >>> float(total_variation([0.9, 0.1], [0.5, 0.5]))
    0.4
    """
    return 0.5 * np.abs(np.asarray(p, float) - np.asarray(t, float)).sum(axis=-1)


def unbiased_squared_distance(counts: ArrayLike, t: ArrayLike) -> Floats:
    """Estimate of ||p - t||^2 without bias on average, for independent images; may fall below 0.

    sum_j k_j (k_j - 1) / (n (n - 1)) - 2 t_j k_j / n + t_j^2, as E[k (k - 1)] = n (n - 1) p^2.

    Args:
        counts: [..., n_classes]; t: target shares, broadcast against it.

    Returns:
        float64 [...]; NaN with fewer than two images.

    >>> float(unbiased_squared_distance([2, 2], [0.5, 0.5]).round(4))
    -0.1667
    """
    k, t = np.asarray(counts, float), np.asarray(t, float)
    n = k.sum(axis=-1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = k * (k - 1) / (n * (n - 1)) - 2 * t * k / n + t**2
    return np.where(n[..., 0] >= 2, terms.sum(axis=-1), np.nan)


@dataclass(frozen=True)
class Sample:
    """One group as the simulation sees it.

    Attributes:
        shares: corrected shares [n_classes]. target: [n_classes], sums to 1.
        n: images over design effect, > 0: the effective sample size (Kish 1965).
    """

    shares: Floats
    target: Floats
    n: float


@dataclass(frozen=True)
class Distance:
    """Total variation of corrected shares from a target, the mean over groups if there are several.

    Attributes:
        estimate: the plug-in; biased up at small n. null_value: its expectation if the target were met.
        low, high: interval for the true distance; leaves out 0 exactly where p_value <= (1 - confidence) / 2.
            With several groups the estimate may lie above it: its upward bias does not average out.
        p_value: (1 + #{simulated >= estimate}) / (1 + R) under the target.
    """

    estimate: float
    null_value: float
    low: float
    high: float
    p_value: float


def distance_to_target(
    samples: Sequence[Sample],
    confusion: Confusion,
    rng: np.random.Generator,
    *,
    replicates: int = 2000,
    confidence: float = 0.95,
    steps: int = 16,
) -> Distance:
    """Distance with null expectation, p-value and interval, all by simulating audits.

    A simulated audit draws the scorer's true C from what the calibration set leaves plausible (one draw for
    all groups), counts from a multinomial of the effective sample size, and corrects with the C at hand.
    The interval inverts tests (Carpenter 1999, J. Stat. Comput. Simul. 64:211-225): along the path of shares
    from the target through the estimate, it keeps the distances under which the estimate lies between the
    simulated quantiles. A percentile bootstrap could never reach 0, where fair generators are.

    Coverage of a nominal 95%, 600 simulated audits a setting, 10 prompts x 5 images, intraclass correlations
    0 and .1: two classes 94.8-98.3%, five 91.5-98.7% (highest near 0, where it is one-sided); the mean
    over 8 groups, 200-300 audits a setting, 89-98%.

    Args:
        samples: one or more groups. confusion: C of the scorer. rng: the source of randomness.
        replicates: R for the null; a quarter of it at each of `steps` distances for the interval.
    """
    estimates = np.array([float(total_variation(s.shares, s.target)) for s in samples])
    estimate = float(estimates.mean())
    at_null = _simulated(samples, np.zeros((1, len(samples))), confusion, rng, replicates)[0]
    p_value = float((1 + np.count_nonzero(at_null >= estimate - 1e-12)) / (1 + replicates))

    ceilings = np.array([_furthest(s) for s in samples])
    # Groups move out in proportion to their own distances, all alike where none has moved.
    pace = estimates / estimate if estimate > 0 else np.ones(len(samples))
    reach = 5 * float(at_null.std()) + 0.02
    start, stop = max(0.0, estimate - float(at_null.mean()) - reach), estimate + reach
    grid = np.linspace(start, min(stop, float(ceilings.mean())), steps)
    tail = (1 - confidence) / 2
    away = np.minimum(grid[:, None] * pace, ceilings)
    simulated = _simulated(samples, away, confusion, rng, max(replicates // 4, 1))
    quantiles = np.quantile(simulated, [tail, 1 - tail], axis=1).T
    lower, upper = np.maximum.accumulate(quantiles, axis=0).T
    low = _crossing(grid, upper, estimate - 1e-12) if p_value <= tail else 0.0
    # An estimate lucky to lie near 0 shows no less than one at the null's 16% quantile would: without
    # this floor the interval could be empty (power-constrained limits, Cowan et al. 2011, arXiv 1105.3166).
    high = _crossing(grid, lower, max(estimate, float(np.quantile(at_null, 0.16))) + 1e-12)
    return Distance(estimate, float(at_null.mean()), min(low, high), high, p_value)


def _crossing(grid: Floats, rising: Floats, level: float) -> float:
    """Where a rising curve over the grid first passes the level; the grid's end where it does not."""
    i = int(np.searchsorted(rising, level))
    if i == 0 or i == len(grid):
        return float(grid[min(i, len(grid) - 1)])
    step = (level - rising[i - 1]) / (rising[i] - rising[i - 1])
    return float(grid[i - 1] + step * (grid[i] - grid[i - 1]))


def _simulated(
    samples: Sequence[Sample], distances: Floats, confusion: Confusion, rng: np.random.Generator, size: int
) -> Floats:
    """Mean estimated distance [n_steps, size] of audits truly at distances [n_steps, n_groups]."""
    matrices = confusion.draw(rng, size)
    total = np.zeros((len(distances), size))
    for sample, away in zip(samples, distances.T, strict=True):
        truth = np.stack([matrices @ _moved(sample, float(d)) for d in away])
        n = max(round(sample.n), 1)
        q = rng.multinomial(n, truth / truth.sum(axis=-1, keepdims=True)) / n
        total += total_variation(constrained_shares(q, confusion.matrix), sample.target)
    return total / len(samples)


def _summit(sample: Sample) -> int:
    """The class furthest above its target; where none is above, the one with the smallest target."""
    excess = sample.shares - sample.target
    return int(np.argmax(excess)) if excess.max() > 1e-12 else int(np.argmin(sample.target))


def _furthest(sample: Sample) -> float:
    """Distance at the end of the path: every image in the summit's class."""
    return float(1 - sample.target[_summit(sample)])


def _moved(sample: Sample, d: float) -> Floats:
    """Shares at distance d on the path: from the target to the estimate, then towards the summit's class.

    On the second leg the distance rises: it is convex there and does not fall at its start.
    """
    t, found = sample.target, float(total_variation(sample.shares, sample.target))
    if d == 0 or d <= found:
        return t + (sample.shares - t) * (d / found if found > 0 else 0)
    base = sample.shares if found > 0 else t
    s = np.linspace(0, 1, 401)
    leg = (1 - s)[:, None] * base + s[:, None] * np.eye(len(t))[_summit(sample)]
    return np.asarray(leg[np.searchsorted(total_variation(leg, t), d - 1e-12).clip(max=400)])

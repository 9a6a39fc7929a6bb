"""Distances between class shares and a target, their expectation under the target, and intervals."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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


def mean_absolute_deviation(p: ArrayLike, t: ArrayLike) -> Floats:
    """Mean of |p - t| over the classes (last axis): 2/K of `total_variation`, as the field's tools print it.

    >>> float(mean_absolute_deviation([0.9, 0.1], [0.5, 0.5]))
    0.4
    """
    return np.abs(np.asarray(p, float) - np.asarray(t, float)).mean(axis=-1)


def smoothed_kl(p: ArrayLike, t: ArrayLike, n: ArrayLike) -> Floats:
    """KL(p || t) in nats with half an image added to each class of both, so that it is finite and 0 at p = t.

    (n p + 1/2) / (n + K/2) is the posterior mean under Jeffreys' prior.

    Args:
        p, t: [..., K], sum to 1. n: [...] images behind p.

    >>> smoothed_kl([[0.9, 0.1], [0.5, 0.5]], [0.5, 0.5], [10, 10]).round(3).tolist()
    [0.295, 0.0]
    """
    p, t, n = np.asarray(p, float), np.asarray(t, float), np.asarray(n, float)[..., None]
    k = p.shape[-1]
    a, b = ((n * x + 0.5) / (n + k / 2) for x in (p, t))
    return np.maximum((a * np.log(a / b)).sum(axis=-1), 0.0)


def effective_number(p: ArrayLike) -> Floats:
    """exp(H(p)), in [1, K]: of how many equally common classes p is as diverse (Hill 1973, Ecology 54:427-432).

    >>> effective_number([[0.5, 0.5], [1, 0]]).tolist()
    [2.0, 1.0]
    """
    p = np.asarray(p, float)
    return np.exp(-(p * np.log(np.where(p > 0, p, 1.0))).sum(axis=-1))


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


def corrected_squared_distance(counts: ArrayLike, a: ArrayLike, t: ArrayLike) -> Floats:
    """Estimate of ||p - t||^2 from misclassified outcomes, without bias on average; may fall below 0.

    The mean over pairs of images i != j of (A e_i - t).(A e_j - t), by the U-statistic
    [||A k - n t||^2 - sum_o k_o ||A e_o - t||^2] / (n (n - 1)): images are independent given the prompt
    and E[A e] = p, as A C = I. With A = I it is `unbiased_squared_distance`.

    Args:
        counts: k, [..., n_outcomes]. a: A [n_classes, n_outcomes], from `auditkit.stats.corrected.inverse`.
        t: [n_classes] target shares.

    Returns:
        float64 [...]; NaN with fewer than two images.

    >>> float(corrected_squared_distance([2, 2], np.eye(2), [0.5, 0.5]).round(4))
    -0.1667
    """
    k, a, t = np.asarray(counts, float), np.asarray(a, float), np.asarray(t, float)
    n = k.sum(axis=-1)
    own = ((a - t[:, None]) ** 2).sum(axis=0)
    total = ((k @ a.T - n[..., None] * t) ** 2).sum(axis=-1)
    pairs = n * (n - 1)
    return np.where(pairs > 0, (total - k @ own) / np.where(pairs > 0, pairs, 1), np.nan)


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

    def nearer(self, by: float) -> Sample:
        """Moved towards its target by a total variation of `by`, or onto it."""
        apart = max(float(total_variation(self.shares, self.target)), 1e-12)
        return Sample(self.shares + (self.target - self.shares) * min(1.0, by / apart), self.target, self.n)


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
    at_null = _mean_distance(samples, [s.target[None] for s in samples], confusion, rng, replicates)[0]
    p_value = float((1 + np.count_nonzero(at_null >= estimate - 1e-12)) / (1 + replicates))

    ceilings = np.array([_furthest(s) for s in samples])
    # Groups move out in proportion to their own distances, all alike where none has moved.
    pace = estimates / estimate if estimate > 0 else np.ones(len(samples))
    reach = 5 * float(at_null.std()) + 0.02
    start, stop = max(0.0, estimate - float(at_null.mean()) - reach), estimate + reach
    grid = np.linspace(start, min(stop, float(ceilings.mean())), steps)
    tail = (1 - confidence) / 2
    away = np.minimum(grid[:, None] * pace, ceilings)
    moved = [np.array([_moved(s, float(d)) for d in path]) for s, path in zip(samples, away.T, strict=True)]
    simulated = _mean_distance(samples, moved, confusion, rng, max(replicates // 4, 1))
    quantiles = np.quantile(simulated, [tail, 1 - tail], axis=1).T
    lower, upper = np.maximum.accumulate(quantiles, axis=0).T
    low = _crossing(grid, upper, estimate - 1e-12) if p_value <= tail else 0.0
    # An estimate lucky to lie near 0 shows no less than one at the null's 16% quantile would: without
    # this floor the interval could be empty (power-constrained limits, Cowan et al. 2011, arXiv 1105.3166).
    high = _crossing(grid, lower, max(estimate, float(np.quantile(at_null, 0.16))) + 1e-12)
    return Distance(estimate, float(at_null.mean()), min(low, high), high, p_value)


def hidden_by_pooling(
    samples: Sequence[Sample],
    weights: ArrayLike,
    confusion: Confusion,
    rng: np.random.Generator,
    *,
    replicates: int = 2000,
    confidence: float = 0.95,
) -> Distance:
    """Mean of the groups' distances less the distance of the pooled images: what pooling hides, >= 0.

    0 exactly where no two groups lie on opposite sides of their targets in any class. That is the null: its
    simulated audits keep of each group's deviation, where it exceeds sqrt((K - 1) / n), what points the same way
    as the pooled one, balanced to sum to 0. Interval: from audits simulated at the estimated shares, the wider
    ends of the percentile and the basic bootstrap's interval, as the plug-in may err to either side (each group's
    noise raises it, the pool's lowers it); from 0 where p_value > (1 - confidence) / 2.
    Coverage of a nominal 95%, 200 simulated audits a setting, 2 to 10 groups of 50 and 200 images, two and five
    classes: 95-100%; p <= .05 where nothing is hidden in 0-10%.


    Args:
        samples: two or more groups. weights: [n_groups] of each in both means, such as its images.
        confusion, rng, replicates, confidence: as in `distance_to_target`.
    """
    w = np.asarray(weights, float) / np.sum(weights)
    away = np.array([s.shares - s.target for s in samples])
    pooled = w @ away
    estimate = max(float(w @ total_variation(away, 0.0) - total_variation(pooled, 0.0)), 0.0)
    # A deviation within noise is taken as none: there the plug-in is highest, so that the test errs to the safe side.
    noise = np.sqrt([(len(s.target) - 1) / s.n for s in samples])
    kept = np.where(total_variation(away, 0.0) > noise, 1.0, 0.0)[:, None] * away
    up, down = (np.where((sign * kept > 0) & (sign * pooled > 0), abs(kept), 0.0) for sign in (1, -1))
    least = np.minimum(up.sum(axis=1), down.sum(axis=1))[:, None]
    up, down = (x * least / np.maximum(x.sum(axis=1, keepdims=True), 1e-300) for x in (up, down))
    truths = [np.stack([s.target + u - d, s.shares]) for s, u, d in zip(samples, up, down, strict=True)]
    mean, total = np.zeros((2, replicates)), np.zeros((2, replicates, len(pooled)))
    for share, s, found in zip(w, samples, _simulated(samples, truths, confusion, rng, replicates), strict=True):
        mean += share * total_variation(found, s.target)
        total += share * (found - s.target)
    at_null, at_estimate = mean - total_variation(total, 0.0)
    p_value = float((1 + np.count_nonzero(at_null >= estimate - 1e-12)) / (1 + replicates))
    tail = (1 - confidence) / 2
    least, most = (float(x) for x in np.quantile(at_estimate, [tail, 1 - tail]))
    low = max(min(least, 2 * estimate - most), 0.0) if p_value <= tail else 0.0
    high = min(max(most, 2 * estimate - least), 1.0)
    return Distance(estimate, float(at_null.mean()), low, high, p_value)


def _crossing(grid: Floats, rising: Floats, level: float) -> float:
    """Where a rising curve over the grid first passes the level; the grid's end where it does not."""
    i = int(np.searchsorted(rising, level))
    if i == 0 or i == len(grid):
        return float(grid[min(i, len(grid) - 1)])
    step = (level - rising[i - 1]) / (rising[i] - rising[i - 1])
    return float(grid[i - 1] + step * (grid[i] - grid[i - 1]))


def _mean_distance(
    samples: Sequence[Sample], truths: Sequence[Floats], confusion: Confusion, rng: np.random.Generator, size: int
) -> Floats:
    """Mean estimated distance [n_steps, size] over the groups of simulated audits."""
    total = np.zeros((len(truths[0]), size))
    for sample, shares in zip(samples, _simulated(samples, truths, confusion, rng, size), strict=True):
        total += total_variation(shares, sample.target)
    return total / len(samples)


def _simulated(
    samples: Sequence[Sample], truths: Sequence[Floats], confusion: Confusion, rng: np.random.Generator, size: int
) -> Iterator[Floats]:
    """Of each group in turn, estimated shares [n_steps, size, n_classes] of audits whose true ones are
    [n_steps, n_classes]; the scorer's errors are one draw for all groups."""
    matrices = confusion.draw(rng, size)
    for sample, truth in zip(samples, truths, strict=True):
        q = np.stack([matrices @ p for p in truth])
        n = max(round(sample.n), 1)
        counts = rng.multinomial(n, q / q.sum(axis=-1, keepdims=True))
        yield constrained_shares(counts / n, confusion.matrix)


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

"""How far shares moved between two audits that are paired image by image: toward a target, or at all.

Everything hangs on deviations x_g = p_g - t_g of G groups and on bootstrap errors e_g of them, in which prompts are the
clusters, both audits of a pair are drawn together and the scorer's errors are one draw for all groups and both audits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from auditkit.stats.bootstrap import resampled_totals
from auditkit.stats.confusion import Confusion
from auditkit.stats.corrected import constrained_shares, inverse
from auditkit.stats.divergence import corrected_squared_distance, total_variation

Floats = NDArray[np.float64]

FEWEST_PROMPTS = 5
"""With fewer no swapping of the two audits, prompt by prompt, has a p-value under 1/20."""


@dataclass(frozen=True)
class Estimated:
    """A number with its 95% interval; NaN where there is none."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, value: float, low: float, high: float) -> Estimated:
        return cls(float(value), float(min(low, value)), float(max(high, value)))


@dataclass(frozen=True)
class Pairs:
    """One group's pairs of images.

    Attributes:
        counts: [n_prompts, m, m], pairs by prompt, outcome in the first audit and outcome in the second.
        target: [K] shares; None where only the shift between the audits is asked for.
    """

    counts: Floats
    target: Floats | None = None

    @classmethod
    def of(
        cls, first: ArrayLike, second: ArrayLike, prompt: ArrayLike, m: int, target: ArrayLike | None = None
    ) -> Pairs:
        """From outcomes, int [n] in [0, m), of each pair's images and the prompts that they share, int [n]."""
        _, row = np.unique(np.asarray(prompt), return_inverse=True)
        counts = np.zeros((int(row.max()) + 1 if len(row) else 0, m, m))
        np.add.at(counts, (row, np.asarray(first, int), np.asarray(second, int)), 1)
        return cls(counts, None if target is None else np.asarray(target, float))

    @property
    def prompts(self) -> int:
        return len(self.counts)

    @property
    def n(self) -> int:
        return int(self.counts.sum())


@dataclass(frozen=True)
class Level:
    """A mean total variation over groups.

    Attributes:
        estimated: the plug-in with its interval, which reaches as far down as the plug-in may be biased up.
        null: its expectation if every group met the target.
        bias: the most that it may be biased up, at the shares that the data leave plausible.
    """

    estimated: Estimated
    null: float
    bias: float


@dataclass(frozen=True)
class Movement:
    """Distances to the target before and after.

    Attributes:
        before, after: mean total variation over the groups.
        change: after less before; below 0 is nearer.
        reduction: 1 - after/before; NaN where nothing was to be reduced (before not above its null expectation).
        squared_before, squared_after, squared_change: mean of ||p - t||^2, without bias on average.
        p_nearer, p_further: one-sided, by swapping the audits prompt by prompt.
    """

    before: Level
    after: Level
    change: Estimated
    reduction: Estimated
    squared_before: Estimated
    squared_after: Estimated
    squared_change: Estimated
    p_nearer: float
    p_further: float


@dataclass(frozen=True)
class Shift:
    """Mean total variation between both audits' shares; `p_value` by swapping them prompt by prompt."""

    level: Level
    p_value: float


def movement(
    groups: Sequence[Pairs], confusion: Confusion, rng: np.random.Generator, *, replicates: int = 2000
) -> Movement:
    """How much nearer to their targets the groups' shares lie in the second audit.

    Shares are `constrained_shares`; errors are of A(C*) q* (`corrected.inverse`), from prompts resampled with all their
    pairs within each group. Intervals are by Student's t, with as many degrees of freedom as prompts less groups, on
    the bootstrap's standard error. A plug-in distance is biased up, most where the target is met: by up to
    mean_g E|x'_g + e_g| - |x'_g| with x' as near to the target as the data leave plausible (one-sided 95%), and
    intervals are widened by that much on the side to which the bias may have led. So they hold where a mitigation
    meets its target, and are no wider than need be where it does not.

    The test swaps the two audits' images of whole prompts: exact where both are alike in distribution, whatever the
    correlation within prompts (Fisher's randomisation; Phipson and Smyth 2010 for the p-value of random swaps).

    Raises:
        ValueError: no groups, or one without pairs or without a target.
    """
    if not groups or any(g.n == 0 or g.target is None for g in groups):
        raise ValueError("every group needs pairs and a target")
    first, second = _errors(groups, confusion, rng, replicates)
    targets = [np.asarray(g.target, float) for g in groups]
    q = [_shares(g) for g in groups]
    x = [constrained_shares(a, confusion.matrix) - t for (a, _), t in zip(q, targets, strict=True)]
    y = [constrained_shares(b, confusion.matrix) - t for (_, b), t in zip(q, targets, strict=True)]
    t_quantile = _quantile(groups)
    before, before_draws = _level(x, first, t_quantile)
    after, after_draws = _level(y, second, t_quantile)
    a, b = before.estimated.value, after.estimated.value
    half = t_quantile * float((after_draws - before_draws).std())
    change = Estimated.of(b - a, b - a - half - after.bias, b - a + half + before.bias)
    a_inv = inverse(confusion.matrix)
    squares, drawn = _squared(groups, targets, a_inv, rng, replicates)
    low = -_spread(drawn, t_quantile)
    one, two, three = (Estimated.of(v, v + d, v - d) for v, d in zip(squares, low, strict=True))
    nearer, further = _swapped(groups, targets, a_inv, rng, replicates)
    reduction = _reduction(before, after, before_draws, after_draws, t_quantile)
    return Movement(before, after, change, reduction, one, two, three, nearer, further)


def shift(
    groups: Sequence[Pairs], confusion: Confusion | None, rng: np.random.Generator, *, replicates: int = 2000
) -> Shift:
    """How far the groups' shares moved, whatever the direction; intervals and test as in `movement`.

    Args:
        confusion: None takes outcomes as they are: the total variation between outcomes, which is never more than that
            between true classes (data processing inequality), so that it is a lower bound of the shift.
    """
    if not groups or any(g.n == 0 for g in groups):
        raise ValueError("every group needs pairs")
    m = groups[0].counts.shape[1]
    c = Confusion(np.eye(m), np.full(m, np.inf)) if confusion is None else confusion
    first, second = _errors(groups, c, rng, replicates)
    x = []
    for g in groups:
        a, b = _shares(g)
        x.append(constrained_shares(b, c.matrix) - constrained_shares(a, c.matrix))
    level, _ = _level(x, second - first, _quantile(groups))
    a_inv = inverse(c.matrix)
    net = [(g.counts.sum(axis=1) - g.counts.sum(axis=2)) @ a_inv.T / g.n for g in groups]
    observed = float(np.mean([0.5 * np.abs(d.sum(axis=0)).sum() for d in net]))
    total = np.zeros(replicates)
    for d in net:
        total += 0.5 * np.abs(_signs(rng, replicates, len(d)) @ d).sum(axis=1)
    drawn = total / len(net)
    if observed == 0:
        return Shift(level, 1.0)
    return Shift(level, float((1 + np.count_nonzero(drawn >= observed - 1e-12)) / (1 + replicates)))


def shares_with_intervals(
    group: Pairs, confusion: Confusion, rng: np.random.Generator, *, replicates: int = 2000
) -> tuple[tuple[Floats, Floats, Floats], tuple[Floats, Floats, Floats]]:
    """(shares, low, high), each [K], of the first and of the second audit of one group."""
    first, second = _errors([group], confusion, rng, replicates)
    t_quantile = _quantile([group])
    found = []
    for q, errors in zip(_shares(group), (first, second), strict=True):
        p = constrained_shares(q, confusion.matrix)
        # No image of a class, or all of them, leave a bootstrap no spread: half an image is the least.
        half = t_quantile * np.maximum(errors[0].std(axis=0), 0.5 / max(group.n, 1))
        found.append((p, np.clip(p - half, 0, 1), np.clip(p + half, 0, 1)))
    return found[0], found[1]


def mean_change(
    first: ArrayLike, second: ArrayLike, prompt: ArrayLike, group: ArrayLike, rng: np.random.Generator, *,
    replicates: int = 2000,
) -> tuple[Estimated, float, float, float]:  # fmt: skip
    """Mean of second - first over pairs of numbers, float [n] each: (change, first's mean, second's mean, p-value).

    Interval: Student's t on the standard error between prompts within groups. The two-sided test swaps the audits
    prompt by prompt.
    """
    a, b = np.asarray(first, float), np.asarray(second, float)
    if len(a) == 0:
        nan = float("nan")
        return Estimated(nan, nan, nan), nan, nan, nan
    _, row = np.unique(np.asarray(prompt), return_inverse=True)
    _, stratum = np.unique(np.asarray(group), return_inverse=True)
    n, k = len(a), int(row.max()) + 1
    sums, sizes = np.bincount(row, b - a, k), np.bincount(row, minlength=k)
    of = np.zeros(k, int)
    of[row] = stratum
    value = float((b - a).mean())
    variance, df = 0.0, 0
    for s in range(int(of.max()) + 1):
        mine = of == s
        count = int(mine.sum())
        if count < 2:
            continue
        rest = sums[mine] - sizes[mine] * (sums[mine].sum() / sizes[mine].sum())
        variance += count / (count - 1) * float((rest**2).sum())
        df += count - 1
    if df == 0:
        return Estimated(value, float("nan"), float("nan")), float(a.mean()), float(b.mean()), float("nan")
    half = float(stats.t.ppf(0.975, df)) * variance**0.5 / n
    net = sums[sums != 0]
    if len(net) == 0:
        p_value = 1.0
    else:
        drawn = np.abs(_signs(rng, replicates, len(net)) @ net)
        p_value = float((1 + np.count_nonzero(drawn >= abs(net.sum()) - 1e-9)) / (1 + replicates))
    return Estimated.of(value, value - half, value + half), float(a.mean()), float(b.mean()), p_value


def counted_range(counts: ArrayLike, target: ArrayLike) -> tuple[float, float]:
    """Least and greatest total variation to the target that the images without a label leave open.

    Args:
        counts: [K + 1] images by label, the unknown last. target: [K], sums to 1.

    >>> low, high = counted_range([6, 2, 2], [0.5, 0.5])
    >>> round(low, 3), round(high, 3)
    (0.1, 0.3)
    """
    k, t = np.asarray(counts, float), np.asarray(target, float)
    n, unknown = k.sum(), k[-1]
    if n == 0:
        return float("nan"), float("nan")
    known = k[:-1] / n
    # The least: the unknown fill up what lies below the target. TV is the sum of what lies above it.
    low = float(np.maximum(known - t, 0).sum())
    # The greatest: TV is convex in the shares, so that all unknown belong to one class.
    ends = known + np.eye(len(t)) * unknown / n
    return low, max(low, float(total_variation(ends, t).max()))  # alike but for rounding where none is unknown


def _shares(g: Pairs) -> tuple[Floats, Floats]:
    """Shares of the outcomes [m] in the first and in the second audit."""
    whole = g.counts.sum(axis=0) / g.n
    return whole.sum(axis=1), whole.sum(axis=0)


def _quantile(groups: Sequence[Pairs]) -> float:
    df = sum(max(g.prompts - 1, 0) for g in groups)
    return float(stats.t.ppf(0.975, df)) if df else float(stats.norm.ppf(0.975))


def _errors(
    groups: Sequence[Pairs], confusion: Confusion, rng: np.random.Generator, replicates: int
) -> tuple[Floats, Floats]:
    """Bootstrap errors of the shares, [G, R, K], in the first and in the second audit."""
    maps = inverse(confusion.draw(rng, replicates))
    point = inverse(confusion.matrix)
    m, found = len(confusion.matrix), []
    for g in groups:
        totals = resampled_totals(g.counts.reshape(g.prompts, m * m), rng, replicates=replicates)
        table = (totals / totals.sum(axis=1, keepdims=True)).reshape(replicates, m, m)
        sides = zip((table.sum(axis=2), table.sum(axis=1)), _shares(g), strict=True)
        found.append([np.einsum("rkm,rm->rk", maps, drawn) - point @ q for drawn, q in sides])
    return np.array([f[0] for f in found]), np.array([f[1] for f in found])


def _level(x: Sequence[Floats], errors: Floats, t_quantile: float) -> tuple[Level, Floats]:
    """The mean of half |x_g| with its null expectation, bias and interval; and its draws [R]."""
    away = np.array([0.5 * np.abs(each).sum() for each in x])
    drawn = 0.5 * np.abs(np.array(x)[:, None] + errors).sum(axis=2)
    null = 0.5 * np.abs(errors).sum(axis=2).mean()
    near = np.maximum(away - 1.645 * drawn.std(axis=1), 0)
    shrunk = np.array(x) * np.where(away > 0, near / np.maximum(away, 1e-300), 0)[:, None]
    bias = float((0.5 * np.abs(shrunk[:, None] + errors).sum(axis=2)).mean() - near.mean())
    value, half = float(away.mean()), t_quantile * float(drawn.mean(axis=0).std())
    found = Estimated.of(value, max(value - half - max(bias, 0), 0), min(value + half, 1))
    return Level(found, float(null), max(bias, 0.0)), drawn.mean(axis=0)


def _reduction(before: Level, after: Level, first: Floats, second: Floats, t_quantile: float) -> Estimated:
    """1 - after/before, by the delta method; NaN where before is not above what chance gives."""
    a, b = before.estimated.value, after.estimated.value
    if a <= before.null or a - before.bias <= 0:
        nan = float("nan")
        return Estimated(nan, nan, nan)
    ratio = b / a
    half = t_quantile * float((second - ratio * first).std()) / a
    low = 1 - b / (a - before.bias) - half
    high = 1 - max(b - after.bias, 0) / a + half
    return Estimated.of(1 - ratio, low, min(high, 1.0))


def _squared(
    groups: Sequence[Pairs], targets: Sequence[Floats], a: Floats, rng: np.random.Generator, replicates: int
) -> tuple[Floats, Floats]:
    """Mean squared distances before, after, and their difference [3], with draws [3, R]."""
    point, draws = np.zeros(2), np.zeros((2, replicates))
    m = a.shape[1]
    for g, t in zip(groups, targets, strict=True):
        totals = resampled_totals(g.counts.reshape(g.prompts, m * m), rng, replicates=replicates)
        tables = totals.reshape(replicates, m, m)
        whole = g.counts.sum(axis=0)
        for side, axis in enumerate((1, 0)):
            point[side] += float(corrected_squared_distance(whole.sum(axis=axis), a, t))
            draws[side] += corrected_squared_distance(tables.sum(axis=axis + 1), a, t)
    point, draws = point / len(groups), draws / len(groups)
    return np.array([*point, point[1] - point[0]]), np.array([*draws, draws[1] - draws[0]])


def _spread(draws: Floats, t_quantile: float) -> Floats:
    return np.asarray(t_quantile * draws.std(axis=1), np.float64)


def _swapped(
    groups: Sequence[Pairs], targets: Sequence[Floats], a: Floats, rng: np.random.Generator, replicates: int
) -> tuple[float, float]:
    """One-sided p-values of the change of the mean distance, both audits swapped prompt by prompt."""
    observed, drawn = 0.0, np.zeros(replicates)
    for g, t in zip(groups, targets, strict=True):
        first, second = g.counts.sum(axis=2) @ a.T / g.n, g.counts.sum(axis=1) @ a.T / g.n  # [prompts, K]
        middle, half = (first + second).sum(axis=0) / 2, (second - first) / 2
        observed += float(total_variation(middle + half.sum(axis=0), t) - total_variation(middle - half.sum(axis=0), t))
        moved = _signs(rng, replicates, len(half)) @ half
        drawn += total_variation(middle + moved, t) - total_variation(middle - moved, t)
    nearer = (1 + np.count_nonzero(drawn <= observed + 1e-12)) / (1 + replicates)
    further = (1 + np.count_nonzero(drawn >= observed - 1e-12)) / (1 + replicates)
    return float(nearer), float(further)


def _signs(rng: np.random.Generator, replicates: int, n: int) -> Floats:
    return np.asarray(1.0 - 2.0 * rng.integers(2, size=(replicates, n)), np.float64)

"""How unevenly groups spread over classes without a target, such as clusters; the unit is the prompt."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from auditkit.stats.bootstrap import resampled_totals
from auditkit.stats.exchange import exchanged_sums

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """An estimate with a 95% interval; `null_value` is what it would be without differences."""

    estimate: float
    low: float
    high: float
    null_value: float = float("nan")
    p_value: float = float("nan")


def phi_squared(totals: ArrayLike) -> Floats:
    """Pearson's phi^2 = chi^2 / n of tables [..., n_groups, n_classes]; 0 where nothing varies.

    >>> float(phi_squared([[10, 0], [0, 10]]))
    1.0
    """
    t = np.asarray(totals, float)
    n = t.sum(axis=(-2, -1), keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        expected = t.sum(axis=-1, keepdims=True) * t.sum(axis=-2, keepdims=True) / n
        return np.asarray(np.where(expected > 0, t**2 / expected, 0).sum(axis=(-2, -1)) / n[..., 0, 0] - 1)


def cramers_v(
    counts: ArrayLike, group: ArrayLike, block: ArrayLike, rng: np.random.Generator, *, replicates: int = 2000
) -> Estimate:
    """Cramer's V between group and class, sqrt(phi^2 / min(n_groups - 1, n_classes - 1)), in [0, 1].

    phi^2 of few images is far from 0 without any dependence. Its bias is taken out, and its variance found, by
    leaving out one block after another (the jackknife; Efron 1982), or one prompt after another with groups as
    strata where there is one block; for independent images that is close to Bergsma's correction (2013, J. Korean
    Stat. Soc. 42:323-328). The p-value is by exchanging prompts within blocks; `null_value` is the mean of V,
    uncorrected, over these.

    Args:
        counts: [P, n_classes] images by prompt. group: [P] index, 0 to n_groups - 1, each with two prompts or
            more. block: [P] labels within which prompts may change places.
    """
    c, group = _with_columns(counts), np.asarray(group, np.intp)
    totals = _totals(c, group)
    largest = min(totals.shape) - 1
    if largest < 1:
        return Estimate(0.0, 0.0, 0.0, 0.0, 1.0)
    found = float(phi_squared(totals))
    null = np.concatenate([phi_squared(s) for s in exchanged_sums(c, group, block, rng, replicates)])
    cube = _by_block(c, group, block)
    if cube is None:
        left_out = [_left_out(c, group, totals, g, phi_squared) for g in range(len(totals))]
    else:
        left_out = [phi_squared(totals - cube)]
    corrected, error, df = _jackknife(found, left_out)
    half = float(stats.t.ppf(0.975, df)) * error
    low, centre, high = np.sqrt(np.clip(np.array([corrected - half, corrected, corrected + half]) / largest, 0, 1))
    p = (1 + np.count_nonzero(null >= found * (1 - 1e-9))) / (1 + replicates)
    expected = float(np.sqrt(np.maximum(null, 0) / largest).mean())
    return Estimate(float(centre), float(low), float(high), expected, float(p))


def effective_number(counts: ArrayLike) -> Floats:
    """exp(H) of counts [..., n_classes]: as many classes, used evenly, have the same entropy (Hill 1973); NaN for none.

    >>> effective_number([[5, 5, 0], [10, 0, 0]]).round(6).tolist()
    [2.0, 1.0]
    """
    c = np.asarray(counts, float)
    n = c.sum(axis=-1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        p = c / n
        terms = np.where(c > 0, p * np.log(p), 0)
    return np.asarray(np.where(n[..., 0] > 0, np.exp(-terms.sum(axis=-1)), np.nan))


def effective_numbers(counts: ArrayLike, group: ArrayLike) -> list[Estimate]:
    """The effective number of classes of each group, beside the (geometric) mean of the other groups'.

    Few images show too few classes; the bias of H is taken out by leaving out one prompt after another (Zahl 1977,
    Ecology 58:907-913), which gives the error too. `null_value` is the mean of the other groups; the two-sided
    p-value is of Welch's t for the difference of H. Estimate and interval lie in [1, n_classes].

    Args:
        counts: [P, n_classes] images by prompt. group: [P] index, each group with two prompts or more.
    """
    c, group = np.asarray(counts, float), np.asarray(group, np.intp)
    found = []
    for g in range(int(group.max()) + 1):
        mine = c[group == g]
        left_out = np.log(effective_number(mine.sum(axis=0) - mine))
        found.append(_jackknife(float(np.log(effective_number(mine.sum(axis=0)))), [left_out]))
    entropies, errors, dfs = (np.array(column) for column in zip(*found, strict=True))
    made = []
    for g, (entropy, error, df) in enumerate(found):
        others = np.arange(len(found)) != g
        null = p = float("nan")
        if others.any():
            mean = float(entropies[others].mean())
            null = float(np.clip(np.exp(mean), 1, c.shape[1]))
            p = _welch_p(entropy - mean, np.append(errors[others] / others.sum(), error), np.append(dfs[others], df))
        made.append(_exponentiated(entropy, error, df, c.shape[1], null, p))
    return made


def effective_number_of_all(counts: ArrayLike, group: ArrayLike) -> Estimate:
    """The effective number of classes of all groups together, groups as strata; arguments as above."""
    c, group = np.asarray(counts, float), np.asarray(group, np.intp)
    totals = _totals(c, group)

    def entropy(tables: Floats) -> Floats:
        return np.log(effective_number(tables.sum(axis=-2)))

    left_out = [_left_out(c, group, totals, g, entropy) for g in range(len(totals))]
    return _exponentiated(*_jackknife(float(entropy(totals)), left_out), c.shape[1])


def _exponentiated(
    entropy: float, error: float, df: float, most: int, null: float = np.nan, p: float = np.nan
) -> Estimate:
    half = float(stats.t.ppf(0.975, df)) * error
    low, centre, high = (float(v) for v in np.clip(np.exp([entropy - half, entropy, entropy + half]), 1, most))
    return Estimate(centre, low, high, null, p)


def _welch_p(difference: float, errors: Floats, dfs: Floats) -> float:
    parts = errors**2
    total = float(parts.sum())
    if total <= 0:
        return 1.0 if difference == 0 else float("nan")
    df = total**2 / float((parts**2 / dfs).sum())
    return float(2 * stats.t.sf(abs(difference) / np.sqrt(total), df))


def distances_to_the_rest(
    counts: ArrayLike, group: ArrayLike, block: ArrayLike, rng: np.random.Generator, *, replicates: int = 2000
) -> list[Estimate]:
    """Total variation of each group's class shares from those of the other groups together, in [0, 1].

    The distance of the shares as counted lies above the truth with few images, and far above 0 where groups do not
    differ. Estimate and interval therefore invert its sampling distribution (Carpenter 1999, J. Stat. Comput.
    Simul. 64:211-225): along the line from no difference through the counted one, the estimate is the distance
    whose bootstrapped median is the counted distance, and the interval holds those between whose quantiles that
    lies. Blocks are resampled, or prompts where there is one block; tails are widened for few of them, as in
    `expanded_percentile`. `null_value` is the mean of the counted distance when prompts are exchanged within
    blocks, the p-value the share of exchanges that reach it.

    Args: as in `cramers_v`.
    """
    c, group = _with_columns(counts), np.asarray(group, np.intp)
    totals = _totals(c, group)
    difference = _apart(totals)
    counted = _size(difference)
    null = np.concatenate([_size(_apart(s)) for s in exchanged_sums(c, group, block, rng, replicates)])
    cube = _by_block(c, group, block)
    if cube is None:
        drawn = [resampled_totals(c[group == g], rng, replicates=replicates) for g in range(len(totals))]
        resampled = np.stack(drawn, axis=1)
    else:
        resampled = resampled_totals(cube.reshape(len(cube), -1), rng, replicates=replicates)
        resampled = resampled.reshape(replicates, *totals.shape)
    noise = _apart(resampled) - difference
    made = []
    for g, m in enumerate(np.bincount(group)):
        d = float(counted[g])
        p = (1 + np.count_nonzero(null[:, g] >= d * (1 - 1e-9))) / (1 + replicates)
        tail = float(stats.norm.cdf(-stats.t.ppf(0.975, m - 1)))
        reach = min(1.0, d + 3 * float(_size(noise[:, g]).mean()) + 0.02)
        truths = np.linspace(0, reach, 25)
        unit = difference[g] / d if d > 0 else difference[g]
        draws = np.stack([_size(t * unit + noise[:, g]) for t in truths])
        # At no difference the exchanges are the better null.
        draws[0] = null[:, g]
        low, middle, high = np.maximum.accumulate(np.quantile(draws, [tail, 0.5, 1 - tail], axis=1), axis=1)
        ends = [float(np.interp(d, curve, truths)) for curve in (high, middle, low)]
        made.append(Estimate(ends[1], ends[0], ends[2], float(null[:, g].mean()), float(p)))
    return made


def _size(difference: Floats) -> Floats:
    """Half the sum of absolute differences over the last axis."""
    return np.asarray(0.5 * abs(difference).sum(axis=-1))


def _apart(totals: Floats) -> Floats:
    """Each group's shares less those of all other groups together, [..., n_groups, n_classes]."""
    rest = totals.sum(axis=-2, keepdims=True) - totals
    with np.errstate(invalid="ignore", divide="ignore"):
        return totals / totals.sum(axis=-1, keepdims=True) - rest / rest.sum(axis=-1, keepdims=True)


def _by_block(counts: Floats, group: NDArray[np.intp], block: ArrayLike) -> Floats | None:
    """Counts [n_blocks, n_groups, n_classes] where every block holds one prompt of each group, else None.

    Groups are then compared block by block, so that what differs between blocks alike in all groups (such as a
    template, or the other axes of a prompt) is no noise.
    """
    at = np.unique(block, return_inverse=True)[1]
    shape = (at.max() + 1, group.max() + 1)
    cell = at * shape[1] + group
    if shape[0] < 2 or len(cell) != shape[0] * shape[1] or len(np.unique(cell)) != len(cell):
        return None
    return counts[np.argsort(cell)].reshape(*shape, counts.shape[1])


def _totals(counts: Floats, group: NDArray[np.intp]) -> Floats:
    totals = np.zeros((group.max() + 1, counts.shape[1]))
    np.add.at(totals, group, counts)
    return totals


def _with_columns(counts: ArrayLike) -> Floats:
    """Without the classes that no image has."""
    c = np.asarray(counts, float)
    return c[:, c.sum(axis=0) > 0]


def _left_out(
    counts: Floats, group: NDArray[np.intp], totals: Floats, g: int, statistic: Callable[[Floats], Floats]
) -> Floats:
    """The statistic without each prompt of group g in turn, the group's size kept; [n_prompts of g]."""
    mine = counts[group == g]
    made = []
    for part in np.array_split(mine, max(1, len(mine) // 1000)):
        tables = np.repeat(totals[None], len(part), axis=0)
        rows = totals[g] - part
        with np.errstate(invalid="ignore", divide="ignore"):
            tables[:, g] = rows * (totals[g].sum() / rows.sum(axis=1, keepdims=True))
        made.append(statistic(tables))
    return np.concatenate(made)


def _jackknife(found: float, left_out: Sequence[Floats]) -> tuple[float, float, float]:
    """Bias-corrected value, standard error and degrees of freedom from leave-one-out values of each stratum."""
    bias = sum((len(v) - 1) * (v.mean() - found) for v in left_out)
    parts = np.array([(len(v) - 1) / len(v) * ((v - v.mean()) ** 2).sum() for v in left_out])
    dfs = np.array([len(v) - 1 for v in left_out])
    total = float(parts.sum())
    df = total**2 / float((parts**2 / dfs).sum()) if total > 0 else float(dfs.sum())
    return float(found - bias), float(np.sqrt(total)), df

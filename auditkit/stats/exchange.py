"""Tests that exchange whole prompts between groups, within blocks of prompts that are otherwise alike."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]

TAIL = 10
"""A p-value with fewer exchanges beyond it than this is read off a fitted tail."""


def exchanges(group: ArrayLike, block: ArrayLike, rng: np.random.Generator, replicates: int) -> Iterator[Indices]:
    """Prompts by group after exchanges within blocks, in chunks of replicates.

    Yields [r, P]: the prompts in the order of the groups, so that each group keeps its number of prompts, and of
    each block's prompts.
    """
    group, block = np.asarray(group, np.intp), np.asarray(block)
    by_group, by_block = np.argsort(group, kind="stable"), np.argsort(block, kind="stable")
    at = np.unique(block[by_block], return_inverse=True)[1].astype(float)
    chunk = max(1, min(replicates, 200_000 // max(len(group), 1)))
    moved = np.empty((chunk, len(group)), np.intp)
    for start in range(0, replicates, chunk):
        r = min(chunk, replicates - start)
        # Random keys below 1 keep every prompt in its block.
        moved[:r, by_block] = by_block[np.argsort(at + rng.random((r, len(group))), axis=1)]
        yield moved[:r, by_group]


def exchanged_sums(
    values: ArrayLike, group: ArrayLike, block: ArrayLike, rng: np.random.Generator, replicates: int
) -> Iterator[Floats]:
    """Sums of the values by group after exchanges, in chunks: yields [r, n_groups, n_values].

    Args:
        values: [P, n_values] of each prompt. group: [P] index, 0 to n_groups - 1. block: [P], any labels.
    """
    from scipy import sparse

    v, group = np.ascontiguousarray(values, np.float64), np.asarray(group, np.intp)
    sizes = np.bincount(group)
    for moved in exchanges(group, block, rng, replicates):
        r, p = moved.shape
        ends = np.concatenate([[0], np.cumsum(np.tile(sizes, r))])
        picks = sparse.csr_matrix((np.ones(r * p), moved.ravel(), ends), shape=(r * len(sizes), p))
        yield (picks @ v).reshape(r, len(sizes), v.shape[1])


def n_exchanges(group: ArrayLike, block: ArrayLike) -> float:
    """How many different exchanges there are, infinite above about 1e308; 1: nothing can be exchanged."""
    table = _table(group, block)
    log = (special.gammaln(table.sum(axis=1) + 1) - special.gammaln(table + 1).sum(axis=1)).sum()
    return float(np.exp(min(log, 709.0)))


@dataclass(frozen=True)
class Contrasts:
    """Each group against the mean of the other groups' prompts, by value; arrays float64 [n_groups, n_values].

    Attributes:
        difference: mean over the group's prompts less the mean over the others'.
        error: its standard error. df: its degrees of freedom.
        p_value: two-sided, by exchanging prompts.
    """

    difference: Floats
    error: Floats
    df: Floats
    p_value: Floats


def contrasts(
    values: ArrayLike,
    group: ArrayLike,
    block: ArrayLike,
    rng: np.random.Generator,
    *,
    replicates: int = 2000,
    equal_variances: bool = False,
) -> Contrasts:
    """Compare each group with the rest, for many values at once.

    The statistic is t: paired by block, or Welch's where there is one block only; |t| is compared with that of
    exchanged prompts. That is exact where groups are alike, and right with many prompts also where only their means
    are (Janssen 1997, Stat. Probab. Lett. 36:9-21; Chung and Romano 2013, Ann. Stat. 41:484-507).

    Groups with equally many prompts have one null distribution, so that their exchanges are pooled, each value by
    itself: with 20 groups, 2,000 exchanges give 40,000 draws. Where fewer than ten of them reach the statistic,
    the p-value is read off the tail of Student's t with one less degrees of freedom than the smaller side has
    prompts, scaled to pass through the tenth largest draw (after Knijnenburg et al. 2009, Bioinformatics
    25:i161-i168, who fit a Pareto tail). It is never below one over the number of different exchanges.

    Args:
        values: [P, n_values], one row a prompt. group: [P] index, 0 to n_groups - 1, every group with two
            prompts and not all prompts. block: [P] labels within which prompts may change places: one block, or
            blocks that hold one prompt of each group.
        equal_variances: one variance for all in place of each group's own: for shares of rare classes, where a
            group without any would have no variance.

    Raises:
        ValueError: a group with fewer than two prompts, fewer than two groups, or blocks of another kind.
    """
    v, group = np.asarray(values, float), np.asarray(group, np.intp)
    sizes = np.bincount(group)
    if len(sizes) < 2 or sizes.min() < 2:
        raise ValueError("contrasts need two groups, each with two prompts")
    table = _table(group, block)
    if len(table) > 1 and (table != 1).any():
        raise ValueError("contrasts need one block, or blocks with one prompt of each group")
    at = np.unique(block, return_inverse=True)[1]
    means = np.zeros((len(table), v.shape[1]))
    np.add.at(means, at, v)
    scale = np.maximum(abs(v).max(axis=0, initial=0), 1e-300)
    v = v - (means / table.sum(axis=1, keepdims=True))[at]
    # Values that do not differ at all are rounding noise after the mean is taken out.
    v[:, np.ptp(v, axis=0) <= 1e-12 * scale] = 0
    both = np.hstack([v, v**2])
    one_hot = np.eye(len(sizes))[:, group]
    test = _Test(sizes, len(table), (v**2).sum(axis=0), equal_variances)
    difference, error, df = test((one_hot @ both)[None])
    seen = abs(_ratio(difference, error))[0]
    profiles = np.unique(sizes, return_inverse=True)[1]
    reached = np.zeros(seen.shape)
    top = {key: np.zeros((TAIL, v.shape[1])) for key in np.unique(profiles)}
    for sums in exchanged_sums(both, group, block, rng, replicates):
        t = abs(_ratio(*test(sums)[:2]))
        for key in top:
            mine = np.flatnonzero(profiles == key)
            null = t[:, mine].reshape(-1, v.shape[1])
            for g in mine:
                reached[g] += (null >= seen[g] * (1 - 1e-9)).sum(axis=0)
            top[key] = np.partition(np.concatenate([top[key], null]), -TAIL, axis=0)[-TAIL:]
    pooled = replicates * np.bincount(profiles)[profiles][:, None]
    p = (1 + reached) / (1 + pooled)
    nu = np.minimum(sizes, sizes.sum() - sizes)[:, None] - 1
    tenth = np.array([top[key].min(axis=0) for key in profiles])
    with np.errstate(invalid="ignore", divide="ignore"):
        tail = TAIL / pooled * stats.t.sf(seen, nu) / stats.t.sf(tenth, nu)
    few = (reached < TAIL) & np.isfinite(tail) & (pooled >= TAIL)
    p = np.where(few, np.minimum(tail, (TAIL + 1) / (1 + pooled)), p)
    floor = 1 / n_exchanges(group, block)
    return Contrasts(difference[0], error[0], df[0], np.clip(p, floor, 1.0))


@dataclass(frozen=True)
class _Test:
    """Difference, error and degrees of freedom from sums [r, G, 2 C] of values less their block's mean, and squares."""

    sizes: Indices
    n_blocks: int
    whole: Floats
    equal_variances: bool

    def __call__(self, sums: Floats) -> tuple[Floats, Floats, Floats]:
        c = len(self.whole)
        total, squares = sums[..., :c], sums[..., c:]
        m = self.sizes[:, None].astype(float)
        k = self.sizes.sum() - m
        # The others sum to minus the group's own.
        difference = total / m + total / k
        own = np.maximum(squares - total**2 / m, 0)
        rest = np.maximum(self.whole - squares - total**2 / k, 0)
        if self.equal_variances:
            df = np.broadcast_to(np.maximum(m + k - self.n_blocks - 1, 1), own.shape)
            return difference, np.sqrt((own + rest) / df * (1 / m + 1 / k)), df
        if self.n_blocks > 1:
            # Within a block the group less the others' mean is G / (G - 1) times the group less the block's mean.
            scale = (len(self.sizes) / (len(self.sizes) - 1)) ** 2
            return difference, np.sqrt(scale * own / (m - 1) / m), np.broadcast_to(m - 1, own.shape)
        own, rest = own / (m - 1) / m, rest / np.maximum(k - 1, 1) / k
        with np.errstate(invalid="ignore", divide="ignore"):
            df = (own + rest) ** 2 / (own**2 / (m - 1) + rest**2 / np.maximum(k - 1, 1))
        return difference, np.sqrt(own + rest), np.where(np.isfinite(df), df, m - 1)


def _ratio(difference: Floats, error: Floats) -> Floats:
    """t, 0 where nothing differs."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(abs(difference) > 0, difference / np.maximum(error, 1e-300), 0.0)


def _table(group: ArrayLike, block: ArrayLike) -> Floats:
    """Prompts by block and group, [n_blocks, n_groups]."""
    group, at = np.asarray(group, np.intp), np.unique(block, return_inverse=True)[1]
    table = np.zeros((at.max() + 1, group.max() + 1))
    np.add.at(table, (at, group), 1)
    return table

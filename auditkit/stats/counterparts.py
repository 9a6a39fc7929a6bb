"""Prompts beside the same prompts with one thing left out: tests that let them change places, and mean differences."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

Floats = NDArray[np.float64]

EXACT_PAIRS = 16
"""Up to this many pairs every pattern of signs is tried; with more, a random sample of them."""

BLOCK = 4096


def sign_flip_test(differences: ArrayLike, rng: np.random.Generator, *, replicates: int = 2000) -> Floats:
    """Two-sided p-values that the pairs' differences lie about 0: each pair's two prompts may change places.

    Fisher's randomisation test of the mean difference (1935, The Design of Experiments, section 21): the share of sign
    patterns whose sum is as far from 0 as the one found. Exact for up to 16 pairs, and then at least 2^(1 - pairs);
    beyond, p = (1 + #{permuted >= found}) / (1 + R) (Phipson and Smyth 2010, SAGMB 9:39).

    Args:
        differences: [n_pairs, ...], finite; any number of statistics, which share the patterns.
        rng: the source of randomness. replicates: R, where not every pattern is tried.

    Returns:
        float64 [...], in (0, 1]; NaN without pairs.

    >>> sign_flip_test([[1, 0], [2, 0], [1, 0], [3, 0], [1, 0]], np.random.default_rng(0)).tolist()
    [0.0625, 1.0]
    """
    d = np.asarray(differences, float)
    pairs, shape = len(d), d.shape[1:]
    if pairs == 0:
        return np.full(shape, np.nan)
    flat = d.reshape(pairs, -1)
    found = abs(flat.sum(axis=0)) * (1 - 1e-9) - 1e-12
    exact = pairs <= EXACT_PAIRS
    # A pattern and its opposite lie equally far out, so half of them are enough.
    total = 2 ** (pairs - 1) if exact else replicates
    reached = np.zeros(flat.shape[1])
    for start in range(0, total, BLOCK):
        size = min(BLOCK, total - start)
        if exact:
            codes = np.arange(start, start + size)[:, None]
            signs = 1.0 - 2.0 * ((codes >> np.arange(pairs)) & 1)
        else:
            signs = rng.choice((-1.0, 1.0), size=(size, pairs))
        reached += (abs(signs @ flat) >= found).sum(axis=0)
    p = reached / total if exact else (1 + reached) / (1 + total)
    return p.reshape(shape)


def odd_one_test(blocks: Sequence[ArrayLike], rng: np.random.Generator, *, replicates: int = 2000) -> Floats:
    """Two-sided p-values that the first of each block is like the others of its block.

    Permutation test of the mean over blocks of (mean of the others - first): under the null any of the block's members
    might have been the first. p = (1 + #{permuted >= found}) / (1 + R).

    Args:
        blocks: each [n_members, m], two members or more. rng: the source of randomness. replicates: R.

    Returns:
        float64 [m], in (0, 1].

    >>> blocks = [[[0.0], [1.0], [1.0], [1.0], [1.0]]] * 3
    >>> bool(odd_one_test(blocks, np.random.default_rng(0), replicates=500)[0] < 0.02)
    True
    """
    members = [np.asarray(block, float) for block in blocks]
    apart = [(x.sum(axis=0) - len(x) * x) / (len(x) - 1) for x in members]
    found = np.sum([each[0] for each in apart], axis=0)
    drawn = np.zeros((replicates, *found.shape))
    for each in apart:
        drawn += each[rng.integers(len(each), size=replicates)]
    reached = (abs(drawn) >= abs(found) * (1 - 1e-9) - 1e-12).sum(axis=0)
    return np.asarray((1 + reached) / (1 + replicates), float)


def mean_difference(
    differences: ArrayLike, *, step: float = 0.0, confidence: float = 0.95
) -> tuple[Floats, Floats, Floats]:
    """Mean over pairs and its t interval.

    Args:
        differences: [n_pairs, ...]. step: the smallest change that a pair can show (one image in its n: 1/n), for
            shares; two pairs more, one a step up and one a step down, are added to the variance, so that pairs which
            all agree do not claim to know the difference exactly. 0 for numbers that vary continuously.

    Returns:
        estimate, low, high, float64 [...]; the limits are NaN with fewer than two pairs, all are without any.

    Coverage of a nominal 95% for differences of shares, simulated: see tests/test_stats_counterparts.py.

    >>> estimate, low, high = mean_difference([0.25, 0.0, 0.25, 0.5], step=0.25)
    >>> float(estimate), round(float(low), 3), round(float(high), 3)
    (0.25, -0.209, 0.709)
    """
    d = np.asarray(differences, float)
    pairs = len(d)
    if pairs < 2:
        estimate = d[0] if pairs else np.full(d.shape[1:], np.nan)
        return np.asarray(estimate, float), np.full(d.shape[1:], np.nan), np.full(d.shape[1:], np.nan)
    estimate = d.mean(axis=0)
    squares = ((d - estimate) ** 2).sum(axis=0) + 2 * step**2
    half = special.stdtrit(pairs - 1, 0.5 + confidence / 2) * np.sqrt(squares / (pairs - 1) / pairs)
    return estimate, estimate - half, estimate + half

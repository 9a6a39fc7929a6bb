"""Permutation tests whose unit is the prompt: images of one prompt are alike, so they stay together."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

FEWEST_PROMPTS = 5
"""In a group and in the rest, for a difference to be divided by its standard error."""

BLOCK = 1_000_000
"""Permuted prompts at a time, which bounds the memory."""


def group_against_rest(
    hits: ArrayLike, sizes: ArrayLike, groups: ArrayLike, rng: np.random.Generator, *, replicates: int = 2000
) -> tuple[Floats, Floats]:
    """Each group's share of hits less that of all other images, and its two-sided p-value.

    Permutes whole prompts among the groups, whose numbers of prompts stay. Where group and rest have 5 prompts
    or more the difference is divided by its standard error between prompts, so that the test also holds
    where the groups vary unequally (Janssen 1997, Stat. Probab. Lett. 36:9-21).
    p is twice the smaller of both sides' (1 + #{permuted as far out}) / (1 + R) (Phipson and Smyth 2010, SAGMB 9:39).

    Args:
        hits: images of each prompt that have the property, [n_prompts]. sizes: its images, > 0.
        groups: [n_prompts], index of each prompt's group, 0 to G - 1.
        rng: the source of randomness. replicates: R.

    Returns:
        difference, p_value: float64 [G]; NaN with one group only.

    >>> hits, sizes = [0, 0, 0, 0, 0, 5, 5, 4, 5, 5], [5] * 10
    >>> difference, p = group_against_rest(hits, sizes, [0] * 5 + [1] * 5, np.random.default_rng(0))
    >>> difference.round(2).tolist(), bool((p < 0.02).all())
    ([-0.96, 0.96], True)
    """
    u, n, g = np.asarray(hits, float), np.asarray(sizes, float), np.asarray(groups, np.intp)
    order = np.argsort(g, kind="stable")
    u, n, g = u[order], n[order], g[order]
    names, starts, counts = np.unique(g, return_index=True, return_counts=True)
    if len(names) < 2 or np.any(n <= 0):
        return np.full(len(names), np.nan), np.full(len(names), np.nan)
    moments = np.stack([u, n, u * u, u * n, n * n])
    found = _differences(moments[:, None], starts, counts)
    above, below = np.zeros(len(names)), np.zeros(len(names))
    for size in _blocks(replicates, len(n)):
        permuted = rng.permuted(np.broadcast_to(np.arange(len(n)), (size, len(n))), axis=1)
        drawn = _differences(moments[:, permuted], starts, counts)
        above += (drawn[1] >= found[1] - 1e-12).sum(axis=0)
        below += (drawn[1] <= found[1] + 1e-12).sum(axis=0)
    # Each side by itself: of rare hits, groups without any lie far out below, and would hide one that lies above.
    return found[0][0], np.minimum(2 * (1 + np.minimum(above, below)) / (1 + replicates), 1.0)


def _differences(moments: Floats, starts: NDArray[np.intp], counts: NDArray[np.intp]) -> tuple[Floats, Floats]:
    """Differences and test statistics, each [R, G], from the prompts' moments [5, R, n_prompts]."""
    own = np.add.reduceat(moments, starts, axis=-1)
    rest = own.sum(axis=-1, keepdims=True) - own
    other = counts.sum() - counts
    shares, variances = zip(*(_ratio(part, many) for part, many in ((own, counts), (rest, other))), strict=True)
    difference = shares[0] - shares[1]
    error = np.sqrt(variances[0] + variances[1])
    few = np.minimum(counts, other) < FEWEST_PROMPTS
    # No variance on either side: any difference at all is further out than every other.
    scaled = difference / np.where(error > 1e-12, error, 1e-12)
    return difference, np.where(few, difference, scaled)


def _ratio(moments: Floats, counts: NDArray[np.intp]) -> tuple[Floats, Floats]:
    """The ratio sum u / sum n and its variance between prompts (Cochran 1977, eq. 2.45)."""
    u, n, uu, un, nn = moments
    share = u / n
    residual = np.maximum(uu - 2 * share * un + share**2 * nn, 0.0)
    return share, residual / n**2 * counts / np.maximum(counts - 1, 1)


def _blocks(replicates: int, width: int) -> Iterator[int]:
    step = max(BLOCK // max(width, 1), 1)
    for start in range(0, replicates, step):
        yield min(step, replicates - start)


def dependence_within_prompts(
    tables: ArrayLike, rng: np.random.Generator, *, replicates: int = 2000
) -> tuple[Floats, Floats]:
    """Sum over prompts of `covariance_within`, found and permuted.

    Permuting one label among the images of each prompt keeps both labels' margins, so that tables are drawn
    from their exact distribution under independence (Patefield 1981, Appl. Stat. 30:91-97): the generalised test
    of Cochran, Mantel and Haenszel (Landis, Heyman and Koch 1978, Int. Stat. Rev. 46:237-254) without its
    large-sample step. What prompts differ in cancels out.

    Args:
        tables: images of each prompt by the two labels, [n_prompts, a, b]. rng: the source of randomness.
        replicates: R.

    Returns:
        found [a, b] and permuted [R, a, b], float64; zeros where no prompt has two images.
    """
    from scipy.stats import random_table

    k = np.asarray(tables, np.int64)
    permuted = np.zeros((replicates, *k.shape[1:]))
    for table in k:
        # Without empty rows and columns: with an empty first row scipy 1.17 draws negative counts.
        kept = np.ix_(table.any(axis=1), table.any(axis=0))
        rows, columns, n = table[kept].sum(axis=1), table[kept].sum(axis=0), table.sum()
        if min(len(rows), len(columns)) > 1:
            drawn = random_table(rows, columns).rvs(replicates, method="patefield", random_state=rng)
            permuted[:, *kept] += (drawn - np.outer(rows, columns) / n) * (n / (n - 1))
    return covariance_within(k).sum(axis=0), permuted


def covariance_within(tables: ArrayLike) -> Floats:
    """(k - r c' / n) n / (n - 1) of each prompt with joint counts k and margins r, c over n images.

    On average n times the covariance of the labels' indicators; 0 for a single image.

    >>> covariance_within([[[2, 0], [0, 2]]]).round(3).tolist()
    [[[1.333, -1.333], [-1.333, 1.333]]]
    """
    k = np.asarray(tables, float)
    n = k.sum(axis=(1, 2))[:, None, None]
    expected = k.sum(axis=2)[:, :, None] * k.sum(axis=1)[:, None, :] / np.maximum(n, 1)
    return np.where(n > 1, (k - expected) * n / np.maximum(n - 1, 1), 0.0)

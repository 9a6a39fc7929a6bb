"""Statistics of embeddings: distance between two sets, effective number of different images, nearest neighbours.

Embeddings are unit rows, float32 or float64 [n, dim]; the cluster is the prompt.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

Floats = NDArray[np.float64]
Embeddings = NDArray[np.floating]
_BLOCK = 1024


@dataclass(frozen=True)
class Estimate:
    """A number with its interval; `low` and `high` are NaN where there are too few prompts for one."""

    estimate: float
    low: float
    high: float


def bandwidth(reference: Embeddings, *, most: int = 2000) -> float:
    """Median squared distance between different rows of the reference (Gretton et al. 2012, JMLR 13, section 8).

    Of at most `most` rows, evenly spaced. Taken from the reference alone, so that runs held against one reference are
    measured with one kernel.
    """
    rows = np.asarray(reference)[:: max(1, -(-len(reference) // most))]
    cosine = rows @ rows.T
    return float(max(np.median(2 - 2 * cosine[np.triu_indices(len(rows), 1)]), 1e-6))


def squared_distance(
    x: Embeddings, prompts: ArrayLike, reference: Embeddings, *, scale: float, sources: ArrayLike | None = None
) -> Estimate:
    """Unbiased estimate of the squared maximum mean discrepancy, kernel exp(-||x - y||^2 / scale).

    Gretton et al. (2012), lemma 6, but pairs of one prompt, and of one source in the reference, are left out: they are
    no independent draws, and would pull the estimate up. It may fall below 0, its expectation where both sets come
    from one distribution. The interval is by leaving out a prompt at a time (jackknife, t with G - 1 degrees); the
    reference is taken as it is.

    Coverage of a nominal 95%, 500 simulated audits a setting, 10 to 50 prompts x 5 images, intraclass correlations 0
    and .3: 94.0-96.2%; 98.5% where both sets are of one kind (200 audits).

    Args:
        x: unit rows [n, dim]. prompts: int [n]. reference: unit rows [m, dim].
        scale: see `bandwidth`. sources: int [m], rows of one source share a number; None: each is its own.
    """
    within, counts = _kernel_sums(x, x, scale, prompts, prompts)
    across, _ = _kernel_sums(x, reference, scale, prompts, np.zeros(len(reference), np.intp))
    number = np.arange(len(reference)) if sources is None else np.asarray(sources)
    own = _own_mean(reference, number, scale)
    g, sizes = len(counts), counts
    nan = float("nan")
    if g < 2 or not np.isfinite(own):
        return Estimate(nan, nan, nan)
    np.fill_diagonal(within, 0)

    def value(xx: Floats, pairs: Floats, xy: Floats, n: Floats) -> Floats:
        return np.asarray(xx / pairs + own - 2 * xy / (n * len(reference)))

    n = float(sizes.sum())
    xx, pairs, xy = within.sum(), n**2 - (sizes**2).sum(), across[:, 0].sum()
    whole = float(value(xx, pairs, xy, np.array(n)))
    if g < 3:
        return Estimate(whole, nan, nan)
    fewer = n - sizes
    left = value(xx - 2 * within.sum(axis=1), pairs - 2 * sizes * fewer, xy - across[:, 0], fewer)
    return _jackknife(whole, left)


def _jackknife(whole: float, left: Floats) -> Estimate:
    g = len(left)
    se = float(np.sqrt((g - 1) / g * ((left - left.mean()) ** 2).sum()))
    half = float(stats.t.ppf(0.975, g - 1)) * se
    return Estimate(whole, whole - half, whole + half)


def _kernel_sums(
    x: Embeddings, y: Embeddings, scale: float, first: ArrayLike, second: ArrayLike
) -> tuple[Floats, Floats]:
    """Kernel summed over the pairs of each two clusters, float64 [G, H], and the sizes of the first clusters."""
    a = np.unique(np.asarray(first), return_inverse=True)[1]
    b = np.unique(np.asarray(second), return_inverse=True)[1]
    order_a, order_b = np.argsort(a, kind="stable"), np.argsort(b, kind="stable")
    sizes_a, starts_b = np.bincount(a), np.flatnonzero(np.diff(b[order_b], prepend=-1))
    rows, columns = np.asarray(x, np.float32)[order_a], np.asarray(y, np.float32)[order_b].T
    by_column = np.empty((len(rows), len(starts_b)))
    for start in range(0, len(rows), _BLOCK):
        part = rows[start : start + _BLOCK] @ columns
        np.exp((part - 1) * np.float32(2 / scale), out=part)
        by_column[start : start + _BLOCK] = np.add.reduceat(part, starts_b, axis=1, dtype=np.float64)
    starts_a = np.concatenate([[0], np.cumsum(sizes_a)[:-1]])
    return np.add.reduceat(by_column, starts_a, axis=0), sizes_a.astype(float)


def _own_mean(reference: Embeddings, sources: NDArray[np.intp], scale: float) -> float:
    """Mean kernel over the reference's pairs of different sources; NaN where there is one source only."""
    sizes = np.unique(sources, return_counts=True)[1].astype(float)
    pairs = sizes.sum() ** 2 - (sizes**2).sum()
    if pairs == 0:
        return float("nan")
    total = own = 0.0
    order = np.argsort(sources, kind="stable")
    rows = np.asarray(reference, np.float32)[order]
    for start in range(0, len(rows), _BLOCK):
        total += float(np.exp((rows[start : start + _BLOCK] @ rows.T - 1) * np.float32(2 / scale)).sum(dtype=float))
    ends = np.cumsum(sizes.astype(int))
    for start, stop in zip(ends - sizes.astype(int), ends, strict=True):
        mine = rows[start:stop]
        own += float(np.exp((mine @ mine.T - 1) * np.float32(2 / scale)).sum(dtype=float))
    return (total - own) / pairs


def vendi(x: Embeddings, prompts: ArrayLike) -> Estimate:
    """Vendi score: the effective number of different images (Friedman and Dieng 2023, TMLR, definition 3.1).

    exp of the entropy H of the eigenvalues of X X' / n, kernel the cosine; 1 where all images are alike, n where all
    are orthogonal. It grows with n: compare sets of one size only. The interval speaks of sets of this size; it is by
    the influence function of H, -x' log(rho) x - H with rho = X' X / n, summed by prompt, on the log scale, t with
    G - 1 degrees.

    Coverage of a nominal 95%, 1,500 simulated audits a setting, intraclass correlations 0 and .3: 10 prompts x 5
    images 92.0-94.3%, 20 x 5 94.3-94.5%, 50 x 4 94.9%.

    Args:
        x: unit rows [n, dim]. prompts: int [n].

    >>> round(vendi(np.repeat(np.eye(3), 4, axis=0), np.arange(12)).estimate, 6)
    3.0
    """
    rows = np.asarray(x, np.float64)
    n = len(rows)
    nan = float("nan")
    if n == 0:
        return Estimate(nan, nan, nan)
    values, vectors = np.linalg.eigh(rows.T @ rows / n)
    logs = np.log(np.where(values > 1e-12, values, 1.0))
    entropy = float(-(np.clip(values, 0, None) * logs).sum())
    influence = -((rows @ vectors) ** 2 @ logs) - entropy
    totals = np.bincount(np.unique(np.asarray(prompts), return_inverse=True)[1], influence)
    g = len(totals)
    score = float(np.exp(entropy))
    if g < 2:
        return Estimate(score, nan, nan)
    half = float(stats.t.ppf(0.975, g - 1) * np.sqrt(g / (g - 1) * (totals**2).sum()) / n)
    return Estimate(score, float(np.exp(entropy - half)), float(np.exp(entropy + half)))


def frechet_distance(x: Embeddings, y: Embeddings) -> float:
    """Squared Frechet distance between normal distributions fitted to two sets (Heusel et al. 2017, equation 6).

    ||m_x - m_y||^2 + tr(S_x + S_y - 2 (S_x S_y)^(1/2)). Biased up by about dim / n, and by a different amount for each
    generator (Chong and Forsyth 2020).

    Args:
        x: [n, dim]. y: [m, dim].
    """
    a, b = np.asarray(x, np.float64), np.asarray(y, np.float64)
    sa, sb = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    values, vectors = np.linalg.eigh(sa)
    root = vectors * np.sqrt(np.clip(values, 0, None)) @ vectors.T
    shared = np.sqrt(np.clip(np.linalg.eigvalsh(root @ sb @ root), 0, None)).sum()
    apart = ((a.mean(axis=0) - b.mean(axis=0)) ** 2).sum()
    return max(0.0, float(apart + np.trace(sa) + np.trace(sb) - 2 * shared))  # rounding may end below


def nearest(x: Embeddings, y: Embeddings) -> NDArray[np.float32]:
    """Cosine of each row of x to the nearest row of y, float32 [n]; in blocks, for n x m too large to hold."""
    rows, columns = np.asarray(x, np.float32), np.asarray(y, np.float32).T
    out = np.empty(len(rows), np.float32)
    for start in range(0, len(rows), _BLOCK):
        out[start : start + _BLOCK] = (rows[start : start + _BLOCK] @ columns).max(axis=1)
    return out


def close_pairs(x: Embeddings, least: float) -> NDArray[np.intp]:
    """For each row how many other rows of x have a cosine of at least `least`, int [n]."""
    rows = np.asarray(x, np.float32)
    counts = np.empty(len(rows), np.intp)
    for start in range(0, len(rows), _BLOCK):
        near = rows[start : start + _BLOCK] @ rows.T >= least
        counts[start : start + _BLOCK] = near.sum(axis=1) - near[:, start:].diagonal()
    return counts

"""Means of a number measured on each image, and rank correlations, where the cluster is the prompt."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from auditkit.stats.bootstrap import expanded_percentile

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]


@dataclass(frozen=True)
class Mean:
    """A mean over images with its standard error between prompts.

    Attributes:
        estimate, se: NaN where there are too few images. low, high: t interval.
        df: degrees of freedom of `se`. n, n_prompts: images and prompts with a value.
        clustered: False where no stratum has two prompts, so that `se` is that of images of these very prompts.
    """

    estimate: float
    low: float
    high: float
    se: float
    df: float
    n: int
    n_prompts: int
    clustered: bool


def clustered_mean(
    values: ArrayLike, prompts: ArrayLike, strata: ArrayLike | None = None, *, confidence: float = 0.95
) -> Mean:
    """Mean of the values that are not NaN, a ratio estimate over prompts as clusters (Cochran 1977, section 11.8).

    The variance is G/(G - 1) times the sum over prompts of (total of the prompt - its images x mean of the
    stratum)^2, added over strata, over n^2; t with Satterthwaite's degrees of freedom. Strata of one prompt have no
    variance of their own and are put together in one.

    Coverage of a nominal 95%, 2,000 simulated audits a setting, 5 to 20 prompts of unequal size, intraclass
    correlations 0, .3 and .9: normal values 93.2-95.1%, exponential ones 91.6-95.3%.

    Args:
        values: [n_images]; NaN counts as missing.
        prompts: int [n_images]. strata: int [n_images], a prompt's images all in one; None for a single stratum.

    >>> found = clustered_mean([1, 3, 2, 4], [0, 0, 1, 1])
    >>> found.estimate, found.n_prompts, found.df
    (2.5, 2, 1.0)
    """
    x = np.asarray(values, float)
    keep = ~np.isnan(x)
    x, cluster = x[keep], np.asarray(prompts)[keep]
    nan = float("nan")
    if len(x) == 0:
        return Mean(nan, nan, nan, nan, 0.0, 0, 0, False)
    _, first, index = np.unique(cluster, return_index=True, return_inverse=True)
    counts, sums = np.bincount(index).astype(np.float64), np.bincount(index, x).astype(np.float64)
    stratum = np.zeros(len(counts), np.intp) if strata is None else np.asarray(strata)[keep][first]
    n, mean = len(x), float(sums.sum() / counts.sum())
    variance, df = _between(sums, counts, _collapsed(stratum))
    clustered = df > 0
    if not clustered:
        variance, df = (float(x.var(ddof=1)) * n, float(n - 1)) if n > 1 else (nan, 0.0)
    se = float(np.sqrt(variance)) / n
    half = float(stats.t.ppf(0.5 + confidence / 2, df)) * se if df > 0 else nan
    return Mean(mean, mean - half, mean + half, se, df, n, len(counts), clustered)


def _collapsed(stratum: Indices) -> Indices:
    values, index, sizes = np.unique(stratum, return_inverse=True, return_counts=True)
    return np.asarray(np.where(sizes[index] > 1, index, len(values)), np.intp)


def _between(sums: Floats, counts: Floats, stratum: Indices) -> tuple[float, float]:
    """Variance of the grand total about its expectation, and its degrees of freedom."""
    _, index = np.unique(stratum, return_inverse=True)
    size = np.bincount(index)
    means = np.bincount(index, sums) / np.bincount(index, counts)
    squares = np.bincount(index, (sums - counts * means[index]) ** 2)
    several = size > 1
    parts = squares[several] * size[several] / (size[several] - 1)
    if not several.any():
        return 0.0, 0.0
    total = float(parts.sum())
    if total == 0:
        return 0.0, float((size[several] - 1).sum())
    return total, total**2 / float((parts**2 / (size[several] - 1)).sum())


def welch(a: Mean, b: Mean) -> float:
    """Two-sided p-value that two independent means are equal (Welch 1947); NaN where one has no standard error.

    >>> round(welch(Mean(1, 0, 2, 0.5, 8, 9, 9, True), Mean(1, 0, 2, 0.5, 8, 9, 9, True)), 3)
    1.0
    """
    if a.df <= 0 or b.df <= 0:
        return float("nan")
    va, vb = a.se**2, b.se**2
    if va + vb == 0:
        return 1.0 if a.estimate == b.estimate else 0.0
    df = (va + vb) ** 2 / (va**2 / a.df + vb**2 / b.df)
    return float(2 * stats.t.sf(abs(a.estimate - b.estimate) / np.sqrt(va + vb), df))


@dataclass(frozen=True)
class Correlation:
    """Spearman's rank correlation with its interval; NaN where either number is the same for every image."""

    estimate: float
    low: float
    high: float


def rank_correlation(
    x: ArrayLike, y: ArrayLike, prompts: ArrayLike, rng: np.random.Generator, *, replicates: int = 2000
) -> Correlation:
    """Spearman's correlation over images, with a bootstrap interval over prompts on Fisher's scale.

    A replicate weights the prompts' moments of the ranks, which stay as they are in the sample: ranking anew in each
    changes the correlation by less than 1/n.

    Args:
        x, y: [n_images], no NaN. prompts: int [n_images].
    """
    u = stats.rankdata(np.asarray(x, float))
    v = stats.rankdata(np.asarray(y, float))
    nan = float("nan")
    if len(u) < 3 or np.ptp(u) == 0 or np.ptp(v) == 0:
        return Correlation(nan, nan, nan)
    u, v = (u - u.mean()) / u.std(), (v - v.mean()) / v.std()
    names, index = np.unique(np.asarray(prompts), return_inverse=True)
    g = len(names)
    if g < 3:  # a statement about these very prompts: the images are what is resampled
        index, units = np.arange(len(u)), len(u)
    else:
        units = g
    moments = np.stack([np.bincount(index, m) for m in (np.ones_like(u), u, v, u * u, v * v, u * v)], axis=1)
    draws = rng.multinomial(units - 1, np.full(units, 1 / units), size=replicates) @ moments
    n, su, sv, suu, svv, suv = draws.T
    with np.errstate(divide="ignore", invalid="ignore"):
        r = (suv * n - su * sv) / np.sqrt((suu * n - su**2) * (svv * n - sv**2))
    z = np.arctanh(np.clip(r[np.isfinite(r)], -1 + 1e-9, 1 - 1e-9))
    estimate = float((u * v).mean())
    if len(z) == 0:
        return Correlation(estimate, nan, nan)
    low, high = (float(np.tanh(edge)) for edge in expanded_percentile(z, g if g >= 3 else 1))
    return Correlation(estimate, min(low, estimate), max(high, estimate))

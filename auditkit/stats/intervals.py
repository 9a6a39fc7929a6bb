"""Intervals for a share, Wilson's and the exact one of Clopper and Pearson, and for a difference of two, Newcombe's."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

Floats = NDArray[np.float64]


def wilson(k: ArrayLike, n: ArrayLike, confidence: float = 0.95, *, df: float = np.inf) -> tuple[Floats, Floats]:
    """Wilson's score interval for k/n (Wilson 1927, JASA 22:209-212, p. 210).

    Args:
        k: successes, 0 <= k <= n, any shape; may be fractional (k and n both divided by a design effect).
        n: trials, broadcast against k.
        confidence: coverage aimed at, in (0, 1).
        df: degrees of freedom of an estimated design effect; infinite uses the normal quantile.

    Returns:
        low and high, float64 in [0, 1], shape of k broadcast with n; NaN where n = 0.

    >>> low, high = wilson(5, 10)
    >>> round(float(low), 4), round(float(high), 4)
    (0.2366, 0.7634)
    """
    k, n = _checked(k, n, confidence)
    z = stats.t.ppf(0.5 + confidence / 2, df)
    with np.errstate(invalid="ignore", divide="ignore"):
        p = k / n
        centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
        half = z / (1 + z**2 / n) * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    # Exactly 0 and 1 at the boundary, where rounding would leave 1e-17.
    low = np.where(k == 0, 0.0, np.clip(centre - half, 0, 1))
    high = np.where(k == n, 1.0, np.clip(centre + half, 0, 1))
    return np.where(n > 0, low, np.nan), np.where(n > 0, high, np.nan)


def clopper_pearson(k: ArrayLike, n: ArrayLike, confidence: float = 0.95) -> tuple[Floats, Floats]:
    """The exact interval for k/n (Clopper and Pearson 1934, Biometrika 26:404-413), by beta quantiles.

    Covers at least `confidence` for every share, so it is wider than `wilson`; the one for rare events.
    Arguments, shapes and NaN as in `wilson`.

    >>> low, high = clopper_pearson(0, 50)
    >>> round(float(low), 4), round(float(high), 4)
    (0.0, 0.0711)
    """
    k, n = _checked(k, n, confidence)
    tail = (1 - confidence) / 2
    low = np.where(k > 0, stats.beta.ppf(tail, k, n - k + 1), 0.0)
    high = np.where(k < n, stats.beta.ppf(1 - tail, k + 1, n - k), 1.0)
    return np.where(n > 0, low, np.nan), np.where(n > 0, high, np.nan)


def newcombe(
    k: ArrayLike, n: ArrayLike, k_other: ArrayLike, n_other: ArrayLike, confidence: float = 0.95, *, df: float = np.inf
) -> tuple[Floats, Floats]:
    """Interval for the difference k/n - k_other/n_other of two independent shares, from their Wilson limits.

    Newcombe's hybrid score interval (1998, Stat. Med. 17:873-890, method 10); holds near 0 and 1, where the
    normal approximation does not. Arguments, shapes and NaN as in `wilson`.

    >>> low, high = newcombe(56, 70, 48, 80)
    >>> round(float(low), 4), round(float(high), 4)
    (0.0524, 0.3339)
    """
    low, high = wilson(k, n, confidence, df=df)
    low_other, high_other = wilson(k_other, n_other, confidence, df=df)
    with np.errstate(divide="ignore", invalid="ignore"):
        p, other = np.asarray(k, float) / n, np.asarray(k_other, float) / n_other
    difference = p - other
    return (
        difference - np.hypot(p - low, high_other - other),
        difference + np.hypot(high - p, other - low_other),
    )


def _checked(k: ArrayLike, n: ArrayLike, confidence: float) -> tuple[Floats, Floats]:
    k, n = np.broadcast_arrays(np.asarray(k, float), np.asarray(n, float))
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, not {confidence}")
    if np.any(k < 0) or np.any(k > n):
        raise ValueError("need 0 <= k <= n")
    return k, n

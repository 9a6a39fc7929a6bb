"""Adjusted p-values over a family of tests; a NaN is no test: it stays NaN and is not counted."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def holm(p_values: ArrayLike) -> Floats:
    """Holm's step-down p-values, which hold the family-wise error rate (Holm 1979, Scand. J. Stat. 6:65-70).

    Args:
        p_values: [m], in [0, 1] or NaN.

    Returns:
        float64 [m], each at least its p-value.

    >>> holm([0.01, 0.04, 0.03]).round(4).tolist()
    [0.03, 0.06, 0.06]
    """
    return _adjusted(p_values, lambda p: np.maximum.accumulate(p * np.arange(len(p), 0, -1)))


def benjamini_hochberg(p_values: ArrayLike) -> Floats:
    """Step-up p-values, which hold the false discovery rate (Benjamini and Hochberg 1995, JRSS B 57:289-300).

    Arguments and return as in `holm`, never above it.

    >>> benjamini_hochberg([0.01, 0.04, 0.03]).round(4).tolist()
    [0.03, 0.04, 0.04]
    """

    def step_up(p: Floats) -> Floats:
        ratio = p * (len(p) / np.arange(1, len(p) + 1))  # in this order the last factor is exactly 1
        return np.minimum.accumulate(ratio[::-1])[::-1]

    return _adjusted(p_values, step_up)


def _adjusted(p_values: ArrayLike, rule) -> Floats:  # type: ignore[no-untyped-def]
    p = np.asarray(p_values, float)
    out = np.full(p.shape, np.nan)
    tested = np.flatnonzero(~np.isnan(p))
    if np.any((p[tested] < 0) | (p[tested] > 1)):
        raise ValueError("p-values must lie between 0 and 1")
    order = tested[np.argsort(p[tested], kind="stable")]
    if len(order):
        out[order] = np.minimum(rule(p[order]), 1.0)
    return out

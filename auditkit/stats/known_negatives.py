"""Thresholds and p-values from a sample of known negatives: exact at any sample size, whatever their distribution.

A new negative and n known ones are equally likely to be the largest, so that its rank says how often negatives score so
high (split conformal prediction, Vovk et al. 2005, ch. 4; tolerance limits, Wilks 1941).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Cut:
    """A threshold at a stated false positive rate.

    Attributes:
        threshold: a score above it is called positive; NaN where `status` is 'insufficient'.
        expected: the share of new negatives above it, on average over samples of negatives; at most the rate asked.
        low, high: 95% interval of that share for the very sample at hand.
        n: known negatives. needed: how many the rate asks for at least.
    """

    threshold: float
    expected: float
    low: float
    high: float
    n: int
    needed: int
    status: Literal["ok", "insufficient"]


def cut(negatives: ArrayLike, rate: float) -> Cut:
    """The lowest threshold that at most a share `rate` of new negatives exceed.

    It is the k-th largest negative, k = floor(rate (n + 1)). The share above it is Beta(k, n + 1 - k) over samples, for
    continuous scores; with ties it is smaller. The negatives must be exchangeable with the new ones: of the same kind,
    and independent of one another.

    Args:
        negatives: scores [n]; larger is more like a positive. -inf is a score like others; NaN is refused.
        rate: in (0, 1).

    Raises:
        ValueError: a rate outside its range, or NaN among the scores.

    >>> found = cut(np.arange(99.0), 0.05)
    >>> found.threshold, found.expected, found.status
    (94.0, 0.05, 'ok')
    >>> cut(np.arange(50.0), 0.01).status
    'insufficient'
    """
    known = _checked(negatives)
    if not 0 < rate < 1:
        raise ValueError(f"the rate must lie between 0 and 1, not {rate}")
    n = len(known)
    needed = math.ceil(1 / rate - 1e-9) - 1
    k = math.floor(rate * (n + 1) + 1e-9)
    if k < 1:
        nan = math.nan
        return Cut(nan, nan, nan, nan, n, needed, "insufficient")
    low, high = stats.beta.ppf([0.025, 0.975], k, n + 1 - k)
    return Cut(float(np.sort(known)[-k]), k / (n + 1), float(low), float(high), n, needed, "ok")


def p_values(scores: ArrayLike, negatives: ArrayLike) -> Floats:
    """How often a new negative scores at least so high: (1 + #{negatives >= score}) / (n + 1), float64 [m].

    At most `rate` just where the score lies above `cut(negatives, rate).threshold`. NaN scores, and all where there are
    no negatives, give NaN.

    >>> p_values([0.5, 3.5, 9.0], [1, 2, 3, 4])
    array([1. , 0.4, 0.2])
    """
    known, asked = np.sort(_checked(negatives)), np.asarray(scores, np.float64)
    if not len(known):
        return np.full(asked.shape, np.nan)
    reached = len(known) - np.searchsorted(known, asked, side="left")
    return np.where(np.isnan(asked), np.nan, (1 + reached) / (len(known) + 1))


def at_size(rate: ArrayLike, size: float, known: float) -> Floats:
    """A false match rate of a search among `known` items, for one among `size`: 1 - (1 - rate)^(size / known).

    As if every item matched independently; where some queries are more alike to everything than others, it overstates
    what larger collections do and understates what smaller ones do (Jensen).

    >>> float(at_size(0.5, 20, 10))
    0.75
    """
    return np.asarray(-np.expm1(np.log1p(-np.asarray(rate, np.float64)) * (size / known)))


def auroc(positives: ArrayLike, negatives: ArrayLike) -> float:
    """P(positive > negative) + P(equal) / 2 (Mann and Whitney 1947); NaN where either is empty.

    >>> auroc([2, 3], [1, 2])
    0.875
    """
    a, b = _checked(positives), _checked(negatives)
    if not len(a) or not len(b):
        return math.nan
    ranks = stats.rankdata(np.concatenate([a, b]))
    return float((ranks[: len(a)].sum() - len(a) * (len(a) + 1) / 2) / (len(a) * len(b)))


def roc(positives: ArrayLike, negatives: ArrayLike) -> tuple[Floats, Floats]:
    """False and true positive rates at every threshold, float64 [k] each, from (0, 0) to (1, 1)."""
    a, b = np.sort(_checked(positives)), np.sort(_checked(negatives))
    at = np.unique(np.concatenate([a, b]))[::-1]
    shares = [(len(x) - np.searchsorted(x, at, side="left")) / max(len(x), 1) for x in (b, a)]
    false, true = (np.concatenate([[0.0], share]) for share in shares)
    return false, true


def _checked(scores: ArrayLike) -> Floats:
    known = np.asarray(scores, np.float64).ravel()
    if np.isnan(known).any():
        raise ValueError("there is NaN among the scores")
    return known

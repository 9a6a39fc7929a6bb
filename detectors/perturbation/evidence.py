"""P-values of a score against benign ones: conformal for an image, exact for a set, worst case over what is benign.

The calibration has one score for each benign source and condition (as it is, JPEG 70, film grain ...). An image that
nobody perturbed, of a source drawn like these and under one of the conditions, is exchangeable with that condition's
scores; which condition is unknown, so each is tested and the largest p-value counts.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaln, gammaln

TOP = 0.05
"""The share of benign scores that a set's test looks beyond."""


def image_p_values(scores: NDArray[np.float64], calibration: NDArray[np.float64]) -> NDArray[np.float64]:
    """Conformal p-values (Vovk et al. 2005, ch. 2): (1 + benign scores at least as large) / (1 + benign scores).

    Args:
        scores: [n]; NaN gives NaN.
        calibration: [sources, conditions], no NaN.

    Returns:
        [n]: the largest over the conditions.
    """
    at_least = (calibration[None] >= scores[:, None, None]).sum(axis=1)
    p = (1 + at_least.max(axis=1)) / (1 + len(calibration))
    return np.where(np.isnan(scores), np.nan, p)


def set_p_value(scores: NDArray[np.float64], calibration: NDArray[np.float64]) -> float:
    """How likely a benign set has so many images beyond the top scores of the benign sources, in the worst condition.

    With K benign sources, the number of n exchangeable images that exceed the m-th largest of the K is
    beta-binomial, (n; m, K + 1 - m), exactly: the calibration's own chance is in it, which a binomial at m / K would
    leave out. m is `TOP` of K, at least 1.

    Args:
        scores: [n], without NaN.
        calibration: [K, conditions].
    """
    if not len(scores):
        return float("nan")
    top = rank(len(calibration))
    thresholds = np.sort(calibration, axis=0)[-top]
    beyond = (scores[:, None] > thresholds).sum(axis=0)
    return max(at_least(int(k), len(scores), len(calibration)) for k in beyond)


def rank(sources: int) -> int:
    """m: which of the largest benign scores the set's test looks beyond."""
    return max(1, round(TOP * sources))


def at_least(k: int, n: int, sources: int) -> float:
    """P(at least k of n benign images exceed the m-th largest of the benign sources' scores).

    >>> round(at_least(1, 1, 19), 3)  # beyond the largest of 19
    0.05
    """
    if k <= 0:
        return 1.0
    m = rank(sources)
    counts = np.arange(k, n + 1)
    logs = (
        gammaln(n + 1) - gammaln(counts + 1) - gammaln(n - counts + 1)
        + betaln(counts + m, n - counts + sources + 1 - m) - betaln(m, sources + 1 - m)
    )  # fmt: skip
    return float(min(1.0, np.exp(logs).sum()))


def fewest(fpr: float, sources: int) -> int:
    """Images of which all must exceed for a p-value of at most `fpr`: sets of fewer can never be called."""
    n = 1
    while at_least(n, n, sources) > fpr:
        n += 1
    return n


def combined(per_kind: dict[str, float]) -> float:
    """The largest p-value over kinds of benign sources: valid for a set of any one of them."""
    return max(per_kind.values())

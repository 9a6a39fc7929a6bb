"""Exact tails of long sums of fair signs, of thousands of terms: what latent schemes are judged by.

T = sum of e_j w_j, with whole weights w_j of a few sizes and independent fair signs e_j (the key's, once it is drawn).
`statistics.Tail` tabulates the whole law for the few hundred bits of a word. Here there are thousands of terms and one
value is asked for: the law is tilted so that the value lies in its middle (Esscher 1932), where the inverse Fourier
transform of its characteristic function is good to rounding, and tilted back. Tails of 1e-200 keep some ten digits.
"""

from __future__ import annotations

import math

import numpy as np

LEVELS = 6
"""Sizes of weights are counted in whole steps from 0 to this."""
_STEP = 0.5  # of the root mean square; the loss against unquantised weights is below 2% of the power
_LEAST = 1e-300


def whole_weights(values: np.ndarray) -> np.ndarray:
    """`values`, float [..., n], in whole steps of half their root mean square, from -6 to 6: int8 [..., n].

    What is not finite counts as 0, and so does everything where all is 0.
    """
    values = np.where(np.isfinite(values), values, 0.0)
    scale = np.sqrt(np.mean(np.square(values), axis=-1, keepdims=True))
    steps = values / (_STEP * np.where(scale > 0, scale, 1.0))
    return np.clip(np.rint(steps), -LEVELS, LEVELS).astype(np.int8)


def tail(weights: np.ndarray, value: float) -> float:
    """P(sum of e_j w_j >= value) over independent fair signs e_j; in [0, 1], 1e-300 at least where it is possible.

    Args:
        weights: whole numbers [n]; their signs do not matter.
        value: what was observed.
    """
    counts = np.bincount(np.abs(np.asarray(weights, np.int64)))
    counts[:1] = 0
    sizes = np.flatnonzero(counts)
    counts = counts[sizes]
    top = int(sizes @ counts)
    if value > top:
        return 0.0
    if not top:
        return 1.0
    # With b_j = (1 + e_j) / 2: T = 2 S - top, S = sum of w_j b_j.
    least = max(0, math.ceil((value + top) / 2))
    if least == 0:
        return 1.0
    if least == top:
        return max(_LEAST, 2.0 ** -float(counts.sum()))
    tilt = _tilt(sizes, counts, least)
    log_moment = float(counts @ (np.logaddexp(0.0, tilt * sizes) - math.log(2)))
    plus = 1 / (1 + np.exp(-tilt * sizes))
    length = 1 << top.bit_length()
    turns = np.exp(-2j * np.pi * np.arange(length // 2 + 1) / length)
    law = np.fft.irfft(np.prod([(1 - p + p * turns**s) ** c for s, c, p in zip(sizes, counts, plus, strict=True)], 0))
    beyond = np.arange(top + 1 - least)
    total = float(np.clip(law[least : top + 1], 0, None) @ np.exp(-tilt * beyond))
    return min(1.0, max(_LEAST, math.exp(log_moment - tilt * least + math.log(max(total, _LEAST)))))


def _tilt(sizes: np.ndarray, counts: np.ndarray, least: int) -> float:
    """The tilt >= 0 under which the mean of S is `least`, by bisection; 0 below the middle."""
    low, high = 0.0, 1.0

    def mean(tilt: float) -> float:
        return float((counts * sizes) @ (1 / (1 + np.exp(-tilt * sizes))))

    if mean(0.0) >= least:
        return 0.0
    while mean(high) < least and high < 64:
        low, high = high, 2 * high
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if mean(middle) < least else (low, middle)
    return low

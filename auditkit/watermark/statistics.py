"""P-values of watermarks: exact tails of soft and hard agreement, corrections for what was tried, the measured null.

The pad of a key makes every bit of the wire word uniform, so for a fixed image, over the draw of the key, the signs of
`soft * pad` are independent fair coins whatever the sizes are. The soft agreement is then a Rademacher sum with known
weights, and its tail is a finite sum that is computed here, not approximated.
"""

from __future__ import annotations

import math
from fractions import Fraction
from functools import lru_cache

import numpy as np

from auditkit.watermark.payload import PAYLOAD_BITS

LEVELS = 15
"""Sizes of soft values are counted in whole steps from 0 to this; four bits a value."""

_SURE_SHARE = 0.9  # values above this quantile of the sizes count no more than those at it
_LEAST = 5e-324


class Tail:
    """The null distribution of the soft agreement between one reading and a word, whole numbers from 0 to `top`.

    Made once a reading, it answers for any number of words. The agreement of a word is the sum of `levels` over the
    bits whose sign agrees with it; a random word reaches at least `t` with probability `table[t]`.

    Attributes:
        levels: sizes of the soft values in steps, int64 [n] in [0, 15].
        hard: the word's bits as read, uint8 [n]; arbitrary where the level is 0.
        top: the highest agreement, sum of `levels`.
        table: P(agreement >= t), float64 [top + 1]; to within rounding of each entry's own size, down to 1e-300.
    """

    def __init__(self, soft: np.ndarray):
        """Args: soft: float [n], without the key's pad; what is not finite counts as not read."""
        self.levels = quantised(soft)
        self.hard = (np.nan_to_num(np.asarray(soft, float)) > 0).astype(np.uint8)
        self.top = int(self.levels.sum())
        self.table = _tail_table(self.levels)

    def agreement(self, words: np.ndarray) -> np.ndarray:
        """Agreement of words uint8 [..., n]: int64 [...]."""
        same = np.asarray(words, np.uint8) == self.hard
        # Sums of at most 15 n: float32 is exact below 2^24, and its product is the quick one.
        return np.rint(same.astype(np.float32) @ self.levels.astype(np.float32)).astype(np.int64)

    def p_value(self, agreement: int, *, looks: float = 1) -> float:
        """P(a random word agrees at least so well), times `looks`, at most 1."""
        return combine(float(self.table[agreement]), looks)


def word_p_value(soft: np.ndarray, word: np.ndarray, *, looks: float = 1) -> float:
    """How probable it is that an image without this key's mark agrees with `word` at least as well as `soft` does.

    Args:
        soft: float [n], the key's pad taken off (`base.unpadded`); positive for 1, larger for surer.
        word: uint8 [n] in {0, 1}, fixed before the image was read.
        looks: how many readings or words this one was chosen from.

    Returns:
        In (0, 1], never NaN; 1 where nothing was read.
    """
    tail = Tail(soft)
    return tail.p_value(int(tail.agreement(word)), looks=looks)


def quantised(soft: np.ndarray) -> np.ndarray:
    """Sizes of soft values in whole steps of a robust maximum: int64 [n] in [0, `LEVELS`], blind to the signs."""
    size = np.abs(np.asarray(soft, float))
    size = np.where(np.isnan(size), 0.0, size)
    read = size[size > 0]
    if not read.size:
        return np.zeros(size.shape, np.int64)
    full = np.quantile(read, _SURE_SHARE, method="lower")  # one of the sizes, so that no infinity is averaged
    if np.isinf(full):
        return np.where(np.isinf(size), LEVELS, 0)
    with np.errstate(over="ignore"):  # a size that is out of all proportion
        return np.rint(np.minimum(size / full, 1.0) * LEVELS).astype(np.int64)


def binomial_p_value(n: int, matched: int, *, looks: float = 1) -> float:
    """P(Bin(n, 1/2) >= matched) * looks, at most 1; exact."""
    return math.exp(min(0.0, _log_binomial_tail(n, matched) + math.log(looks)))


def any_payload_p_value(n: int, matched: int, looks: float = 1) -> float:
    """P(some one of 2^64 words agrees in `matched` of `n` random bits), by the union bound, times `looks`."""
    return math.exp(min(0.0, _log_binomial_tail(n, matched) + PAYLOAD_BITS * math.log(2) + math.log(looks)))


def combine(p_value: float, tried: float) -> float:
    """Bonferroni: the p-value where it is the one picked of `tried`, in (0, 1]."""
    return min(1.0, max(p_value, _LEAST) * tried)


def null_bound(hits: int, n: int, confidence: float = 0.95) -> float:
    """The largest rate that `hits` false positives in `n` leave open (Clopper and Pearson 1934, one-sided)."""
    from scipy.special import betaincinv

    return 1.0 if hits >= n else float(betaincinv(hits + 1, n - hits, confidence))


def threshold_matches(n: int, fpr: float, *, users: int = 1, looks: int = 1) -> int | None:
    """Fewest matches of `n` bits whose p-value, over `users` words and `looks`, is at most `fpr`; None: no number is.

    >>> [threshold_matches(48, 1e-6, users=users) for users in (1, 10**3, 10**6, 10**9)]
    [41, 44, 47, None]
    """
    allowed = math.floor(Fraction(fpr) * 2**n / (users * looks))
    ways = 0
    for matched in range(n, -1, -1):
        ways += math.comb(n, matched)
        if ways > allowed:
            return matched + 1 if matched < n else None
    return 0


@lru_cache(maxsize=4096)
def _log_binomial_tail(n: int, matched: int) -> float:
    # Whole numbers of any size: nothing is lost, however far out.
    ways = sum(math.comb(n, k) for k in range(max(matched, 0), n + 1))
    return math.log(ways) - n * math.log(2) if ways else -math.inf


def _tail_table(levels: np.ndarray) -> np.ndarray:
    """P(sum of the levels of fair coins >= t) for t = 0 .. sum(levels). Sums of non-negative terms only."""
    steps = np.sort(levels[levels > 0])
    chance = np.zeros(int(steps.sum()) + 1)
    chance[0], top, halved = 1.0, 0, 0
    for count, step in enumerate(steps.tolist(), start=1):
        chance[step : top + step + 1] += chance[: top + 1].copy()
        top += step
        if count % 512 == 0:  # before the counts of ways pass 2^1024
            chance[: top + 1] *= 2.0**-512
            halved += 512
    chance *= 2.0 ** -(len(steps) - halved)
    return np.minimum(chance[::-1].cumsum()[::-1], 1.0)

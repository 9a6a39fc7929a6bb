"""How many images an audit needs: precision and power of a corrected share, before the first image is made.

What is planned for is the score test and interval of `auditkit.stats.corrected`: their variance is
effect a(p) / n + b(p), where a is that of one image and b that of the calibration set, which no number of images
removes. For two classes a = q (1 - q) / (Se + Sp - 1)^2 (Rogan and Gladen 1978, Am. J. Epidemiol. 107:71-76).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri, stdtrit

from auditkit.stats.confusion import Confusion
from auditkit.stats.corrected import inverse

Floats = NDArray[np.float64]

MOST = 1e9
"""Images beyond which a goal counts as out of reach."""


def perfect(n_classes: int) -> Confusion:
    """A scorer without errors."""
    return Confusion(np.eye(n_classes), np.full(n_classes, np.inf))


def binary(sensitivity: float, specificity: float, calibration: tuple[float, float] = (np.inf, np.inf)) -> Confusion:
    """A scorer of two classes, and how many calibration images of each class its errors were counted on.

    >>> binary(0.9, 0.8).matrix.tolist()
    [[0.9, 0.2], [0.1, 0.8]]
    """
    rows = [[sensitivity, 1 - specificity], [1 - sensitivity, specificity]]
    return Confusion(np.array(rows).round(12), np.array(calibration, float))


def with_unknown(confusion: Confusion, rate: float) -> Confusion:
    """The same scorer where a further part of the images, whatever their class, has no label.

    Args:
        rate: in [0, 1); an outcome `unknown` is added where there are as many outcomes as classes.
    """
    if not 0 <= rate < 1:
        raise ValueError(f"the unknown rate must lie in [0, 1), not {rate}")
    if confusion.factors:
        return Confusion.joint(*(with_unknown(factor, rate) for factor in confusion.factors))
    m = confusion.matrix
    if len(m) == m.shape[1]:
        m = np.vstack([m, np.zeros(m.shape[1])])
    m = m * (1 - rate)
    m[-1] += rate
    return Confusion(m, confusion.n)


@dataclass(frozen=True)
class Variance:
    """Of an estimated share: `image` / n + `floor`, n being independent images."""

    image: float
    floor: float

    def at(self, n: float) -> float:
        """With n independent images (n may be fractional: images over design effect)."""
        return self.image / n + self.floor


def share_variance(confusion: Confusion, share: float, category: int = 0) -> Variance:
    """Variance of the corrected share of one class, where the other classes part the rest evenly.

    >>> round(share_variance(binary(0.9, 0.8), 0.5).image, 4)  # .55 x .45 / .7^2
    0.5051
    """
    return _variance(confusion, mixture(share, confusion.matrix.shape[1], category), category)


def mixture(share: float, n_classes: int, category: int = 0) -> Floats:
    """Shares [n_classes]: that of one class, the others alike."""
    p = np.full(n_classes, (1 - share) / max(n_classes - 1, 1))
    p[category] = share
    return p


def _variance(confusion: Confusion, p: Floats, category: int) -> Variance:
    a, q = inverse(confusion.matrix)[category], confusion.smoothed @ p
    return Variance(float(a @ (np.diag(q) - np.outer(q, q)) @ a), float(a @ confusion.covariance(p) @ a))


@dataclass(frozen=True)
class Group:
    """How the images of one group come about.

    Attributes:
        prompts: of the group. icc: intraclass correlation of the images of one prompt, in [0, 1].
        groups: that share the estimate of the icc.
    """

    prompts: int
    icc: float = 0.0
    groups: int = 1

    def independent(self, images_per_prompt: float) -> float:
        """Images over design effect 1 + (m - 1) icc: never more than prompts / icc, whatever m is (Kish 1965).

        >>> Group(10, 0.05).independent(21)
        105.0
        """
        return self.prompts * images_per_prompt / (1 + (images_per_prompt - 1) * self.icc)

    def images_per_prompt(self, independent: float) -> float:
        """Images of each prompt that come to so many independent ones; infinite where these prompts never do.

        >>> Group(10, 0.05).images_per_prompt(105), Group(10, 0.05).images_per_prompt(200)
        (21.0, inf)
        """
        left = self.prompts - independent * self.icc
        return max(1.0, independent * (1 - self.icc) / left) if left > 1e-9 * self.prompts else math.inf

    def prompts_for(self, independent: float, images_per_prompt: float) -> float:
        """Prompts that come to so many independent images, at this many images each."""
        return independent * (1 + (images_per_prompt - 1) * self.icc) / images_per_prompt

    def quantile(self, tail: float) -> float:
        """The critical value that leaves `tail` above it; Student's where the design effect must be estimated."""
        df = 2.0 * self.groups * (self.prompts - 1)
        return float(-stdtrit(df, tail)) if self.icc > 0 and df > 0 else float(-ndtri(tail))


class _Path:
    """`share_variance` for every share, from three of them: outcomes are linear in the share, variances quadratic."""

    def __init__(self, confusion: Confusion, category: int):
        at = np.array([[v.image, v.floor] for v in (share_variance(confusion, s, category) for s in (0.0, 0.5, 1.0))])
        curve = 2 * (at[0] + at[2] - 2 * at[1])
        self._terms = np.stack([at[0], at[2] - at[0] - curve, curve])
        # Between two shares only the classes' difference carries the calibration's error.
        k = confusion.matrix.shape[1]
        self.apart = _variance(confusion, mixture(1.0, k, category) - mixture(0.0, k, category), category).floor

    def __call__(self, share: float) -> Variance:
        image, floor = np.array([1.0, share, share**2]) @ self._terms
        return Variance(max(float(image), 0.0), max(float(floor), 0.0))


def half_width(variance: Variance, n: float, *, z: float = 1.959963984540054) -> float:
    """Half the width of the interval with n independent images.

    >>> round(half_width(Variance(0.25, 0), 96), 3), round(half_width(Variance(0.25, 0), 384), 3)
    (0.1, 0.05)
    """
    return z * math.sqrt(variance.at(n))


def images_for_half_width(variance: Variance, goal: float, *, z: float = 1.959963984540054) -> float:
    """Independent images for an interval of +-goal, exact (round up); infinite where the floor forbids it.

    >>> round(images_for_half_width(Variance(0.25, 0), 0.1), 1)
    96.0
    """
    left = (goal / z) ** 2 - variance.floor
    return variance.image / left if left > 1e-12 else math.inf


@dataclass(frozen=True)
class Test:
    """One two-sided test of a share against a target.

    Attributes:
        confusion: of the scorer. category: whose share is tested. target: the share under the null, in [0, 1].
        z: critical value, see `critical`.
    """

    confusion: Confusion
    category: int
    target: float
    z: float

    __test__ = False  # no test of pytest's

    def power(self, difference: float, n: float) -> float:
        """Probability of rejecting when the share is target + difference, with n independent images.

        Phi((|d| - z sqrt V(t)) / sqrt V(t + d)): the score test takes its variance under the null; the chance of
        rejecting on the wrong side is left out.
        """
        there = self._variance(self.target + difference)
        return _power(difference, self.z, self._variance(self.target).at(n), there.at(n))

    def images(self, difference: float, power: float = 0.8) -> float:
        """Independent images that detect the difference, up or down, with this power; infinite where none do.

        Exact (round up). The worse of the two directions that stay within [0, 1].
        """
        ways = [d for d in (difference, -difference) if 0 <= self.target + d <= 1]
        return max((_least(lambda n, d=d: self.power(d, n) - power) for d in ways), default=math.inf)  # type: ignore[misc]

    def detectable(self, n: float, power: float = 0.8) -> float:
        """The least difference that n independent images detect in both directions; NaN where none is."""
        return _detectable(lambda d: self._worst(d, n) - power, max(self.target, 1 - self.target))

    def floor(self, power: float = 0.8) -> float:
        """Detectable difference with any number of images: what the calibration set leaves open."""
        return self.detectable(MOST, power)

    @cached_property
    def _variance(self) -> _Path:
        return _Path(self.confusion, self.category)

    def _worst(self, difference: float, n: float) -> float:
        ways = [d for d in (difference, -difference) if 0 <= self.target + d <= 1]
        return min(self.power(d, n) for d in ways)


@dataclass(frozen=True)
class Comparison:
    """One two-sided test of a share between two runs of one size, scored by one instrument.

    Both estimates carry the same error of the calibration, so that only its product with the difference is left.
    Runs paired by seed need fewer images than this.

    Attributes:
        baseline: the share in one run; in the other it is baseline + difference.
    """

    confusion: Confusion
    category: int
    baseline: float
    z: float

    def power(self, difference: float, n: float) -> float:
        """Probability of rejecting with n independent images in each run (pooled variance under the null)."""
        one, half, two = (self._variance(self.baseline + part * difference).image for part in (0, 0.5, 1))
        shared = difference**2 * self._variance.apart
        return _power(difference, self.z, 2 * half / n, (one + two) / n + shared)

    def images(self, difference: float, power: float = 0.8) -> float:
        """Independent images of each run that detect the difference with this power, exact (round up).

        >>> round(Comparison(perfect(2), 0, 0.5, 1.959963984540054).images(0.1))
        387
        """
        if not 0 <= self.baseline + difference <= 1:
            return math.inf
        return _least(lambda n: self.power(difference, n) - power)

    def detectable(self, n: float, power: float = 0.8) -> float:
        """The least difference that n independent images of each run detect; NaN where none is."""
        return _detectable(lambda d: self.power(d, n) - power, 1 - self.baseline)

    @cached_property
    def _variance(self) -> _Path:
        return _Path(self.confusion, self.category)


def critical(alpha: float = 0.05, *, tests: int = 1, group: Group | None = None) -> float:
    """Critical value of a two-sided test in a family of `tests`, by Holm's first and hardest step, alpha / tests.

    >>> round(critical(), 4), round(critical(tests=20), 4)
    (1.96, 3.0233)
    """
    tail = alpha / tests / 2
    return float(-ndtri(tail)) if group is None else group.quantile(tail)


def _power(difference: float, z: float, null: float, there: float) -> float:
    return float(ndtr((abs(difference) - z * math.sqrt(null)) / math.sqrt(max(there, 1e-300))))


def _least(surplus: Callable[[float], float]) -> float:
    """The least n in [1, MOST] at which a rising function is not negative; infinite where it stays so."""
    from scipy.optimize import brentq

    if surplus(MOST) < 0:
        return math.inf
    if surplus(1.0) >= 0:
        return 1.0
    return float(math.exp(brentq(lambda x: surplus(math.exp(x)), 0.0, math.log(MOST), xtol=1e-10)))


def _detectable(surplus: Callable[[float], float], most: float) -> float:
    """The least difference in (0, most] at which power suffices, for a function that rises; NaN where none."""
    from scipy.optimize import brentq

    if surplus(most) < 0:
        return math.nan
    return float(brentq(surplus, 1e-9, most, xtol=1e-9))

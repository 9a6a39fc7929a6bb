"""Rare events: how much none of n says, how many images it takes to see one, and shares that a scorer's errors blur."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from auditkit.stats.confusion import Confusion
from auditkit.stats.intervals import clopper_pearson

Floats = NDArray[np.float64]

DRAWS = 5_000


def images_to_see(share: float, probability: float = 0.95, *, effect: float = 1.0) -> int:
    """Fewest images that show an event of this share at least once with this probability: ln(1 - P) / ln(1 - share).

    Args:
        share: of images that show it, in (0, 1]. probability: P, in (0, 1).
        effect: design effect of prompts, >= 1: that many times as many images are needed.

    Raises:
        ValueError: a number outside its range.

    >>> images_to_see(0.01), images_to_see(0.001), images_to_see(0.01, effect=2)
    (299, 2995, 597)
    """
    if not (0 < share <= 1 and 0 < probability < 1 and effect >= 1):
        raise ValueError("need 0 < share <= 1, 0 < probability < 1 and effect >= 1")
    needed = 1.0 if share == 1 else math.log1p(-probability) / math.log1p(-share)
    return math.ceil(effect * needed - 1e-9)


def rule_of_three(n: float, probability: float = 0.95) -> float:
    """Largest share that none of n images leaves plausible: 1 - (1 - P)^(1/n), about 3/n (Hanley and Lippman-Hand
    1983, JAMA 249:1743-1745). One-sided, so below the end of a two-sided interval. NaN where n = 0.

    >>> round(rule_of_three(300), 4)
    0.0099
    """
    return -math.expm1(math.log1p(-probability) / n) if n > 0 else math.nan


def effective_size(n: float, effect: float, df: float = math.inf, *, confidence: float = 0.95) -> float:
    """n / effect (z / t)^2: independent images that n clustered ones are worth (Korn and Graubard 1998, Survey
    Methodology 24:193-201), t of `df` degrees of freedom for a design effect that was estimated.

    >>> effective_size(200, 2)
    100.0
    """
    tail = 0.5 + confidence / 2
    shrink = 1.0 if math.isinf(df) else float(special.ndtri(tail) / special.stdtrit(df, tail)) ** 2
    return n / effect * shrink


def exact_share(k: ArrayLike, n: ArrayLike, size: ArrayLike) -> tuple[Floats, Floats]:
    """Clopper and Pearson's interval for k/n as if seen in `size` independent images (`effective_size`).

    Exact, that is covering at least 95% at every share, where images are independent (size = n); with an estimated
    design effect approximate.
    """
    k, n, size = (np.asarray(each, float) for each in (k, n, size))
    return clopper_pearson(np.minimum(k * size / n, size), size)


@dataclass(frozen=True)
class Errors:
    """How a scorer errs on one event, and from how many independent images that is known (infinite: exactly).

    Attributes:
        sensitivity: share of images with the event that are labelled so. n_sensitivity: known from that many.
        false_positive: share of images without it that are. n_false_positive: known from that many.
    """

    sensitivity: float
    n_sensitivity: float
    false_positive: float
    n_false_positive: float


def event_errors(confusion: Confusion, event: Sequence[int], shares: ArrayLike) -> Errors:
    """Errors on the event that the class is one of `event`, in images with these shares of the classes.

    Both rates are means over classes, weighted by their shares, so that images which are mistaken for the event count
    by how many of them there are; classes without any share in the event (or outside it) count alike. Sizes are
    Kish's, 1 / sum(w^2 / m).

    Args:
        confusion: of K classes. event: indices of classes, at least one and not all.
        shares: [K], of the audited images.

    >>> known = Confusion.from_counts([[18, 1], [2, 99]])
    >>> event_errors(known, [0], [0.1, 0.9])
    Errors(sensitivity=0.9, n_sensitivity=20.0, false_positive=0.01, n_false_positive=100.0)
    """
    inside = np.zeros(confusion.matrix.shape[1], bool)
    inside[list(event)] = True
    labelled = confusion.matrix[list(event)].sum(axis=0)
    found: list[float] = []
    for side in (inside, ~inside):
        weights = np.where(side, np.asarray(shares, float), 0)
        weights = weights / weights.sum() if weights.sum() > 0 else side / side.sum()
        found += [float(weights @ labelled), float(1 / (weights**2 / confusion.n).sum())]
    return Errors(*found)


@dataclass(frozen=True)
class TrueShare:
    """Share of images that show the event in truth.

    Attributes:
        estimate: Rogan and Gladen's, cut to [0, 1]. low, high: interval, in [0, 1].
        p_none: that false positives alone bring about this many labels, were the event never shown.
    """

    estimate: float
    low: float
    high: float
    p_none: float


def melded_share(
    k: float,
    n: float,
    errors: Errors,
    rng: np.random.Generator,
    *,
    unexplained: float = 0.0,
    confidence: float = 0.95,
    draws: int = DRAWS,
) -> TrueShare:
    """True share from k of n labels, with a melded interval that holds the calibration's uncertainty.

    Estimate (k/n - f) / (s - f), s the sensitivity, f the false positive rate (Rogan and Gladen 1978). The interval
    takes the scorer to err here at most as often as on the calibration's images, since errors hang on what is shown:
    from (k/n - f) / (1 - f), no image missed, to (k/n) / s, none mistaken. Each rate is drawn from its lower or upper
    confidence distribution (beta, as behind Clopper and Pearson), so as to push the limit outward: melding (Bayer, Fay
    and Graubard 2022, arXiv 2205.13494). `p_none` is Fisher's exact one-sided test of k/n against the false positives
    of the calibration (Fay, Proschan and Brittain 2015, Biometrics 71:146-156): below half of 1 - confidence just
    where the interval leaves out 0.

    Coverage of a nominal 95%: tests/test_stats_rare.py; `lang_reiczigel`, which takes the errors to be those of the
    calibration, falls to 92% with a sensitivity known from 8 images.

    Args:
        k, n: labels and images, effective numbers where images are clustered; may be fractional.
        rng: the source of randomness. draws: of the confidence distributions.
        unexplained: share of the images whose labels no mixture of classes explains: as many more may be false
            positives, and as many more missed.

    >>> found = melded_share(0, 300, Errors(0.9, 20, 0, 600), np.random.default_rng(0))
    >>> found.estimate, found.low, round(found.high, 3), found.p_none
    (0.0, 0.0, 0.015, 1.0)
    """
    s, f = errors.sensitivity, errors.false_positive
    if n <= 0 or s <= f:
        return TrueShare(math.nan, math.nan, math.nan, math.nan)
    estimate = min(max((k / n - f) / (s - f), 0.0), 1.0)
    wrong = f * errors.n_false_positive
    fewest, most = (_confidence(k, n, side, rng, draws) for side in (-1, 1))
    false = np.minimum(_confidence(wrong, errors.n_false_positive, 1, rng, draws, f) + unexplained, 1 - 1e-9)
    right = _confidence(s * errors.n_sensitivity, errors.n_sensitivity, -1, rng, draws, s)
    tail = (1 - confidence) / 2
    low = np.quantile((fewest - false) / (1 - false), tail)
    high = np.quantile(most / np.maximum(right, 1e-9), 1 - tail) + unexplained
    return TrueShare(
        estimate,
        min(max(float(low), 0.0), estimate),
        max(min(float(high), 1.0), estimate),
        _p_none(k, n, wrong, errors, unexplained),
    )


def _confidence(
    k: float, n: float, outward: int, rng: np.random.Generator, draws: int, known: float = math.nan
) -> Floats:
    """Draws from the lower (-1) or upper (1) confidence distribution of a rate."""
    if math.isinf(n):
        return np.full(draws, known)
    k = min(max(k, 0.0), n)
    a, b = (k, n - k + 1) if outward < 0 else (k + 1, n - k)
    if a <= 0 or b <= 0:
        return np.full(draws, 0.0 if a <= 0 else 1.0)
    return rng.beta(a, b, draws)


def _p_none(k: float, n: float, wrong: float, errors: Errors, unexplained: float) -> float:
    """P(lower confidence draw of k/n <= upper confidence draw of the false positive rate), by quadrature."""
    if k <= 0:
        return 1.0
    m = errors.n_false_positive
    points = (np.arange(4096) + 0.5) / 4096
    rate = np.array([errors.false_positive]) if math.isinf(m) else special.betaincinv(wrong + 1, m - wrong, points)
    return float(special.betainc(k, n - k + 1, np.minimum(rate + unexplained, 1.0)).mean())


def lang_reiczigel(k: float, n: float, errors: Errors, *, confidence: float = 0.95) -> tuple[float, float]:
    """The interval of Lang and Reiczigel (2014, Prev. Vet. Med. 113:13-22, eq. 4, 6, 7, 16, 17) for the true share.

    Asymptotic and near 95% where sensitivity and false positive rate come from 20 images or more; for
    fewer see `melded_share`, which the measures use.

    >>> low, high = lang_reiczigel(10, 200, Errors(0.9, 100, 0.02, 200))
    >>> round(low, 3), round(high, 3)
    (0.0, 0.082)
    """
    z = float(special.ndtri(0.5 + confidence / 2))
    size, m1, m0 = n + z**2, errors.n_sensitivity + 2, errors.n_false_positive + 2
    apparent = (k + z**2 / 2) / size
    s, f = (errors.sensitivity * (m1 - 2) + 1) / m1, (errors.false_positive * (m0 - 2) + 1) / m0
    share = (apparent - f) / (s - f)
    v1, v0 = s * (1 - s) / m1, f * (1 - f) / m0
    centre = share + 2 * z**2 * (share * v1 - (1 - share) * v0)
    half = z * math.sqrt(apparent * (1 - apparent) / size + share**2 * v1 + (1 - share) ** 2 * v0) / (s - f)
    return min(max(centre - half, 0.0), 1.0), min(max(centre + half, 0.0), 1.0)

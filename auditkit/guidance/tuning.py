"""Finding the strength at which a model shows a share, and being sure of it.

The published rule for UCE stops when 10 images are within .05 of the target. For an even target that is 5 of 10: a
model that is even passes one time in four, and one of share .35 still one time in seven. Here a strength is accepted
only when an interval for its share, at a level that pays for every look, lies within the tolerance: an equivalence
test.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

Measure = Callable[[float, int], int]
"""(strength, n): how many of n new images at that strength show the class."""


@dataclass(frozen=True)
class Tuned:
    """What was found.

    Attributes:
        strength: the last that was tried. reached: whether its share is surely within the tolerance.
        k, n: images of it that show the class, and all. low, high: the interval for its share, at the level that was
            paid for all looks. images: made in all. looks: at any strength.
    """

    strength: float
    reached: bool
    k: int
    n: int
    low: float
    high: float
    images: int
    looks: int


def tune(
    measure: Measure,
    target: float,
    *,
    low: float,
    high: float,
    tolerance: float = 0.05,
    level: float = 0.95,
    first: int = 100,
    most: int = 3200,
    looks: int = 40,
) -> Tuned:
    """The strength at which the share is the target, by bisection on noisy counts; the share must rise with it.

    At one strength images are added, twice as many at each look, until Wilson's interval lies within the tolerance
    (accepted), or leaves the target out, or `most` images are made; then the search goes on in the half that the count
    points to. Each interval has the confidence 1 - (1 - level) / looks, so the chance that a strength is accepted whose
    true share is further than the tolerance from the target is at most 1 - level, over all looks together.

    Args:
        target: in (0, 1). low, high: strengths to search between. tolerance: in (0, 1).
        first, most: images at a strength's first look, and at one strength at most.

    Example: tune(lambda strength, n: ..., 0.5, low=-1, high=2).strength
    """
    from auditkit.stats.intervals import wilson

    confidence = 1 - (1 - level) / looks
    made = seen = 0
    while True:
        strength, k, n, add = (low + high) / 2, 0, 0, first
        while True:
            k, n, made, seen = k + measure(strength, add), n + add, made + add, seen + 1
            below, above = (float(end) for end in wilson(k, n, confidence))
            reached = target - tolerance <= below and above <= target + tolerance
            if reached or seen >= looks:
                return Tuned(strength, reached, k, n, below, above, made, seen)
            if not below <= target <= above or 2 * n > most:
                break
            add = n
        low, high = (strength, high) if k < target * n else (low, strength)

"""An amount that is known to lie in an interval."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

JOULES_PER_KWH = 3.6e6


@dataclass(frozen=True, slots=True)
class Amount:
    """A value >= 0 with the interval that it lies in: low <= value <= high.

    The interval is a bound on what a meter or an estimate can be wrong by, not one of sampling: amounts by the same
    meter are wrong by the same share, so that bounds add and multiply end by end.

    >>> Amount(10, 9, 11) + Amount(2, 1, 4)
    Amount(value=12, low=10, high=15)
    """

    value: float
    low: float
    high: float

    def __post_init__(self) -> None:
        if not (0 <= self.low <= self.value <= self.high and math.isfinite(self.high)):
            raise ValueError(f"no interval: {self.low} <= {self.value} <= {self.high} does not hold")

    def __add__(self, other: Amount) -> Amount:
        return Amount(self.value + other.value, self.low + other.low, self.high + other.high)

    def __mul__(self, other: Amount) -> Amount:
        return Amount(self.value * other.value, self.low * other.low, self.high * other.high)

    def scaled(self, factor: float) -> Amount:
        """Times a number >= 0 that is known exactly."""
        return Amount(self.value * factor, self.low * factor, self.high * factor)

    def as_dict(self) -> dict[str, float]:
        """For JSON, to six significant digits, which keep low <= value <= high."""
        return {"value": _rounded(self.value), "low": _rounded(self.low), "high": _rounded(self.high)}

    @classmethod
    def exactly(cls, value: float) -> Amount:
        return cls(value, value, value)

    @classmethod
    def total(cls, amounts: Iterable[Amount]) -> Amount:
        return sum(amounts, cls.exactly(0.0))


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")

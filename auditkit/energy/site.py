"""Where the work is done: the data centre's PUE and the grid's carbon intensity, as given by who knows them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from auditkit.energy.amounts import JOULES_PER_KWH, Amount
from auditkit.errors import EnergyError

PUE_ENV, INTENSITY_ENV, SOURCE_ENV = "AUDITKIT_PUE", "AUDITKIT_GRID_INTENSITY", "AUDITKIT_GRID_SOURCE"

PUE_BOUNDS = (1.0, 1.6)
"""From no overhead to the mean of data centres in the Uptime Institute's surveys of 2020 to 2023 (1.55 to 1.59)."""
INTENSITY_BOUNDS = (11.0, 820.0)
"""g CO2e per kWh over the life cycle, medians: wind onshore to coal (IPCC 2014, WG III, annex III, table A.III.2)."""
BOUNDS = "wind power at 11 g/kWh and a PUE of 1.0 to coal power at 820 g/kWh and a PUE of 1.6"


@dataclass(frozen=True)
class Site:
    """What is known of the site. None is not given, and is never filled in.

    Attributes:
        pue: power usage effectiveness, >= 1.
        intensity: carbon intensity of the grid, g CO2e per kWh, >= 0.
        source: where the intensity is from, for the reader.
    """

    pue: Amount | None = None
    intensity: Amount | None = None
    source: str = ""

    def __bool__(self) -> bool:
        return self.pue is not None or self.intensity is not None

    @classmethod
    def given(cls, pue: str | float | None = None, intensity: str | float | None = None, source: str = "") -> Site:
        """The site as options give it, the environment (AUDITKIT_PUE and so on) where they do not.

        Args:
            pue, intensity: a number, or a range `1.1-1.3` whose middle is the value.

        Raises:
            EnergyError: not a number or a range, or out of bounds.
        """
        known = os.environ if intensity is None else {**os.environ, SOURCE_ENV: ""}
        return cls(
            _span(pue, PUE_ENV, "PUE", 1.0, 10.0, "--pue 1.2"),
            _span(
                intensity, INTENSITY_ENV, "grid intensity, g CO2e per kWh,", 0.0, 5000.0,
                "--grid-intensity 350 or 300-420",
            ),
            source or known.get(SOURCE_ENV, ""),
        )  # fmt: skip

    def facility_kwh(self, joules: Amount) -> Amount | None:
        """Energy that the data centre draws for `joules` at the device."""
        return None if self.pue is None else (joules * self.pue).scaled(1 / JOULES_PER_KWH)

    def kg_co2e(self, joules: Amount) -> Amount | None:
        """Carbon of `joules` at the device; None where PUE or intensity was not given."""
        facility = self.facility_kwh(joules)
        return None if facility is None or self.intensity is None else (facility * self.intensity).scaled(1e-3)

    def kg_co2e_bounds(self, joules: Amount) -> tuple[float, float]:
        """(lowest, highest) with published bounds (`BOUNDS`) in place of what was not given."""
        pue = (self.pue.low, self.pue.high) if self.pue else PUE_BOUNDS
        intensity = (self.intensity.low, self.intensity.high) if self.intensity else INTENSITY_BOUNDS
        low, high = (
            each * factor * grams / JOULES_PER_KWH / 1000
            for each, factor, grams in zip((joules.low, joules.high), pue, intensity, strict=True)
        )
        return low, high

    def as_dict(self) -> dict[str, Any]:
        """For run.json."""
        return {
            "pue": self.pue.as_dict() if self.pue else None,
            "grid_intensity": self.intensity.as_dict() if self.intensity else None,
            "grid_source": self.source,
        }

    @classmethod
    def from_dict(cls, kept: Mapping[str, Any]) -> Site:
        """What `as_dict` gave."""
        pue, intensity = kept.get("pue"), kept.get("grid_intensity")
        return cls(
            Amount(**pue) if pue else None, Amount(**intensity) if intensity else None, kept.get("grid_source", "")
        )


def _span(
    given: str | float | None, variable: str, what: str, least: float, most: float, example: str
) -> Amount | None:
    where = repr(given)
    if given is None:
        given = os.environ.get(variable) or None
        where = f"${variable}={given}"
        example = f"{example}; or unset the variable"
    if given is None:
        return None
    try:
        ends = [float(end) for end in str(given).strip().split("-")]
        low, high = ends if len(ends) == 2 else (*ends, *ends)
        if not least <= low <= high <= most:
            raise ValueError
    except ValueError:
        raise EnergyError(
            f"the {what} must be a number or a range from {least:g} to {most:g}", where=where, mend=example
        ) from None
    return Amount((low + high) / 2, low, high)

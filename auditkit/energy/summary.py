"""Windows summed to what a run took: no joule twice, and what was not metered is said."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from auditkit.energy.amounts import Amount
from auditkit.energy.site import BOUNDS, Site
from auditkit.energy.windows import Reading, Window

PARTS = ("gpu", "cpu", "memory")
HOW = {"measured": "measured", "estimate": "estimated", "mixed": "partly measured, partly estimated"}
"""The methods in words."""
Spell = tuple[float, float, Amount]
"""Start, end and joules of one reading."""


def summarise(windows: Sequence[Window], *, images: int, site: Site | None = None) -> dict[str, Any] | None:
    """What run.json and the report say of the energy of a run; None where nothing was metered.

    Args:
        images: how many the run has.
        site: in place of what the windows carry; by default the last one that was given.

    Returns:
        `joules`, `low`, `high` at the device; `joules_per_image` over the images that were metered; `method`
        (measured, estimate or mixed) with `parts` by meter; `seconds` in which at least one process was at work;
        `images` and `images_metered`; `facility_kwh` and `kg_co2e`, None where PUE or intensity was not given, and
        `kg_co2e_bounds` with published bounds in their place; `windows` as kept.
    """
    if not windows:
        return None
    sound = [window for window in windows if not window.failed]
    parts = [part for part in (_part(name, sound) for name in PARTS) if part is not None]
    # One image can be made twice, by attempts of which one was killed: never more than there are.
    made = min(sum(window.images for window in sound), images)
    place = site or next((Site.from_dict(window.site) for window in reversed(windows) if window.site), Site())
    joules = Amount.total(part.pop("amount") for part in parts)
    each = joules.scaled(1 / made) if made and parts else None
    methods = {part["method"] for part in parts}
    low, high = place.kg_co2e_bounds(joules)
    facility, carbon = place.facility_kwh(joules), place.kg_co2e(joules)
    return {
        "method": methods.pop() if len(methods) == 1 else "mixed" if methods else "unknown",
        "joules": joules.as_dict() if parts else None,
        "joules_per_image": each.as_dict() if each else None,
        "parts": parts,
        "seconds": round(covered([(window.start, window.end) for window in sound]), 3),
        "images": images,
        "images_metered": made,
        "site": place.as_dict(),
        "facility_kwh": facility.as_dict() if facility and parts else None,
        "kg_co2e": carbon.as_dict() if carbon and parts else None,
        "kg_co2e_bounds": {"low": float(f"{low:.4g}"), "high": float(f"{high:.4g}"), "of": BOUNDS} if parts else None,
        "windows": [window.as_dict() for window in windows],
    }


def _part(name: str, windows: Sequence[Window]) -> dict[str, Any] | None:
    """The energy of one part of the machine, over all windows and meters."""
    spells: dict[tuple[str, str], list[Spell]] = defaultdict(list)
    alone: list[Amount] = []
    seen: dict[str, Reading] = {}
    for window in windows:
        for reading in window.readings:
            if reading.part != name:
                continue
            seen.setdefault(reading.how, reading)
            if reading.scope == "machine":
                spells[window.machine, reading.meter].append((window.start, window.end, reading.amount))
            else:
                alone.append(reading.amount)
    if not seen:
        return None
    amount = Amount.total([*alone, *(union(each) for each in spells.values())])
    methods = {reading.method for reading in seen.values()}
    return {
        "part": name,
        "method": methods.pop() if len(methods) == 1 else "mixed",
        "how": "; ".join(seen),
        **{"joules" if key == "value" else key: value for key, value in amount.as_dict().items()},
        "amount": amount,
    }


def union(spells: Sequence[Spell]) -> Amount:
    """Energy of one meter over the union of spells, which may overlap: it counted what they share but once.

    Where n spells overlap, the power is taken as the mean of theirs. Never less than the largest spell, never more
    than their sum.
    """
    ends = []
    for pick in (lambda a: a.value, lambda a: a.low, lambda a: a.high):
        joules = [(start, end, pick(amount)) for start, end, amount in spells]
        swept = sum(joule for start, end, joule in joules if end <= start)
        times = sorted({time for start, end, _ in joules for time in (start, end)})
        for since, until in pairwise(times):
            powers = [joule / (end - start) for start, end, joule in joules if start <= since and until <= end]
            swept += (until - since) * sum(powers) / len(powers) if powers else 0.0
        sizes = [joule for _, _, joule in joules]
        ends.append(min(max(swept, *sizes), sum(sizes)) if len(sizes) > 1 else sizes[0])
    value, low, high = ends
    return Amount(value, min(low, value), max(high, value))


def covered(spans: Sequence[tuple[float, float]]) -> float:
    """Seconds that at least one of the spans covers."""
    total, reached = 0.0, float("-inf")
    for start, end in sorted(spans):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total

"""The chapter on what the making took: joules by part and meter, an image's share, and carbon where it can be told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from auditkit.energy import HOW, Amount
from reports.chapters.base import Chapter, Table
from reports.words import MISSING, listed, plural

if TYPE_CHECKING:
    import pandas as pd

    from auditkit.runs import Run

ID, TITLE = "energy", "Energy and carbon"
PARTS = {"gpu": "GPU", "cpu": "CPU", "memory": "Memory"}
LAMP = 10.0
"""Watts of an LED lamp, to picture joules by."""
UNITS = ((1e-3, "mJ"), (1.0, "J"), (1e3, "kJ"), (1e6, "MJ"), (1e9, "GJ"))
HOURS = ((1e-6, "µWh"), (1e-3, "mWh"), (1.0, "Wh"), (1e3, "kWh"), (1e6, "MWh"))
MASSES = ((1e-9, "µg"), (1e-6, "mg"), (1e-3, "g"), (1.0, "kg"), (1e3, "t"))
TIMES = ((1.0, "second"), (60.0, "minute"), (3600.0, "hour"), (86400.0, "day"))

NOTES = (
    "Only the making of the images is in it: not the training of the generator, nor the scoring, nor what it took to "
    "build the machine.",
    "Brackets are bounds on what meter or estimate can be wrong by, not intervals of sampling; those of the parts are "
    "added end by end.",
    "A counter of a chip counts all that ran on it meanwhile, its idle power too. An estimate from core seconds counts "
    "this process alone, without the machine’s idle power.",
    "Facility energy is energy at the device × PUE, carbon is that × the grid’s intensity (Strubell et al. 2019, "
    "Lacoste et al. 2019, Patterson et al. 2021). Neither is ever assumed.",
)


def chapter(measurements: pd.DataFrame, run: Run) -> Chapter | None:
    """None where the run was not metered: imported images, those of an API, or one made before this was kept."""
    energy = run.record.get("energy")
    if energy is None:
        return None
    try:
        return Chapter(ID, TITLE, sentences(energy), [_table(energy)], NOTES)
    except (KeyError, TypeError, ValueError, AttributeError):
        return Chapter(ID, TITLE, ["What run.json says of energy is damaged. Nothing is claimed."])


def sentences(energy: dict[str, Any]) -> list[str]:
    """The finding in plain words, from run.json's `energy`."""
    if energy["joules"] is None:
        return ["The meters failed while the images were made: what that took is not known."]
    images, metered = int(energy["images"]), int(energy["images_metered"])
    total = Amount(**energy["joules"])
    out = [
        f"Making {plural(metered, 'image')} took {quantity(total, UNITS)} at the device, {HOW[energy['method']]}: "
        f"what a lamp of {LAMP:.0f} W takes in {_time(total.value / LAMP)}."
    ]
    if energy["joules_per_image"]:
        out.append(f"That is {quantity(Amount(**energy['joules_per_image']), UNITS)} an image.")
    if metered < images:
        out.append(
            f"The other {images - metered:,} of {images:,} images were made by attempts that were killed, or whose "
            "meters failed: their energy is not known and not in it."
        )
    return [*out, *_carbon(energy)]


def quantity(amount: Amount, units: tuple[tuple[float, str], ...]) -> str:
    """An amount in the unit that suits it: '72 J [25, 209]'."""
    size, unit = next(((size, unit) for size, unit in reversed(units) if amount.value >= size), units[0])
    middle, low, high = (_short(each / size) for each in (amount.value, amount.low, amount.high))
    return f"{middle} {unit} [{low}, {high}]"


def _carbon(energy: dict[str, Any]) -> list[str]:
    site = energy["site"]
    if energy["kg_co2e"]:
        source = f", {site['grid_source']}" if site["grid_source"] else ""
        return [
            f"With a PUE of {_given(site['pue'])} and {_given(site['grid_intensity'])} g CO2e per kWh{source}, that is "
            f"{quantity(Amount(**energy['kg_co2e']), MASSES)} of CO2e."
        ]
    lacking = [word for key, word in (("pue", "the PUE"), ("grid_intensity", "the grid’s intensity")) if not site[key]]
    low, high = energy["kg_co2e_bounds"]["low"], energy["kg_co2e_bounds"]["high"]
    verb = "was" if len(lacking) == 1 else "were"
    return [
        f"No carbon is claimed, for {listed(lacking)} {verb} not given; published bounds would put it between "
        f"{_mass(low)} and {_mass(high)} of CO2e ({energy['kg_co2e_bounds']['of']}, in place of what is missing)."
    ]


def _table(energy: dict[str, Any]) -> Table:
    rows = [
        [
            PARTS[part["part"]],
            quantity(Amount(part["joules"], part["low"], part["high"]), UNITS),
            HOW[part["method"]],
            str(part["how"]),
        ]
        for part in energy["parts"]
    ]
    windows, images = len(energy["windows"]), f"{energy['images_metered']:,} of {energy['images']:,}"
    over = f"{plural(windows, 'window')} of work, {_time(float(energy['seconds']))}, {images} images"
    for key, label, units, how in (
        ("joules", "All parts", UNITS, over),
        ("joules_per_image", "An image", UNITS, "all parts, over the images metered"),
        ("kg_co2e", "Carbon (CO2e)", MASSES, "facility energy × the grid’s intensity"),
    ):
        told = quantity(Amount(**energy[key]), units) if energy[key] else MISSING
        unknown = "not given" if key == "kg_co2e" and energy["joules"] else "not known"
        rows.append([label, told, HOW[energy["method"]] if energy[key] else unknown, how])
    facility = energy["facility_kwh"]
    drawn = [MISSING, "not given"]
    if facility:
        drawn = [quantity(Amount(**facility).scaled(1000), HOURS), HOW[energy["method"]]]
    rows.insert(len(rows) - 1, ["Facility", *drawn, f"all parts × PUE {_given(energy['site']['pue'])}"])
    return Table("Energy of the making", ["Part", "Energy", "Method", "How"], rows, [False, True, False, False])


def _given(span: dict[str, float] | None) -> str:
    if not span:
        return MISSING
    low, high = f"{span['low']:g}", f"{span['high']:g}"
    return low if low == high else f"{low} to {high}"


def _short(value: float) -> str:
    """Two significant digits, three from 100 on; no exponent."""
    if value >= 99.5:
        return f"{value:,.0f}"
    return f"{value:#.2g}".removesuffix(".") if value >= 0.01 else "<0.01" if value else "0"


def _mass(kilograms: float) -> str:
    size, unit = next(((size, unit) for size, unit in reversed(MASSES) if kilograms >= size), MASSES[0])
    return f"{_short(kilograms / size)} {unit}"


def _time(seconds: float) -> str:
    size, unit = next(((size, unit) for size, unit in reversed(TIMES) if seconds >= 2 * size), TIMES[0])
    return f"{seconds / size:.3g} {unit}s"

"""Plain sentences, computed from the numbers and from nothing else.

What is described is how a classifier perceives the presentation of drawn or generated people. The words say
what differs from the target and what could not be told; they pass no verdict on people or models.
"""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from auditkit.bias.targets import shipped
from reports import tables
from reports.tables import WHOLE, View, differing, findings

MISSING = "–"
"""Stands where there is no number."""

STATUS = {
    "insufficient": "Too few images for an estimate; nothing is claimed about this group.",
    "uncalibrated": "The calibration does not hold for these images, so the classifier’s errors cannot be "
    "corrected and no corrected share is given.",
}


def percent(value: float, digits: int = 0) -> str:
    """0.874 -> '87%'."""
    return f"{100 * value:.{digits}f}%" if math.isfinite(value) else MISSING


def interval(low: float, high: float, digits: int = 0) -> str:
    """(0.78, 0.93) -> '[78, 93]', in percent."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return ""
    return f"[{100 * low:.{digits}f}, {100 * high:.{digits}f}]"


def p_value(value: float) -> str:
    """0.0004 -> '<.001'; 0.0314 -> '.031'."""
    if not math.isfinite(value):
        return MISSING
    if value < 0.001:
        return "<.001"
    return "1" if value > 0.9995 else f"{value:.3f}".removeprefix("0")


def power(value: float) -> str:
    """A number over many orders of magnitude: 4.2e-23 -> '4e-23', 0.000001 -> '1e-6', 0.0314 -> '0.031'."""
    if not math.isfinite(value):
        return MISSING
    if value >= 0.001 or value == 0:
        return f"{value:.2g}"
    digits, exponent = f"{value:.0e}".split("e")
    return f"{digits}e{int(exponent)}"


def name(identifier: str) -> str:
    """An attribute, axis or class in words: 'gender+skin_tone' -> 'gender and skin tone'."""
    return identifier.replace("_", " ").replace("+", " and ")


def seen(scorer: str) -> str:
    """What a scorer read off an image, as a label: 'gender' -> 'Perceived gender'."""
    return {"cluster": "Cluster of lookalikes", "skin_pixels": "Skin tone by pixels"}.get(
        scorer, f"Perceived {name(scorer)}"
    )


def group_name(group: str) -> str:
    """A group's own name, as the spec has it; 'all' -> 'all images'."""
    return "all images" if group == WHOLE else group


def plural(count: int, noun: str) -> str:
    """(1, 'occupation') -> '1 occupation'; (2, 'category') -> '2 categories'."""
    return f"{count:,} {noun if count == 1 else many(noun)}"


def many(noun: str) -> str:
    if noun.endswith("y") and noun[-2:-1] not in "aeiou":
        return noun[:-1] + "ies"
    return noun + ("es" if noun.endswith(("s", "x", "ch", "sh")) else "s")


def target_name(reference: str) -> str:
    """The target as a noun phrase."""
    known = {"uniform": "an even split", "planted": "the generator's planted shares"}
    if reference not in known:
        titles = {one.name: one.title for one in shipped()}
        return f"the target '{reference}' ({titles[reference]})" if reference in titles else f"the target '{reference}'"
    return known[reference]


def group_noun(by: str) -> str:
    """What one group is called: 'occupation', 'condition'; 'group' where there is no axis."""
    return "group" if by == WHOLE else name(by)


def _extreme(frame: pd.DataFrame, column: str, *, highest: bool = False) -> dict[str, Any]:
    """The row with the lowest or highest value of `column`."""
    return tables.rows(frame.sort_values(column, ascending=not highest, kind="stable").head(1))[0]


def listed(items: list[str], limit: int = 6) -> str:
    """'a, b and c', cut with a count of the rest."""
    if len(items) > limit:
        return ", ".join(items[:limit]) + f" and {len(items) - limit} more"
    return items[0] if len(items) == 1 else ", ".join(items[:-1]) + " and " + items[-1]


def headline(view: View) -> list[str]:
    """What differs from the target and by how much; empty where nothing was tested."""
    tested, found, differ = len(tested_groups(view)), findings(view), differing(view)
    if not tested:
        return []
    noun, target = group_noun(view.by), f"{target_name(view.target)} of perceived {name(view.attribute)}"
    if view.by == WHOLE:
        who = "The images differ" if differ else "The images do not differ detectably"
    elif not differ:
        none = f"No {noun} of the {tested} tested differs detectably"
        who = f"The one {noun} tested does not differ detectably" if tested == 1 else none
    else:
        verb = "differs" if len(differ) == 1 else "differ"
        who = f"Of {plural(len(view.groups), noun)}, {len(differ)} {verb}"
        if tested < len(view.groups):
            who = f"Of {plural(len(view.groups), noun)}, {tested} could be tested and {len(differ)} {verb}"
    out = [f"{who} from {target} after correction for multiple testing (Holm)."]
    if found:
        top = found[0]
        where = "" if view.by == WHOLE else f"{group_name(top.group)}, "
        out.append(
            f"Largest gap: {where}{percent(top.share)} {name(top.category)} {interval(top.low, top.high)}, "
            f"where the target is {percent(top.target)}."
        )
    return out


def tested_groups(view: View) -> list[str]:
    """Groups with an estimate and a target to hold it against."""
    untold = set(view.shares.loc[view.shares["target"].isna(), "group"])
    return [group for group in estimated_groups(view) if group not in untold]


def estimated_groups(view: View) -> list[str]:
    """Groups with an estimate."""
    silent = {*view.groups_with("insufficient"), *view.groups_with("uncalibrated")}
    return [group for group in view.groups if group not in silent]


def not_proof(view: View) -> list[str]:
    """Says of groups without a difference that this does not make them equal; empty where all differ."""
    tested, differ = len(tested_groups(view)), len(differing(view))
    rest = tested - differ
    if not rest:
        return []
    perceived, noun = f"perceived {name(view.attribute)}", group_noun(view.by)
    shown = view.shares[view.shares["category"].isin(view.shown)]
    reach = 100 * float(((shown["high"] - shown["low"]) / 2).median())
    if view.by == WHOLE:
        who = f"That no difference in {perceived} was found"
    elif rest == tested:
        who = f"That no difference in {perceived} was found for any {noun}"
    else:
        who = f"That no difference in {perceived} was found for the other {rest if rest > 1 else noun}"
    return [
        f"{who} is not proof of equality: the typical 95% interval reaches {max(1, round(reach))} "
        f"{'points' if reach >= 1.5 else 'point'} to each side."
    ]


def silences(views: list[View]) -> list[str]:
    """Names the groups about which nothing is claimed, and why: said once where attributes agree."""
    because = {
        "insufficient": "too few images for an estimate",
        "uncalibrated": "no calibration that holds for the images",
    }
    alike: dict[tuple[str, tuple[str, ...]], list[View]] = {}
    for view in views:
        for status in because:
            if silent := tuple(view.groups_with(status)):
                alike.setdefault((status, silent), []).append(view)
    out = []
    for (status, groups), same in alike.items():
        noun = group_noun(same[0].by)
        perceived = "perceived " + listed([name(view.attribute) for view in same])
        if same[0].by == WHOLE:
            out.append(f"The run is {status} for {perceived}: {because[status]}. Nothing is claimed.")
        elif len(groups) == len(same[0].groups):
            who = f"The {noun} is" if len(groups) == 1 else f"All {plural(len(groups), noun)} are"
            out.append(f"{who} {status} for {perceived}: {because[status]}. Nothing is claimed.")
        else:
            verb, them = ("is", "it") if len(groups) == 1 else ("are", "them")
            out.append(
                f"{plural(len(groups), noun)} {verb} {status} for {perceived} ({because[status]}): "
                f"{listed([group_name(group) for group in groups])}. Nothing is claimed about {them}."
            )
    return out


def overall(view: View) -> list[str]:
    """The whole run's shares, and how much could not be assigned a class."""
    out = []
    rows = view.whole[view.whole["corrected"].notna() & view.whole["category"].isin(view.shown)]
    if view.by != WHOLE and not rows.empty:
        parts = [
            f"{percent(row['corrected'])} {name(row['category'])} {interval(row['low'], row['high'])}"
            for row in tables.rows(rows)
        ]
        out.append(f"Perceived {name(view.attribute)} over all images together: {listed(parts, limit=12)}.")
    unknown = view.unknown.dropna(subset="share")
    if len(unknown):
        mean = float((unknown["share"] * unknown["n_images"]).sum() / max(1, unknown["n_images"].sum()))
        top = _extreme(unknown, "share", highest=True)
        most = f", most for {group_name(top['group'])} ({percent(top['share'])})"
        out.append(
            f"The classifier left {percent(mean)} of images ‘unknown’ in {name(view.attribute)}"
            f"{most if len(unknown) > 1 and top['share'] > 0 else ''}."
        )
    return out


def uncorrected(view: View) -> list[str]:
    """The plain shares of the first class where nothing could be corrected, with their caveat."""
    rows = view.shares[(view.shares["status"] == "uncalibrated") & (view.shares["category"] == view.shown[0])]
    rows = rows.dropna(subset="classified")
    if rows.empty or estimated_groups(view):
        return []
    low, high = _extreme(rows, "classified"), _extreme(rows, "classified", highest=True)
    span = percent(high["classified"])
    if len(rows) > 1:
        span = (
            f"from {percent(low['classified'])} ({group_name(low['group'])}) to "
            f"{percent(high['classified'])} ({group_name(high['group'])})"
        )
    return [
        f"As classified, without correction, the share of {name(view.shown[0])} is {span}; such shares mix "
        "what the generator draws with the errors that the classifier makes."
    ]


def mean_distance(view: View) -> str:
    """The mean distance over groups beside what chance gives; empty where it is not known."""
    for row in tables.rows(view.mean_distance):
        return (
            f"The mean distance over {many(group_noun(view.by))} is {percent(row['distance'], 1)} "
            f"{interval(row['low'], row['high'], 1)}; by chance alone it would be "
            f"{percent(row['expected'], 1)}."
        )
    return ""


def cautions(view: View) -> list[str]:
    """Notes on estimates, each with the groups that it is about."""
    out = []
    for note, groups in tables.cautions(view).items():
        every = len(groups) == len(estimated_groups(view))
        who = "All estimates" if every else listed([group_name(group) for group in groups], limit=10)
        out.append(f"{who[0].upper()}{who[1:]}: {note}.")
    return out


def matched(fidelity: pd.DataFrame) -> list[str]:
    """How often the image shows the occupation that the prompt asked for."""
    known = fidelity.dropna(subset="share")
    if known.empty:
        return []
    mean = float((known["share"] * known["n_images"]).sum() / known["n_images"].sum())
    out = f"In {percent(mean)} of images the perceived occupation is the one in the prompt"
    low = _extreme(known, "share")
    if len(known) > 1 and low["share"] < mean:
        out += f"; lowest for {group_name(low['group'])}, {percent(low['share'])}"
    return [out + "."]


def recovered(views: list[View]) -> list[str]:
    """How many intervals hold the planted truth, over the classes that are shown."""
    out = []
    for one in views:
        cells = one.shares[one.shares["category"].isin(one.shown)]["covered"].dropna()
        if len(cells):
            out.append(
                f"For perceived {name(one.attribute)}, {int(cells.sum())} of "
                f"{plural(len(cells), 'interval')} ({percent(float(cells.mean()))}) "
                f"{'covers' if int(cells.sum()) == 1 else 'cover'} the share that was planted in the "
                "generator."
            )
    return out


def chart_alt(view: View) -> str:
    """A text for those who do not see the chart."""
    noun = group_noun(view.by)
    parts = []
    for category in view.shown:
        rows = view.shares[(view.shares["category"] == category) & view.shares["corrected"].notna()]
        if rows.empty:
            continue
        low, high = _extreme(rows, "corrected"), _extreme(rows, "corrected", highest=True)
        parts.append(
            f"{name(category)} from {percent(low['corrected'])} ({group_name(low['group'])}) to "
            f"{percent(high['corrected'])} ({group_name(high['group'])})"
        )
    ranges = "; ".join(parts) or "no group has a corrected share"
    return (
        f"Dot-and-interval chart of corrected shares of perceived {name(view.attribute)} for "
        f"{plural(len(view.groups), noun)}: {ranges}. The full table holds every number."
    )

"""The chapter on intersections: two attributes at once, the cell furthest below its target, and interaction."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from reports.chapters.base import Chapter, Figure, Table
from reports.chapters.chance import (
    ALPHA,
    axis_of,
    chance_figure,
    differing,
    estimated,
    furthest,
    of_group,
    silences,
)
from reports.chapters.grid import grid_figure
from reports.words import MISSING, group_name, group_noun, listed, name, p_value, percent, target_name

if TYPE_CHECKING:
    from auditkit.runs import Run

HANG_TOGETHER = "the labels do hang together"
"""Begins the note of an interaction that the unexplained images could account for."""

NOTES = (
    "A cell is a pair, such as female and dark. Its share is moved towards what the group's two marginals would give "
    "if they were independent, the more the fewer the images; interval and p-value are those of the share unmoved.",
    "The furthest cell is chosen after the fact: its p-value and interval allow for that choice.",
    "Interaction is how far, within a prompt, the cells lie from the product of their marginals: two attributes can "
    "each be even while one pair is hardly shown. It is tested by exchanging one attribute among a prompt's images.",
    "The two classifiers are taken to err independently of each other; if they do not, an interaction can be theirs.",
)


def chapter(measurements: pd.DataFrame, run: Run) -> Chapter | None:
    rows = measurements[measurements["measure"].str.startswith("intersections.")]
    if rows.empty:
        return None
    lead: list[str] = []
    blocks: list[Figure | Table] = []
    cancelled = rows[rows["measure"] == "intersections.cancellation"]
    for attribute, part in rows[rows["measure"] != "intersections.cancellation"].groupby("attribute", sort=False):
        of = {str(m).partition(".")[2]: found for m, found in part.groupby("measure", sort=False)}
        about, by = f"perceived {name(str(attribute))}", axis_of(part)
        lead += [*_worst(of["worst_cell"], by), *_interacting(of["interaction"], by, str(attribute))]
        lead += silences(of["interaction"], by, f"the interaction of {about}")
        cells, interaction = of["cell"], of["interaction"]
        if cells["estimate"].notna().any():
            blocks.append(_grid(cells, by, about))
        if (interaction["group"] != "all").sum() > 1 and interaction["estimate"].notna().any():
            blocks.append(_figure(interaction[interaction["group"] != "all"], by, about))
        if cells["estimate"].notna().any():
            blocks.append(_table(of, by, about))
    return Chapter("intersections", "Intersections", [*lead, *_hidden(cancelled)], blocks, NOTES)


def _worst(worst: pd.DataFrame, by: str) -> list[str]:
    groups = worst[(worst["group"] != "all") | (by == "all")]
    beyond = "a cell further below its target than by chance"
    out = [differing(groups, by, f"has {beyond}", f"have {beyond}")]
    found = groups[groups["p_holm"] < ALPHA]
    if len(found):
        top = furthest(found, highest=False)
        where = "" if by == "all" else f" for {group_name(str(top['group']))}"
        points = f"{_points(top['estimate'])} points [{_points(top['ci_high'])}, {_points(top['ci_low'])}]"
        out.append(
            f"Furthest below {target_name(str(top['reference']))}: {name(str(top['category']))}{where}, by {points}."
        )
    return [sentence for sentence in out if sentence]


def _points(value: float) -> str:
    return f"{-100 * value:.1f}"


def _interacting(interaction: pd.DataFrame, by: str, attribute: str) -> list[str]:
    groups = interaction[(interaction["group"] != "all") | (by == "all")]
    beyond = f"{name(attribute)} hanging together within prompts beyond chance"
    out = [differing(groups, by, f"shows {beyond}", f"show {beyond}")]
    found = groups[groups["p_holm"] < ALPHA].sort_values("estimate", ascending=False)
    if len(found):
        names = [f"{group_name(str(r['group']))} ({estimated(r)} from the product)" for _, r in found.iterrows()]
        out.append(f"Interaction: {listed(names, 4)}.")
    open_ = groups[groups["note"].fillna("").str.contains(HANG_TOGETHER, regex=False)]
    if len(open_):
        names = [group_name(str(group)) for group in open_["group"]]
        out.append(
            f"For {listed(names)} the labels do hang together, but images that the calibration does not explain could "
            "be why; people's labels would tell."
        )
    return [sentence for sentence in out if sentence]


def _hidden(cancelled: pd.DataFrame) -> list[str]:
    out = []
    for _, row in cancelled[cancelled["p_value"] < ALPHA].iterrows():
        out.append(
            f"Pooling the images hides {estimated(row)} of distance in perceived {name(str(row['attribute']))}: "
            f"{str(row['note']).partition(';')[0]}."
        )
    return out


def _grid(cells: pd.DataFrame, by: str, about: str) -> Figure:
    gap = cells["estimate"] - cells["null_value"]
    compared = bool(gap.notna().any())
    drawn = pd.DataFrame(
        {
            "row": cells["group"].map(lambda g: group_name(str(g))),
            "column": cells["category"].map(lambda c: name(str(c)).replace(" and ", ", ")),
            "value": 100 * (gap if compared else cells["estimate"]),
            "marked": cells["p_holm"] < ALPHA,
        }
    )
    told = drawn[drawn["value"].notna()]
    ranked = told.sort_values("value", kind="stable")
    low, high = ranked.iloc[0], ranked.iloc[-1]
    what = "Points from the target" if compared else "Share of images in percent"
    return grid_figure(
        drawn,
        rows=list(dict.fromkeys(drawn["row"])),
        columns=list(dict.fromkeys(drawn["column"])),
        reach=max(float(told["value"].abs().max()), 1.0),
        form="+.0f" if compared else ".0f",
        signed=compared,
        title=f"{what}, {about}",
        alt_text=(
            f"Grid of {about} by {group_noun(by)}, {what.lower()}: from {low['value']:+.0f} ({low['row']}, "
            f"{low['column']}) to {high['value']:+.0f} ({high['row']}, {high['column']})."
        ),
        caption=f"Cells of {about}: {what.lower()}; framed and bold where they differ (Holm)",
    )


def _figure(groups: pd.DataFrame, by: str, about: str) -> Figure:
    told = groups[groups["estimate"].notna()]
    low, high = furthest(told, highest=False), furthest(told)
    return chance_figure(
        groups,
        title="Distance from the product of the marginals",
        found="Beyond chance",
        expected="By chance alone",
        alt_text=(
            f"Interaction of {about} by {group_noun(by)}, from {estimated(low)} ({group_name(str(low['group']))}) to "
            f"{estimated(high)} ({group_name(str(high['group']))}), each beside what chance alone would give."
        ),
        caption=f"Interaction in {about} by {group_noun(by)}, with 95% intervals, beside chance",
    )


def _table(of: dict[str, pd.DataFrame], by: str, about: str) -> Table:
    rows = []
    for _, row in of["interaction"].iterrows():
        group = row["group"]
        cell, far = of_group(of["worst_cell"], group), of_group(of["distance"], group)
        known = pd.notna(cell["estimate"])
        rows.append(
            [
                group_name(str(group)),
                name(str(cell["category"])).replace(" and ", ", ") if known else MISSING,
                f"{100 * cell['estimate']:+.1f} [{100 * cell['ci_low']:+.1f}, {100 * cell['ci_high']:+.1f}]"
                if known
                else str(cell["status"]),
                p_value(cell["p_holm"]),
                estimated(row),
                percent(row["null_value"], 1),
                p_value(row["p_holm"]),
                estimated(far),
                percent(far["null_value"], 1),
            ]
        )
    return Table(
        f"{about.capitalize()}: the cell furthest below its target (points), interaction, and distance of all cells "
        "from the target, with 95% intervals",
        [
            group_noun(by).capitalize(),
            "Furthest cell",
            "Points from target",
            "p (Holm)",
            "Interaction",
            "By chance",
            "p (Holm)",
            "Distance",
            "By chance",
        ],
        rows,
        [False, False, *[True] * 7],
    )

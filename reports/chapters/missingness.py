"""The chapter on what could not be told: unknown images by group, and how far they could move the shares."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from auditkit.bias.missingness import WIDE
from auditkit.bias.refused import ATTRIBUTE as REFUSAL
from reports.chapters.base import Chapter, Figure, Table
from reports.chapters.chance import (
    ALPHA,
    axis_of,
    chance_figure,
    estimated,
    furthest,
    of_group,
    perceived,
    silences,
)
from reports.words import group_name, group_noun, listed, p_value, percent, plural

if TYPE_CHECKING:
    from auditkit.runs import Run

NOTES = (
    "Unknown is an outcome, not a gap: where one group's images are unknown more often, its shares rest on fewer and "
    "perhaps on other images than those of the rest.",
    "'Could move a share by' is a bound for these very images and no estimate: nothing that the unknown may show could "
    "move a counted share further.",
    "More unknown images than on the calibration's own say that these are harder to read; corrected shares then carry "
    "a wider interval or none.",
)


def chapter(measurements: pd.DataFrame, run: Run) -> Chapter | None:
    rows = measurements[measurements["measure"].str.startswith("missingness.")]
    if rows.empty:
        return None
    lead: list[str] = []
    blocks: list[Figure | Table] = []
    refusals = rows[rows["attribute"] == REFUSAL]
    rows = rows[rows["attribute"] != REFUSAL]
    if len(refusals):
        lead += _refused(refusals)
        blocks.append(_refusal_table(refusals))
    for attribute, part in rows.groupby("attribute", sort=False):
        of = {str(m).partition(".")[2]: found for m, found in part.groupby("measure", sort=False)}
        about, by = perceived(str(attribute)), axis_of(part)
        difference = of.get("difference", part.iloc[:0])
        lead += _finding(of["unknown"], difference, by, about)
        groups = of["unknown"][of["unknown"]["group"] != "all"]
        if len(groups) > 1 and groups["estimate"].notna().any():
            blocks.append(_figure(groups, difference, by, about))
        if of["unknown"]["estimate"].notna().any():
            blocks.append(_table(of, difference, by, about))
    lead += _outside(rows)
    return Chapter("missingness", "What could not be told", lead, blocks, NOTES)


def _finding(unknown: pd.DataFrame, difference: pd.DataFrame, by: str, about: str) -> list[str]:
    out = []
    for _, row in unknown[(unknown["group"] == "all") & unknown["estimate"].notna()].iterrows():
        expected = f", where {percent(row['null_value'], 1)} would be expected from the calibration"
        said = f"{estimated(row)} of images are unknown in {about}"
        out.append(said + (expected if pd.notna(row["null_value"]) else "") + ".")
    tested = difference[difference["p_value"].notna()]
    found = tested[tested["p_holm"] < ALPHA].sort_values("estimate", key=abs, ascending=False)
    if len(found):
        names = [
            f"{group_name(str(r['group']))} ({percent(of_group(unknown, r['group'])['estimate'])}, "
            f"{_points(r['estimate'])} than the rest)"
            for _, r in found.iterrows()
        ]
        count = len(found)
        out.append(
            f"{plural(count, group_noun(by)).capitalize()} {'is' if count == 1 else 'are'} unknown more or less often "
            f"than the rest after correction for multiple testing (Holm): {listed(names, 4)}."
        )
    elif len(tested):
        out.append(f"No {group_noun(by)} of the {len(tested)} tested is unknown detectably more or less often.")
    wide = unknown[(unknown["group"] != "all") & (unknown["estimate"] >= WIDE)]
    if len(wide):
        names = [group_name(str(group)) for group in wide.sort_values("estimate", ascending=False)["group"]]
        out.append(f"With a tenth or more unknown, counted shares in {about} lie wide open for {listed(names)}.")
    return [*out, *silences(unknown, by, about)]


def _refused(rows: pd.DataFrame) -> list[str]:
    """Sentences on images that the generator would not make."""
    shares, differences = _refusal_parts(rows)
    whole = of_group(shares, "all")
    out = []
    if pd.notna(whole["estimate"]):
        said = f"The generator refused {estimated(whole)} of the {whole['n_images']:,} images it was asked for"
        out.append(f"{said} ({whole['note']}); every other number is of the images that it made.")
    found = differences[differences["p_holm"] < ALPHA].sort_values("estimate", key=abs, ascending=False)
    if len(found):
        names = [f"{group_name(str(r['group']))} ({_points(r['estimate'])} than the rest)" for _, r in found.iterrows()]
        verb = "is" if len(found) == 1 else "are"
        noun = group_noun(axis_of(rows))
        out.append(
            f"{plural(len(found), noun).capitalize()} {verb} refused more or less often (Holm): {listed(names, 4)}."
        )
    return out


def _refusal_table(rows: pd.DataFrame) -> Table:
    shares, differences = _refusal_parts(rows)
    cells = []
    for _, row in shares.iterrows():
        group = row["group"]
        against = of_group(differences, group) if (differences["group"] == group).any() else None
        more = ["", ""] if against is None else [estimated(against), p_value(against["p_holm"])]
        cells.append([group_name(str(group)), f"{row['n_images']:,}", estimated(row), *more])
    heads = [group_noun(axis_of(rows)).capitalize(), "Images asked for", "Refused", "More than the rest", "p (Holm)"]
    return Table("Images that the generator refused, in percent with 95% intervals", heads, cells, [False, *[True] * 4])


def _refusal_parts(rows: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rows of shares, and of differences from the rest."""
    shares = rows["measure"] == "missingness.refused"
    return rows[shares], rows[~shares]


def _points(difference: float) -> str:
    return f"{abs(100 * difference):.0f} points {'more' if difference > 0 else 'less'}"


def _outside(rows: pd.DataFrame) -> list[str]:
    outside = rows[(rows["measure"] == "missingness.outside") & (rows["group"] == "all")].drop_duplicates("estimate")
    told = outside[outside["estimate"].notna()]
    if told.empty:
        unchecked = (outside["status"] == "uncalibrated").any()
        return ["No check was made whether the images are of the calibration's kind."] if unchecked else []
    # Scorers of one encoder share the check; where they differ the largest share is the one to know.
    top = furthest(told)
    return [f"{estimated(top)} of images are unlike those that the classifier was calibrated on."]


def _figure(groups: pd.DataFrame, difference: pd.DataFrame, by: str, about: str) -> Figure:
    told = groups[groups["estimate"].notna()]
    low, high = furthest(told, highest=False), furthest(told)
    p_values = dict(zip(difference["group"], difference["p_holm"], strict=True))
    marked = groups.assign(p_holm=groups["group"].map(p_values))
    return chance_figure(
        marked,
        title="Share of images unknown",
        found="Differs from the rest",
        expected="Expected from the calibration",
        alt_text=(
            f"Share of images unknown in {about} by {group_noun(by)}, from {estimated(low)} "
            f"({group_name(str(low['group']))}) to {estimated(high)} ({group_name(str(high['group']))}). The table "
            "holds every number."
        ),
        caption=f"Images whose {about} could not be told, with 95% intervals",
    )


def _table(of: dict[str, pd.DataFrame], difference: pd.DataFrame, by: str, about: str) -> Table:
    rows = []
    for _, row in of["unknown"].iterrows():
        group = row["group"]
        against = of_group(difference, group) if (difference["group"] == group).any() else None
        bounds = of["bound"][of["bound"]["group"] == group]
        rows.append(
            [
                group_name(str(group)),
                f"{row['n_images']:,}",
                estimated(row),
                percent(row["null_value"], 1),
                "" if against is None else estimated(against),
                "" if against is None else p_value(against["p_holm"]),
                percent(float(bounds["estimate"].max()), 1),
                estimated(of_group(of["outside"], group)),
            ]
        )
    return Table(
        f"Images unknown in {about}, in percent with 95% intervals",
        [
            group_noun(by).capitalize(),
            "Images",
            "Unknown",
            "Expected",
            "More than the rest",
            "p (Holm)",
            "Could move a share by",
            "Unlike the calibration's",
        ],
        rows,
        [False, *[True] * 7],
    )

"""Measurements as tables for a terminal of 110 columns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app import output
from reports import tables, words
from reports.chapters import chapters

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table
    from rich.text import Text

    from auditkit.runs import Run

SIDE_BY_SIDE = 2  # attributes that fit beside one another


def audit_tables(measurements: pd.DataFrame) -> list[Table]:
    """A row a group: its images and, for each attribute, corrected share, distance, Holm p, and the status.

    The share is the first class's where there are two, else that of the most common class.
    """
    names = tables.attributes(measurements)
    pairs = [names[at : at + SIDE_BY_SIDE] for at in range(0, len(names), SIDE_BY_SIDE)]
    return [_table([tables.view(measurements, name) for name in pair]) for pair in pairs]


def notes(measurements: pd.DataFrame) -> list[str]:
    """What the table leaves open: groups without an estimate, plain shares where none could be corrected."""
    views = [tables.view(measurements, name) for name in tables.attributes(measurements)]
    plain = [sentence for view in views for sentence in words.uncorrected(view)]
    return [*words.silences(views), *plain]


def findings(run: Run, measurements: pd.DataFrame) -> list[tuple[str, str]]:
    """What each measure beyond representation found: its chapter's title and its sentences."""
    return [(chapter.title, " ".join(chapter.lead)) for chapter in chapters(measurements, run)]


def comparison_tables(measurements: pd.DataFrame) -> list[Table]:
    """A row a group and class: pairs, difference of corrected shares, pairs that flipped, Holm p, status."""
    made = []
    for attribute, rows in measurements.groupby("attribute", sort=False):
        key = ["group", "category"]
        change = rows[rows["measure"] == "comparison.difference"].set_index(key)
        flips = rows[rows["measure"] == "comparison.flips"].set_index(key)
        classes = list(dict.fromkeys(rows["category"]))
        shown = classes[:1] if len(classes) == 2 else classes
        cells = []
        for group, category in change.index:
            if category not in shown:
                continue
            row, flip = change.loc[(group, category)], flips.loc[(group, category)]
            known = row["estimate"] == row["estimate"]
            span = words.interval(row["ci_low"], row["ci_high"])
            moved = f"{100 * row['estimate']:+.0f} {span}" if known else words.MISSING
            name = words.group_name(group)
            cells.append([
                name, words.name(category), str(row["n_images"]), moved, f"{100 * flip['estimate']:+.0f}",
                words.p_value(row["p_holm"]), _status([row["status"]]),
            ])  # fmt: skip
        noun = words.group_noun(str(rows["group_by"].iloc[0]))
        heads = [noun, "class", ">pairs", ">change in points", ">as classified"]
        title = f"Perceived {words.name(str(attribute))}: what changed"
        table = output.table([*heads, ">p (Holm)", "status"], cells, title=title)
        table.caption = (
            "Change of the corrected share [95% interval], p: Holm's. As classified: pairs that gained the class less "
            "pairs that lost it, in points."
        )
        table.caption_justify = "left"
        made.append(table)
    return made


def _table(views: list[tables.View]) -> Table:
    first = views[0]
    headings = [words.group_noun(first.by), ">n"]
    for view in views:
        share = f"{words.name(view.shown[0])} %" if len(view.shown) == 1 else f"top {words.name(view.attribute)}"
        headings += [f">{share}" if len(view.shown) == 1 else share, ">TV (chance)", ">p"]
    rows = [_row(views, group) for group in _order(first)]
    about = " and ".join(f"perceived {words.name(view.attribute)}" for view in views)
    made = output.table([*headings, "status"], rows, title=f"{about}, by {words.group_noun(first.by)}".capitalize())
    made.caption = (
        f"Shares are corrected for the classifier's error [95% interval]. TV: total variation from "
        f"{words.target_name(first.target)}, in brackets what chance alone gives at this n. p: Holm's."
    )
    made.caption_justify = "left"
    made.padding = (0, 1, 0, 0)
    return made


def _order(view: tables.View) -> list[str]:
    shares = view.shares[view.shares["category"] == view.categories[0]]
    return list(shares.sort_values("corrected", ascending=False, na_position="last", kind="stable")["group"])


def _row(views: list[tables.View], group: str) -> list[str | Text]:
    cells: list[str | Text] = [words.group_name(group), ""]
    status = []
    for view in views:
        shares = view.shares[view.shares["group"] == group]
        cells[1] = str(int(shares["n_images"].max())) if len(shares) else ""
        distance = view.distances[view.distances["group"] == group]
        status += list(shares["status"]) + list(distance["status"])
        cells += [_share(view, shares), *_distance(distance)]
    return [*cells, _status(status)]


def _share(view: tables.View, shares: pd.DataFrame) -> str:
    known = shares.dropna(subset="corrected")
    if known.empty:
        return words.MISSING
    if len(view.shown) == 1:
        row = known[known["category"] == view.shown[0]].iloc[0]
        return f"{100 * row['corrected']:.0f} {words.interval(row['low'], row['high'])}"
    row = known.sort_values("corrected", ascending=False, kind="stable").iloc[0]
    return f"{words.name(row['category'])} {words.percent(row['corrected'])}"


def _distance(rows: pd.DataFrame) -> tuple[str, str | Text]:
    from rich.text import Text

    if rows.empty or rows["distance"].isna().all():
        return words.MISSING, words.MISSING
    row = rows.iloc[0]
    p = Text(words.p_value(row["p_holm"]), "bold" if row["differs"] else "")
    return f"{_short(row['distance'])} ({_short(row['expected'])})", p


def _short(value: float) -> str:
    return f"{value:.2f}".removeprefix("0") if value == value else words.MISSING


def _status(found: list[str]) -> Text:
    from rich.text import Text

    for status in ("uncalibrated", "insufficient"):
        if status in found:
            return Text(status, "yellow")
    return Text("ok", "green")

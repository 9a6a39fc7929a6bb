"""The chapter of `discovery`: differences between groups that nobody asked about."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from auditkit.bias.base import groups
from auditkit.bias.discovery import EXPECTED_NOTE, NAMELESS
from auditkit.bias.exchangeable import prompt_units
from auditkit.bias.vocabulary import vocabulary
from auditkit.clip.embedded import has_embeddings, image_embeddings
from auditkit.runs import Run
from auditkit.stats.left_open import left_open
from reports import tables
from reports.chapters.base import Chapter, Figure, Pictures, Table
from reports.chapters.grid import grid_figure
from reports.words import group_name, group_noun, listed, name, p_value, plural

UNKNOWN, FIXED = "concepts not in the encoder's language", "concepts that prompts do not leave open"

LONGEST = 25
"""Rows of a table; the rest is counted below it."""

AT_EACH_END = 6
"""Pictures at each end of a direction."""


def chapter(measurements: pd.DataFrame, run: Run) -> Chapter | None:
    rows = measurements[measurements["measure"].str.startswith("discovery.")].copy()
    if rows.empty:
        return None
    rows["note"] = rows["note"].fillna("")
    parts = {part: rows[rows["measure"] == f"discovery.{part}"] for part in ("concept", "direction", "tested")}
    by = next((str(axis) for axis in rows["group_by"] if axis != "all"), "all")
    counts = {row["category"]: row for row in tables.rows(parts["tested"])}
    found = parts["concept"][parts["concept"]["estimate"].notna()]
    asked = found["note"].str.startswith(EXPECTED_NOTE)
    unasked, expected = found[~asked], found[asked]
    lead = _lead(unasked, expected, parts["direction"], counts, by) + _silent(parts["concept"], by)
    blocks: list[Figure | Table | Pictures] = []
    if len(unasked):
        blocks += [_figure(unasked, by), _table(unasked, by, "Differences that the prompts do not ask for")]
    if len(expected):
        blocks.append(_table(expected, by, "Expected from the prompt, and so no sign of bias by themselves"))
    if len(parts["direction"]):
        blocks.append(_directions(parts["direction"], by))
        blocks += _ends(run, parts["direction"], by)
    return Chapter("discovery", "Differences nobody asked about", lead, blocks, _NOTES)


_NOTES = (
    "A difference is a lead to follow, not a verdict: look at the images, then measure what you suspect with a scorer "
    "that has been calibrated.",
    "Groups are compared with each other, not with a target: where all are skewed alike nothing is found, and an even "
    "group among skewed ones is. Shares beside a target are in the chapters on representation.",
    "Effect: the mean similarity of a group’s images to the concept less that of the other groups’, in standard "
    "deviations between images of a group, in the directions that prompts leave open.",
    "Intervals are widened for having been chosen among many; effects that were chosen for being large are on average "
    "smaller than they look.",
    "A concept outside the vocabulary or the encoder’s language cannot be found; finding none is no proof of equality.",
)


def _lead(
    unasked: pd.DataFrame, expected: pd.DataFrame, directions: pd.DataFrame, counts: dict[str, Any], by: str
) -> list[str]:
    total = counts["differences found"]
    if total["status"] != "ok":
        return [f"Nothing could be looked for ({total['status']}): {total['note']}."]
    numbers = {key: int(row["estimate"]) for key, row in counts.items()}
    looked, tests = numbers["concepts looked for"], numbers["tests of concepts"]
    groups_tested = plural(tests // max(looked, 1), group_noun(by))
    among = f"{plural(tests, 'test')} ({plural(looked, 'concept')} in each of {groups_tested})"
    if not looked:
        out = ["No concept of the vocabulary could be looked for with this encoder."]
    elif unasked.empty:
        out = [f"No difference that the prompts do not ask for was found in {among}; that is no proof of equality."]
    else:
        kept = numbers["differences found under any dependence"]
        were = "was" if len(unasked) == 1 else "were"
        out = [
            f"{plural(len(unasked), 'difference')} that nobody asked about {were} found in {among}, of which about 5% "
            f"may be false; {kept} hold{'s' * (kept == 1)} however the tests depend on each other.",
            f"Largest: {listed(_largest(unasked), limit=5)}.",
        ]
    if len(expected):
        out.append(f"{plural(len(expected), 'further difference')} can be expected from the prompts themselves.")
    if len(directions):
        nameless = directions[directions["note"].str.contains(NAMELESS)]
        said = f"; no concept lies along {len(nameless)} of them" if len(nameless) else ""
        out.append(
            f"Along directions without a name {len(directions)} of {plural(numbers['tests of directions'], 'test')} "
            f"found a difference{said}."
        )
    out.append(
        f"Of {plural(numbers['concepts in the vocabulary'], 'concept')} in the vocabulary "
        f"{numbers[UNKNOWN]} are not in this encoder’s language and {numbers[FIXED]} hardly vary between images of one "
        "prompt: nothing is claimed about these."
    )
    return out


def _largest(found: pd.DataFrame) -> list[str]:
    """Each group once, by its largest difference that is not the shadow of another."""
    clear = found[~found["note"].str.contains("tell it apart from|the other side of")]
    first = clear.loc[abs(clear["estimate"]).sort_values(ascending=False, kind="stable").index].drop_duplicates("group")
    return [
        f"{group_name(row['group'])} {'more' if row['estimate'] > 0 else 'less'} like ‘{row['category']}’ "
        f"({_effect(row)})"
        for row in tables.rows(first)
    ]


def _silent(concepts: pd.DataFrame, by: str) -> list[str]:
    rows = concepts[concepts["status"] == "insufficient"]
    if rows.empty:
        return []
    who = plural(len(rows), group_noun(by))
    reasons = [f"{group_name(row['group'])} ({row['note']})" for row in tables.rows(rows)]
    return [
        f"{who} {'is' if len(rows) == 1 else 'are'} insufficient, and nothing is claimed of them: {listed(reasons)}."
    ]


def _figure(found: pd.DataFrame, by: str) -> Figure:
    strength = abs(found["estimate"])
    rows = strength.groupby(found["group"]).max().sort_values(ascending=False).index
    present = set(found["category"])
    columns = [each.name for each in vocabulary() if each.name in present]
    if len(columns) > 24:
        columns = [c for c in columns if c in set(strength.groupby(found["category"]).max().nlargest(24).index)]
    cells = pd.DataFrame(
        {
            "row": found["group"].map(lambda g: group_name(str(g))),
            "column": found["category"],
            "value": found["estimate"],
            "marked": found["p_holm"] < 0.05,
        }
    )
    cells = cells[cells["column"].isin(columns)]
    caption = (
        f"Effect by {group_noun(by)} and concept, where one was found: blue more than the others, orange less. Framed: "
        "holds after Holm’s correction too."
    )
    if len(columns) < found["category"].nunique():
        caption += f" The {len(columns)} concepts with the largest effects are drawn."
    return grid_figure(
        cells,
        rows=[group_name(str(g)) for g in rows],
        columns=columns,
        reach=float(max(1.0, strength.max())),
        form="+.1f",
        signed=True,
        title="concept",
        alt_text=f"Heat map of effects for {plural(len(rows), group_noun(by))} and {plural(len(columns), 'concept')}: "
        f"{listed(_largest(found), limit=4)}. The table below holds every number.",
        caption=caption,
    )


def _table(found: pd.DataFrame, by: str, caption: str) -> Table:
    rows = tables.rows(found.loc[abs(found["estimate"]).sort_values(ascending=False, kind="stable").index])
    titles = {each.topic: each.title for each in vocabulary()}
    cells = [
        [
            group_name(row["group"]),
            row["category"],
            titles.get(row["attribute"], name(row["attribute"])),
            _effect(row),
            p_value(row["p_value"]),
            p_value(row["p_bh"]),
            row["note"].removeprefix(EXPECTED_NOTE).removeprefix("; "),
        ]
        for row in rows[:LONGEST]
    ]
    if len(rows) > LONGEST:
        caption += f" (the {LONGEST} largest of {len(rows)}; the file of measurements has all)"
    columns = [group_noun(by), "concept", "topic", "effect [interval]", "p", "p (BH)", "note"]
    return Table(caption, columns, cells, [False, False, False, True, True, True, False])


def _directions(directions: pd.DataFrame, by: str) -> Table:
    order = abs(directions["estimate"]).sort_values(ascending=False, kind="stable").index
    rows = tables.rows(directions.loc[order])
    cells = [
        [group_name(row["group"]), row["category"], _effect(row), p_value(row["p_bh"]), row["note"]]
        for row in rows[:LONGEST]
    ]
    caption = "Differences along directions without a name, with the concepts nearest to their ends"
    if len(rows) > LONGEST:
        caption += f" (the {LONGEST} largest of {len(rows)}; the file of measurements has all)"
    columns = [group_noun(by), "direction", "effect [interval]", "p (BH)", "what lies along it"]
    return Table(caption, columns, cells, [False, False, True, True, False])


def _ends(run: Run, directions: pd.DataFrame, by: str) -> list[Pictures]:
    """The images furthest along the strongest direction, and along the strongest that no concept names."""
    encoder = str(directions["encoder"].iloc[0])
    if not has_embeddings(run, encoder):
        return []
    images = run.images()
    embeddings = image_embeddings(run, encoder, images)
    space = left_open(embeddings, prompt_units(images, groups(run, images, by)))
    if space is None:
        return []
    ordered = directions.loc[abs(directions["estimate"]).sort_values(ascending=False, kind="stable").index]
    nameless = ordered[ordered["note"].str.contains(NAMELESS)]
    shown = dict.fromkeys([*ordered["category"].head(1), *nameless["category"].head(1)])
    coordinates, prompts = space.project(embeddings), images["prompt"].tolist()
    made = []
    for category in shown:
        along = coordinates[:, int(str(category).rpartition(" ")[2]) - 1]
        high, low = (_extreme(images, side * along) for side in (1, -1))
        captions = [f"{end} · {prompts[i]}" for end, at in (("high", high), ("low", low)) for i in at]
        ids = [str(images["id"].iloc[i]) for i in (*high, *low)]
        made.append(Pictures(f"The images at either end of {category}", ids, captions))
    return made


def _extreme(images: pd.DataFrame, values: np.ndarray) -> list[int]:
    """Rows of the largest values, each of another prompt."""
    order = np.argsort(-values, kind="stable")[: 50 * AT_EACH_END]
    return [int(i) for i in order[~images["prompt_id"].iloc[order].duplicated().to_numpy()][:AT_EACH_END]]


def _effect(row: dict[str, Any]) -> str:
    return f"{row['estimate']:+.2f} [{row['ci_low']:.2f}, {row['ci_high']:.2f}]"

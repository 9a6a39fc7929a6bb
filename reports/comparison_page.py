"""`write_page(...)`: two runs paired by prompt and seed, as one page that needs nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from auditkit import __version__
from auditkit.files import write_atomic
from reports import charts, comparison, prose, render, tables, words
from reports.chapters.base import Table

if TYPE_CHECKING:
    from auditkit.runs import Run

WIDE, NARROW = 860, 343
HOW_TO_READ = [
    "Images are paired by prompt and replicate. The change is the corrected share in the second run less that in the "
    "first, in points, with its 95% interval.",
    "The change is worked out anew from the scores of the pairs; the shares of each run are those that it was measured "
    "with, of all its images. Where the two do not fit, measure both runs again.",
    "A group ‘changed’ when its pairs would be surprising if the runs did not differ, after allowing for the number of "
    "comparisons (Holm, 5%). That no change was found is no proof that there is none.",
]


def write_page(changes: pd.DataFrame, first: Run, second: Run, path: str | Path) -> Path:
    """Write what `auditkit.compare` found to the HTML file `path`, and return it.

    Raises:
        RunError: the file cannot be written. TableError: a run's measurements are damaged.
    """
    path = Path(path)
    write_atomic(path, render.page("comparison.html", assemble(changes, first, second)).encode())
    return path


def assemble(changes: pd.DataFrame, first: Run, second: Run) -> dict[str, Any]:
    """All that the page shows, as plain values for the template."""
    before, after = first.measurements(), second.measurements()
    parts = []
    for attribute in dict.fromkeys(changes["attribute"]):
        found = comparison.beside(changes, before, after, str(attribute))
        parts.append(_part(str(attribute), found, changes, (first.id, second.id)))
    notes = changes.loc[changes["measure"] == "comparison.difference", "note"].dropna()
    return {
        "title": f"{_generator(second)} beside {_generator(first)}",
        "facts": {"First run": first.id, "Second run": second.id, "Pairs": f"{int(changes['n_images'].max()):,}"},
        "parts": parts,
        "how_to_read": HOW_TO_READ,
        "notes": [note for note in dict.fromkeys(notes) if note],
        "limits": prose.LIMITS,
        "command": f"auditkit compare {first.id} {second.id} --html comparison.html",
        "version": __version__,
    }


def _part(attribute: str, found: pd.DataFrame, changes: pd.DataFrame, names: tuple[str, str]) -> dict[str, Any]:
    by = next((str(each) for each in changes["group_by"] if each != tables.WHOLE), tables.WHOLE)
    noun = words.group_noun(by)
    classes = list(dict.fromkeys(found["category"]))
    shown = classes[:1] if len(classes) == 2 else classes
    drawn = [_figure(found, names, str(category), noun) for category in shown]
    return {
        "id": f"change-{attribute}",
        "title": f"Perceived {words.name(attribute)}",
        "findings": comparison.findings(found, noun=noun),
        "figures": [one for one in drawn if one is not None],
        "table": _table(found[found["category"].isin(shown)], attribute, noun),
    }


def _figure(found: pd.DataFrame, names: tuple[str, str], category: str, noun: str) -> dict[str, str] | None:
    wide, narrow = (comparison.shares_chart(found, names, category=category, width=width) for width in (WIDE, NARROW))
    if wide is None:
        return None
    alt = f"Dot chart of the share perceived as {words.name(category)} in both runs, a row each {noun}; "
    return {
        "svg": charts.to_svg(wide),
        "narrow": charts.to_svg(narrow),
        "alt": alt + "the table below has the same numbers.",
        "caption": f"Corrected shares of {words.name(category)} with their 95% intervals",
    }


def _table(found: pd.DataFrame, attribute: str, noun: str) -> dict[str, Any]:
    rows = [
        [
            words.group_name(str(row["group"])),
            words.name(str(row["category"])),
            f"{int(row['pairs']):,}",
            *(_share(row, side) for side in (comparison.BEFORE, comparison.AFTER)),
            _change(row),
            words.p_value(row["p_holm"]),
            _state(row),
        ]
        for row in tables.rows(found)
    ]
    columns = [
        noun.capitalize(),
        "Class",
        "Pairs",
        "First (%)",
        "Second (%)",
        "Change in points",
        "p (Holm)",
        "Finding",
    ]
    table = Table(f"Perceived {words.name(attribute)}: what changed", columns, rows)
    return vars(table) | {"numeric": [False, False, True, True, True, True, True, False]}


def _share(row: dict[str, Any], side: str) -> str:
    value = row[side]
    if value != value:
        return words.MISSING
    return f"{100 * value:.0f} {words.interval(row[f'{side}_low'], row[f'{side}_high'])}"


def _change(row: dict[str, Any]) -> str:
    if row["change"] != row["change"]:
        return words.MISSING
    return f"{100 * row['change']:+.0f} {words.interval(row['low'], row['high'])}"


def _state(row: dict[str, Any]) -> str:
    if row["status"] != "ok":
        return str(row["status"])
    return "changed" if row["p_holm"] < comparison.ALPHA else "no change found"


def _generator(run: Run) -> str:
    return str((run.record.get("generator") or {}).get("name") or run.id)

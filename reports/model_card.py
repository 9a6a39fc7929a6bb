"""A run told on one page, in plain sentences: the model card that policy staff read and hand on.

One content, drawn three ways: as HTML, as Markdown, and by the dashboard's view Policy.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auditkit import __version__, registry
from auditkit.errors import AuditkitError
from auditkit.files import write_atomic
from auditkit.provenance.disclosure import ADVICE, disclose
from generators.bundled import FOLDER
from generators.cards import read_card
from reports import cards, prose, tables, words
from reports.chapters import chapters
from reports.chapters.base import Table
from reports.origin import Origin, origin
from reports.render import page

if TYPE_CHECKING:
    import pandas as pd

    from auditkit.runs import Run
    from reports.tables import View

HTML, MARKDOWN = "model-card.html", "model-card.md"
MARKS, OTHER = ("watermark", "provenance"), ("plan", "energy", "watermark", "provenance")
NO_ENERGY = "What making the images took is not known: it was not metered."
NO_MARKS = "Nothing in this run says whether its images carry a watermark or a signed record of their origin."
REPRODUCE = (
    "The same specification (in the run’s record, run.json) and weights give the same images on the same kind of "
    "device, and the same images give the same numbers."
)
NOT_MEASURED = "This run has not been measured: nothing is said of whom it shows."


@dataclass(frozen=True)
class Section:
    """A heading with sentences and tables under it."""

    id: str
    title: str
    sentences: Sequence[str] = ()
    tables: Sequence[Table] = field(default_factory=list)


@dataclass(frozen=True)
class Card:
    """All that a card says, as plain text.

    Attributes:
        facts: title -> text. problems: what of the run could not be read, in words.
    """

    title: str
    run_id: str
    facts: dict[str, str]
    sections: Sequence[Section]
    problems: Sequence[str] = ()


def card(run: Run) -> Card:
    """What can be said of a run without a number that nobody vouches for.

    A run that was not measured gets a card too, which says so.

    Raises:
        TableError, RunError: the images or the measurements cannot be read.
    """
    measurements = run.measurements()
    generator = run.record.get("generator") or {}
    about = _about(generator)
    if measurements is None or measurements.empty:
        return Card(
            _name(generator, run), run.id, _facts(run),
            [Section("summary", "In short", [NOT_MEASURED, *prose.LIMITS[:1]]), *about, *_disclosure(run)],
        )  # fmt: skip
    by = tables.grouping(measurements)
    views = [
        tables.view(measurements, name, by=by, planted=tables.planted_shares(run, name, by=by))
        for name in tables.attributes(measurements)
    ]
    single = [view for view in views if "+" not in view.attribute]
    source = origin(run, measurements, by=by, target=views[0].target if views else "uniform")
    found = {one.id: one for one in chapters(measurements, run)}
    marks = [sentence for name in MARKS if name in found for sentence in found[name].lead]
    more = [sentence for name, one in found.items() if name not in OTHER for sentence in one.lead]
    energy = list(found["energy"].lead) if "energy" in found else [NO_ENERGY]
    summary = [sentence for part in prose.summary(run, views, [], []) for sentence in part]
    sections = [
        Section("summary", "In short", summary),
        Section("caveats", "What this does not say", prose.limits(by, source)),
        Section("shares", "Shares of perceived presentation, all images", prose.how_to_read(by, _target(views)),
                [_whole(single)] if single else []),
        *([Section("more", "What else was measured", more)] if more else []),
        Section("marks", "Watermarks and signed origin", marks or [NO_MARKS]),
        Section("energy", "Energy", energy),
        *about,
        *_disclosure(run),
        Section("methods", "Methods", [f"{head}: {text}" for head, text in prose.methods(views, source)]),
        Section("check", "How to check it", [REPRODUCE], [_commands(source)]),
    ]  # fmt: skip
    return Card(_name(generator, run), run.id, {k: v for k, v in source.facts.items() if k != "Run"}, sections)


def to_markdown(one: Card) -> str:
    """The card as CommonMark with tables; every text is escaped, so that a prompt cannot become markup."""
    lines = [f"# {escape(one.title)}", "", f"Model card of the run `{one.run_id}`, by auditkit {__version__}.", ""]
    lines += [f"- **{escape(head)}**: {escape(text)}" for head, text in one.facts.items()]
    for section in one.sections:
        lines += ["", f"## {escape(section.title)}", ""]
        lines += [f"- {escape(sentence)}" for sentence in section.sentences]
        for table in section.tables:
            lines += ["", f"{escape(table.caption)}:", "", *_markdown_table(table)]
    return "\n".join(lines) + "\n"


def to_html(one: Card) -> str:
    """The card as one page that needs nothing else."""
    sections = [vars(section) | {"tables": [_cells(each) for each in section.tables]} for section in one.sections]
    context = {"title": one.title, "run_id": one.run_id, "facts": one.facts, "sections": sections}
    return page("model_card.html", context | {"version": __version__})


def write(one: Card, folder: str | Path) -> tuple[Path, Path]:
    """Write model-card.html and model-card.md into a folder, and return them.

    Raises:
        RunError: the folder cannot be written.
    """
    html, markdown = Path(folder) / HTML, Path(folder) / MARKDOWN
    write_atomic(html, to_html(one).encode())
    write_atomic(markdown, to_markdown(one).encode())
    return html, markdown


def escape(text: str) -> str:
    """Text in which Markdown reads nothing, on one line.

    >>> escape("[a](http://x) <b>")
    '\\\\[a\\\\](http\\\\://x) \\\\<b\\\\>'
    """
    line = " ".join(str(text).split()).replace("\\", "\\\\").replace("://", "\\://")  # no link out of an address
    line = re.sub(r"^(\d+)([.)])", r"\1\\\2", line)  # no list of its own
    line = re.sub(r"\bwww\.", r"www\\.", line, flags=re.IGNORECASE)
    return re.sub(r"[`*_{}\[\]<>#|~$]", r"\\\g<0>", line)


def _markdown_table(table: Table) -> list[str]:
    numeric = table.numeric or [False] * len(table.columns)
    rule = ["---:" if each else "---" for each in numeric]
    rows = [table.columns, rule, *table.rows]
    return ["| " + " | ".join(cell if row is rule else escape(cell) for cell in row) + " |" for row in rows]


def _cells(table: Table) -> dict[str, Any]:
    return vars(table) | {"numeric": table.numeric or [False] * len(table.columns)}


def _whole(views: Sequence[View]) -> Table:
    rows = []
    for view in views:
        for row in tables.rows(view.whole[view.whole["category"] != "unknown"]):
            told = row["status"] == "ok"
            rows.append(
                [
                    words.name(view.attribute),
                    words.name(row["category"]),
                    words.percent(row["corrected"]) if told else words.MISSING,
                    words.interval(row["low"], row["high"]) or words.MISSING if told else words.MISSING,
                    f"{int(row['n_images']):,}",
                    "estimated" if told else str(row["status"]),
                ]
            )
    columns = ["Perceived", "As", "Share", "95% interval (%)", "Images", "State"]
    numeric = [False, False, True, True, True, False]
    return Table("Corrected for the classifier’s measured errors", columns, rows, numeric)


def _commands(source: Origin) -> Table:
    return Table("Commands, in order", ["Step", "Command"], [[str(i), one] for i, one in enumerate(source.commands, 1)])


def _target(views: Sequence[View]) -> str:
    return views[0].target if views else "uniform"


def _about(generator: dict[str, Any]) -> list[Section]:
    """What the model's own card says, where the model is one that we have a card of."""
    name = str(generator.get("name"))
    # Not by `generators.known`, which imports the models' libraries; and a name in a record is no path.
    if name not in registry.names("generators") or not (FOLDER / name).is_dir():
        return []
    made = read_card(FOLDER / name)
    if made is None:
        return []
    told = [f"{head}: {text}" for head, text in cards.facts(made).items()]
    return [Section("model", "What the model’s maker says", [cards.plain(made.what), *told])]


def _disclosure(run: Run) -> list[Section]:
    try:
        made = disclose(run)
    except AuditkitError as error:
        return [Section("disclosure", "Disclosure", [f"The disclosure pack cannot be made: {error.what}."])]
    rows = [[one.title, *(str(made.counts(one.id)[key]) for key in ("recorded", "unknown"))] for one in made.regimes]
    table = Table("Items that laws and codes ask for", ["Law or code", "In the record", "Unknown"], rows,
                  [False, True, True])  # fmt: skip
    pack = f"The disclosure pack has each item with its source: auditkit disclose {run.id}"
    return [Section("disclosure", "Disclosure", [ADVICE, pack], [table])]


def _facts(run: Run) -> dict[str, str]:
    images: pd.DataFrame = run.images()
    told = {
        "Images": f"{len(images):,}",
        "Prompts": f"{images['prompt_id'].nunique():,}",
        "Date": str(run.record.get("created", ""))[:10],
    }
    return {head: text for head, text in told.items() if text}


def _name(generator: dict[str, Any], run: Run) -> str:
    return str(generator.get("name") or run.id)

"""Taking in raters' labels: all of a file, or, where a line does not hold, nothing of it."""

from __future__ import annotations

import csv
import difflib
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from auditkit.annotations.records import (
    ANNOTATIONS,
    NOBODY,
    UNKNOWN,
    Annotation,
    Sample,
    check_rater,
    checked_annotations,
    samples,
)
from auditkit.errors import TableError
from auditkit.runs.journal import writing

if TYPE_CHECKING:
    from auditkit.runs import Run

MOST_BYTES = 20_000_000
NEEDED = ("sample", "id", "label")

_MEND = "mend that line; nothing of the file was taken in"


@dataclass(frozen=True)
class Imported:
    """What was taken in: labels by sample, and rows whose label was left empty."""

    rater: str
    labels: dict[str, int]
    empty: int


@dataclass(frozen=True)
class _Entry:
    """One label, and where it stands."""

    where: str
    sample: str
    id: str
    label: str


def import_csv(run: Run, path: str | Path, *, rater: str) -> Imported:
    """Take in a rater's CSV: columns sample, id, label, others are left alone; rows without a label are counted.

    UTF-8 with or without a byte-order mark, commas, semicolons or tabs.

    Raises:
        TableError: the file cannot be read or lacks a column; or a line names an unknown sample, image or class, an
            image twice, or one that the rater has labelled before. It names the line, and nothing is taken in.
    """
    path = Path(path)
    entries, empty = _read(path, rater)
    return Imported(rater, _append(run, entries, rater, path), empty)


def annotate(run: Run, sample: str, labels: Mapping[str, str], *, rater: str) -> Imported:
    """Take in labels by image id, such as those of a page. Raises as `import_csv`."""
    entries = [_Entry(f"label {i}", sample, id, label) for i, (id, label) in enumerate(labels.items(), 1)]
    return Imported(rater, _append(run, entries, rater, run.path / ANNOTATIONS), 0)


def _append(run: Run, entries: Iterable[_Entry], rater: str, source: Path) -> dict[str, int]:
    check_rater(rater)
    drawn = samples(run)
    if not drawn:
        raise TableError(
            "the run has no sample to label", where=run.path, mend="draw one: auditkit annotate export RUN --out FOLDER"
        )
    known = {one.sample: one for one in drawn}
    images = set(run.images()["id"])
    now = datetime.now(UTC).isoformat(timespec="seconds")
    counts: dict[str, int] = {}
    with writing(run.path / ANNOTATIONS) as journal:
        before = checked_annotations(journal.lines, drawn, journal.path)
        labelled = {(a.attribute, a.id): "in the run" for a in before if a.rater == rater}
        fresh = []
        for entry in entries:
            sample = known.get(entry.sample)
            if sample is None:
                raise _refusal(f"there is no sample '{_cut(entry.sample)}'", source, entry.where, known)
            label = _checked(entry, sample, images, source)
            key = (sample.attribute, entry.id)
            if key in labelled:
                raise TableError(
                    f"rater {rater} has labelled the image {entry.id[:12]}... already, {labelled[key]}",
                    where=f"{source}, {entry.where}",
                    mend="take the line out; a label is not changed once it is in",
                )
            labelled[key] = f"at {entry.where}"
            counts[sample.sample] = counts.get(sample.sample, 0) + 1
            fresh.append(
                Annotation(
                    sample=sample.sample, id=entry.id, attribute=sample.attribute, label=label, rater=rater, time=now
                )
            )
        journal.append([one.model_dump() for one in fresh])
    return counts


def _checked(entry: _Entry, sample: Sample, images: set[str], source: Path) -> str:
    if entry.id not in set(sample.ids):
        there = "is not of that sample" if entry.id in images else "is not in the run"
        raise _refusal(f"the image '{_cut(entry.id)}' {there}", source, entry.where)
    labels = [*sample.classes, UNKNOWN, NOBODY]
    by_case = {label.lower(): label for label in labels}
    label = by_case.get(entry.label.lower())
    if label is None:
        raise _refusal(f"'{_cut(entry.label)}' is no label of {sample.attribute}", source, entry.where, labels)
    return label


def _refusal(what: str, source: Path, where: str, among: Iterable[str] = ()) -> TableError:
    names = list(among)
    given = what.split("'")[1] if names else ""
    near = difflib.get_close_matches(given.lower(), names, n=1)
    return TableError(
        what + (f"; did you mean '{near[0]}'?" if near else ""),
        where=f"{source}, {where}",
        mend=f"use one of: {', '.join(names)}; nothing of the file was taken in" if names else _MEND,
    )


def _read(path: Path, rater: str) -> tuple[list[_Entry], int]:
    text = _text(path)
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text), strict=True)
    entries, empty, places = [], 0, dict[str, int]()
    try:
        for row in rows:
            cells = [cell.strip() for cell in row]
            if not any(cells):
                continue
            if not places:
                places = _places(cells, path)
                continue
            where = f"line {rows.line_num}"
            if len(cells) != places[""]:
                raise TableError(
                    f"the line has {len(cells)} cells, and the header {places['']}",
                    where=f"{path}, {where}",
                    mend=_MEND,
                )
            stated = _cell(cells, places, "rater")
            if stated and stated != rater:
                raise TableError(
                    f"the file is rater {_cut(stated)}'s, and you named rater {rater}",
                    where=f"{path}, {where}",
                    mend=f"--rater {_cut(stated)}, or take the right file",
                )
            label = _cell(cells, places, "label")
            if not label:
                empty += 1
                continue
            entries.append(_Entry(where, _cell(cells, places, "sample"), _cell(cells, places, "id").lower(), label))
    except csv.Error as error:
        raise TableError(f"the line is no CSV: {error}", where=f"{path}, line {rows.line_num}", mend=_MEND) from None
    if not places:
        raise TableError("the file is empty", where=path, mend="take the file that the rater filled in")
    if not entries:
        raise TableError(
            f"none of its {empty} rows has a label", where=path, mend="fill in the column 'label', then import it"
        )
    return entries, empty


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > MOST_BYTES:
            raise TableError(
                f"the file is larger than {MOST_BYTES // 1_000_000} MB", where=path, mend="import the rater's own file"
            )
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise TableError(f"the file cannot be read: {error.strerror}", where=path, mend="check the path") from None
    except UnicodeDecodeError:
        raise TableError("the file is no UTF-8 text", where=path, mend="save it as 'CSV UTF-8'") from None


def _delimiter(text: str) -> str:
    """The sign that parts the cells of the header: spreadsheets of many countries write semicolons."""
    header = text.lstrip("\r\n").split("\n", 1)[0]
    return max(",;\t", key=header.count)


def _places(cells: list[str], path: Path) -> dict[str, int]:
    """Where each column stands; under '' how many there are."""
    names = [cell.lower() for cell in cells]
    doubled = [name for name in {"rater", *NEEDED} if names.count(name) > 1]
    missing = [name for name in NEEDED if name not in names]
    if missing or doubled:
        fault = f"has no column '{missing[0]}'" if missing else f"has the column '{doubled[0]}' twice"
        raise TableError(
            f"the file {fault}",
            where=f"{path}, line 1",
            mend=f"keep the header as it was exported: {', '.join(NEEDED)} are needed",
        )
    return {**{name: i for i, name in enumerate(names) if name}, "": len(cells)}


def _cell(cells: list[str], places: dict[str, int], name: str) -> str:
    # An apostrophe is what keeps a cell from being a formula; see `exporting.harmless`.
    return cells[places[name]].removeprefix("'") if name in places else ""


def _cut(text: str) -> str:
    """Any text as part of one line."""
    shown = "".join(c if c.isprintable() else "?" for c in text)
    return shown if len(shown) <= 40 else shown[:37] + "..."

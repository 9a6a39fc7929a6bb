"""Decisions of moderators about images: an append-only log, what stands of it, and how far reviewers agree.

    decisions.jsonl            in a run; its seal holds it
    <scan>.decisions.jsonl     beside the table of a scan

A line is never changed: a decision is taken back by a further line that names it. Each line holds the sha256 of the one
before it, so that a line changed or taken out later shows; lines cut off at the end show where the run is sealed.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal, get_args

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from auditkit.annotations.agreeing import enough
from auditkit.annotations.exporting import harmless
from auditkit.annotations.records import RATER, check_rater
from auditkit.errors import TableError
from auditkit.runs.journal import Journal, Line, read_journal, writing
from auditkit.stats.agreement import Agreement, krippendorff_alpha

DECISIONS = "decisions.jsonl"

Verdict = Literal["allow", "restrict", "remove", "escalate"]
VERDICTS: dict[str, str] = {
    "allow": "may be shown to anyone",
    "restrict": "behind a warning or an age limit",
    "remove": "is taken down",
    "escalate": "somebody else must decide",
}
OTHER = "other"
REASONS: dict[str, str] = {
    "sexual content": "nudity or sexual acts",
    "child safety": "a child sexualised or harmed, drawn or not: report it as the law asks, and do not copy it",
    "violence": "gore, cruelty, self-harm",
    "hate": "degrades people for who they are, or shows symbols of hate",
    "real person": "shows a real person in a false or intimate light",
    "deception": "made to be taken for a photograph of what happened",
    "intellectual property": "somebody else's work or mark",
    OTHER: "say which in the note",
}
DISPUTED = "disputed"
LONGEST_NOTE = 500
FEWEST = 20
"""Images with two verdicts below which nothing is said of agreement."""

_Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Decision(BaseModel):
    """One line of the log."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    number: int = Field(ge=1)
    """Of the line, from 1."""
    item: _Hash
    """The sha256 of the image's bytes."""
    verdict: Verdict | None = None
    """None where the line takes a decision back."""
    reason: str = ""
    """One of REASONS; empty where the verdict is allow."""
    note: str = Field("", max_length=LONGEST_NOTE)
    reviewer: str = Field(pattern=RATER)
    """A pseudonym."""
    time: str
    undoes: int | None = None
    """The number of the decision that is taken back."""
    previous: str = Field(pattern=r"^([0-9a-f]{64})?$")
    """The sha256 of the line before; empty in the first."""


@dataclass(frozen=True)
class DecisionAgreement:
    """Agreement of reviewers on the verdict.

    Attributes:
        reviewers: how many images each has a standing verdict on.
        found: Krippendorff's alpha (nominal) with a bootstrap interval over images; NaN where `insufficient`.
        status: `ok` or `insufficient`. note: why.
    """

    reviewers: dict[str, int]
    found: Agreement
    status: str
    note: str


def read(path: Path, known: Collection[str] | None = None) -> list[Decision]:
    """Every line of the log, first to last; none where nothing has been decided.

    Args:
        known: the images that a line may name.

    Raises:
        TableError: a line does not hold, or is not the one that was written; names it.
    """
    return _checked(read_journal(path), path, known)


def decide(
    path: Path, item: str, verdict: str, *, reviewer: str, reason: str = "", note: str = "",
    known: Collection[str] | None = None,
) -> Decision:  # fmt: skip
    """Append a decision. An earlier one of the same reviewer on the image stays in the log, and no longer stands.

    Raises:
        TableError: no such image, verdict or reason; a reason or note is lacking; or the log is damaged.
        RunError: it cannot be written.
    """
    check_rater(reviewer)
    _check(item, verdict, reason, note, known, path)
    with writing(path) as journal:
        return _append(journal, known, item=item, verdict=verdict, reason=reason, note=note, reviewer=reviewer)


def undo(path: Path, *, reviewer: str, number: int | None = None, known: Collection[str] | None = None) -> Decision:
    """Append a line that takes a decision back: the reviewer's last one that stands, or any, by number.

    What the same reviewer decided of the image before stands again.

    Returns:
        The decision that is taken back.

    Raises:
        TableError: there is none.
    """
    check_rater(reviewer)
    with writing(path) as journal:
        held = _kept(_checked(journal.lines, path, known))
        found = [one for one in held if (one.reviewer == reviewer if number is None else one.number == number)]
        if not found:
            whose = f"of {reviewer}" if number is None else f"number {number}"
            raise TableError(f"there is no decision {whose} to take back", where=path, mend="look at the log")
        _append(journal, known, item=found[-1].item, reviewer=reviewer, undoes=found[-1].number)
    return found[-1]


def standing(lines: Iterable[Decision]) -> dict[str, dict[str, Decision]]:
    """What each reviewer's last decision on each image is, by image, then by reviewer; those taken back left out."""
    found: dict[str, dict[str, Decision]] = {}
    for one in _kept(lines):
        found.setdefault(one.item, {})[one.reviewer] = one
    return found


def outcome(decisions: dict[str, Decision]) -> str:
    """What reviewers say of an image together: their verdict, or `disputed`; empty where nobody decided."""
    said = {str(one.verdict) for one in decisions.values()}
    return "" if not said else said.pop() if len(said) == 1 else DISPUTED


def agreement(
    lines: Iterable[Decision], *, reviewers: Collection[str] | None = None, replicates: int = 2000, seed: int = 0,
    min_n: int = FEWEST,
) -> DecisionAgreement:  # fmt: skip
    """Krippendorff's alpha of the standing verdicts, as of categories without an order.

    Args:
        reviewers: only these; a pair of them, say.
        min_n: fewest images with two verdicts.
    """
    names = list(get_args(Verdict))
    rows, counted = [], Counter[str]()
    for decisions in standing(lines).values():
        row = np.zeros(len(names))
        for who, one in decisions.items():
            if reviewers is None or who in reviewers:
                row[names.index(str(one.verdict))] += 1
                counted[who] += 1
        rows.append(row)
    counts = np.array(rows).reshape(-1, len(names))
    found = krippendorff_alpha(counts, replicates=replicates, seed=seed)
    found, why = enough(found, len(counted), min_n=min_n, who="reviewers", labels="verdicts")
    return DecisionAgreement(dict(sorted(counted.items())), found, "insufficient" if why else "ok", why)


COLUMNS = ("number", "time", "image", "name", "verdict", "reason", "note", "reviewer", "stands", "taken back by")


def rows(lines: Sequence[Decision], names: dict[str, str] | None = None) -> list[dict[str, str]]:
    """The log as a table: a row a decision, with whether it stands.

    Args:
        names: of the images, such as their files' names.
    """
    stands = {one.number for each in standing(lines).values() for one in each.values()}
    undone = {one.undoes: one.number for one in lines if one.undoes is not None}
    return [
        {
            "number": str(one.number), "time": one.time, "image": one.item, "name": (names or {}).get(one.item, ""),
            "verdict": str(one.verdict), "reason": one.reason, "note": one.note, "reviewer": one.reviewer,
            "stands": "yes" if one.number in stands else "no", "taken back by": str(undone.get(one.number, "")),
        }
        for one in lines
        if one.verdict is not None
    ]  # fmt: skip


def to_csv(lines: Sequence[Decision], names: dict[str, str] | None = None) -> str:
    """`rows` as CSV, in which no cell is a formula for a spreadsheet."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\r\n")
    writer.writeheader()
    writer.writerows({key: harmless(value) for key, value in row.items()} for row in rows(lines, names))
    return text.getvalue()


def _kept(lines: Iterable[Decision]) -> list[Decision]:
    held = list(lines)
    gone = {one.undoes for one in held}
    return [one for one in held if one.verdict is not None and one.number not in gone]


def _append(journal: Journal, known: Collection[str] | None, **told: object) -> Decision:
    _checked(journal.lines, journal.path, known)
    last = journal.lines[-1] if journal.lines else None
    now = datetime.now(UTC).isoformat(timespec="seconds")
    made = Decision.model_validate(
        {"number": len(journal.lines) + 1, "time": now, "previous": "" if last is None else _hash(last), **told}
    )
    journal.append([made.model_dump()])
    return made


def _hash(line: Line) -> str:
    return hashlib.sha256(json.dumps(line, ensure_ascii=False, sort_keys=True).encode()).hexdigest()


def _checked(lines: Sequence[Line], path: Path, known: Collection[str] | None) -> list[Decision]:
    found: list[Decision] = []
    previous, open_ones = "", set[int]()
    for number, line in enumerate(lines, 1):
        try:
            one = Decision.model_validate(line)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(map(str, first["loc"]))
            raise _damaged(f"'{where}': {first['msg'].lower()}", path, number) from None
        if one.number != number or one.previous != previous:
            raise _damaged("the line does not follow the one before it: one was changed or taken out", path, number)
        if (one.verdict is None) == (one.undoes is None) or (one.undoes is not None and one.undoes not in open_ones):
            raise _damaged("the line neither decides nor takes back a decision", path, number)
        if known is not None and one.item not in known:
            raise _damaged(f"the image {one.item[:12]}... is not there", path, number)
        if one.undoes is None:
            open_ones.add(number)
        else:
            open_ones.discard(one.undoes)
        found.append(one)
        previous = _hash(line)
    return found


def _check(item: str, verdict: str, reason: str, note: str, known: Collection[str] | None, path: Path) -> None:
    what = mend = ""
    if known is not None and item not in known:
        what, mend = f"there is no image {item[:12]!r}", "name one by the sha256 of its bytes"
    elif verdict not in VERDICTS:
        what, mend = f"'{verdict[:30]}' is no verdict", f"use one of: {', '.join(VERDICTS)}"
    elif reason and reason not in REASONS:
        what, mend = f"'{reason[:30]}' is no reason", f"use one of: {', '.join(REASONS)}"
    elif verdict != "allow" and not reason:
        what, mend = f"to {verdict} an image needs a reason", f"choose one of: {', '.join(REASONS)}"
    elif reason == OTHER and not note.strip():
        what, mend = "the reason 'other' needs a note", "say which reason"
    elif len(note) > LONGEST_NOTE:
        what, mend = f"the note has {len(note)} signs", f"use {LONGEST_NOTE} at most"
    if what:
        raise TableError(what, where=path, mend=mend)


def _damaged(what: str, path: Path, number: int) -> TableError:
    return TableError(what, where=f"{path}, line {number}", mend="restore the file from a copy")

"""What a run keeps of people's labels, read and checked line by line."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from auditkit.errors import TableError
from auditkit.runs.journal import Line, read_journal

if TYPE_CHECKING:
    from auditkit.runs import Run

SAMPLES, ANNOTATIONS = "samples.jsonl", "annotations.jsonl"

UNKNOWN = "unknown"
"""The rater cannot tell."""
NOBODY = "none"
"""Nothing of the kind is shown: where people are asked about, no person."""

RATER = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,31}$"

_STRICT = ConfigDict(extra="forbid", frozen=True)
T = TypeVar("T", bound=BaseModel)

_Id = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Sample(BaseModel):
    """Images that were drawn for labelling, and how."""

    model_config = _STRICT

    sample: str = Field(pattern=r"^[A-Za-z0-9_.+-]+-[0-9]+$")
    """Its name: the attribute and the round, `gender-1`."""
    attribute: str
    classes: list[str] = Field(min_length=1)
    method: str = Field(pattern="^(simple random|stratified random)$")
    """Simple: every set of n images was as likely. Stratified: so within each group of `by`."""
    by: str | None = None
    """The axis that made the strata."""
    seed: int
    raters: list[str]
    time: str
    frame: int
    """Distinct images of the run when it was drawn."""
    ids: list[_Id] = Field(min_length=1)
    strata: list[str]
    """The stratum of each of `ids`; `all` in a simple sample."""
    inclusion: dict[str, float]
    """By stratum: probability that an image of it is in this sample or an earlier one of the attribute."""


class Annotation(BaseModel):
    """One rater's label of one image."""

    model_config = _STRICT

    sample: str
    id: _Id
    attribute: str
    label: str
    """A class, `unknown` or `none`."""
    rater: str = Field(pattern=RATER)
    """A pseudonym."""
    time: str


def samples(run: Run, attribute: str | None = None) -> list[Sample]:
    """The run's samples, first to last; of one attribute, or all.

    Raises:
        TableError: a line does not hold, or names an image that is not in the run.
    """
    path = run.path / SAMPLES
    return [s for s in checked_samples(run, read_journal(path)) if attribute in (None, s.attribute)]


def checked_samples(run: Run, lines: Sequence[Line]) -> list[Sample]:
    """The samples that the lines of samples.jsonl hold."""
    path, here = run.path / SAMPLES, set(run.images()["id"])
    found: list[Sample] = []
    for number, line in enumerate(lines, 1):
        one = _parse(Sample, line, path, number)
        fits = len(one.strata) == len(one.ids) == len(set(one.ids)) and set(one.strata) <= set(one.inclusion)
        if not fits or one.sample in {s.sample for s in found}:
            raise _damaged("the sample does not hold together, or is there twice", path, number)
        if strangers := set(one.ids) - here:
            raise _damaged(f"the sample names an image that is not in the run ({min(strangers)[:12]}...)", path, number)
        found.append(one)
    return found


def ratings(run: Run, attribute: str | None = None) -> list[Annotation]:
    """Every label, first to last; of one attribute, or all.

    Raises:
        TableError: a line does not hold: an unknown image, sample or class, or a second label of an image by the same
            rater; names the line.
    """
    path = run.path / ANNOTATIONS
    return [a for a in checked_annotations(read_journal(path), samples(run), path) if attribute in (None, a.attribute)]


def checked_annotations(lines: Sequence[Line], drawn: Sequence[Sample], path: Path) -> list[Annotation]:
    """The annotations that the lines of annotations.jsonl hold."""
    known = {s.sample: (s, set(s.ids)) for s in drawn}
    found: list[Annotation] = []
    seen: set[tuple[str, str, str]] = set()
    for number, line in enumerate(lines, 1):
        one = _parse(Annotation, line, path, number)
        if one.sample not in known:
            raise _damaged(f"the label is of the sample '{one.sample}', which is not there", path, number)
        sample, ids = known[one.sample]
        if one.id not in ids:
            raise _damaged(f"the image {one.id[:12]}... is not of the sample '{one.sample}'", path, number)
        if one.attribute != sample.attribute or one.label not in (*sample.classes, UNKNOWN, NOBODY):
            raise _damaged(f"'{one.label}' is no label of {sample.attribute}", path, number)
        if (one.attribute, one.id, one.rater) in seen:
            raise _damaged(f"rater {one.rater} labels the image {one.id[:12]}... a second time", path, number)
        seen.add((one.attribute, one.id, one.rater))
        found.append(one)
    return found


def check_rater(rater: str) -> None:
    """Refuse what is no pseudonym.

    Raises:
        TableError: it has other signs than letters, digits, - and _.
    """
    if not re.fullmatch(RATER, rater):
        raise TableError(
            "a rater is named by a pseudonym: up to 32 letters, digits, - and _, no name or address of a person",
            where=repr(rater)[:60],
            mend="name the rater A, B or the like",
        )


def _parse(kind: type[T], line: Line, path: Path, number: int) -> T:
    try:
        return kind.model_validate(line)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(map(str, first["loc"]))
        raise _damaged(f"'{key}': {first['msg'].lower()}", path, number) from None


def _damaged(what: str, path: Path, number: int) -> TableError:
    return TableError(what, where=f"{path}, line {number}", mend="restore the file from a copy")

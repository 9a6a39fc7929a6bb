"""A chapter of the report: what one measure says, as plain values that page, dashboard and terminal draw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import pandas as pd

    from auditkit.runs import Run


@dataclass(frozen=True)
class Figure:
    """A chart as SVG (from `reports.charts.to_svg`), with the words that replace it for who cannot see it."""

    svg: str
    alt: str
    caption: str
    narrow: str = ""
    """The same at a phone's width; empty: the wide one is scaled."""


@dataclass(frozen=True)
class Table:
    """Cells are text, formatted already; numeric columns are aligned to the right."""

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    numeric: Sequence[bool] = ()


@dataclass(frozen=True)
class Pictures:
    """Images of the run, by id, with a caption for each."""

    heading: str
    ids: Sequence[str]
    captions: Sequence[str]


@dataclass(frozen=True)
class Chapter:
    """What one measure found.

    Attributes:
        id: of the section, the measure's name.
        title: a few words, as in a table of contents.
        lead: sentences, the finding first, in words that an auditor may quote; computed from the numbers.
        blocks: figures, tables and pictures, in reading order.
        notes: how to read it, when not to use it: short sentences.
    """

    id: str
    title: str
    lead: Sequence[str]
    blocks: Sequence[Figure | Table | Pictures] = field(default_factory=list)
    notes: Sequence[str] = ()


class ChapterMaker(Protocol):
    """Each module of `reports.chapters` has one, named `chapter`."""

    def __call__(self, measurements: pd.DataFrame, run: Run) -> Chapter | None:
        """None where the measurements hold no rows of the measure."""
        ...

"""The report's chapters, one file a measure; each is there only where the run has measurements of it."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from reports.chapters.base import Chapter, Figure, Pictures, Table

if TYPE_CHECKING:
    import pandas as pd

    from auditkit.runs import Run

__all__ = ["ORDER", "Chapter", "Figure", "Pictures", "Table", "chapters"]

PLAN = "plan"
"""Of every run: what was planned and what was done otherwise, or that nothing was planned."""
ENERGY = "energy"
"""Of every run whose making was metered; from run.json, not from measurements."""

MITIGATION = "mitigation"
"""Of every run that was made with one; from run.json."""

ORDER = (
    PLAN,
    MITIGATION,
    "divergence",
    "intersections",
    "missingness",
    "presence",
    "skin_pixels",
    "association",
    "setting",
    "clusters",
    "discovery",
    "quality",
    "watermark",
    "provenance",
    "detection",
    ENERGY,
)
"""Modules of this package, each with a function `chapter`, in the order in which a reader meets them."""


def chapters(measurements: pd.DataFrame, run: Run) -> list[Chapter]:
    """The chapters that the measurements have something for."""
    present = set(measurements["measure"].str.partition(".")[0])
    made = (
        importlib.import_module(f"reports.chapters.{name}").chapter(measurements, run)
        for name in ORDER
        if name in present or name in (PLAN, MITIGATION, ENERGY)
    )
    return [chapter for chapter in made if chapter is not None]

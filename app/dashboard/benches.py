"""Benches of watermarks beside the runs, or among them: found by a listing, chosen by name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st

from app.dashboard import state
from auditkit.errors import WatermarkError
from auditkit.watermark.bench import read_record, read_table

RESULTS, QUALITY = "results.parquet", "quality.parquet"
FORGERY, CONTROL = "forgery", "unmarked"
_SHARES = ("tpr", "tpr_low", "tpr_high")
_NEEDED = ("scheme", "content", "attack", "strength", "title", "group", "n", "fpr", *_SHARES)


@dataclass(frozen=True)
class Bench:
    """One finished bench. Shared between sessions: never change its tables in place."""

    path: Path
    record: dict[str, Any]
    results: pd.DataFrame
    quality: pd.DataFrame

    def of(self, content: str) -> pd.DataFrame:
        """Its attacks on that content, as they came, without forgeries and the control."""
        rows = self.results[self.results["content"] == content]
        return rows[(rows["group"] != FORGERY) & (rows["attack"] != CONTROL)]


def listing() -> dict[str, Path]:
    """Bench folders by name: `watermark-bench*` beside the folder of runs, and any inside it."""
    return state.results(RESULTS, named="watermark-bench*", read=read_record)


def load(path: Path) -> Bench:
    """The bench in a folder of the listing.

    Raises:
        WatermarkError: a file of it is missing, damaged, or not what a bench writes.
    """
    return _load(path, state.stamp_of(path))


@st.cache_resource(max_entries=4, show_spinner="Reading the bench")
def _load(path: Path, stamp: tuple[tuple[str, int], ...]) -> Bench:
    results, quality = read_table(path, RESULTS), read_table(path, QUALITY)
    lacking = [name for name in _NEEDED if name not in results] + [n for n in ("scheme", "content") if n not in quality]
    mend = "finish the bench: start the same command again"
    if lacking:
        raise WatermarkError(f"the bench has no column {listed(lacking)}", where=path / RESULTS, mend=mend)
    numbers = ["strength", "n", "fpr", *_SHARES]
    if not all(pd.api.types.is_numeric_dtype(results[name]) for name in numbers):
        raise WatermarkError("the bench holds text where numbers belong", where=path / RESULTS, mend=mend)
    if not all(results[name].between(0, 1).all() for name in _SHARES):
        raise WatermarkError("a share of the bench is not between 0 and 1", where=path / RESULTS, mend=mend)
    return Bench(path, read_record(path), results, quality)


def listed(names: list[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)

"""Tables of `auditkit scan` beside the runs, or among them: found by a listing, chosen by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as parquet
import streamlit as st

from app.dashboard import state
from app.dashboard.verdict_card import checked
from auditkit.errors import ProvenanceError
from auditkit.provenance.scan_table import ADDED, COLUMNS

MARK = b"auditkit_scan"
LEFT_OUT = ("details", *ADDED)
"""The whole answers, which are most of a table, and what older tables lack."""
"""In the metadata of a scan's table, and of no other."""
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def listing() -> dict[str, Path]:
    """Tables by name: those beside the folder of runs, and those in it."""
    runs = state.runs_folder()
    beside = {path.name: path for path in sorted(runs.parent.glob("[!.]*.parquet"))}
    inside = {f"{runs.name}/{path.name}": path for path in sorted(runs.glob("[!.]*.parquet"))}
    return {name: path for name, path in (beside | inside).items() if _is_scan(path)}


def load(path: Path) -> pd.DataFrame:
    """A table of the listing, without the whole answers (`details`). Shared: never change it in place.

    Raises:
        ProvenanceError: it is damaged.
    """
    return _load(path, path.stat().st_mtime_ns)


def details(path: Path, file: str) -> dict[str, Any] | None:
    """The whole answer about one file of a scan; None where its row has none.

    Raises:
        ProvenanceError: it is damaged.
    """
    try:
        rows = parquet.read_table(path, columns=["file", "details"], filters=[("file", "==", file)])
        text = rows["details"][0].as_py() if rows.num_rows else None
    except Exception as error:  # whatever a damaged file makes the reader raise
        what = f"the table cannot be read: {type(error).__name__}"
        raise ProvenanceError(what, where=path, mend="scan again") from None
    if not text:
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    return checked(found, where=f"{path.name}: {file}")


def csv(table: pd.DataFrame) -> str:
    """The table as CSV. Names come from strangers, so that none of them may be a formula for a spreadsheet."""
    safe = table.copy()
    for name in safe.select_dtypes(["string", "object"]):
        text = safe[name]
        risky = text.str.startswith(_FORMULA).fillna(False).astype(bool)
        safe[name] = text.where(~risky, "'" + text)
    return str(safe.to_csv(index=False))


def _is_scan(path: Path) -> bool:
    try:
        return MARK in (parquet.read_schema(path).metadata or {})
    except Exception:  # whatever a damaged file makes the reader raise; choosing it says so
        return True


@st.cache_resource(max_entries=4, show_spinner="Reading the scan")
def _load(path: Path, stamp: int) -> pd.DataFrame:
    mend = "scan again: auditkit scan FOLDER --out FILE"
    try:
        table = pd.read_parquet(path, columns=[name for name in COLUMNS if name not in LEFT_OUT])
        table = table.astype({name: kind for name, kind in COLUMNS.items() if name not in LEFT_OUT})
    except Exception as error:  # whatever a damaged file makes the reader raise
        raise ProvenanceError(f"the table cannot be read: {type(error).__name__}", where=path, mend=mend) from None
    if not table["file"].is_unique:
        raise ProvenanceError("the table names a file twice", where=path, mend=mend)
    for name in ("c2pa", "error", "watermark", "hash", "detector", "signer", "sentence"):
        table[name] = table[name].fillna("").astype(str)
    return table

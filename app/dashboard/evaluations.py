"""Evaluations of detectors beside the runs, or among them: found by a listing, chosen by name."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from app.dashboard import state
from auditkit.errors import AuditkitError
from detectors.evaluation import RECORD, Evaluation, read, read_record


def listing() -> dict[str, Path]:
    """Folders by name: `*evaluation*` beside the folder of runs, and any inside it, that hold an evaluation."""
    runs = state.runs_folder()
    beside = sorted(runs.parent.glob(f"*evaluation*/{RECORD}"))
    inside = sorted(runs.glob(f"[!.]*/{RECORD}"))
    found = {file.parent.name: file.parent for file in beside}
    found |= {f"{runs.name}/{file.parent.name}": file.parent for file in inside}
    return {name: path for name, path in found.items() if _is_evaluation(path)}


def load(path: Path) -> Evaluation:
    """The evaluation in a folder of the listing. Shared between sessions: never change its tables in place.

    Raises:
        DetectorError: a part of it is missing or damaged.
    """
    return _load(path, tuple(sorted((file.name, file.stat().st_mtime_ns) for file in path.iterdir() if file.is_file())))


def cards() -> dict[str, str]:
    """The cards of the detectors that come with auditkit, Markdown by name."""
    import detectors

    folder = Path(detectors.__file__).parent / "bundled"
    files = sorted(folder.glob("*/README.md"))
    return {file.parent.name: file.read_text("utf-8") for file in files}


def _is_evaluation(path: Path) -> bool:
    try:
        read_record(path)
    except AuditkitError:
        return False
    return True


@st.cache_resource(max_entries=4, show_spinner="Reading the evaluation")
def _load(path: Path, stamp: tuple[tuple[str, int], ...]) -> Evaluation:
    return read(path)

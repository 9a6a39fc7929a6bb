"""Evaluations of detectors beside the runs, or among them: found by a listing, chosen by name."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from app.dashboard import state
from detectors.evaluation import RECORD, Evaluation, read, read_record


def listing() -> dict[str, Path]:
    """Folders by name: `*evaluation*` beside the folder of runs, and any inside it, that hold an evaluation."""
    return state.results(RECORD, named="*evaluation*", read=read_record)


def load(path: Path) -> Evaluation:
    """The evaluation in a folder of the listing. Shared between sessions: never change its tables in place.

    Raises:
        DetectorError: a part of it is missing or damaged.
    """
    return _load(path, state.stamp_of(path))


def cards() -> dict[str, str]:
    """The cards of the detectors that come with auditkit, Markdown by name."""
    import detectors

    folder = Path(detectors.__file__).parent / "bundled"
    files = sorted(folder.glob("*/README.md"))
    return {file.parent.name: file.read_text("utf-8") for file in files}


@st.cache_resource(max_entries=4, show_spinner="Reading the evaluation")
def _load(path: Path, stamp: tuple[tuple[str, int], ...]) -> Evaluation:
    return read(path)

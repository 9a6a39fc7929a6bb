"""What the views read: the runs in the folder, and one run's tables, cached until a file changes.

A run is always taken from the listing by its folder's name. Nothing from an address reaches the file system.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st

from auditkit.errors import AuditkitError, RunError
from auditkit.images import open_image
from auditkit.runs import BrokenRun, Run, list_runs

RUN = "run"
"""The query parameter, and session key, that says which run is looked at."""

_PAGES = "_pages"
_TABLES = (
    "run.json", "images.parquet", "measurements.parquet", "watermarks.parquet", "provenance.parquet", "SEAL",
    "scores/*.parquet",
)  # fmt: skip


@dataclass(frozen=True)
class Loaded:
    """One run's tables. Shared between sessions: never change them in place."""

    run: Run
    images: pd.DataFrame
    """The images table, with `<scorer>@<encoder>` and `<scorer>@<encoder> confidence` columns of labels."""
    scores: dict[str, pd.DataFrame]
    """Keyed 'gender@personas-clip', indexed by image id."""
    measurements: pd.DataFrame | None
    watermarks: pd.DataFrame | None = None
    """Verdicts on watermarks; None where none was looked for."""
    problems: list[AuditkitError] = field(default_factory=list)
    """Tables that are there and could not be read."""

    @property
    def name(self) -> str:
        return self.run.path.name


def runs_folder() -> Path:
    """The folder named on the command line."""
    return Path(sys.argv[1] if len(sys.argv) > 1 else "runs").resolve()


def results(mark: str, *, named: str, read: Callable[[Path], object]) -> dict[str, Path]:
    """Folders of results that hold a file `mark`, by name: those called `named` beside the runs, any among them.

    Args:
        read: raises AuditkitError for a folder that is something else.
    """
    runs = runs_folder()
    found = {file.parent.name: file.parent for file in sorted(runs.parent.glob(f"{named}/{mark}"))}
    found |= {f"{runs.name}/{file.parent.name}": file.parent for file in sorted(runs.glob(f"[!.]*/{mark}"))}
    return {name: path for name, path in found.items() if _reads(read, path)}


def stamp_of(folder: Path) -> tuple[tuple[str, int], ...]:
    """What changes when a file of the folder does: names and times, for caches."""
    return tuple(sorted((file.name, file.stat().st_mtime_ns) for file in folder.iterdir() if file.is_file()))


def _reads(read: Callable[[Path], object], path: Path) -> bool:
    try:
        read(path)
    except AuditkitError:
        return False
    return True


def listing() -> dict[str, Run | BrokenRun]:
    """Runs by folder name, the newest first, the broken last."""
    folder = runs_folder()
    stamp = tuple(sorted((str(path), path.stat().st_mtime_ns) for path in folder.glob("[!.]*/run.json")))
    return _listing(folder, stamp)


def load(name: str) -> Loaded:
    """The tables of the run of that name.

    Raises:
        RunError: no run in the listing has that name, or its record or images cannot be read.
    """
    run = listing().get(name)
    if run is None:
        raise RunError("there is no such run here", where=runs_folder(), mend="choose one from the list of runs")
    if isinstance(run, BrokenRun):
        raise run.error
    return _load(run.path, stamp(run.path))


def stamp(path: Path) -> tuple[tuple[str, int], ...]:
    """What changes when one of a run's tables does."""
    files = [file for pattern in _TABLES for file in path.glob(pattern)]
    return tuple(sorted((str(file), file.stat().st_mtime_ns) for file in files))


def thumbnail(run: Run, id: str, *, size: int) -> bytes | None:
    """An image as PNG bytes, at most `size` pixels a side; None where its file cannot be read."""
    path = run.image_path(id)
    try:
        return _thumbnail(path, path.stat().st_mtime_ns, size)
    except (AuditkitError, OSError):
        return None


def set_pages(pages: dict[str, Any]) -> None:
    """Remember the frame's pages, for links between views."""
    st.session_state[_PAGES] = pages


def page(path: str) -> Any:
    """The page of that path, for `st.page_link`."""
    return st.session_state[_PAGES][path]


@st.cache_resource(max_entries=4, show_spinner=False)
def _listing(folder: Path, stamp: tuple[tuple[str, int], ...]) -> dict[str, Run | BrokenRun]:
    return {run.path.name: run for run in list_runs(folder)}


@st.cache_resource(max_entries=4, show_spinner="Reading the run")
def _load(path: Path, stamp: tuple[tuple[str, int], ...]) -> Loaded:
    from app.finding import open_run

    run = open_run(path)
    images, problems = run.images(), []
    scores: dict[str, pd.DataFrame] = {}
    measurements = watermarks = None
    try:
        scores = {key: table.set_index("id") for key, table in run.scores().items()}
    except AuditkitError as error:
        problems.append(error)
    try:
        measurements = run.measurements()
    except AuditkitError as error:
        problems.append(error)
    try:
        watermarks = run.watermarks()
    except AuditkitError as error:
        problems.append(error)
    for key, table in scores.items():
        images[key] = images["id"].map(table["label"])
        images[f"{key} confidence"] = images["id"].map(table["confidence"])
    return Loaded(run, images, scores, measurements, watermarks, problems)


@st.cache_data(max_entries=5000, show_spinner=False)
def _thumbnail(path: Path, stamp: int, size: int) -> bytes:
    image = open_image(path)
    image.thumbnail((size, size))
    out = io.BytesIO()
    image.save(out, format="PNG")
    return out.getvalue()

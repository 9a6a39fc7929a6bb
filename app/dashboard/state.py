"""What the views read: the runs in the folder, and one run's tables, cached until a file changes.

A run is always taken from the listing by its folder's name. Nothing from an address reaches the file system.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st

from app import example
from app.dashboard.index import Index
from auditkit.errors import AuditkitError, RunError
from auditkit.images import open_image
from auditkit.runs import BrokenRun, Run, list_runs
from auditkit.schemas import DETECTIONS, PROVENANCE, WATERMARKS, table_columns

RUN = "run"
"""The query parameter, and session key, that says which run is looked at."""

_PAGES = "_pages"
_TABLES = (
    "run.json", "images.parquet", "measurements.parquet", "watermarks.parquet", "provenance.parquet",
    "detections.parquet", "SEAL",
    "scores/*.parquet", "embeddings/*.parquet",
)  # fmt: skip


@dataclass(frozen=True)
class Loaded:
    """One run's tables. Shared between sessions: never change them in place."""

    run: Run
    index: Index
    """Images and scores, to be asked for what is shown."""
    measurements: pd.DataFrame | None
    problems: list[AuditkitError] = field(default_factory=list)
    """Tables that are there and could not be read."""
    damaged: frozenset[str] = frozenset()
    """Of watermarks, provenance and detections, those that are among the problems."""

    @cached_property
    def watermarks(self) -> pd.DataFrame | None:
        """Verdicts on watermarks; None where none was looked for.

        Raises:
            TableError: the table is damaged.
        """
        return None if "watermarks" in self.damaged else self.run.watermarks()

    @cached_property
    def detections(self) -> pd.DataFrame | None:
        """What detectors said; None where none was asked, or the table is damaged."""
        return None if "detections" in self.damaged else self.run.detections()

    @property
    def name(self) -> str:
        return self.run.path.name


def runs_folder() -> Path:
    """The folder named on the command line."""
    return Path(sys.argv[1] if len(sys.argv) > 1 else "runs").resolve()


def results(mark: str, *, named: str, read: Callable[[Path], object]) -> dict[str, Path]:
    """Folders of results that hold a file `mark`, by name: those called `named` beside the runs, any among them; the
    shipped example's where its runs are shown.

    Args:
        read: raises AuditkitError for a folder that is something else.
    """
    runs = runs_folder()
    found = {file.parent.name: file.parent for file in sorted(runs.parent.glob(f"{named}/{mark}"))}
    found |= {f"{runs.name}/{file.parent.name}": file.parent for file in sorted(runs.glob(f"[!.]*/{mark}"))}
    if shows_example():
        found |= {f"example/{file.parent.name}": file.parent for file in sorted(example.shared().glob(f"[!.]*/{mark}"))}
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
    """Runs by folder name, the newest first, the broken last; with the shipped example where none can be looked at."""
    own = _in(runs_folder())
    return own if any(map(_finished, own.values())) else _example() | own


def shows_example() -> bool:
    """Whether the runs that can be looked at are the shipped example's, for want of others."""
    names = finished()
    return bool(names) and not any(map(_finished, _in(runs_folder()).values()))


def _in(folder: Path) -> dict[str, Run | BrokenRun]:
    stamp = tuple(sorted((str(path), path.stat().st_mtime_ns) for path in folder.glob("[!.]*/run.json")))
    return _listing(folder, stamp)


def _example() -> dict[str, Run | BrokenRun]:
    try:
        runs = _in(example.shared())
    except AuditkitError:  # a cache that cannot be written is no fault of the runs
        return {}
    return {name: runs[name] for name in example.RUNS if name in runs}


def _finished(run: Run | BrokenRun) -> bool:
    return not isinstance(run, BrokenRun) and run.complete


def finished() -> list[str]:
    """The names of the runs that can be looked at, the newest first."""
    return [name for name, run in listing().items() if _finished(run)]


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
    """An image at most `size` pixels a side, as a file's bytes: PNG where it is whole, JPEG where it was made smaller.

    None where its file cannot be read.
    """
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
    index = Index(run)
    problems, measurements, damaged = [*index.problems], None, set[str]()
    try:
        measurements = run.measurements()
    except AuditkitError as error:
        problems.append(error)
    for name, schema in (("watermarks", WATERMARKS), ("provenance", PROVENANCE), ("detections", DETECTIONS)):
        file = path / f"{name}.parquet"
        try:
            if file.is_file():
                table_columns(file, schema)  # its rows are read where they are shown
        except AuditkitError as error:
            problems.append(error)
            damaged.add(name)
    return Loaded(run, index, measurements, problems, frozenset(damaged))


@st.cache_data(max_entries=2000, show_spinner=False)
def _thumbnail(path: Path, stamp: int, size: int) -> bytes:
    image = open_image(path)
    out = io.BytesIO()
    if max(image.size) <= size:
        image.save(out, format="PNG")
    else:  # a tenth of the bytes, and of the time
        image.thumbnail((size, size))
        image.save(out, format="JPEG", quality=90)
    return out.getvalue()

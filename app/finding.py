"""Finding runs: by path, by id under a folder of runs, or the latest."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from auditkit.errors import RunError

if TYPE_CHECKING:
    from auditkit.runs import BrokenRun, Run

RUNS = Path("runs")


def open_run(path: str | Path) -> Run:
    """Open the run in a folder.

    Raises:
        RunError: the folder is missing or is no run.
    """
    from auditkit import runs

    return runs.open_run(Path(path))


def find_run(run: Run | str | Path, *, folder: str | Path = RUNS) -> Run:
    """The run meant by a path, by an id under `folder`, or by 'latest', the one made last under `folder`."""
    if not isinstance(run, (str, Path)):
        return run
    folder, name = Path(folder), str(run)
    if name == "latest":
        return _latest(folder)
    path = Path(run)
    if (path / "run.json").exists() or not (folder / name / "run.json").exists():
        if not path.exists():
            _no_such_run(name, folder)
        return open_run(path)
    return open_run(folder / name)


def list_runs(folder: str | Path = RUNS) -> list[Run | BrokenRun]:
    """Every run under a folder, the newest first; one that cannot be opened is listed as a BrokenRun."""
    from auditkit import runs

    if not Path(folder).is_dir():
        raise RunError(
            "there is no such folder of runs",
            where=folder,
            mend="name it with --runs, or make a run: auditkit audit",
        )
    return runs.list_runs(Path(folder))


def _latest(folder: Path) -> Run:
    from auditkit.runs import BrokenRun

    for run in list_runs(folder):
        if not isinstance(run, BrokenRun):
            return run
    raise RunError("there is no run yet", where=folder, mend="make one: auditkit audit")


def _no_such_run(name: str, folder: Path) -> None:
    import difflib

    known = sorted(path.parent.name for path in folder.glob("*/run.json"))
    near = difflib.get_close_matches(name, known, n=3) or known[:3]
    hint = f"did you mean {' or '.join(near)}?" if near else "make one with `auditkit audit`"
    raise RunError(f"there is no run {name!r}", where=folder, mend=f"{hint}; `auditkit runs` lists them")

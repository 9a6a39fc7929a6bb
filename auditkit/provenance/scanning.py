"""Inspecting a folder: worker processes, a row a file, resumable; a file that breaks its reader costs its own row.

Each worker is a fresh process with one reader. It says when it is ready, and is then fed one file at a time over a
pipe. So it is known which file a worker was at when it died or hung: that file gets a row that says so, and another
worker takes its place. One that dies or hangs before it is ready was at no file: that is no verdict, but an error.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from auditkit.errors import AuditkitError, ProvenanceError
from auditkit.files import sha256, sha256_file
from auditkit.processes import one_thread, without_main
from auditkit.provenance.inspection import Inspector, Settings, printable, sidecar_paths
from auditkit.provenance.reading import supported
from auditkit.provenance.scan_table import COLUMNS, Parts

SECONDS = 60.0
"""A file that takes longer is given up: a hang."""
START_SECONDS = 60.0
"""A worker may take so long to start and to load its libraries."""
READY = "ready"
"""What a worker says first."""
BATCH = 200
SAVE_SECONDS = 10.0
"""Rows are written when there are that many, or when the last were written that long ago."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Scan:
    """What a scan made: its table's path, and how many rows were made now, were there already, and had an error."""

    path: Path
    made: int
    kept: int
    errors: int
    seconds: float


def scan(
    folder: str | Path,
    out: str | Path,
    *,
    settings: Settings | None = None,
    workers: int = 2,
    seconds: float = SECONDS,
    progress: Progress | None = None,
) -> Scan:
    """Inspect every file below `folder` and write a Parquet table of verdicts to `out`.

    Started again with the same settings, it keeps the rows of files that have not changed (size and time), and does
    the rest. Rows are kept beside the table, in parts of at most 200, until all are there.

    Args:
        workers: processes.
        seconds: longest time for one file.

    Raises:
        ProvenanceError: `folder` is no folder, `out` cannot be written or holds something else, or no worker starts.
        TrustError, KeyFileError: the settings name something that is missing or damaged.
    """
    folder, out, settings = Path(folder), Path(out), settings or Settings()
    if not folder.is_dir():
        raise ProvenanceError(
            "there is no such folder", where=folder, mend="check the path; for a file: auditkit inspect"
        )
    if out.suffix != ".parquet":
        raise ProvenanceError("verdicts are written as .parquet", where=out, mend="end the name in .parquet")
    looking = Inspector(settings)  # what it names is checked once, before any worker starts
    began = time.monotonic()
    parts = Parts(out, _identity(folder, looking))
    known = parts.known()
    todo, kept, rows, present = [], 0, [], set()
    for path, problem in listed(folder, but=out):
        row = _stat_row(folder, path)
        present.add(row["file"])
        if problem:
            rows.append(row | {"error": problem})
        elif known.get(row["file"]) == (row["bytes"], row["modified_ns"]):
            kept += 1
        else:
            todo.append((path, row))
    done, total = kept + len(rows), kept + len(rows) + len(todo)
    if progress is not None:
        progress(done, total)
    errors, saved = len(rows), time.monotonic()
    for row in _rows(folder, todo, settings, workers, seconds, _work):
        rows.append(row)
        done, errors = done + 1, errors + bool(row["error"])
        if len(rows) >= BATCH or time.monotonic() - saved > SAVE_SECONDS:
            parts.write(rows)
            rows, saved = [], time.monotonic()
        if progress is not None:
            progress(done, total)
    parts.write(rows)
    parts.merge(present)
    return Scan(out, total - kept, kept, errors, time.monotonic() - began)


def listed(folder: Path, *, but: Path) -> Iterator[tuple[Path, str]]:
    """Files below a folder, relative to it, each with why it is not to be opened ('' where it may be).

    Hidden files, the scan's own, and sidecars that lie beside an image are left out. What else cannot be looked at is
    listed (links to folders or out of the folder, pipes, folders that do not open), so that a table says what it lacks.
    """
    # Not `Path.resolve`, which raises on links that go round in a circle.
    root, own = os.path.realpath(folder), os.path.realpath(but)
    closed: list[OSError] = []
    for place, folders, names in os.walk(folder, onerror=closed.append):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        here = Path(place)
        stems = {Path(name).stem for name in names if not name.endswith(".c2pa")} | set(names)
        for name in sorted([*names, *(name for name in folders if (here / name).is_symlink())]):
            path = here / name
            if name.startswith(".") or os.path.realpath(path) == own:
                continue
            if name.endswith(".c2pa") and name.removesuffix(".c2pa") in stems:
                continue
            yield path.relative_to(folder), _barred(path, root)
    for error in closed:
        yield Path(error.filename).relative_to(folder), f"the folder cannot be read: {error.strerror}"


def _barred(path: Path, root: str) -> str:
    if path.is_symlink():
        if not Path(os.path.realpath(path)).is_relative_to(root):
            return "a link to a file outside the folder"
        return "a link to a folder, which is not followed" if path.is_dir() else ""
    return "" if path.is_file() else "this is not a plain file"


def _rows(
    folder: Path,
    todo: list[tuple[Path, dict[str, Any]]],
    settings: Settings,
    workers: int,
    seconds: float,
    work: Callable[[Connection, Settings], None],
) -> Iterator[dict[str, Any]]:
    """A row for each file, as they are done."""
    queue = deque(todo)
    crew: dict[Connection, _Worker] = {}

    def hire() -> None:
        worker = _Worker(settings, work)
        crew[worker.pipe] = worker

    def part_with(worker: _Worker) -> None:
        worker.stop()
        del crew[worker.pipe]

    try:
        for _ in range(min(max(1, workers), len(todo))):
            hire()
        while crew:
            heard = wait(list(crew), timeout=0.5)
            for pipe, worker in list(crew.items()):
                if pipe in heard:
                    try:
                        said = pipe.recv()
                        if worker.row is not None:
                            yield worker.row | said
                        if queue:
                            worker.give(folder, queue.popleft())
                        else:
                            part_with(worker)
                        continue
                    except (EOFError, OSError):
                        why = f"the reader crashed on this file (exit code {worker.exit_code()})"
                elif worker.seconds > (START_SECONDS if worker.row is None else seconds):
                    why = f"the reader was still busy with this file after {seconds:g} s and was stopped"
                else:
                    continue
                if worker.row is None:
                    code = worker.exit_code()
                    raise ProvenanceError(
                        "a worker process of the scan does not start"
                        + (f" (exit code {code})" if code is not None else f": not ready after {START_SECONDS:g} s"),
                        where=folder, mend="read what it printed above; where memory is short: --workers 1",
                    )  # fmt: skip
                yield worker.row | {"c2pa": "malformed", "error": why}
                part_with(worker)
                if queue:
                    hire()
    finally:
        for worker in crew.values():
            worker.stop()


class _Worker:
    """A process that inspects one file at a time; `row` is of the file that it is at, None until it is ready."""

    def __init__(self, settings: Settings, work: Callable[[Connection, Settings], None]):
        # 'spawn': the reader's native threads do not outlive a fork.
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self._process = context.Process(target=work, args=(theirs, settings), daemon=True)
        with without_main(), one_thread():
            self._process.start()
        theirs.close()
        self.row: dict[str, Any] | None = None
        self._since = time.monotonic()

    def give(self, folder: Path, task: tuple[Path, dict[str, Any]]) -> None:
        self.row, self._since = task[1], time.monotonic()
        self.pipe.send(str(folder / task[0]))

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._since

    def exit_code(self) -> int | None:
        self._process.join(1)
        return self._process.exitcode

    def stop(self) -> None:
        self._process.kill()
        self._process.join(5)
        self.pipe.close()


def _work(pipe: Connection, settings: Settings) -> None:
    """The loop of a worker process."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what an interruption stops
    inspector = Inspector(settings)
    supported()  # loads the library
    with contextlib.suppress(EOFError, BrokenPipeError):
        pipe.send(READY)
        while True:
            pipe.send(_looked_at(inspector, pipe.recv()))


def _looked_at(inspector: Inspector, path: str) -> dict[str, Any]:
    began = time.perf_counter()
    try:
        row = _row(inspector.inspect(path).as_dict())
    except AuditkitError as error:
        row = {"error": error.what}
    except Exception as error:  # a fault of ours must not cost the scan
        row = {"error": f"unexpected {type(error).__name__}: {error}"}
    return row | {"ms": round(1000 * (time.perf_counter() - began), 3)}


def _row(found: dict[str, Any]) -> dict[str, Any]:
    """An inspection as the columns of a row, without those that the file system tells."""
    present = [row for row in found["watermark"]["detections"] if row["verdict"] == "present"]
    mark = present[0] if present else {}
    match = found["hash"]["matches"][0] if found["hash"]["matches"] else {}
    signer = found["c2pa"]["signer"] or {}
    return {
        "sha256": found["sha256"],
        "media_type": found["media_type"],
        "c2pa": found["c2pa"]["verdict"],
        "signer": signer.get("name"),
        "codes": " ".join(found["c2pa"]["codes"]),
        "generated": found["c2pa"]["generated"],
        "sentence": found["c2pa"]["sentence"],
        "watermark": found["watermark"]["verdict"],
        "watermark_scheme": mark.get("scheme"),
        "watermark_payload": mark.get("payload"),
        "watermark_p": mark.get("p_value"),
        "pdq": found["hash"]["pdq"],
        "hash": found["hash"]["verdict"],
        "hash_bank": match.get("bank"),
        "hash_distance": match.get("distance"),
        "consent": found["consent"]["sentence"],
        "detector": found["detector"]["verdict"],
        "detector_name": _speaker(found["detector"]),
        # Escaped, since a label in a stranger's metadata may hold what is no Unicode text.
        "details": json.dumps(found, ensure_ascii=True, default=str),
    }


def _speaker(part: dict[str, Any]) -> str | None:
    """The detectors whose verdict is the part's, by name."""
    return ", ".join(row["detector"] for row in part["judgements"] if row["verdict"] == part["verdict"]) or None


def _stat_row(folder: Path, path: Path) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(COLUMNS) | {"file": printable(path), "bytes": 0, "modified_ns": 0, "error": ""}
    try:
        status = (folder / path).stat()
        row |= {"bytes": status.st_size, "modified_ns": status.st_mtime_ns}
    except OSError:
        return row
    for beside in sidecar_paths(folder / path):  # a new one makes another verdict
        with contextlib.suppress(OSError):
            row["modified_ns"] = max(row["modified_ns"], beside.lstat().st_mtime_ns)
    return row


def _identity(folder: Path, looking: Inspector) -> str:
    """What makes a row stale: the settings, and what lies behind their names (anchors, keys, banks, store, weights)."""
    from auditkit import __version__

    store = looking.store
    told = {
        **asdict(looking.settings), "anchors": looking.anchors, "version": __version__,
        "folder": os.path.realpath(folder),
        "keys": [] if looking.ring is None else [[each.key.id, str(each.registered)] for each in looking.ring.entries],
        "banks": [[str(bank.path), sha256_file(bank.path)] for bank in looking.banks],
        "detectors": looking.detectors.identity(),
        "store": None if store is None else [len(store), *(row["label"] for row in store.rows(limit=1))],
    }  # fmt: skip
    return sha256(json.dumps(told, sort_keys=True, default=str).encode())

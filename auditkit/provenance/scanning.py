"""Inspecting a folder: worker processes, a row a file, resumable; a file that breaks its reader costs its own row.

Each worker is a fresh process with one reader, fed one file at a time over a pipe. So it is known which file a worker
was at when it died or hung: that file gets a row that says so, and another worker takes its place.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auditkit.errors import AuditkitError, ProvenanceError
from auditkit.files import TEMPORARY
from auditkit.provenance.inspection import Inspector, Settings

if TYPE_CHECKING:
    import pandas as pd

SECONDS = 60.0
"""A file that takes longer is given up: a hang."""
START_SECONDS = 30.0
"""A worker's first file may take that much longer: the process starts and loads its libraries."""
BATCH = 200
"""Rows written at a time."""

COLUMNS = {
    "file": "string", "bytes": "int64", "modified_ns": "int64", "sha256": "string", "media_type": "string",
    "c2pa": "string", "signer": "string", "codes": "string", "generated": "boolean", "sentence": "string",
    "watermark": "string", "watermark_scheme": "string", "watermark_payload": "string", "watermark_p": "float64",
    "pdq": "string", "hash": "string", "hash_bank": "string", "hash_distance": "Int64", "consent": "string",
    "detector": "string", "ms": "float64", "error": "string", "details": "string",
}  # fmt: skip
"""Columns of the table of verdicts; `details` is the whole answer of `inspect` as JSON."""

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
    the rest. Rows are kept beside the table, a part for each 200, until all are there.

    Args:
        workers: processes.
        seconds: longest time for one file.

    Raises:
        ProvenanceError: `folder` is no folder, or `out` cannot be written or holds something else.
        TrustError, KeyFileError: the settings name something that is missing or damaged.
    """
    folder, out, settings = Path(folder), Path(out), settings or Settings()
    if not folder.is_dir():
        raise ProvenanceError(
            "there is no such folder", where=folder, mend="check the path; for a file: auditkit inspect"
        )
    if out.suffix != ".parquet":
        raise ProvenanceError("verdicts are written as .parquet", where=out, mend="end the name in .parquet")
    Inspector(settings)  # what it names is checked once, before any worker starts
    began = time.monotonic()
    parts = _Parts(out, _identity(folder, settings))
    known = parts.known()
    todo, kept, rows = [], 0, []
    for path, problem in listed(folder, but=out):
        row = _stat_row(folder, path)
        if problem:
            rows.append(row | {"error": problem})
        elif known.get(str(path)) == (row["bytes"], row["modified_ns"]):
            kept += 1
        else:
            todo.append((path, row))
    present = {str(path) for path, _ in listed(folder, but=out)}
    done, total = kept + len(rows), kept + len(rows) + len(todo)
    if progress is not None:
        progress(done, total)
    errors = len(rows)
    for row in _rows(folder, todo, settings, workers, seconds, _work):
        rows.append(row)
        done, errors = done + 1, errors + bool(row["error"])
        if len(rows) >= BATCH:
            parts.write(rows)
            rows = []
        if progress is not None:
            progress(done, total)
    parts.write(rows)
    parts.merge(present)
    return Scan(out, total - kept, kept, errors, time.monotonic() - began)


def read_scan(path: str | Path) -> pd.DataFrame:
    """The table of a scan.

    Raises:
        ProvenanceError: it is missing, or no table of verdicts.
    """
    import pandas as pd

    try:
        table = pd.read_parquet(path)
    except FileNotFoundError:
        raise ProvenanceError("there is no such table", where=path, mend="auditkit scan FOLDER --out FILE") from None
    except Exception as error:  # whatever a damaged file makes the reader raise
        raise ProvenanceError(f"the table is damaged: {error}", where=path, mend="scan again") from None
    missing = [name for name in COLUMNS if name not in table]
    if missing:
        raise ProvenanceError(
            f"the table has no column '{missing[0]}'", where=path, mend="name a table of auditkit scan"
        )
    return table


def listed(folder: Path, *, but: Path) -> Iterator[tuple[Path, str]]:
    """Files below a folder, relative to it and sorted, each with why it must not be opened ('' where it may be).

    Hidden files, the scan's own, and sidecars that lie beside an image are left out.
    """
    root, own = folder.resolve(), but.resolve()
    for place, folders, names in os.walk(folder):
        folders.sort()
        folders[:] = [name for name in folders if not name.startswith(".")]
        here = Path(place)
        stems = {Path(name).stem for name in names if not name.endswith(".c2pa")} | set(names)
        for name in sorted(names):
            path = here / name
            if name.startswith(".") or path.resolve() == own or name.endswith(TEMPORARY):
                continue
            if name.endswith(".c2pa") and name.removesuffix(".c2pa") in stems:
                continue
            if path.is_symlink() and not path.resolve().is_relative_to(root):
                yield path.relative_to(folder), "a link to a file outside the folder"
            elif path.is_file() or path.is_symlink():
                yield path.relative_to(folder), ""


def _rows(
    folder: Path,
    todo: list[tuple[Path, dict[str, Any]]],
    settings: Settings,
    workers: int,
    seconds: float,
    work: Callable[[Connection, Settings], None],
) -> Iterator[dict[str, Any]]:
    """A row for each file, as they are done."""
    queue = iter(todo)
    crew: dict[Connection, _Worker] = {}

    def hand_out(worker: _Worker | None = None) -> None:
        if (task := next(queue, None)) is not None:
            worker = worker or _Worker(settings, work)
            crew[worker.pipe] = worker
            worker.give(folder, task)
        elif worker is not None:
            worker.stop()
            crew.pop(worker.pipe, None)

    try:
        for _ in range(max(1, workers)):
            hand_out()
        while crew:
            ready = wait(list(crew), timeout=0.5)
            for pipe, worker in list(crew.items()):
                if pipe in ready:
                    try:
                        yield worker.row | pipe.recv()
                        hand_out(worker)
                        continue
                    except (EOFError, OSError):
                        why = f"the reader crashed on this file (exit code {worker.exit_code()})"
                elif worker.seconds > seconds:
                    why = f"the reader was still busy with this file after {seconds:g} s and was stopped"
                else:
                    continue
                yield worker.row | {"c2pa": "malformed", "error": why}
                worker.stop()
                del crew[pipe]
                hand_out()
    finally:
        for worker in crew.values():
            worker.stop()


class _Worker:
    """A process that inspects one file at a time."""

    def __init__(self, settings: Settings, work: Callable[[Connection, Settings], None]):
        # 'spawn': the reader's native threads do not outlive a fork.
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self._process = context.Process(target=work, args=(theirs, settings), daemon=True)
        self._process.start()
        theirs.close()
        self.row: dict[str, Any] = {}
        self._since = time.monotonic()
        self._allowance = START_SECONDS  # the first file waits for the process to start

    def give(self, folder: Path, task: tuple[Path, dict[str, Any]]) -> None:
        if self.row:
            self._allowance = 0.0
        self.row, self._since = task[1], time.monotonic()
        self.pipe.send(str(folder / task[0]))

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._since - self._allowance

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
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    inspector = Inspector(settings)
    with contextlib.suppress(EOFError, BrokenPipeError):
        while True:
            path = pipe.recv()
            began = time.perf_counter()
            try:
                row = _row(inspector.inspect(path).as_dict())
            except AuditkitError as error:
                row = {"error": error.what}
            except Exception as error:  # a fault of ours must not cost the scan
                row = {"error": f"unexpected {type(error).__name__}: {error}"}
            pipe.send(row | {"ms": round(1000 * (time.perf_counter() - began), 3)})


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
        "details": json.dumps(found, ensure_ascii=False, default=str),
    }


def _stat_row(folder: Path, path: Path) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(COLUMNS) | {"file": str(path), "bytes": 0, "modified_ns": 0, "error": ""}
    try:
        status = (folder / path).stat()
        row |= {"bytes": status.st_size, "modified_ns": status.st_mtime_ns}
    except OSError:
        pass
    return row


def _identity(folder: Path, settings: Settings) -> str:
    """What makes a row stale: the settings, and what lies behind their names."""
    from auditkit import __version__
    from auditkit.provenance import trust

    anchors = trust.anchors(as_of=settings.as_of, files=settings.trust)
    told = {**asdict(settings), "anchors": anchors, "version": __version__, "folder": str(folder.resolve())}
    return hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()


class _Parts:
    """The table in the making: parts in a hidden folder beside it, merged when all is done."""

    def __init__(self, out: Path, identity: str):
        self._out, self._identity = out, identity
        self._folder = out.with_name(f".{out.name}.parts")
        self._tables = self._read()

    def known(self) -> dict[str, tuple[int, int]]:
        """Size and time of the files that have a row without error."""
        found: dict[str, tuple[int, int]] = {}
        for table in self._tables:
            good = table[table["error"] == ""]
            found |= dict(zip(good["file"], zip(good["bytes"], good["modified_ns"], strict=True), strict=True))
        return found

    def write(self, rows: list[dict[str, Any]]) -> None:
        if rows:
            table = _table(rows)
            self._save(table, self._folder / f"{time.time_ns()}.parquet")
            self._tables.append(table)

    def merge(self, present: set[str]) -> None:
        """Write the table of all rows whose files are still there, the newest row of each, and forget the parts."""
        import pandas as pd

        whole = pd.concat([_table([]), *self._tables], ignore_index=True) if self._tables else _table([])
        whole = whole.drop_duplicates("file", keep="last")
        whole = whole[whole["file"].isin(present)].sort_values("file", ignore_index=True)
        self._save(whole, self._out)
        if self._folder.is_dir():
            for path in self._folder.iterdir():
                path.unlink()
            self._folder.rmdir()

    def _read(self) -> list[pd.DataFrame]:
        import pyarrow.parquet as parquet

        found = []
        parts = sorted(self._folder.glob("*.parquet")) if self._folder.is_dir() else []
        for path in [self._out, *parts]:
            if not path.is_file():
                continue
            try:
                read = parquet.read_table(path)
            except Exception as error:  # whatever a damaged file makes the reader raise
                if path != self._out:
                    path.unlink()  # a part that was being written when the process was killed
                    continue
                raise ProvenanceError(
                    f"the file is no table: {error}", where=path, mend="remove it, or name another file (--out)"
                ) from None
            held = (read.schema.metadata or {}).get(b"auditkit_scan", b"").decode()
            if not held and path == self._out:
                raise ProvenanceError("the file holds something else", where=path, mend="name another file (--out)")
            if held == self._identity:
                found.append(read.to_pandas().astype(COLUMNS))
        return found

    def _save(self, table: pd.DataFrame, path: Path) -> None:
        import pyarrow as arrow

        from auditkit.schemas import write_parquet

        made = arrow.Table.from_pandas(table, preserve_index=False)
        metadata = {**(made.schema.metadata or {}), b"auditkit_scan": self._identity.encode()}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_parquet(made.replace_schema_metadata(metadata), path)
        except OSError as error:
            raise ProvenanceError(
                f"the table cannot be written: {error.strerror}", where=path, mend="check it"
            ) from None


def _table(rows: list[dict[str, Any]]) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(rows, columns=list(COLUMNS)).astype(COLUMNS)

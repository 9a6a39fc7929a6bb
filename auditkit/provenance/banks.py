"""Hash banks: named lists of the hashes of known harmful images, or of one's own, each kept as one SQLite file."""

from __future__ import annotations

import contextlib
import re
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from auditkit import places
from auditkit.errors import ImageError, ProvenanceError
from auditkit.files import sha256
from auditkit.provenance.bank_entries import TYPES, Entry, entry, now
from auditkit.provenance.hamming import HammingIndex
from auditkit.provenance.pdq import hash_image

Progress = Callable[[int, int], None]


KINDS = ("harm", "own")
SUFFIX = ".sqlite"
_APPLICATION = 0x61756B62  # 'aukb', in the file's header
_TABLES = """
    CREATE TABLE bank (kind TEXT NOT NULL);
    CREATE TABLE entry (type TEXT NOT NULL, value BLOB NOT NULL, label TEXT NOT NULL, note TEXT NOT NULL,
                        added TEXT NOT NULL, PRIMARY KEY (type, value)) WITHOUT ROWID;
"""
_COLUMNS = "type, lower(hex(value)), label, note, added"
_BATCH = 256  # files hashed between two writes: an interruption loses no more


@dataclass
class Added:
    """What became of the hashes given to a bank."""

    added: int = 0
    known: int = 0
    """Hashes that the bank had already; their labels stay as they were."""
    unusable: list[Path] = field(default_factory=list)
    """Images too flat for PDQ, of which only the SHA-256 was added."""
    failed: list[tuple[Path, str]] = field(default_factory=list)
    """Files that could not be read as images, and why."""


def folder() -> Path:
    """Where banks are kept unless another folder is named: 'banks' in `auditkit.places.home()`."""
    return places.home() / "banks"


class Bank:
    """A hash bank in a file. Made by `create` and `load`.

    Attributes:
        path: the file, NAME.sqlite.
        kind: 'harm' (known harmful images) or 'own' (images of one's own, to recognise them).
    """

    def __init__(self, path: Path, kind: str):
        self.path, self.kind = path, kind
        self._index: tuple[tuple[int, int], NDArray[np.uint8], HammingIndex] | None = None

    @property
    def name(self) -> str:
        """The name of its file, without .sqlite."""
        return self.path.stem

    def add(self, entries: Iterable[Entry]) -> Added:
        """Add hashes, all or none. Those without a date get today's."""
        today, done = now(), Added()
        rows = [(one.type, bytes.fromhex(one.value), one.label, one.note, one.added or today) for one in entries]
        with self._open(write=True) as connection:
            before = connection.total_changes
            connection.executemany("INSERT OR IGNORE INTO entry VALUES (?, ?, ?, ?, ?)", rows)
            done.added = connection.total_changes - before
        done.known = len(rows) - done.added
        return done

    def add_images(
        self, files: Sequence[str | Path], *, label: str = "", note: str = "", progress: Progress | None = None
    ) -> Added:
        """Add the PDQ and SHA-256 of image files; the note is each file's name unless given. Unreadable ones are named.

        Args:
            progress: called with (done, total) after each file.
        """
        done, waiting = Added(), list[Entry]()
        for number, path in enumerate(map(Path, files), 1):
            try:
                data = path.read_bytes()
                pdq = hash_image(data)
            except (ImageError, OSError) as error:
                what = error.what if isinstance(error, ImageError) else f"cannot be read: {error.strerror}"
                done.failed.append((path, what))
            else:
                values = {"sha256": sha256(data)} | ({"pdq": pdq.hex} if pdq.usable else {})
                done.unusable += [] if pdq.usable else [path]
                waiting += [entry(type, value, label=label, note=note or path.name) for type, value in values.items()]
            if waiting and (number % _BATCH == 0 or number == len(files)):
                part, waiting = self.add(waiting), []
                done.added, done.known = done.added + part.added, done.known + part.known
            if progress:
                progress(number, len(files))
        return done

    def remove(self, *, values: Iterable[str] = (), label: str | None = None) -> int:
        """Remove the hashes with one of `values` (64 hexadecimal digits), and those with this label; how many."""
        with self._open(write=True) as connection:
            before = connection.total_changes
            raw = [(bytes.fromhex(entry("pdq", value).value),) for value in values]
            connection.executemany("DELETE FROM entry WHERE value = ?", raw)
            if label is not None:
                connection.execute("DELETE FROM entry WHERE label = ?", (label,))
            return connection.total_changes - before

    def entries(self, *, type: str | None = None) -> list[Entry]:
        """All hashes, or those of one type, by type and value."""
        with self._open() as connection:
            rows = connection.execute(
                f"SELECT {_COLUMNS} FROM entry WHERE ?1 IS NULL OR type = ?1 ORDER BY type, value", (type,)
            )
            return [Entry(*row) for row in rows]

    def counts(self) -> dict[str, int]:
        """How many hashes there are of each type."""
        with self._open() as connection:
            found = dict(connection.execute("SELECT type, count(*) FROM entry GROUP BY type").fetchall())
        return {type: found.get(type, 0) for type in TYPES}

    def find(self, type: str, value: str) -> Entry | None:
        """The entry with exactly this hash."""
        with self._open() as connection:
            what = (type, bytes.fromhex(value))
            row = connection.execute(f"SELECT {_COLUMNS} FROM entry WHERE type = ? AND value = ?", what).fetchone()
        return Entry(*row) if row else None

    def near(self, queries: NDArray[np.uint8], *, radius: int) -> list[list[tuple[str, int]]]:
        """For each PDQ hash, those of the bank within `radius` bits: (value, distance), the nearest first.

        The index is kept in memory (32 MB and half a second for a million hashes) until the file changes.

        Args:
            queries: uint8 [m, 32].
        """
        values, index = self._indexed()
        found = index.search(queries, radius=radius)
        return [[(values[at].tobytes().hex(), int(d)) for at, d in zip(*each, strict=True)] for each in found]

    def _indexed(self) -> tuple[NDArray[np.uint8], HammingIndex]:
        state = self.path.stat() if self.path.exists() else None
        stamp = (state.st_mtime_ns, state.st_size) if state else (0, 0)
        if self._index is None or self._index[0] != stamp:
            with self._open() as connection:
                rows = connection.execute("SELECT value FROM entry WHERE type = 'pdq'").fetchall()
            try:
                values = np.frombuffer(b"".join(row[0] for row in rows), dtype=np.uint8).reshape(-1, 32)
            except (TypeError, ValueError):  # something else than 32 bytes, written by another program
                raise _damaged(self.path) from None
            self._index = (stamp, values, HammingIndex(values))
        return self._index[1:]

    def _open(self, *, write: bool = False) -> contextlib.AbstractContextManager[sqlite3.Connection]:
        return _opened(self.path, write=write)


def create(name: str, kind: str, *, where: str | Path | None = None) -> Bank:
    """Make an empty bank.

    Args:
        name: letters, digits and - _ . only.
        kind: 'harm' or 'own'.
        where: the folder of banks; `folder()` by default.

    Raises:
        ProvenanceError: a name or kind that cannot be, a bank of this name, or a folder that cannot be written.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name):
        raise ProvenanceError(
            "a bank's name has letters, digits and - _ . only", where=name[:80], mend="for example: known-harm"
        )
    if kind not in KINDS:
        raise ProvenanceError(f"there is no kind of bank '{kind}'", mend=f"use one of: {', '.join(KINDS)}")
    path = (Path(where) if where else folder()) / (name + SUFFIX)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600, exist_ok=False)  # a list of what somebody knows to be harmful is not for everybody
    except FileExistsError:
        mend = "choose another name, or add to this one: auditkit bank add"
        raise ProvenanceError("there is such a bank already", where=path, mend=mend) from None
    except OSError as error:
        what = f"the bank cannot be written: {error.strerror}"
        raise ProvenanceError(what, where=path, mend="make the folder writable") from None
    with _opened(path, write=True, fresh=True) as connection:
        connection.executescript(f"BEGIN; {_TABLES} PRAGMA application_id = {_APPLICATION}; COMMIT;")
        connection.execute("INSERT INTO bank VALUES (?)", (kind,))
    return Bank(path, kind)


def load(name: str | Path, *, where: str | Path | None = None) -> Bank:
    """The bank of this name, or in this file.

    Raises:
        ProvenanceError: there is none, or the file is no bank.
    """
    path = Path(name) if Path(name).suffix == SUFFIX else (Path(where) if where else folder()) / f"{name}{SUFFIX}"
    if not path.is_file():
        near = get_close_matches(str(name), [each.stem for each in paths(where)], n=1)
        mend = f"did you mean {near[0]}?" if near else f"make one: auditkit bank new {Path(name).stem} --kind harm"
        raise ProvenanceError(f"there is no bank '{Path(name).stem}'", where=path, mend=mend)
    with _opened(path) as connection:
        row = connection.execute("SELECT kind FROM bank").fetchone()
    if row is None or row[0] not in KINDS:
        raise _damaged(path)
    return Bank(path, row[0])


def paths(where: str | Path | None = None) -> list[Path]:
    """The files of all banks of a folder, `folder()` by default, by name."""
    return sorted((Path(where) if where else folder()).glob(f"*{SUFFIX}"))


@contextlib.contextmanager
def _opened(path: Path, *, write: bool = False, fresh: bool = False) -> Iterator[sqlite3.Connection]:
    """A connection that commits when nothing was raised; a bank may come from a stranger, so nothing in it is run."""
    mode = "rw" if write else "ro"
    try:
        with contextlib.closing(
            sqlite3.connect(f"{path.resolve().as_uri()}?mode={mode}", uri=True, timeout=30)
        ) as connection:
            connection.execute("PRAGMA trusted_schema = OFF")
            if not fresh and connection.execute("PRAGMA application_id").fetchone()[0] != _APPLICATION:
                raise _damaged(path)
            with connection:
                yield connection
    except sqlite3.OperationalError as error:
        what = f"the bank cannot be {'written' if write else 'read'}: {error}"
        raise ProvenanceError(what, where=path, mend="check that it is a bank, and its permissions") from None
    except sqlite3.DatabaseError:
        raise _damaged(path) from None


def _damaged(path: Path) -> ProvenanceError:
    return ProvenanceError("the file is no hash bank, or a damaged one", where=path, mend="restore it from a copy")

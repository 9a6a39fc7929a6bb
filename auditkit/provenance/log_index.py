"""Where an asset's entries lie in the log: an index beside it, made from the entries, that may be thrown away."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path

from auditkit.errors import ProvenanceError

_SCHEMA = """\
CREATE TABLE IF NOT EXISTS assets (start INTEGER, position INTEGER, PRIMARY KEY (start, position)) WITHOUT ROWID"""


class Index:
    """Positions by the first 8 bytes of the asset's sha256; that they are the asset's is for the caller to check."""

    def __init__(self, path: Path):
        self.path = path

    def count(self) -> int:
        """How many entries it holds, from the first on."""
        with self._open() as database:
            return self._count(database)

    def extend(self, hashes: Iterable[str], *, start: int) -> None:
        """Add the assets of the entries from `start` on, all or none; nothing where `start` is no longer `count`."""
        with self._open() as database:
            database.execute("BEGIN IMMEDIATE")  # from here on no other process adds the same
            if self._count(database) == start:
                rows = [(key_of(sha256), position) for position, sha256 in enumerate(hashes, start)]
                database.executemany("INSERT INTO assets VALUES (?, ?)", rows)
                # Kept with the rows, since counting a million of them takes longer than a look-up.
                database.execute(f"PRAGMA user_version = {start + len(rows)}")
            database.execute("COMMIT")

    def look_up(self, sha256: str) -> list[int]:
        """Positions where the asset may be."""
        with self._open() as database:
            query = "SELECT position FROM assets WHERE start = ? ORDER BY position"
            return [int(row[0]) for row in database.execute(query, (key_of(sha256),))]

    def rows(self) -> Iterator[tuple[int, int]]:
        """Position and `key_of` the asset, for every entry that it holds, in the log's order."""
        with self._open() as database:
            yield from database.execute("SELECT position, start FROM assets ORDER BY position")

    def _count(self, database: sqlite3.Connection) -> int:
        return int(database.execute("PRAGMA user_version").fetchone()[0])

    @contextlib.contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            with contextlib.closing(sqlite3.connect(self.path, timeout=60, isolation_level=None)) as database:
                database.execute(_SCHEMA)
                yield database
        except sqlite3.Error as error:
            raise ProvenanceError(
                f"the log's index cannot be used: {error}", where=self.path,
                mend=f"remove it, it is made anew from the entries: rm '{self.path}'",
            ) from error  # fmt: skip


def key_of(sha256: str) -> int:
    """The first 8 bytes of a hash, as the signed number that the index holds."""
    return int.from_bytes(bytes.fromhex(sha256[:16]), signed=True)

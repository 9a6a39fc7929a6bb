"""The files of a transparency log, and how they stay whole: entries, where each ends, and the nodes of the tree.

The entries are the truth. They reach the disk first, then the nodes, then the ends: an entry is in the log once its end
is written. What a killed process leaves is therefore entries without nodes or ends, which are taken in by whoever opens
the log next, or the beginning of an entry, which is cut off.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import struct
from collections.abc import Iterable, Iterator
from itertools import accumulate, islice
from pathlib import Path
from typing import BinaryIO

from auditkit.errors import ProvenanceError
from auditkit.provenance import merkle
from auditkit.provenance.log_entry import Entry

CHUNK = 4096
"""Entries that reach the disk together."""
END = struct.Struct("<Q")
MOST_LINE = 1 << 16
"""A longer line is no entry."""


class Store:
    """The files in one folder. Nothing is kept in memory or open, so that other processes may append meanwhile."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.entries = folder / "entries.jsonl"
        """An entry a line, in canonical JSON."""
        self.nodes = folder / "nodes.bin"
        """Hashes of 32 bytes, in the order in which entries complete them."""
        self.ends = folder / "ends.bin"
        """Where each line ends in `entries`: unsigned 64-bit numbers, little-endian."""

    def size(self) -> int:
        """How many entries the log has."""
        return _length(self.ends) // END.size

    @contextlib.contextmanager
    def node(self) -> Iterator[merkle.Node]:
        """Reads stored nodes, each with one look at the disk."""
        with opened(self.nodes) as stream:

            def read(level: int, i: int) -> bytes:
                found = os.pread(
                    stream.fileno(), merkle.HASH_BYTES, merkle.HASH_BYTES * merkle.stored_position(level, i)
                )
                if len(found) != merkle.HASH_BYTES:
                    raise _lost(self.nodes)
                return found

            yield read

    def lines(self, start: int, stop: int) -> Iterator[bytes]:
        """The lines of entries start to stop, without their newlines.

        Raises:
            ProvenanceError: they are gone, or do not lie where they were written.
        """
        with opened(self.ends) as ends, opened(self.entries) as entries:
            at = self._end(start, ends)
            entries.seek(at)
            for first in range(start, stop, CHUNK):
                n = min(CHUNK, stop - first)
                ends.seek(first * END.size)
                for (end,) in END.iter_unpack(ends.read(n * END.size)):
                    line = entries.read(end - at) if 0 < end - at <= MOST_LINE else b""
                    if not line.endswith(b"\n") or len(line) != end - at:
                        raise _lost(self.entries)
                    at = end
                    yield line[:-1]

    def whole(self) -> bool:
        """Whether the files agree in length, as they do unless a process was killed or something was lost."""
        size, rest = divmod(_length(self.ends), END.size)
        if rest or _length(self.nodes) != merkle.HASH_BYTES * merkle.stored_count(size):
            return False
        with opened(self.ends) as ends:
            return self._end(size, ends) == _length(self.entries)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Holds the log against other processes (and threads) that append."""
        try:
            folder = os.open(self.folder, os.O_RDONLY)
        except OSError as error:
            raise _unusable(self.folder, error) from None
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            yield
        finally:
            os.close(folder)

    def append(self, lines: Iterable[bytes]) -> Iterator[int]:
        """Add entries, a chunk at a time; the size of the log after each chunk. Call it under `locked`.

        Raises:
            ProvenanceError: the disk is full, or the folder cannot be written; the last chunk is then not in the log.
        """
        size = self.size()
        with self.node() as node:
            edge = merkle.frontier(node, size)
        pending = iter(lines)
        while chunk := list(islice(pending, CHUNK)):
            before = [(file, _length(file)) for file in (self.ends, self.nodes, self.entries)]
            try:
                _add(self.entries, b"".join(line + b"\n" for line in chunk))
                size = self._take_in(chunk, size, edge)
            except OSError as error:
                for file, length in before:
                    with contextlib.suppress(OSError):
                        os.truncate(file, length)
                raise _unusable(self.folder, error) from error
            yield size

    def repair(self) -> None:
        """Take in whole entries that a killed process left, and cut off the beginning of one. Call it under `locked`.

        Nothing else is ever cut off: what no killed process leaves is for people to look at.

        Raises:
            ProvenanceError: entries are gone that were in the log, or lines are no entries.
        """
        size = kept = self.size()
        with opened(self.ends) as ends:
            if self._end(size, ends) > _length(self.entries):
                raise _lost(self.entries)
        if merkle.HASH_BYTES * merkle.stored_count(size) > _length(self.nodes):
            kept = _length(self.nodes) // (2 * merkle.HASH_BYTES)  # these are whole, and the others are made anew
        try:
            os.truncate(self.ends, size * END.size)
            os.truncate(self.nodes, merkle.HASH_BYTES * merkle.stored_count(kept))
            with self.node() as node:
                edge = merkle.frontier(node, kept)
            lost = self.lines(kept, size)
            while chunk := list(islice(lost, CHUNK)):
                _add(self.nodes, b"".join(_grown(edge, chunk, kept)))
                kept += len(chunk)
            left = self._whole_lines(size)
            while chunk := list(islice(left, CHUNK)):
                size = self._take_in(chunk, size, edge)
            with opened(self.ends) as ends:
                os.truncate(self.entries, self._end(size, ends))
        except OSError as error:
            raise _unusable(self.folder, error) from error

    def _take_in(self, chunk: list[bytes], size: int, edge: list[bytes]) -> int:
        """Write the nodes and ends of lines that are in `entries` already; the new size."""
        with opened(self.ends) as ends:
            start = self._end(size, ends)
        _add(self.nodes, b"".join(_grown(edge, chunk, size)))
        lengths = (len(line) + 1 for line in chunk)
        ends_of = list(accumulate(lengths, initial=start))[1:]
        _add(self.ends, b"".join(END.pack(end) for end in ends_of))
        return size + len(chunk)

    def _whole_lines(self, size: int) -> Iterator[bytes]:
        """The entries after the first `size`, but for the beginning of one at the end of the file."""
        with opened(self.ends) as ends, opened(self.entries) as entries:
            entries.seek(self._end(size, ends))
            while (line := entries.readline(MOST_LINE)).endswith(b"\n"):
                Entry.parse(line[:-1])
                yield line[:-1]
            if len(line) == MOST_LINE:
                raise _lost(self.entries)

    def _end(self, size: int, ends: BinaryIO) -> int:
        """Where the first `size` entries end."""
        if size == 0:
            return 0
        found = os.pread(ends.fileno(), END.size, (size - 1) * END.size)
        if len(found) != END.size:
            raise _lost(self.ends)
        return int(END.unpack(found)[0])


def _grown(edge: list[bytes], lines: list[bytes], size: int) -> list[bytes]:
    """The nodes that entries complete after the first `size`."""
    made: list[bytes] = []
    for n, line in enumerate(lines, size):
        made += merkle.grow(edge, merkle.leaf_hash(line), size=n)
    return made


def _add(path: Path, data: bytes) -> None:
    with path.open("ab") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


def _length(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise _unusable(path, error) from None


@contextlib.contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """A file of the log, for reading; a ProvenanceError where it cannot be read."""
    try:
        stream = path.open("rb")
    except OSError as error:
        raise _unusable(path, error) from None
    with stream:
        yield stream


def _lost(path: Path) -> ProvenanceError:
    return ProvenanceError(
        "entries of the log are gone that were in it",
        where=path,
        mend="find the first with `auditkit log verify`, and restore the log from a copy",
    )


def _unusable(path: Path, error: OSError) -> ProvenanceError:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    what = "there is no space left for the log" if full else f"the log cannot be used: {error.strerror}"
    return ProvenanceError(what, where=path, mend="free some space, and append again" if full else "check the folder")

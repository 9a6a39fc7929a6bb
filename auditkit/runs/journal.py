"""Append-only records in a run: one JSON object a line, in the order in which things were done."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from auditkit.errors import TableError
from auditkit.files import write_atomic

Line = dict[str, Any]


def read_journal(path: Path) -> list[Line]:
    """The journal's lines, oldest first; empty where nothing has been written.

    Raises:
        TableError: a line is no JSON object; names the line.
    """
    try:
        text = path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise TableError(f"the file cannot be read: {error}", where=path, mend="restore it from a copy") from error
    lines = []
    for number, line in enumerate(text.splitlines(), 1):
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict):
            raise TableError(
                "the line is no JSON object", where=f"{path}, line {number}", mend="restore the file from a copy"
            )
        lines.append(value)
    return lines


class Journal:
    """A journal that is held for writing: what was read stays true until it is appended to."""

    def __init__(self, path: Path):
        self.path = path
        self.lines = read_journal(path)

    def append(self, lines: Sequence[Line]) -> None:
        """Add lines: all of them, or none where they cannot be written.

        Raises:
            RunError: the disk is full, or the folder cannot be written.
        """
        if not lines:
            return
        before = self.path.read_bytes() if self.path.is_file() else b""
        if before and not before.endswith(b"\n"):
            before += b"\n"
        added = "".join(json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n" for line in lines)
        write_atomic(self.path, before + added.encode())
        self.lines += lines


@contextlib.contextmanager
def writing(path: Path) -> Iterator[Journal]:
    """Hold a journal, so that no other process appends to it meanwhile; waits for one that does."""
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield Journal(path)
    finally:
        os.close(folder)

"""Small things about files: atomic writes, hashes, safe names."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import stat
from pathlib import Path
from typing import IO, Any

from auditkit.errors import RunError

TEMPORARY = ".tmp"
"""Suffix of a file being written; one left behind by a killed process is never read."""


def write_atomic(path: Path, data: bytes, *, sync: bool = True) -> None:
    """Write `data` to a temporary name beside `path`, then rename: a reader sees all of it or none.

    Args:
        sync: also flush to the disk, so that the file survives a power cut.

    Raises:
        RunError: the disk is full, or the folder cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}{TEMPORARY}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as stream:
            stream.write(data)
            if sync:
                stream.flush()
                os.fsync(stream.fileno())
        os.replace(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        what = "there is no space left on the disk" if full else f"the file cannot be written: {error.strerror}"
        raise RunError(
            what,
            where=path,
            mend="free some space, then start the same command again" if full else "make the folder writable",
        ) from error


def write_private(path: Path, data: bytes) -> None:
    """Write a new file that its owner alone can read, from its first byte on.

    Raises:
        FileExistsError: there is a file already.
        OSError: the folder cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


def open_to_others(stream: IO[bytes]) -> bool:
    """Whether others than its owner may read or change an opened file; never where there are no POSIX modes."""
    return os.name == "posix" and bool(stat.S_IMODE(os.fstat(stream.fileno()).st_mode) & 0o077)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically."""
    write_atomic(path, (json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode())


def sha256(data: bytes) -> str:
    """The sha256 of bytes, 64 hex digits."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    """The file's sha256, 64 hex digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def slug(text: str) -> str:
    """`text` as a name that is safe in any file system: 'hf:org/Model' -> 'hf-org-Model'."""
    return re.sub(r"[^A-Za-z0-9._+-]+", "-", text).strip("-.") or "unnamed"

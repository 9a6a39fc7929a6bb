"""Small things about files: atomic writes, hashes, safe names."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
from pathlib import Path
from typing import Any

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
        what = (
            "there is no space left on the disk" if full else f"the file cannot be written: {error.strerror}"
        )
        raise RunError(
            what,
            where=path,
            mend="free some space, then start the same command again" if full else "make the folder writable",
        ) from error


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically."""
    write_atomic(path, (json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode())


def sha256_file(path: Path) -> str:
    """The file's sha256, 64 hex digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def slug(text: str) -> str:
    """`text` as a name that is safe in any file system: 'hf:org/Model' -> 'hf-org-Model'."""
    return re.sub(r"[^A-Za-z0-9._+-]+", "-", text).strip("-.") or "unnamed"

"""Who may write a run: any number of processes make shards of it, each its own; one at a time begins or ends it.

Both kinds of lock are the system's own (flock), which it frees when a process ends, however it ends: what a killed
process had claimed can be claimed again at once.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import IO

from auditkit.errors import RunError

LOCK = ".lock"
CLAIMS = ".claims"


class RunLock:
    """The lock of a run folder: shared by those that make shards, alone for the one that begins or merges it."""

    def __init__(self, path: Path):
        """
        Raises:
            RunError: the folder cannot be written.
        """
        self.path = path
        try:
            path.mkdir(parents=True, exist_ok=True)
            self._file: IO[str] | None = (path / LOCK).open("a+")
        except OSError as error:
            raise RunError(
                f"the run folder cannot be written: {error.strerror}", where=path, mend="choose another folder"
            ) from error

    def take_alone(self, *, wait: bool) -> bool:
        """Whether this process holds the run alone now. Another that waits to do so lets go of its share meanwhile."""
        assert self._file is not None
        return _flock(self._file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB), self.path)

    def share(self) -> None:
        """Hold the run with others; waits for one that begins or merges it."""
        assert self._file is not None
        _flock(self._file, fcntl.LOCK_SH, self.path)

    @property
    def current(self) -> bool:
        """Whether it is still the run's lock; one that was waited for may be of a run that is finished since."""
        assert self._file is not None
        try:
            return os.path.samestat(os.fstat(self._file.fileno()), os.stat(self.path / LOCK))
        except FileNotFoundError:
            return False

    def remove(self) -> None:
        """Take the lock's file away, when the run is finished."""
        (self.path / LOCK).unlink(missing_ok=True)

    def close(self) -> None:
        """Let go of the run."""
        if self._file is not None:
            self._file.close()
            self._file = None


def claim(path: Path, index: int) -> IO[str] | None:
    """The claim on a shard of the run `path`, held until it is closed; None where another has it.

    Raises:
        RunError: the folder cannot be written.
    """
    file = path / CLAIMS / f"{index:05d}"
    try:
        file.parent.mkdir(exist_ok=True)
        held = file.open("a")
    except OSError as error:
        raise RunError(
            f"the run folder cannot be written: {error.strerror}", where=path, mend="make it writable"
        ) from error
    taken = False
    try:
        taken = _flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB, path)
    finally:
        if not taken:
            held.close()
    return held if taken else None


def _flock(file: IO[str], how: int, path: Path) -> bool:
    """Whether the lock was taken.

    Raises:
        RunError: the file system has no such locks.
    """
    try:
        fcntl.flock(file, how)
    except BlockingIOError:
        return False
    except OSError as error:  # NFS and Lustre, as they are often mounted
        raise RunError(
            f"the file system has no locks: {error.strerror}",
            where=path,
            mend="generate into a folder on a local disk, or mount this one with flock",
        ) from error
    return True

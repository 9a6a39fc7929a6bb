"""Where auditkit keeps what belongs to its user and to no run: trust lists, the manifest store, hash banks, the log."""

from __future__ import annotations

import os
from pathlib import Path

ENVIRONMENT = "AUDITKIT_HOME"


def home() -> Path:
    """$AUDITKIT_HOME, else the folder auditkit of the user's data folder (XDG base directories)."""
    if named := os.environ.get(ENVIRONMENT):
        return Path(named).expanduser()
    base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(base) / "auditkit"


def cache() -> Path:
    """Where what can be made again is kept: the folder cache of $AUDITKIT_HOME, else auditkit of the user's caches."""
    if named := os.environ.get(ENVIRONMENT):
        return Path(named).expanduser() / "cache"
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "auditkit"

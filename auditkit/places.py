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

"""What the tests of the transparency log share.

- `home`: an autouse fixture in every module that has it; AUDITKIT_HOME lies in tmp_path, which it gives.
- `entry(n)`: the n-th entry of a log; `filled(folder, n)`: a log of n of them.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from auditkit.places import ENVIRONMENT
from auditkit.provenance.log import Log
from auditkit.provenance.log_entry import Entry

TIME = "2026-01-31T12:00:00Z"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(ENVIRONMENT, str(tmp_path / "home"))
    return tmp_path


def entry(n: int) -> Entry:
    sha256 = hashlib.sha256(str(n).encode()).hexdigest()
    return Entry("signed" if n % 2 else "generated", sha256, run="tiny-run", time=TIME, keys=("k-0123456789ab",))


def filled(folder: Path, n: int) -> Log:
    log = Log.create(folder, origin="example.com/log")
    log.append(entry(i) for i in range(n))
    return log

"""The worker processes of a scan: one that dies or hangs costs one row, and one that never starts is an error."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
import scan_helpers
from provenance_helpers import isolated  # noqa: F401
from scan_helpers import PLAIN, scanned

from auditkit.errors import ProvenanceError
from auditkit.provenance import scanning
from auditkit.provenance.inspection import Settings
from auditkit.provenance.scanning import scan

letters, uploads = scan_helpers.letters, scan_helpers.uploads  # fixtures

# Work functions for worker processes: they must be importable there.


def dies_on_b(pipe: Connection, settings: Settings) -> None:
    pipe.send(scanning.READY)
    while True:
        path = pipe.recv()
        if path.endswith("b.png"):
            os._exit(11)
        pipe.send({"c2pa": "no-manifest", "ms": 1.0})


def hangs_on_b(pipe: Connection, settings: Settings) -> None:
    pipe.send(scanning.READY)
    while True:
        path = pipe.recv()
        if path.endswith("b.png"):
            time.sleep(600)
        pipe.send({"c2pa": "no-manifest", "ms": 1.0})


def never_starts(pipe: Connection, settings: Settings) -> None:
    os._exit(3)


def never_ready(pipe: Connection, settings: Settings) -> None:
    time.sleep(600)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_file_that_kills_the_reader_costs_its_own_row(
    letters: Path, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scanning, "_work", dies_on_b)
    table = scanned(letters, workers=workers)
    assert table["error"].to_dict() == {
        "b.png": "the reader crashed on this file (exit code 11)", **{f"{name}.png": "" for name in "acde"},
    }  # fmt: skip
    assert table.loc["b.png", "c2pa"] == "malformed"


def test_a_file_that_hangs_costs_its_own_row(letters: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scanning, "_work", hangs_on_b)
    table = scanned(letters, seconds=1.5)
    assert table["error"]["b.png"] == "the reader was still busy with this file after 1.5 s and was stopped"
    assert (table["error"].drop("b.png") == "").all()


@pytest.mark.parametrize(("work", "why"), [(never_starts, r"exit code 3"), (never_ready, "not ready after 1.5 s")])
def test_a_worker_that_does_not_start_is_one_error_and_no_verdict_on_any_file(
    letters: Path, monkeypatch: pytest.MonkeyPatch, work: Any, why: str
) -> None:
    monkeypatch.setattr(scanning, "_work", work)
    monkeypatch.setattr(scanning, "START_SECONDS", 1.5)
    with pytest.raises(ProvenanceError, match=f"does not start.*{why}") as caught:
        scanned(letters, workers=2)
    assert caught.value.where == letters
    assert not (letters.parent / "out.parquet").exists()
    assert multiprocessing.active_children() == []


def test_a_file_with_an_error_is_looked_at_again_the_next_time(letters: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(scanning, "_work", dies_on_b)
        scanned(letters)
    done = scan(letters, letters.parent / "out.parquet", settings=PLAIN, workers=1)
    assert (done.made, done.kept, done.errors) == (1, 4, 0)


def test_no_worker_is_left_behind(letters: Path) -> None:
    scanned(letters, workers=2)
    assert multiprocessing.active_children() == []


def test_a_script_without_a_main_guard_can_scan(uploads: Path) -> None:
    """Worker processes do not run the caller's script again."""
    script = uploads.parent / "script.py"
    script.write_text(
        "import auditkit as ak\n"
        f"done = ak.scan({str(uploads)!r}, 'script.parquet', store='', keys='', banks=[], workers=1)\n"
        "print(done.made, done.errors)\n"
    )
    path = os.pathsep.join([str(Path(scanning.__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, timeout=60, check=False, cwd=uploads.parent,
        env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip
    assert done.stdout.split() == ["4", "0"], done.stderr

"""Fresh processes start wherever they are asked for."""

from __future__ import annotations

import multiprocessing
import os
import sys
import types

from auditkit.processes import THREADS, one_thread, without_main


def test_a_process_starts_where_the_main_script_is_gone(monkeypatch, tmp_path):
    """As under Streamlit's test runner, whose script is deleted; the parent would wait for the dead child."""
    gone = types.ModuleType("__main__")
    gone.__file__ = str(tmp_path / "gone.py")
    monkeypatch.setitem(sys.modules, "__main__", gone)
    context = multiprocessing.get_context("spawn")
    with without_main():
        process = context.Process(target=len, args=(b"more than a pipe holds" * 10_000,))
        process.start()
    process.join(60)
    assert process.exitcode == 0
    assert sys.modules["__main__"] is gone


def test_threads_are_limited_for_what_is_started_and_not_after(monkeypatch):
    for name in THREADS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    with one_thread():
        assert os.environ["OPENBLAS_NUM_THREADS"] == "1"
        assert os.environ["OMP_NUM_THREADS"] == "4"  # what the user set stays
    assert "OPENBLAS_NUM_THREADS" not in os.environ

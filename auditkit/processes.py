"""Starting fresh processes (the method 'spawn') from anywhere: a script, a dashboard, a test."""

from __future__ import annotations

import contextlib
import os
import sys
import types
from collections.abc import Iterator, Mapping

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@contextlib.contextmanager
def environment(new: Mapping[str, str]) -> Iterator[None]:
    """These variables of the environment have these values in it."""
    before = {name: os.environ.get(name) for name in new}
    os.environ.update(new)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """What is started in it does its arithmetic on one thread: workers that fight over the cores are slower than one.

    The libraries read these when they are loaded, which a fresh process does before it comes to our code.
    """
    with environment({name: os.environ.get(name) or "1" for name in THREADS}):
        yield


@contextlib.contextmanager
def without_main() -> Iterator[None]:
    """New processes that are spawned in it do not run the caller's script again.

    Many scripts do not expect that. And where `__main__` names a file that is gone (a Streamlit script under test), the
    new process ends before it has read what it is sent, and a parent with much to send waits for ever.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main

"""What the tests of `auditkit sign`, `keys pki` and `trust` share.

- `home`: a fixture, a folder with a picture `a.png` in it and the development PKI where `sign` looks for it.
- `run(...)`: the command line; `answer(...)`: what it says with --json; `inspected(path)`: of a file, the root trusted.
- `files(folder)`: what lies in a folder; `said(path, label)`: an assertion of the active manifest.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from provenance_helpers import (
    at_home,
    isolated,  # noqa: F401
    pki,
    write_image,
)
from typer.testing import CliRunner

from app.cli import app
from auditkit.provenance.reading import read
from auditkit.provenance.verdict import assertions

MADE = ("--source-type", "trainedAlgorithmicMedia")


@pytest.fixture
def home(isolated):  # noqa: F811
    """A folder with a picture in it, and the development PKI where `sign` looks for it."""
    at_home(isolated)
    write_image(isolated / "a.png")
    return isolated


def run(*arguments, code=0):
    done = CliRunner().invoke(app, [str(each) for each in arguments])
    assert done.exit_code == code, done.output
    return done


def answer(*arguments, code=0):
    return json.loads(run(*arguments, "--json", code=code).stdout)


def inspected(path):
    return answer("inspect", path, "--trust", pki().root)["c2pa"]


def files(folder):
    """What lies in a folder, but for the store and the log that signing begins with."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not {"store", "log"} & set(path.relative_to(folder).parts)
    }


def said(path, label):
    return next(each["data"] for each in assertions(read(Path(path).read_bytes())) if each["label"] == label)

"""Every command documents itself, with an example that works."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from app.cli import app


def commands(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, command in group.commands.items():
        yield (*path, name)
        if getattr(command, "commands", None):
            yield from commands(command, (*path, name))


ALL = list(commands(typer.main.get_command(app)))
VERBS = [path for path in ALL if path[0] not in ("corpus", "train", "bench")]
ANSWERING = [path for path in VERBS if not any(other[: len(path)] == path for other in ALL if len(other) > len(path))]


@pytest.mark.parametrize("path", [(), *ALL], ids=lambda path: " ".join(path) or "auditkit")
def test_every_help_has_an_example(path):
    done = CliRunner().invoke(app, [*path, "--help"])
    assert done.exit_code == 0
    assert "Example: auditkit" in done.stdout


@pytest.mark.parametrize("path", VERBS, ids=" ".join)
def test_the_example_in_the_help_is_one_the_command_line_takes(path):
    command = typer.main.get_command(app).commands[path[0]]
    example = re.sub(r"^Example: ", "", command.epilog)
    name, verb, *arguments = shlex.split(example)
    assert (name, verb) == ("auditkit", path[0])
    command.make_context(verb, arguments)


@pytest.mark.parametrize("path", ANSWERING, ids=" ".join)
def test_every_verb_answers_in_json_too(path):
    assert "--json" in CliRunner().invoke(app, [*path, "--help"]).stdout


def test_the_verbs_of_the_architecture_are_there():
    wanted = "generate import score measure audit report dashboard suites generators seal verify-run runs"
    assert {(verb,) for verb in (*wanted.split(), "plugins", "doctor")} <= set(ALL)
    assert ("corpus", "build") in ALL


def test_the_command_line_starts_without_heavy_libraries():
    heavy = ["torch", "pandas", "streamlit", "numpy", "diffusers", "altair"]
    code = f"import sys, app.cli; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_train_lists_its_commands_only_when_asked():
    done = CliRunner().invoke(app, ["train", "--help"])
    assert done.exit_code == 0
    assert "generator" in done.stdout


def test_version_is_printed():
    assert re.fullmatch(r"auditkit \d+\.\d+.*\n", CliRunner().invoke(app, ["--version"]).stdout)

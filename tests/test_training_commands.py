"""`auditkit train ...`: bad input ends with exit code 1 and a message, and the commands reach the trainers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import training_helpers as tiny
from typer.testing import CliRunner, Result

from app.cli import app
from generators.training import terminal


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    tiny.table(occupations=("judge",)).to_parquet(folder / "corpus.parquet")
    return folder


def train(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["train", *map(str, arguments)])


def assert_clear(done: Result, *names: str) -> None:
    assert done.exit_code == 1
    assert "error:" in done.stderr
    assert "mend:" in done.stderr
    assert "Traceback" not in done.stderr
    assert "unexpected" not in done.stderr
    for name in names:
        assert name in done.stderr


@pytest.mark.parametrize(
    "command", [["clip"], ["autoencoder"], ["generator", "--planted", "p.toml"], ["calibrate", "--encoder", "e"]]
)
def test_a_missing_corpus_is_named_with_the_command_that_builds_it(command, tmp_path):
    assert_clear(train(*command, "--corpus", tmp_path / "nowhere"), "nowhere", "auditkit corpus build")


@pytest.mark.parametrize("device", ["warp", "cuda:99"])
def test_an_unknown_device_is_named(corpus, tmp_path, device):
    assert_clear(train("clip", "--corpus", corpus, "--out", tmp_path, "--device", device), device, "cpu")


def test_a_damaged_checkpoint_is_named(corpus, tmp_path, monkeypatch):
    tiny.shrink(monkeypatch)
    (tmp_path / "checkpoint.safetensors").write_bytes(b"damaged")
    done = train("clip", "--corpus", corpus, "--out", tmp_path, "--device", "cpu")
    assert_clear(done, "checkpoint.safetensors", "Delete the file")


def test_the_command_trains_and_says_what_it_wrote(corpus, tmp_path, monkeypatch):
    tiny.shrink(monkeypatch)
    done = train("clip", "--corpus", corpus, "--out", tmp_path, "--steps", 1, "--batch", 4, "--device", "cpu")
    assert done.exit_code == 0, done.stderr
    assert str(tmp_path / "export") in done.stdout.replace("\n", "")
    assert (tmp_path / "log.csv").is_file()


def test_auto_is_the_cpu_where_there_is_nothing_better(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert terminal.training_device("auto") == "cpu"

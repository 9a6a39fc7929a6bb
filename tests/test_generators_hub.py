"""Checkpoints of the hub: nothing is fetched unless asked, and then only what is loaded."""

from __future__ import annotations

import fnmatch
import json
import shutil
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub.errors import LocalEntryNotFoundError
from tiny_checkpoints import tiny_sd_checkpoint
from typer.testing import CliRunner

from app import api
from app.cli import app
from auditkit.errors import GeneratorError
from generators.hub import fetch
from generators.load import load_generator

NAME = "hf:someone/tiny"
COMMIT = "c0ffee" * 6 + "c0ff"


class Hub:
    """A repository, and what the library's two calls do with it: a folder each for what lies there and here."""

    def __init__(self, there: Path, here: Path):
        self.there, self.here, self.asked = there, here, 0

    def files(self) -> list[str]:
        return sorted(file.relative_to(self.there).as_posix() for file in self.there.rglob("*") if file.is_file())

    def fetched(self) -> set[str]:
        return {file.relative_to(self.here).as_posix() for file in self.here.rglob("*") if file.is_file()}

    def snapshot_download(
        self,
        repository: str,
        *,
        revision: str | None = None,
        allow_patterns: list[str] | None = None,
        local_files_only: bool = False,
    ) -> str:
        assert repository == "someone/tiny"
        assert revision in (None, COMMIT)
        if local_files_only:
            if not self.here.exists():
                raise LocalEntryNotFoundError("not in the cache")
            return str(self.here)
        self.asked += 1
        for file in self.files():
            if any(fnmatch.fnmatch(file, pattern) for pattern in allow_patterns or ["*"]):
                (self.here / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(self.there / file, self.here / file)
        return str(self.here)

    def list_repo_files(self, repository: str, *, revision: str) -> list[str]:
        assert (repository, revision) == ("someone/tiny", COMMIT)
        self.asked += 1
        return self.files()


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    made = Hub(tiny_sd_checkpoint(tmp_path / "there"), tmp_path / "cache" / COMMIT)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", made.snapshot_download)
    monkeypatch.setattr(huggingface_hub.HfApi, "list_repo_files", lambda _, *a, **k: made.list_repo_files(*a, **k))
    return made


def test_without_leave_the_network_is_not_asked_and_the_error_says_how(hub: Hub) -> None:
    with pytest.raises(GeneratorError, match="not on this machine") as caught:
        load_generator(NAME, device="cpu")
    assert hub.asked == 0
    assert "--allow-network" in str(caught.value.mend)


def test_with_leave_it_is_fetched_and_afterwards_found_without(hub: Hub) -> None:
    info = load_generator(NAME, device="cpu", allow_network=True).info
    assert (info.name, info.source, info.details["revision"]) == (NAME, NAME, COMMIT)
    asked = hub.asked
    assert load_generator(NAME, device="cpu").info.weights == info.weights
    assert hub.asked == asked


def test_only_configurations_and_the_weights_that_are_loaded_are_fetched(hub: Hub) -> None:
    before = set(hub.files())
    unet = hub.there / "unet" / "diffusion_pytorch_model.safetensors"
    for other in ("unet/diffusion_pytorch_model.fp16.safetensors", "unet/diffusion_pytorch_model.bin",
                  "whole.safetensors", "lora/model.safetensors", "unet/code.py", "README.md"):  # fmt: skip
        (hub.there / other).parent.mkdir(exist_ok=True)
        shutil.copyfile(unet, hub.there / other)
    fetch(NAME, allow_network=True)
    assert hub.fetched() == before


@pytest.mark.parametrize("name", ["MysteryPipeline", ["my_pipeline", "Mine"]])
def test_a_class_that_cannot_be_used_is_refused_before_its_weights_are_fetched(hub: Hub, name: Any) -> None:
    index = hub.there / "model_index.json"
    index.write_text(json.dumps(json.loads(index.read_text()) | {"_class_name": name}))
    with pytest.raises(GeneratorError):
        fetch(NAME, allow_network=True)
    assert not [file for file in hub.fetched() if file.endswith(".safetensors")]


def test_an_unreachable_hub_is_a_clear_error(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: Any, **__: Any) -> str:
        raise LocalEntryNotFoundError("no connection")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", unreachable)
    with pytest.raises(GeneratorError, match="cannot be reached"):
        fetch(NAME, allow_network=True)


SPEC = """
name = "one"
templates = ["a portrait of {a occupation}"]
images_per_prompt = 1
axes.occupation = ["judge"]
"""


def _generate(folder: Path, generator: str, *more: str) -> Any:
    (folder / "one.toml").write_text(SPEC, encoding="utf-8")
    words = ["generate", folder / "one.toml", "-g", generator, "--out", folder / "runs", "--steps", 2, *more]
    return CliRunner().invoke(app, [str(word) for word in [*words, "--device", "cpu"]])


def test_generate_takes_a_hub_name_once_the_network_is_allowed(hub: Hub, tmp_path: Path) -> None:
    refused = _generate(tmp_path, NAME)
    assert refused.exit_code == 1
    assert "--allow-network" in refused.stderr
    assert not (tmp_path / "runs").exists()
    done = _generate(tmp_path, NAME, "--allow-network")
    assert done.exit_code == 0, done.output
    record = api.find_run("latest", folder=tmp_path / "runs").record["generator"]
    assert (record["source"], record["details"]["revision"]) == (NAME, COMMIT)
    assert _generate(tmp_path, NAME).exit_code == 0


def test_generate_takes_the_path_of_a_checkpoint(tmp_path: Path) -> None:
    folder = tiny_sd_checkpoint(tmp_path / "mine")
    done = _generate(tmp_path, f"path:{folder}")
    assert done.exit_code == 0, done.output
    record = api.find_run("latest", folder=tmp_path / "runs").record["generator"]
    assert record["source"] == f"path:{folder}"
    assert record["details"]["pipeline"] == "StableDiffusionPipeline"


def test_generate_with_a_single_file_exits_with_how_to_convert_it(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"")
    failed = _generate(tmp_path, f"path:{tmp_path / 'model.safetensors'}")
    assert failed.exit_code == 1
    assert "from_single_file" in failed.stderr
    assert not (tmp_path / "runs").exists()

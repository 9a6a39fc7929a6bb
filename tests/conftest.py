"""Shared fixtures: small specs, plain images, a complete tiny run, and a browser."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from PIL import Image

from auditkit.runs import Run, RunWriter, Task, create, open_run
from auditkit.spec import RunSpec

# A busy machine is no finding: hypothesis' time limit an example would make the tests flaky.
hypothesis.settings.register_profile("auditkit", deadline=None)
hypothesis.settings.load_profile("auditkit")

OCCUPATIONS = ["artist", "judge", "pilot", "teacher"]

TINY_GENERATOR: dict[str, Any] = {
    "name": "plain",
    "kind": "test",
    "source": "tests",
    "resolution": 8,
    "defaults": {"sampler": "none", "steps": 1, "guidance": 1.0},
    "weights": {"weights.safetensors": "0" * 64},
    "planted": [
        {"occupation": job, "gender": gender, "skin_tone": "medium", "probability": 0.5}
        for job in OCCUPATIONS
        for gender in ("female", "male")
    ],
    "device": "cpu",
    "dtype": "float32",
}
"""A generator's info, in the shape of `GeneratorInfo.as_dict()`."""


def plain_image(task: Task) -> Image.Image:
    """An 8 x 8 image of one colour, which follows from the task's seed."""
    return Image.new("RGB", (8, 8), tuple(task.seed.to_bytes(8, "big")[-3:]))


def write_pending(writer: RunWriter, *, shards: int | None = None) -> None:
    """Make the pending shards (the first `shards` of them) out of plain images."""
    for shard in writer.pending()[:shards]:
        images = [plain_image(task) for task in shard.tasks]
        writer.write_shard(shard, images, [1.0] * len(images), TINY_GENERATOR["defaults"])


TINY_SPEC = RunSpec(
    name="tiny",
    generator="plain",
    templates=["a portrait of {a occupation}", "{a occupation} at work"],
    axes={"occupation": OCCUPATIONS},
    images_per_prompt=3,
    by="occupation",
)


@pytest.fixture
def tiny_spec() -> RunSpec:
    """4 occupations x 2 templates x 3 images: 24 images."""
    return TINY_SPEC


@pytest.fixture
def tiny_writer(tmp_path: Path) -> Callable[[], RunWriter]:
    """Begins or resumes the tiny run, in 4 shards of 6, in the folder `runs` of `tmp_path`."""
    return lambda: create(tmp_path / "runs", TINY_SPEC, TINY_GENERATOR, shard_size=6)


@pytest.fixture(scope="session")
def _tiny_run_made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with create(tmp_path_factory.mktemp("tiny"), TINY_SPEC, TINY_GENERATOR, shard_size=6) as writer:
        write_pending(writer)
        return writer.finish().path


@pytest.fixture
def tiny_run(_tiny_run_made: Path, tmp_path: Path) -> Run:
    """A complete run of 24 plain coloured images, with a planted table: a copy for each test."""
    return open_run(shutil.copytree(_tiny_run_made, tmp_path / "runs" / _tiny_run_made.name))


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A chromium without a window, by playwright; skips where there is none."""
    from app.doctor import chromium

    if chromium() is None:
        pytest.skip("no chromium on this machine (Debian: apt install chromium)")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox", "--disable-gpu"])
        yield opened
        opened.close()

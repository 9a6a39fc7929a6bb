"""Several processes on one run of a real checkpoint, and the same ids however the work is divided."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch
from tiny_checkpoints import tiny_sd_checkpoint

from auditkit.errors import GeneratorError
from auditkit.spec import RunSpec
from generators.latent import LatentGenerator
from generators.make import generate
from generators.spread import Place, helpers, this_process, threads_each
from generators.steady import company, filled

SPEC = RunSpec(
    name="tiny",
    templates=["a portrait of {a occupation}"],
    axes={"occupation": ["judge", "pilot", "artist"]},
    images_per_prompt=40,
    steps=2,
    sampler="ddim",
)
"""120 images: two whole shards and a short one."""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_sd_checkpoint(tmp_path_factory.mktemp("tiny"))


def test_two_processes_make_the_images_that_one_makes(checkpoint: Path, tmp_path: Path) -> None:
    alone = generate(SPEC, out=tmp_path / "a", generator=str(checkpoint), device="cpu")
    steps: list[tuple[int, int]] = []
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "1 of 2 processes failed")
        together = generate(
            SPEC,
            out=tmp_path / "b",
            generator=str(checkpoint),
            device="cpu",
            processes=2,
            progress=lambda done, total: steps.append((done, total)),
        )
    assert together.id == alone.id
    assert together.images()["id"].tolist() == alone.images()["id"].tolist()
    assert steps[0][0] < steps[-1][0] == 120
    assert [done for done, _ in steps] == sorted(done for done, _ in steps)
    assert together.record["images_per_second"] > 0


@pytest.mark.parametrize("batch_size", [1, 7, 17, 50])
def test_the_ids_are_the_same_whatever_the_batch_size(checkpoint: Path, tmp_path: Path, batch_size: int) -> None:
    generator = LatentGenerator(checkpoint, device="cpu")
    spec = SPEC.model_copy(update={"images_per_prompt": 8})
    runs = [generate(spec, out=tmp_path / str(n), generator=generator, batch_size=n) for n in (32, batch_size)]
    assert runs[0].images()["id"].tolist() == runs[1].images()["id"].tolist()


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_small_images_are_made_in_company_and_large_ones_alone(threads: int) -> None:
    for count in range(1, 40):
        size = company(count, 128 * 128, threads)
        assert size >= count
        assert size >= 16 or (threads > 1 and size % 4 == 0)
        assert company(count, 512 * 512, threads) == count
    assert filled(["a", "b"], 4) == ["a", "b", "b", "b"]


def test_a_process_knows_its_place_from_the_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    assert this_process() == Place(0, 1, 0)
    for name, value in {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    assert this_process() == Place(5, 8, 1)
    assert not this_process().first


@pytest.mark.parametrize(("rank", "of"), [("8", "8"), ("-1", "8"), ("one", "8"), ("0", "none")])
def test_a_place_that_cannot_be_is_a_clear_error(monkeypatch: pytest.MonkeyPatch, rank: str, of: str) -> None:
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setenv("WORLD_SIZE", of)
    with pytest.raises(GeneratorError, match="unset"):
        this_process()


def test_every_process_takes_a_gpu_of_its_own_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert [Place(rank, 3, rank).device("auto") for rank in range(3)] == ["cuda:0", "cuda:1", "cuda:0"]
    assert Place(1, 2, 1).device("cpu") == "cpu"
    assert Place(1, 2, 1).device("cuda:0") == "cuda:0"
    assert Place().device("auto") == "auto"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert Place(1, 2, 1).device("auto") == "auto"


def test_processes_share_the_cores() -> None:
    assert threads_each(1) >= threads_each(2) >= threads_each(10_000) == 1


def test_a_generator_that_is_loaded_cannot_be_shared(checkpoint: Path, tmp_path: Path) -> None:
    generator = LatentGenerator(checkpoint, device="cpu")
    with pytest.raises(GeneratorError, match="cannot be shared among processes"):
        generate(SPEC, out=tmp_path, generator=generator, processes=2)


def test_processes_under_a_launcher_start_no_others(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(GeneratorError, match="leave out --processes"):
        generate(SPEC, out=tmp_path, generator=str(checkpoint), processes=2)


def test_a_process_that_fails_is_told_and_the_first_goes_on() -> None:
    with pytest.warns(UserWarning, match="1 of 2 processes failed"), helpers(2, _fail) as place:
        assert place == Place(0, 2, 0)


def _fail() -> None:
    raise GeneratorError("there is no such thing", where="here", mend="look elsewhere")

"""Making a run: settings, resume after a kill, progress."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from tiny_checkpoints import tiny_sd_checkpoint

from auditkit.energy import Site
from auditkit.errors import GeneratorError
from auditkit.runs import read_refusals, verify
from auditkit.spec import RunSpec
from generators.base import Job, Settings, even_batches
from generators.latent import LatentGenerator
from generators.make import generate

SPEC = RunSpec(
    name="tiny",
    generator="tiny",
    templates=["a portrait of {a occupation}"],
    axes={"occupation": ["judge", "pilot", "artist"]},
    images_per_prompt=34,
    steps=2,
    sampler="ddim",
)
"""102 images: two whole shards and a short one."""


@pytest.fixture(scope="module")
def generator(tmp_path_factory: pytest.TempPathFactory) -> LatentGenerator:
    return LatentGenerator(tiny_sd_checkpoint(tmp_path_factory.mktemp("tiny")), name="tiny", device="cpu")


class Killed(LatentGenerator):
    """A generator whose process ends after some images."""

    def __init__(self, whole: LatentGenerator, after: int):
        self.whole, self.info, self.left = whole, whole.info, after

    def generate(
        self, jobs: Sequence[Job], settings: Settings, *, batch_size: int | None = None
    ) -> Iterator[Image.Image]:
        for image in self.whole.generate(jobs, settings, batch_size=batch_size):
            self.left -= 1
            if self.left < 0:
                raise KeyboardInterrupt
            yield image


def test_the_energy_of_every_attempt_is_in_run_json(generator: LatentGenerator, tmp_path: Path) -> None:
    site = Site.given(pue=1.2, intensity=300)
    with pytest.raises(KeyboardInterrupt):
        generate(SPEC, out=tmp_path, generator=Killed(generator, 70), site=site)
    run = generate(SPEC, out=tmp_path, generator=generator)
    energy = run.record["energy"]
    assert [(window["ended"], window["images"]) for window in energy["windows"]] == [("interrupted", 50), ("done", 52)]
    assert energy["images"] == energy["images_metered"] == 102
    read = sum(reading["joules"] for window in energy["windows"] for reading in window["readings"])
    assert energy["joules"]["value"] == pytest.approx(read, rel=1e-4)  # the attempts do not overlap
    assert energy["joules_per_image"]["value"] == pytest.approx(energy["joules"]["value"] / 102, rel=1e-4)
    assert energy["kg_co2e"]["value"] == pytest.approx(energy["joules"]["value"] / 3.6e6 * 1.2 * 0.3, rel=1e-4)
    files = {file.name for file in (run.path / "energy").iterdir()}
    assert generate(SPEC, out=tmp_path, generator=generator).record["energy"] == energy
    assert {file.name for file in (run.path / "energy").iterdir()} == files


@pytest.mark.filterwarnings("ignore:the safety checker")
def test_what_a_safety_checker_made_black_is_a_refusal_of_the_run_and_no_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked = LatentGenerator(tiny_sd_checkpoint(tmp_path / "checked", checker=False), name="checked", device="cpu")
    monkeypatch.setattr(checked.family, "flagged", lambda pixels: [place == 0 for place in range(len(pixels))])
    run = generate(SPEC.model_copy(update={"images_per_prompt": 2}), out=tmp_path, generator=checked, batch_size=3)
    refused = read_refusals(run.path)
    assert [line["code"] for line in refused] == ["safety_checker"] * 2
    assert run.record["refused"] == 2
    asked = {(line["prompt_id"], line["replicate"]) for line in refused}
    images = run.images()
    assert len(images) == 4
    assert asked.isdisjoint(zip(images["prompt_id"], images["replicate"], strict=True))
    assert [problem.kind for problem in verify(run)] == ["unsealed"]


@pytest.mark.filterwarnings("ignore:out of memory")
def test_what_was_given_up_for_memory_is_in_run_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = LatentGenerator(tiny_sd_checkpoint(tmp_path / "small"), name="small", device="cpu")
    denoise = small.family.denoise

    def limited(wanted: Any, *rest: Any) -> Any:
        if len(wanted) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return denoise(wanted, *rest)

    monkeypatch.setattr(small.family, "denoise", limited)
    run = generate(SPEC.model_copy(update={"images_per_prompt": 2}), out=tmp_path, generator=small, batch_size=6)
    recorded = json.loads((run.path / "run.json").read_text())["generator"]["details"]["memory"]
    assert recorded == small.info.details["memory"]
    assert "sliced attention" in recorded


def test_a_run_for_which_memory_sufficed_lists_nothing_given_up(generator: LatentGenerator, tmp_path: Path) -> None:
    run = generate(SPEC.model_copy(update={"images_per_prompt": 1}), out=tmp_path, generator=generator)
    assert run.record["generator"]["details"]["memory"] == []


def test_a_run_that_was_cut_off_resumes_to_the_bytes_of_an_unbroken_one(
    generator: LatentGenerator, tmp_path: Path
) -> None:
    unbroken = generate(SPEC, out=tmp_path / "a", generator=generator)
    with pytest.raises(KeyboardInterrupt):
        generate(SPEC, out=tmp_path / "b", generator=Killed(generator, 70))
    steps: list[tuple[int, int]] = []
    resumed = generate(
        SPEC,
        out=tmp_path / "b",
        generator=generator,
        progress=lambda done, total: steps.append((done, total)),
    )
    assert steps[0] == (50, 102)  # the finished shard is not made again
    assert steps[-1] == (102, 102)
    assert resumed.id == unbroken.id
    assert resumed.images()["id"].tolist() == unbroken.images()["id"].tolist()
    assert [problem for problem in verify(resumed) if problem.kind != "unsealed"] == []


def test_a_resumed_run_keeps_the_batch_size_it_began_with(generator: LatentGenerator, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        generate(SPEC, out=tmp_path, generator=Killed(generator, 60), batch_size=17)
    sizes: list[int] = []
    hook = generator.pipeline.unet.register_forward_pre_hook(lambda _, args: sizes.append(len(args[0])))
    try:
        run = generate(SPEC, out=tmp_path, generator=generator)
    finally:
        hook.remove()
    assert run.record["generator"]["batch_size"] == 17
    assert max(sizes) == 2 * 17


def test_what_the_spec_leaves_open_is_the_generators_default(generator: LatentGenerator, tmp_path: Path) -> None:
    spec = SPEC.model_copy(update={"images_per_prompt": 1, "steps": None, "guidance": 2.0})
    images = generate(spec, out=tmp_path, generator=generator).images()
    assert set(images["steps"]) == {generator.info.defaults.steps}
    assert set(images["guidance"]) == {2.0}
    assert set(images["sampler"]) == {"ddim"}


def test_a_run_records_its_time_and_its_generator(generator: LatentGenerator, tmp_path: Path) -> None:
    run = generate(SPEC.model_copy(update={"images_per_prompt": 1}), out=tmp_path, generator=generator)
    assert run.record["seconds"] > 0
    assert run.record["images_per_second"] > 0
    assert run.record["generator"]["weights"] == generator.info.weights


def test_a_finished_run_is_not_made_again(generator: LatentGenerator, tmp_path: Path) -> None:
    spec = SPEC.model_copy(update={"images_per_prompt": 1})
    first = generate(spec, out=tmp_path, generator=generator)
    again = generate(spec, out=tmp_path, generator=Killed(generator, 0))
    assert again.record == first.record


def test_batches_are_few_and_even() -> None:
    jobs = [Job("a judge", seed) for seed in range(50)]
    batches = list(even_batches(jobs, 32))
    assert [len(batch) for batch in batches] == [25, 25]
    assert [job for batch in batches for job in batch] == jobs


def test_a_sampler_that_does_not_fit_is_refused_before_anything_is_written(
    generator: LatentGenerator, tmp_path: Path
) -> None:
    with pytest.raises(GeneratorError, match="flow-euler"):
        generate(SPEC.model_copy(update={"sampler": "flow-euler"}), out=tmp_path / "runs", generator=generator)
    assert not (tmp_path / "runs").exists()

"""Settings that a spec changes for some of its prompts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from tiny_checkpoints import tiny_sd_checkpoint

from auditkit.errors import GeneratorError, SpecError
from auditkit.prompts import expand
from auditkit.runs import open_run
from auditkit.runs.record import make_run_id, resolve
from auditkit.spec import RunSpec, load_spec
from generators.base import GeneratorInfo, Job, Settings
from generators.latent import LatentGenerator
from generators.make import generate
from tests.conftest import TINY_GENERATOR, TINY_SPEC

SPEC = """
name = "mine"
templates = ["a picture of {a job}", "{a job} at work"]
images_per_prompt = 3
steps = 2
negative = "text"
[axes]
job = ["cook", "artist", "judge"]

[[overrides]]
where = {job = ["cook", "judge"]}
guidance = 3.0
negative = ""

[[overrides]]
template = "{a job} at work"
where = {job = "judge"}
steps = 4
sampler = "ddim"
guidance = 2.0
"""


def read(tmp_path: Path, text: str = SPEC) -> RunSpec:
    path = tmp_path / "spec.toml"
    path.write_text(text)
    return RunSpec.from_toml(path)


def test_an_override_fits_by_axis_values_and_template_and_the_later_one_has_its_way(tmp_path: Path) -> None:
    spec = read(tmp_path)
    said = {prompt.text: spec.overridden(prompt) for prompt in expand(spec)}
    assert said == {
        "a picture of a cook": {"guidance": 3.0, "negative": ""},
        "a picture of an artist": {},
        "a picture of a judge": {"guidance": 3.0, "negative": ""},
        "a cook at work": {"guidance": 3.0, "negative": ""},
        "an artist at work": {},
        "a judge at work": {"guidance": 2.0, "negative": "", "steps": 4, "sampler": "ddim"},
    }


def test_a_spec_with_overrides_survives_the_way_through_its_dict(tmp_path: Path) -> None:
    spec = read(tmp_path)
    assert RunSpec.from_dict(spec.model_dump(), where="run.json") == spec
    assert RunSpec.from_dict(spec.as_passed, where="here") == spec


def test_a_spec_without_overrides_keeps_the_id_that_its_run_always_had() -> None:
    assert make_run_id(resolve(TINY_SPEC, TINY_GENERATOR), TINY_GENERATOR) == "tiny-plain-26d22b50"
    spec = load_spec("occupations")
    assert make_run_id(resolve(spec, TINY_GENERATOR), TINY_GENERATOR) == "occupations-plain-e25e7427"
    assert "overrides" not in spec.model_dump()


def test_an_override_changes_the_id_of_the_run(tmp_path: Path) -> None:
    spec = read(tmp_path)
    without = spec.model_copy(update={"overrides": []})
    some = spec.model_copy(update={"overrides": spec.overrides[:1]})
    assert len({make_run_id(resolve(each, TINY_GENERATOR), TINY_GENERATOR) for each in (spec, without, some)}) == 3


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('job = "judge"', 'jb = "judge"', "override 2: there is no axis 'jb'; did you mean 'job'?"),
        ('job = "judge"', 'job = "juge"', "override 2: the axis 'job' has no value 'juge'; did you mean 'judge'?"),
        ('"{a job} at work"\nwhere', '"{a job} at wrk"\nwhere', "there is no template '{a job} at wrk'; did you mean"),
        ("steps = 4", "stps = 4", "unknown key 'overrides.1.stps'; did you mean 'steps'"),
        ("steps = 4", "steps = 0", "'overrides.1.steps' is 0"),
        ("steps = 4", 'steps = "4"', "'overrides.1.steps' is '4'"),
        ("guidance = 2.0", "guidance = nan", "'overrides.1.guidance' is nan"),
        ('guidance = 3.0\nnegative = ""', "", "an override changes nothing"),
        ('where = {job = ["cook", "judge"]}', "", "an override names no prompts"),
        ('where = {job = ["cook", "judge"]}', "where = {job = []}", "override 1 fits no prompt"),
    ],
)
def test_an_override_that_does_not_hold_is_refused_in_plain_words(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    assert old in SPEC
    with pytest.raises(SpecError) as caught:
        read(tmp_path, SPEC.replace(old, new))
    assert message in caught.value.what
    assert caught.value.mend
    assert str(caught.value.where).endswith("spec.toml")


class Watched:
    """A generator of plain images that notes what was asked of it at once."""

    info = GeneratorInfo("watched", "test", "tests", 8, Settings("euler", 5, 1.0), {"w": "0" * 64})

    def __init__(self) -> None:
        self.asked: list[tuple[Settings, list[Job]]] = []

    def generate(
        self, jobs: Sequence[Job], settings: Settings, *, batch_size: int | None = None
    ) -> Iterator[Image.Image]:
        if jobs:
            self.asked.append((settings, list(jobs)))
        return (Image.new("RGB", (8, 8), tuple(job.seed.to_bytes(8, "big")[-3:])) for job in jobs)


def test_prompts_of_one_shard_with_the_same_settings_are_made_together_and_kept_in_order(tmp_path: Path) -> None:
    spec, generator = read(tmp_path), Watched()
    images = generate(spec, out=tmp_path, generator=generator).images()
    assert [settings for settings, _ in generator.asked] == [
        Settings("euler", 2, 3.0),
        Settings("euler", 2, 1.0),
        Settings("ddim", 4, 2.0),
    ]
    assert [len(jobs) for _, jobs in generator.asked] == [9, 6, 3]
    assert images["prompt_id"].tolist() == [i for i in range(6) for _ in range(3)]
    for row in images.itertuples():  # every image lies where its seed says
        pixel = Image.open(tmp_path / generator_run(tmp_path) / str(row.path)).getpixel((0, 0))
        assert pixel == tuple(int(row.seed).to_bytes(8, "big")[-3:])


def generator_run(folder: Path) -> str:
    return next(path.parent.name for path in folder.glob("*/run.json"))


def test_the_images_table_says_what_each_image_was_made_with(tmp_path: Path) -> None:
    images = generate(read(tmp_path), out=tmp_path, generator=Watched()).images()
    rows: Any = images.drop_duplicates("prompt").set_index("prompt")
    columns = ["sampler", "steps", "guidance", "negative"]
    assert rows.loc["a judge at work", columns].tolist() == ["ddim", 4, 2.0, ""]
    assert rows.loc["a cook at work", columns].tolist() == ["euler", 2, 3.0, ""]
    assert rows.loc["an artist at work", columns].tolist() == ["euler", 2, 1.0, "text"]


def test_a_sampler_that_there_is_not_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    generator = LatentGenerator(tiny_sd_checkpoint(tmp_path / "tiny"), device="cpu")
    spec = read(tmp_path, SPEC.replace('sampler = "ddim"', 'sampler = "dim"'))
    with pytest.raises(GeneratorError, match="no sampler 'dim'; did you mean ddim"):
        generate(spec, out=tmp_path / "runs", generator=generator)
    assert not (tmp_path / "runs").exists()


def test_an_overridden_prompt_has_the_image_that_a_run_with_its_settings_has(tmp_path: Path) -> None:
    generator = LatentGenerator(tiny_sd_checkpoint(tmp_path / "tiny"), device="cpu")
    text = SPEC.replace("images_per_prompt = 3", "images_per_prompt = 2")
    mixed = generate(read(tmp_path, text), out=tmp_path / "a", generator=generator).images()
    alike = read(tmp_path, text).model_copy(update={"overrides": [], "guidance": 3.0, "negative": ""})
    plain = generate(alike, out=tmp_path / "b", generator=generator).images()
    cooks = mixed["axis_job"] == "cook"
    assert mixed["id"][cooks].tolist() == plain["id"][cooks].tolist()
    artists = mixed["axis_job"] == "artist"
    assert not set(mixed["id"][artists]) & set(plain["id"][artists])
    assert open_run(next((tmp_path / "a").iterdir())).spec == read(tmp_path, text).model_copy(
        update={"sampler": generator.info.defaults.sampler, "guidance": generator.info.defaults.guidance}
    )

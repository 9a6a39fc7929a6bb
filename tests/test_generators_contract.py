"""What every generator keeps to; runs over the registered ones and over a random checkpoint of every pipeline class."""

from __future__ import annotations

import numpy as np
import pytest
from tiny_checkpoints import CHECKPOINTS

from auditkit import registry
from auditkit.images import encode_png
from generators.base import Generator, Job, Settings
from generators.load import load_generator

JOBS = [
    Job("a portrait of a judge", 1),
    Job("a portrait of a pilot", 2),
    Job("a portrait of a judge", 3, "a drawing of a teacher"),
]


HEAVY = {"personas-balanced", "personas-dit", "personas-pixel"}
"""The first is `personas` with other weights, the others are here as tiny PRX checkpoints; `make slow` has them."""


def offered(name: str) -> object:
    return pytest.param(name, marks=pytest.mark.slow) if name in HEAVY else name


@pytest.fixture(scope="module", params=[*CHECKPOINTS, *map(offered, registry.names("generators"))])
def generator(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Generator:
    if request.param in CHECKPOINTS:
        folder = CHECKPOINTS[request.param](tmp_path_factory.mktemp("tiny") / request.param)
        return load_generator(f"path:{folder}", device="cpu")
    return load_generator(request.param, device="cpu")


@pytest.fixture(scope="module")
def settings(generator: Generator) -> Settings:
    return Settings(generator.info.defaults.sampler, 2, 4.0)


def test_it_is_a_generator_and_says_what_it_is(generator: Generator) -> None:
    info = generator.info
    assert isinstance(generator, Generator)
    assert info.name
    assert info.kind
    assert all(len(digest) == 64 for digest in info.weights.values())
    assert info.as_dict()["defaults"].keys() == {"sampler", "steps", "guidance"}


def test_images_are_rgb_of_the_size_it_says(generator: Generator, settings: Settings) -> None:
    images = list(generator.generate(JOBS, settings))
    assert [image.size for image in images] == [(generator.info.resolution,) * 2] * 3
    assert {image.mode for image in images} == {"RGB"}


def test_the_same_jobs_give_the_same_bytes(generator: Generator, settings: Settings) -> None:
    first = [encode_png(image) for image in generator.generate(JOBS, settings)]
    assert first == [encode_png(image) for image in generator.generate(JOBS, settings)]


def test_an_image_does_not_depend_on_its_batch_or_place(generator: Generator, settings: Settings) -> None:
    together = list(generator.generate(JOBS, settings, batch_size=3))
    alone = [next(generator.generate([job], settings, batch_size=1)) for job in reversed(JOBS)]
    for a, b in zip(together, reversed(alone), strict=True):
        assert _largest_difference(a, b) <= 2


@pytest.mark.parametrize(
    "other", [Job(JOBS[2].prompt, 4, JOBS[2].negative), Job("a picture of a pilot", 3, JOBS[2].negative),
              Job(JOBS[2].prompt, 3)],
    ids=["seed", "prompt", "negative prompt"],
)  # fmt: skip
def test_seed_prompt_and_negative_prompt_each_change_the_image(
    generator: Generator, settings: Settings, other: Job
) -> None:
    a, b = generator.generate([JOBS[2], other], settings)
    assert _largest_difference(a, b) > 2


def test_no_jobs_give_no_images(generator: Generator, settings: Settings) -> None:
    assert list(generator.generate([], settings)) == []


def _largest_difference(a: object, b: object) -> int:
    return int(np.abs(np.asarray(a, dtype=int) - np.asarray(b, dtype=int)).max())

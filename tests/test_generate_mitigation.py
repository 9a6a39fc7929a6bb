"""A run with a mitigation: what is recorded, what is its identity, and that it goes on where it stopped."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from tiny_checkpoints import tiny_sd_checkpoint
from typer.testing import CliRunner

import auditkit as ak
from app.cli import app
from auditkit.errors import GeneratorError
from auditkit.guidance import Request
from auditkit.runs import Run, open_run
from auditkit.spec import RunSpec
from generators.base import GeneratorInfo, Job, Settings
from generators.make import generate

SPEC = RunSpec(
    name="jobs", templates=["a portrait of {a occupation}", "{a occupation}"],
    axes={"occupation": ["judge", "pilot", "artist"]}, images_per_prompt=2, by="occupation", steps=2, sampler="ddim",
    guidance=1.0,
)  # fmt: skip
EVEN = Request("prompt-diversification", "gender=uniform")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_sd_checkpoint(tmp_path_factory.mktemp("checkpoints") / "tiny")


def made(out: Path, checkpoint: Path, request: Request | None = EVEN, spec: RunSpec = SPEC, **more: Any) -> Run:
    return generate(spec, out=out, generator=f"path:{checkpoint}", device="cpu", mitigation=request, **more)


def test_run_json_says_what_was_asked_for_and_what_it_came_to(tmp_path: Path, checkpoint: Path) -> None:
    run = made(tmp_path, checkpoint, Request("weak-guidance", {"gender": "uniform"}, {"scale": "2", "assign": "draw"}))
    said = json.loads((run.path / "run.json").read_text())["mitigation"]
    assert said["as_passed"] == {
        "name": "weak-guidance", "target": {"gender": "uniform"}, "options": {"scale": "2", "assign": "draw"},
    }  # fmt: skip
    resolved = said["resolved"]
    assert resolved["options"] == {"scale": 2.0, "since": 0.0, "until": 1.0, "direction": "general"}
    assert resolved["target"]["assign"] == "draw"
    assert resolved["target"]["shares"] == {"all": {"female": 0.5, "male": 0.5}}
    assert "pope" in resolved["target"]["contexts"]


def test_each_image_has_its_group_and_the_prompt_that_made_it_and_stays_paired(
    tmp_path: Path, checkpoint: Path
) -> None:
    steered, plain = made(tmp_path, checkpoint).images(), made(tmp_path, checkpoint, None).images()
    assert steered["steered_to"].value_counts().to_dict() == {"female": 6, "male": 6}
    for row in steered.itertuples():
        assert row.prompt_used == row.prompt.replace("an artist", "a artist").replace(
            "a " + row.axis_occupation, f"a {row.steered_to} {row.axis_occupation}"
        )
    assert list(steered["prompt"]) == list(plain["prompt"])
    assert list(steered["seed"]) == list(plain["seed"])
    assert "steered_to" not in plain


def test_a_group_that_is_not_aimed_at_is_not_claimed(tmp_path: Path, checkpoint: Path) -> None:
    images = made(tmp_path, checkpoint, Request("embedding-projection", "gender=uniform")).images()
    assert images["steered_to"].isna().all()


def test_images_of_prompts_that_state_it_are_those_of_the_plain_run(tmp_path: Path, checkpoint: Path) -> None:
    spec = RunSpec.from_dict({**SPEC.as_passed, "templates": ["a male {occupation}", "{a occupation}"]}, where="test")
    for name in ("weak-guidance", "semantic-guidance"):
        steered = made(tmp_path, checkpoint, Request(name, "gender=uniform"), spec).images()
        plain = made(tmp_path, checkpoint, None, spec).images()
        stated = steered["prompt"].str.contains("male").to_numpy()
        assert stated.sum() == 6
        assert list((steered["id"] == plain["id"])[stated]) == [True] * 6
        assert not (steered["id"] == plain["id"])[~stated].any()
        assert steered["steered_to"][stated].isna().all()


def test_the_mitigation_is_part_of_the_runs_identity(tmp_path: Path, checkpoint: Path) -> None:
    ids = [
        made(tmp_path, checkpoint, request).id
        for request in (
            None,
            EVEN,
            Request("prompt-diversification", {"gender": {"female": 0.6, "male": 0.4}}),
            Request("prompt-diversification", "gender=uniform", {"assign": "draw"}),
            Request("weak-guidance", "gender=uniform"),
            Request("weak-guidance", "gender=uniform", {"scale": 0.5}),
        )
    ]
    assert len(set(ids)) == len(ids)


def test_the_same_mitigation_in_other_words_is_the_same_run(tmp_path: Path, checkpoint: Path) -> None:
    same = Request("prompt-diversification", {"gender": {"female": 0.5, "male": 0.5}}, {"contrast": "false"})
    assert made(tmp_path, checkpoint, same).id == made(tmp_path, checkpoint).id


@pytest.mark.parametrize("name", ["prompt-diversification", "semantic-guidance"])
def test_a_run_that_was_cut_off_goes_on_to_the_same_images(tmp_path: Path, checkpoint: Path, name: str) -> None:
    spec = RunSpec.from_dict({**SPEC.as_passed, "images_per_prompt": 20}, where="test")

    def cut(done: int, total: int) -> None:
        if done > 70:
            raise KeyboardInterrupt

    request = Request(name, "gender=uniform")
    with pytest.raises(KeyboardInterrupt):
        made(tmp_path / "cut", checkpoint, request, spec, progress=cut)
    resumed = made(tmp_path / "cut", checkpoint, request, spec)
    whole = made(tmp_path / "whole", checkpoint, request, spec)
    assert resumed.id == whole.id
    assert list(resumed.images()["id"]) == list(whole.images()["id"])
    assert list(resumed.images()["steered_to"]) == list(whole.images()["steered_to"])


class Elsewhere:
    """A generator without insides, as behind an API; it draws the prompt's length."""

    info = GeneratorInfo(
        "elsewhere", "test", "tests", 8, Settings("none", 1, 1.0), {}, batch_size=4, details={"latent_shape": None}
    )  # fmt: skip

    def generate(
        self, jobs: Sequence[Job], settings: Settings, *, batch_size: int | None = None
    ) -> Iterator[Image.Image]:
        return iter([Image.new("RGB", (8, 8), (len(job.prompt), job.seed % 256, 0)) for job in jobs])


def test_a_generator_without_insides_can_have_its_prompts_changed(tmp_path: Path) -> None:
    spec = RunSpec.from_dict({"name": "jobs", **SPEC.as_passed, "sampler": None}, where="test")
    run = generate(spec, out=tmp_path, generator=Elsewhere(), mitigation=EVEN)
    first = run.images().iloc[0]
    assert Image.open(run.path / first["path"]).getpixel((0, 0))[0] == len(first["prompt_used"])


def test_a_method_that_the_generator_cannot_take_is_refused_with_those_it_can(tmp_path: Path) -> None:
    with pytest.raises(GeneratorError, match="'semantic-guidance' cannot be used with 'elsewhere'") as caught:
        generate(SPEC, out=tmp_path, generator=Elsewhere(), mitigation=Request("semantic-guidance", "gender=uniform"))
    assert str(caught.value.mend).endswith("prompt-diversification")
    assert not list(tmp_path.iterdir())


def test_a_contrast_without_guidance_is_refused(tmp_path: Path, checkpoint: Path) -> None:
    with pytest.raises(GeneratorError, match="negative prompt"):
        made(tmp_path, checkpoint, Request("prompt-diversification", "gender=uniform", {"contrast": True}))


def test_the_contrast_is_in_the_negative_prompt(tmp_path: Path, checkpoint: Path) -> None:
    spec = RunSpec.from_dict({**SPEC.as_passed, "guidance": 3.0, "negative": "blurry"}, where="test")
    images = made(
        tmp_path, checkpoint, Request("prompt-diversification", "gender=uniform", {"contrast": "true"}), spec
    ).images()  # fmt: skip
    said = dict(zip(images["steered_to"], images["negative"], strict=True))
    assert said == {"female": "blurry, a man", "male": "blurry, a woman"}


def test_the_python_verb_takes_a_target_as_a_dict(tmp_path: Path, checkpoint: Path) -> None:
    run = ak.generate(
        SPEC, generator=f"path:{checkpoint}", out=tmp_path, device="cpu", mitigation="weak-guidance",
        target={"gender": "uniform"}, mitigation_options={"until": 0.5},
    )  # fmt: skip
    assert run.record["mitigation"]["resolved"]["options"]["until"] == 0.5


def command(tmp_path: Path, checkpoint: Path, *more: str) -> Any:
    (tmp_path / "spec.toml").write_text(
        'name = "jobs"\ntemplates = ["{a occupation}"]\nimages_per_prompt = 2\nby = "occupation"\nsteps = 2\n'
        'sampler = "ddim"\n[axes]\noccupation = ["judge", "pilot"]\n'
    )
    where = [str(tmp_path / "spec.toml"), "-g", f"path:{checkpoint}", "--out", str(tmp_path / "runs")]
    return CliRunner().invoke(app, ["generate", *where, "--device", "cpu", "--json", *more])


def test_the_command_makes_such_a_run(tmp_path: Path, checkpoint: Path) -> None:
    done = command(
        tmp_path, checkpoint, "--mitigation", "semantic-guidance", "--target", "gender=uniform",
        "--mitigation-option", "scale=3", "--mitigation-option", "assign=draw",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    run = open_run(json.loads(done.stdout)["path"])
    assert run.record["mitigation"]["as_passed"]["options"] == {"scale": "3", "assign": "draw"}


@pytest.mark.parametrize(
    ("more", "what"),
    [
        (["--target", "gender=uniform"], "a target without a mitigation"),
        (["--mitigation-option", "scale=3"], "options of a mitigation without a mitigation"),
        (["--mitigation", "weak-guidance"], "nothing says what the mitigation is to aim at"),
        (["--mitigation", "weak", "--target", "gender=uniform"], "weak-guidance"),
        (["--mitigation", "weak-guidance", "--target", "gender=uniform", "--mitigation-option", "scale"], "KEY=VALUE"),
        (["--mitigation", "weak-guidance", "--target", "gender=uniform", "--mitigation-option", "scale=-1"], "scale"),
        (["--mitigation", "weak-guidance", "--target", "gender=uniform", "--mitigation-option", "since=1"], "since"),
        (["--mitigation", "weak-guidance", "--target", "gender=uniform", "--mitigation-option", "scal=1"], "'scale'"),
        (["--mitigation", "weak-guidance", "--target", "gender=half"], "no target 'half'"),
    ],
)
def test_what_does_not_hold_is_one_error_and_nothing_is_written(
    tmp_path: Path, checkpoint: Path, more: list[str], what: str
) -> None:
    done = command(tmp_path, checkpoint, *more)
    assert done.exit_code == 1
    error = json.loads(done.stdout)
    assert what in f"{error['what']} {error['mend']}"
    assert error["mend"]
    assert not (tmp_path / "runs").exists()

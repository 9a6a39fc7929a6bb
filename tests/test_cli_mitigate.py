"""`auditkit mitigate`, from prompts to page, on a tiny checkpoint."""

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
from app.commands.mitigating import options_of
from app.mitigating import choose, labels
from auditkit.errors import GeneratorError, RunError, SpecError, TableError
from auditkit.guidance.evaluated import read
from auditkit.guidance.verdicts import INSUFFICIENT
from auditkit.spec import RunSpec
from generators.base import GeneratorInfo, Job, Settings

SPEC = """
name = "jobs"
by = "occupation"
images_per_prompt = 2
steps = 2
guidance = 1.0
sampler = "ddim"
templates = ["a portrait of {a occupation}", "a male {occupation}"]
[axes]
occupation = ["judge", "pilot", "artist"]
"""


class Elsewhere:
    """A generator whose insides cannot be reached."""

    info = GeneratorInfo(
        name="elsewhere", kind="test", source="test", resolution=16, defaults=Settings("ddim", 2, 1.0), weights={}
    )

    def generate(
        self, jobs: Sequence[Job], settings: Settings, *, batch_size: int | None = None
    ) -> Iterator[Image.Image]:
        return (Image.new("RGB", (16, 16)) for _ in jobs)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny checkpoint, and prompts."""
    folder = tmp_path_factory.mktemp("mitigate")
    tiny_sd_checkpoint(folder / "tiny")
    (folder / "jobs.toml").write_text(SPEC)
    return folder


def command(place: Path, out: Path, *more: str) -> list[str]:
    return [
        "mitigate", str(place / "jobs.toml"), "-g", f"path:{place / 'tiny'}", "--methods",
        "prompt-diversification,soft=weak-guidance", "--target", "gender=uniform", "--option", "soft.scale=0.5",
        "--device", "cpu", "--replicates", "100", "--out", str(out), *more,
    ]  # fmt: skip


@pytest.fixture(scope="module")
def done(place: Path) -> Any:
    return CliRunner().invoke(app, command(place, place / "out", "--json"))


def test_it_writes_runs_table_record_and_page(place: Path, done: Any) -> None:
    assert done.exit_code == 0, done.output
    made = read(place / "out")
    assert made.methods == ["prompt-diversification", "soft"]
    assert made.record["methods"]["soft"]["options"]["scale"] == 0.5
    assert set(made.effects["encoder"]) == {"personas-clip-judge", "personas-clip"}
    assert len(list((place / "out" / "runs").iterdir())) == 3
    page = (place / "out" / "index.html").read_text()
    assert "An evaluation of mitigations" in page
    assert "no comparable figure" in page


def test_the_answer_is_one_document_that_says_who_judged_and_what_came_of_it(done: Any) -> None:
    said = json.loads(done.stdout)
    assert (said["judge"], said["tuned_with"]) == ("personas-clip-judge", "personas-clip")
    assert [each["method"] for each in said["verdicts"]] == ["prompt-diversification", "soft"]
    assert said["effects"]


def test_of_images_that_the_judge_is_not_calibrated_for_nothing_is_claimed(place: Path, done: Any) -> None:
    made = read(place / "out")
    assert {each.verdict for each in made.verdicts.values()} == {INSUFFICIENT}
    assert all(each.why for each in made.verdicts.values())


def test_prompts_that_state_it_keep_their_images(place: Path, done: Any) -> None:
    table = read(place / "out").judged
    alone = table[table["measure"] == "left_alone"]
    assert alone["n_pairs"].tolist() == [6, 6]
    assert alone["estimate"].tolist() == [1, 1]


def test_the_same_command_makes_no_image_again(place: Path, done: Any) -> None:
    times = {path: path.stat().st_mtime_ns for path in (place / "out" / "runs").glob("*/images.parquet")}
    again = CliRunner().invoke(app, command(place, place / "out"))
    assert again.exit_code == 0, again.output
    assert "insufficient" in again.stdout
    assert {path: path.stat().st_mtime_ns for path in times} == times


@pytest.mark.slow
def test_a_call_that_was_cut_off_goes_on_with_what_it_had(place: Path, done: Any, tmp_path: Path) -> None:
    class Cut(Exception):
        pass

    def cut(images: int, of: int) -> None:
        if any((tmp_path / "out" / "runs").glob("*/images.parquet")) and images > 0:
            raise Cut

    asked: dict[str, Any] = {
        "methods": ["prompt-diversification"], "target": {"gender": "uniform"}, "generator": f"path:{place / 'tiny'}",
        "device": "cpu", "replicates": 100, "out": tmp_path / "out",
    }  # fmt: skip
    with pytest.raises(Cut):
        ak.mitigate(place / "jobs.toml", progress=cut, **asked)
    assert not (tmp_path / "out" / "mitigation.json").exists()
    made = ak.mitigate(place / "jobs.toml", **asked)
    first = read(place / "out").record["runs"]
    assert made.evaluation.record["runs"] == {name: first[name] for name in ("", "prompt-diversification")}


def test_the_report_of_a_run_with_a_mitigation_says_what_was_applied(place: Path, done: Any) -> None:
    from auditkit.runs import open_run
    from reports.chapters.mitigation import chapter

    runs = read(place / "out").record["runs"]
    steered, plain = (open_run(place / "out" / "runs" / runs[name]) for name in ("prompt-diversification", ""))
    found = chapter(None, steered)  # type: ignore[arg-type]
    assert found is not None
    assert "‘prompt-diversification’, toward gender=uniform" in found.lead[0]
    assert "6 were moved toward a group of their own, by a quota; 3 " in found.lead[1]
    assert found.blocks[-1].rows[0] == ["a male judge", "the prompt states gender"]  # type: ignore[union-attr]
    assert chapter(None, plain) is None  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (["--option", "soft=3"], "no setting of a method"),
        (["--option", "hard.scale=3"], "options are given for 'hard', which is not tried"),
        (["--option", "soft.scale=1"], "given twice"),
        (["--option", "soft.size=1"], "'weak-guidance' has no option 'size'"),
        (["--methods", "nonsense"], "nonsense"),
        (["--methods", "soft=weak-guidance,soft=semantic-guidance"], "tried twice"),
        (["--target", "height=uniform"], "height"),
        (["-g", "api:model"], "an API gives no paired seeds"),
        (["--judge", "nobody"], "nobody"),
    ],
)
def test_bad_input_is_one_clear_error_before_any_image(
    place: Path, tmp_path: Path, changes: list[str], said: str
) -> None:
    found = CliRunner().invoke(app, command(place, tmp_path / "out", *changes))
    assert found.exit_code == 1
    assert said in " ".join(found.stderr.split())
    assert "mend:" in found.stderr
    assert not (tmp_path / "out").exists()


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(RunError, match="something else"):
        ak.mitigate("occupations", methods="all", target="gender=uniform", out=tmp_path)
    (tmp_path / "mitigation.json").write_text("[]")
    with pytest.raises(TableError, match="no evaluation of mitigations"):
        ak.mitigate("occupations", methods="all", target="gender=uniform", out=tmp_path)


def test_all_are_those_that_the_model_can_take_and_of_the_others_the_reason_is_told() -> None:
    spec = RunSpec(
        name="jobs", templates=["{a occupation}"], axes={"occupation": ["judge"]}, images_per_prompt=1, by="occupation"
    )  # fmt: skip
    found, refused = choose({}, "gender=uniform", {}, spec, Elsewhere())
    assert list(found) == ["prompt-diversification"]
    assert "does not run this kind of model" in refused["semantic-guidance"]
    with pytest.raises(GeneratorError, match="cannot be used with 'elsewhere'"):
        choose({"x": "semantic-guidance"}, "gender=uniform", {}, spec, Elsewhere())


def test_labels_and_options_are_read_as_written() -> None:
    assert labels("a, strong=b", {"strong": {}}) == {"a": "a", "strong": "b"}
    assert labels(["all"], {}) == {}
    assert options_of(["b.scale=3", "b.until=0.5", "c.x=a=b"]) == {
        "b": {"scale": "3", "until": "0.5"}, "c": {"x": "a=b"},
    }  # fmt: skip
    with pytest.raises(SpecError, match="stands alone"):
        labels("all,a", {})
    with pytest.raises(SpecError, match="no method"):
        labels(" , ", {})

"""The verbs `plan` and `annotate`, for people and for programs."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import synthetic_run
import typer
from plan_helpers import made, measured, plan
from typer.testing import CliRunner

from app.commands import planning
from auditkit.plan import load_plan

app = typer.Typer()
planning.register(app)


def said(*arguments: object, code: int = 0) -> str:
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert done.exit_code == code, done.output
    return done.output


def answer(*arguments: object, code: int = 0) -> Any:
    done = CliRunner().invoke(app, [*(str(argument) for argument in arguments), "--json"])
    assert done.exit_code == code, done.output
    return json.loads(done.stdout)


def test_plan_says_how_many_images_and_what_they_tell(tmp_path: Path) -> None:
    text = said("plan", "occupations", "--difference", ".3", "--runs", tmp_path)
    assert "Perceived gender: 20 tests" in text
    assert "images of each prompt" in text
    assert max(len(line) for line in text.splitlines() if not line.startswith("-")) <= 110


def test_plan_writes_a_document_that_reads_back(tmp_path: Path) -> None:
    options = ["--seed", 5, "--looks", 2, "--measure", "divergence", "--question", "Who nurses?", "--speed", 10]
    data = answer("plan", "occupations", "--difference", ".2", "--out", tmp_path / "plan.toml", *options)
    found = load_plan(tmp_path / "plan.toml")
    assert data["sha256"] == found.sha256
    assert data["seconds"] == data["images"] / 10
    assert found.spec.seed == 5
    assert found.spec.images_per_prompt == data["images_per_prompt"]
    assert found.analysis.measures == ["representation", "divergence"]
    assert found.sequential is not None
    assert found.question == "Who nurses?"


def test_a_goal_out_of_reach_writes_no_plan(tmp_path: Path) -> None:
    out = tmp_path / "plan.toml"
    text = said("plan", "occupations", "--difference", ".02", "--out", out, code=1)
    assert "No number of images reaches the goal." in text
    assert not out.exists()
    assert answer("plan", "occupations", "--difference", ".02")["images_per_prompt"] is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["occupation"], "did you mean 'occupations'"),
        (["occupations", "--difference", "2"], "difference must lie between 0 and 1"),
        (["occupations", "--estimator", "magic"], "no estimator 'magic'"),
        (["occupations", "--measure", "magic"], "no measure 'magic'"),
        (["occupations", "--by", "place"], "no axis 'place'"),
    ],
)
def test_plan_refuses_what_does_not_hold(arguments: list[str], message: str) -> None:
    assert message in said("plan", *arguments, code=1)


def test_a_number_of_images_is_a_number_or_auto() -> None:
    assert "whole number" in said("plan", "occupations", "-n", "many", code=2)
    assert answer("plan", "occupations", "-n", 7)["images_per_prompt"] == 7


def test_plan_looks_at_a_run_and_lists_deviations(tmp_path: Path) -> None:
    run = measured(made(tmp_path, plan([4, 12])))
    assert answer("plan", "look", run.path)["decision"] == "continue"
    text = said("plan", "look", run.path)
    assert "Look 1 of 2, 4 images of each prompt: continue." in text
    assert "Fewer images than planned" in said("plan", "deviations", run.path)
    assert answer("plan", "deviations", run.path)["deviations"][0]["kind"] == "images"
    assert "None: all is as planned." in said("plan", "deviations", measured(made(tmp_path / "b", plan())).path)


def test_annotate_goes_from_export_to_agreement(tmp_path: Path) -> None:
    run = synthetic_run.make_run(tmp_path, images_per_prompt=6, measured=False)
    data = answer("annotate", "export", run.path, "--n", 25, "--out", tmp_path / "out")
    assert data["sample"]["sample"] == "gender-1"
    for rater in "AB":
        path = tmp_path / "out" / rater / "labels.csv"
        with path.open(newline="") as stream:
            rows = list(csv.DictReader(stream))
        with path.open("w", newline="") as stream:
            writer = csv.DictWriter(stream, list(rows[0]))
            writer.writeheader()
            writer.writerows(row | {"label": "female" if row["id"] < "8" else "male"} for row in rows)
        assert "25 of gender-1" in said("annotate", "import", run.path, path, "--rater", rater)
    text = said("annotate", "agreement", run.path)
    assert "1.00 [" in text
    assert "25 of 25 images of the random sample have a label by people" in text
    assert answer("annotate", "agreement", run.path)[0]["found"]["alpha"] == 1
    assert "already" in said("annotate", "import", run.path, path, "--rater", "B", code=1)


def test_agreement_without_labels_is_insufficient_and_without_a_sample_an_error(tmp_path: Path) -> None:
    run = synthetic_run.make_run(tmp_path, images_per_prompt=2, measured=False)
    assert "no sample was drawn" in said("annotate", "agreement", run.path, code=1)
    said("annotate", "export", run.path, "--n", 5, "--out", tmp_path / "out")
    assert "insufficient" in said("annotate", "agreement", run.path)
    assert answer("annotate", "agreement", run.path)[0]["found"]["alpha"] is None

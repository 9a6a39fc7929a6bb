"""The whole audit in one command, with a tiny random checkpoint and a tiny random encoder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny_checkpoints import tiny_sd_checkpoint
from tiny_clip import save_tiny
from typer.testing import CliRunner

from app import api, finding
from app.cli import app

SPEC = """
name = "two"
templates = ["a portrait of {a occupation}", "{a occupation} at work"]
images_per_prompt = 2
by = "occupation"
axes.occupation = ["judge", "nurse"]
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("audit")
    (folder / "two.toml").write_text(SPEC, encoding="utf-8")
    tiny_sd_checkpoint(folder / "checkpoint")
    save_tiny(folder / "encoder")
    return folder


def arguments(folder: Path) -> list[str]:
    made = ["audit", folder / "two.toml", "-g", folder / "checkpoint", "--encoder", folder / "encoder"]
    return [str(word) for word in [*made, "--out", folder / "runs", "--steps", 2, "--device", "cpu"]]


def test_an_audit_makes_a_sealed_and_reported_run_and_prints_its_table(folder):
    done = CliRunner().invoke(app, arguments(folder))
    assert done.exit_code == 0, done.output
    for word in ("judge", "nurse", "insufficient", "Report:", "generate", "score", "measure"):
        assert word in done.stdout
    assert "generate: 8/8" in done.stderr
    run = api.find_run("latest", folder=folder / "runs")
    assert (run.path / "report" / "index.html").exists()
    assert api.verify(run) == []


def test_an_audit_again_goes_on_with_the_same_run_and_answers_in_json(folder):
    first = json.loads(CliRunner().invoke(app, [*arguments(folder), "--json"]).stdout)
    again = json.loads(CliRunner().invoke(app, [*arguments(folder), "--json"]).stdout)
    assert first["run"] == again["run"]
    assert set(again["seconds"]) == {"generate", "score", "measure", "report", "seal"}
    assert first["measurements"] == again["measurements"]


def test_score_and_measure_work_on_a_run_by_themselves_and_remember_the_seal(folder):
    CliRunner().invoke(app, arguments(folder))
    runs = ["--runs", str(folder / "runs"), "--encoder", str(folder / "encoder")]
    scored = CliRunner().invoke(app, ["score", "latest", "--scorer", "gender", "--json", *runs])
    assert scored.exit_code == 0, scored.output
    (counts,) = json.loads(scored.stdout)["scores"].values()
    assert sum(counts.values()) == 8
    assert "auditkit seal" in scored.stderr
    measured = CliRunner().invoke(app, ["measure", "latest", "-a", "gender", "--json", *runs])
    assert measured.exit_code == 0, measured.output
    assert {row["attribute"] for row in json.loads(measured.stdout)["measurements"]} >= {"gender"}


def test_a_plan_is_kept_in_the_run_that_it_makes(folder):
    spec = f'generator = "{folder / "checkpoint"}"\nsteps = 2\n' + SPEC.replace('"two"', '"planned"')
    (folder / "planned.toml").write_text(spec, encoding="utf-8")
    plan = str(folder / "plan.toml")
    asked = ["plan", str(folder / "planned.toml"), "--images-per-prompt", "2", "--out", plan, "--json"]
    written = CliRunner().invoke(app, asked)
    assert written.exit_code == 0, written.output
    made = CliRunner().invoke(app, ["generate", "--plan", plan, "--out", str(folder / "runs"), "--device", "cpu"])
    assert made.exit_code == 0, made.output
    (run,) = [run for run in finding.list_runs(folder / "runs") if run.id.startswith("planned")]
    assert len(run.record["plan"]["sha256"]) == 64
    assert len(run.images()) == 8


def test_generate_without_a_spec_or_a_plan_says_what_to_give():
    said = CliRunner().invoke(app, ["generate"])
    assert said.exit_code == 1
    assert "--plan FILE" in said.output

"""What the verbs answer: tables for people, one JSON document for programs."""

from __future__ import annotations

import json
import sys

import pytest
import synthetic_run
from typer.testing import CliRunner

from app import output
from app.cli import app
from app.tables import audit_tables
from auditkit.runs import Run


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    return synthetic_run.make_run(tmp_path_factory.mktemp("runs"), images_per_prompt=30)


def answer(*arguments: object, code: int = 0):
    done = CliRunner().invoke(app, [*(str(argument) for argument in arguments), "--json"])
    assert done.exit_code == code
    return json.loads(done.stdout)


def test_suites_lists_what_is_shipped():
    rows = {row["suite"]: row for row in answer("suites")}
    assert {"occupations", "occupations-by-group", "disability", "objects-control"} <= set(rows)
    assert rows["occupations"]["axes"] == ["occupation"]


def test_suites_previews_an_expansion():
    data = answer("suites", "occupations", "--first", 2)
    assert data["images"] == data["prompts"] * data["images_per_prompt"]
    assert len(data["first"]) == 2


def test_plugins_lists_the_built_in_ones():
    assert {"gender", "skin_tone", "representation", "personas"} <= {row["name"] for row in answer("plugins")}


def test_doctor_names_the_device_and_the_bundled_weights():
    done = CliRunner().invoke(app, ["doctor", "--json"])
    data = json.loads(done.stdout)
    assert done.exit_code == (0 if data["healthy"] else 1)
    names = {check["name"] for check in data["checks"]}
    assert {"python", "device", "free disk", "generator personas", "chromium"} <= names
    assert all(check["mend"] for check in data["checks"] if not check["ok"])


def test_runs_lists_a_broken_run_beside_a_sound_one(tmp_path):
    synthetic_run.make_run(tmp_path, images_per_prompt=1)
    synthetic_run.break_run(synthetic_run.make_run(tmp_path, name="bad", images_per_prompt=1))
    rows = {row["run"].split("-")[0]: row for row in answer("runs", tmp_path)}
    assert rows["small"]["state"] == "measured"
    assert rows["bad"]["state"] == "broken"
    assert "run.json" in rows["bad"]["error"]


def test_a_run_can_be_named_by_its_id_or_as_the_latest(run):
    for name in (run.id, "latest", run.path):
        assert answer("seal", name, "--runs", run.path.parent)["seal"] == str(run.path / "SEAL")


def test_report_answers_with_the_page(run, tmp_path):
    data = answer("report", run.path, "--out", tmp_path)
    assert data["report"] == str(tmp_path / "index.html")
    assert (tmp_path / "index.html").exists()


def test_the_audit_table_shows_shares_distances_and_statuses_in_100_columns(run, capsys):
    for table in audit_tables(run.measurements()):
        output.console().print(table)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 110
    rows = {line.split()[0]: line for line in lines if line.strip()}
    assert "ok" in rows["nurse"]
    assert "[" in rows["nurse"]
    assert "insufficient" in rows[synthetic_run.INSUFFICIENT]
    assert "%" not in rows[synthetic_run.INSUFFICIENT]


def test_json_has_null_where_there_is_no_number(run):
    rows = output.jsonable(run.measurements())
    assert any(row["estimate"] is None for row in rows)
    json.dumps(rows, allow_nan=False)


def test_progress_in_a_log_is_a_line_each_tenth(capsys):
    with output.progress_bar("score", True) as show:
        for done in range(101):
            show(done, 100)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 11
    assert lines[-1].startswith("score: 100/100")


def test_a_library_that_prints_does_not_spoil_the_json(monkeypatch, tmp_path):
    from app import finding

    def chatty(folder: object) -> list[Run]:
        print("loading...", file=sys.stdout)
        return []

    monkeypatch.setattr(finding, "list_runs", chatty)
    assert answer("runs", tmp_path) == []


@pytest.mark.parametrize(("seconds", "text"), [(4.21, "4.2 s"), (65, "1 min 05 s"), (7800, "2 h 10 min")])
def test_durations_are_readable(seconds, text):
    assert output.duration(seconds) == text

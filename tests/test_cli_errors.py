"""Bad input: a clear message with place and mend, a non-zero exit, and no traceback."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import synthetic_run
from PIL import Image
from typer.testing import CliRunner, Result

from app import api, finding
from app.cli import app


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def assert_clear(done: Result, *names: str) -> None:
    assert done.exit_code == 1
    assert done.stdout == ""
    assert "error:" in done.stderr
    assert "where:" in done.stderr
    assert "mend:" in done.stderr
    assert "Traceback" not in done.stderr
    for name in names:
        assert name in done.stderr


def test_an_unknown_suite_is_named_with_the_near_one():
    assert_clear(run("generate", "occupatons"), "occupatons", "occupations")


def test_a_typo_in_a_spec_is_named_with_its_file_and_the_near_key(tmp_path):
    spec = tmp_path / "mine.toml"
    spec.write_text('name = "x"\ntemplates = ["a chair"]\nimages_per_promt = 2\n', encoding="utf-8")
    assert_clear(run("generate", spec), "images_per_promt", "images_per_prompt", "mine.toml")


def test_an_unknown_generator_is_named(tmp_path):
    assert_clear(
        run("generate", "occupations", "-g", "personnas", "--out", tmp_path), "personnas", "personas"
    )


def test_a_value_out_of_range_is_refused_before_anything_is_made(tmp_path):
    done = run("generate", "occupations", "-n", "0", "--out", tmp_path / "runs")
    assert done.exit_code == 2
    assert "images-per-prompt" in done.stderr
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("verb", ["score", "measure", "report", "seal", "verify-run"])
def test_a_missing_run_is_named_with_the_runs_there_are(verb, tmp_path):
    there = synthetic_run.make_run(tmp_path, images_per_prompt=1, measured=False)
    assert_clear(run(verb, "smal", "--runs", tmp_path), "smal", there.id)


def test_latest_of_an_empty_folder_says_how_to_make_one(tmp_path):
    assert_clear(run("report", "latest", "--runs", tmp_path), "auditkit audit")


def test_a_missing_folder_of_runs_is_named(tmp_path):
    assert_clear(run("runs", tmp_path / "none"), "none")


def test_a_csv_with_a_missing_column_is_named(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    (tmp_path / "prompts.csv").write_text("file,promt\na.png,a judge\n", encoding="utf-8")
    done = run("import", tmp_path, "--prompts", tmp_path / "prompts.csv", "--out", tmp_path / "runs")
    assert_clear(done, "prompt", "prompts.csv")


def test_a_truncated_image_is_named_and_leaves_no_run(tmp_path):
    Image.new("RGB", (64, 64), "red").save(tmp_path / "a.png")
    (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:60])
    (tmp_path / "prompts.csv").write_text("file,prompt,occupation\na.png,a judge,judge\n", encoding="utf-8")
    done = run("import", tmp_path, "--prompts", tmp_path / "prompts.csv", "--out", tmp_path / "runs")
    assert_clear(done, "a.png")
    assert not list((tmp_path / "runs").glob("[!.]*"))


def test_with_json_the_error_is_the_one_document_on_stdout():
    done = run("generate", "occupatons", "--json")
    assert done.exit_code == 1
    error = json.loads(done.stdout)
    assert error["error"] == "SpecError"
    assert "occupatons" in error["what"]
    assert error["mend"]


def test_a_flipped_byte_makes_verify_run_fail_and_name_the_file(tmp_path):
    made = synthetic_run.make_run(tmp_path, images_per_prompt=1)
    api.seal(made)
    assert run("verify-run", made.path).exit_code == 0
    victim = made.image_path(made.images()["id"].iloc[0])
    data = bytearray(victim.read_bytes())
    data[-20] ^= 1
    victim.write_bytes(bytes(data))
    done = run("verify-run", made.path, "--json")
    assert done.exit_code == 1
    answer = json.loads(done.stdout)
    assert answer["ok"] is False
    assert any(victim.name in problem["path"] for problem in answer["problems"])


def test_an_unexpected_error_is_short_and_debug_adds_the_traceback(monkeypatch, tmp_path):
    def fall_over(*args: object, **kwargs: object) -> None:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(finding, "list_runs", fall_over)
    short, long = run("runs", tmp_path), run("runs", tmp_path, "--debug")
    assert (short.exit_code, long.exit_code) == (1, 1)
    assert "ZeroDivisionError: division by zero" in short.stderr
    assert "--debug" in short.stderr
    assert "Traceback" not in short.stderr
    assert "Traceback" in long.stderr


def test_an_interruption_says_how_to_go_on(monkeypatch, tmp_path):
    def interrupted(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(api, "generate", interrupted)
    monkeypatch.setattr("sys.argv", ["auditkit", "generate", "occupations"])
    done = run("generate", "occupations")
    assert done.exit_code == 130
    assert "auditkit generate occupations" in done.stderr


def test_the_dashboard_refuses_an_address_that_others_can_reach(tmp_path):
    assert_clear(run("dashboard", "--runs", tmp_path, "--address", "0.0.0.0"), "0.0.0.0", "ssh")


def test_the_dashboard_names_a_missing_folder(tmp_path: Path):
    assert_clear(run("dashboard", "--runs", tmp_path / "none"), "none")

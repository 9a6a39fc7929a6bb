from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner

import auditkit
from app.cli import app
from detectors.splits import find_duplicates
from tests.detector_data_helpers import layout, noise, write

run = CliRunner().invoke


def test_pairs_with_a_bundled_generators_autoencoder(tmp_path: Path) -> None:
    for number in range(2):
        write(tmp_path / f"camera/{number}.jpg", noise(number, 64), quality=80)
    command = ["detector", "pairs", str(tmp_path / "camera"), "--autoencoder", "personas", "--crop", "64"]
    result = run(app, [*command, "--out", str(tmp_path / "out"), "--device", "cpu", "--json"])
    assert result.exit_code == 0, result.stderr
    answer = json.loads(result.stdout)
    assert (answer["images"], answer["sources"]) == (4, 2)
    assert {part["generator"] for part in answer["parts"]} == {"", "personas"}
    assert (tmp_path / "out/table.csv").is_file()


def test_an_unknown_autoencoder_is_one_clear_error_and_nothing_is_written(tmp_path: Path) -> None:
    write(tmp_path / "camera/a.png", noise(1, 64))
    command = ["detector", "pairs", str(tmp_path / "camera"), "--autoencoder", "nobody", "--out", str(tmp_path / "out")]
    result = run(app, command)
    assert result.exit_code == 1
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "out").exists()


def test_pairs_of_a_folder_mixed_with_others_need_skip_bad(tmp_path: Path) -> None:
    write(tmp_path / "camera/a.png", noise(1, 64))
    (tmp_path / "camera/notes.txt").write_text("hello")
    command = ["detector", "pairs", str(tmp_path / "camera"), "--autoencoder", "personas", "--out", str(tmp_path / "o")]
    assert "notes.txt" in run(app, command).stderr
    assert run(app, [*command, "--skip-bad", "--device", "cpu"]).exit_code == 0


def test_alike_copies_data_in_one_encoding(tmp_path: Path) -> None:
    layout(tmp_path / "data")
    result = run(app, ["detector", "alike", str(tmp_path / "data"), "--out", str(tmp_path / "out"), "--json"])
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["images"] == 12


def test_the_python_verbs_do_the_same(tmp_path: Path) -> None:
    made = auditkit.make_detector_data_alike(layout(tmp_path / "data"), tmp_path / "out")
    assert len(made) == 12
    assert not find_duplicates(made)
    assert {each.verdict for each in auditkit.audit_shortcuts(tmp_path / "out").shortcuts} == {"insufficient"}

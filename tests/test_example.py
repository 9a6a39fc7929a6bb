"""The example that comes with auditkit."""

from __future__ import annotations

import json
import re

import pytest
from typer.testing import CliRunner

import auditkit
from app import api, example
from app.cli import app
from auditkit.errors import AuditkitError
from auditkit.guidance import evaluated
from auditkit.places import ENVIRONMENT
from auditkit.runs import open_run
from detectors import evaluation
from reports import tables


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("example")
    auditkit.example(out)
    return out


def test_it_is_small_enough_to_be_shipped():
    assert example.ARCHIVE.stat().st_size < 2_000_000


def test_its_runs_are_whole_sealed_scored_and_measured(folder):
    assert sorted(path.name for path in folder.iterdir()) == sorted([*example.RUNS, *example.RESULTS])
    for name in example.RUNS:
        run = open_run(folder / name)
        assert api.verify(run) == []
        assert len(run.images()) == 48
        assert "gender@personas-clip" in run.scores()
        assert run.embeddings_fingerprint("personas-clip")


def test_its_evaluations_are_read_and_name_no_path_of_the_machine_that_made_them(folder):
    tried = evaluated.read(folder / "mitigation")
    assert set(tried.methods) == {"prompt-diversification", "concept-slider", "weak-guidance"}
    tested = evaluation.read(folder / "detector-evaluation")
    assert {"cnn", "npr", "spectrum"} <= set(tested.detectors)
    told = json.dumps([tried.record, tested.record])
    assert not re.search(r'"/[a-z]', told)


def test_it_shows_what_the_dashboard_says_that_it_shows(folder):
    biased, even = (open_run(folder / name).measurements() for name in example.RUNS)
    for table, differ in ((biased, True), (even, False)):
        shares = tables.shares(table, "gender", by="occupation").set_index(["group", "category"])
        assert (shares["status"] == "ok").all()
        assert (shares["differs"] == differ).all()


def test_unpacking_again_leaves_what_is_there(folder):
    file = folder / example.RUNS[0] / "notes.txt"
    file.write_text("mine")
    example.example(folder)
    assert file.read_text() == "mine"
    file.unlink()


def test_the_command_names_the_runs_and_how_to_look_at_them(tmp_path):
    done = CliRunner().invoke(app, ["example", "--out", str(tmp_path / "new")])
    assert done.exit_code == 0
    assert f"auditkit dashboard --runs {tmp_path / 'new'}" in done.stdout.replace("\n", "")
    answer = json.loads(CliRunner().invoke(app, ["example", "--out", str(tmp_path / "new"), "--json"]).stdout)
    assert answer["runs"] == [str(tmp_path / "new" / name) for name in example.RUNS]


def test_a_folder_that_cannot_be_written_is_one_clear_error_and_leaves_nothing(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(AuditkitError) as caught:
        example.example(tmp_path / "file")
    assert caught.value.mend == "name another folder with --out"


def test_a_damaged_archive_is_one_clear_error_and_leaves_nothing(tmp_path, monkeypatch):
    (tmp_path / "example.zip").write_bytes(b"PK no more")
    monkeypatch.setattr(example, "ARCHIVE", tmp_path / "example.zip")
    with pytest.raises(AuditkitError, match="missing or damaged"):
        example.example(tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_the_dashboards_copy_lies_in_the_users_cache(tmp_path, monkeypatch):
    monkeypatch.setenv(ENVIRONMENT, str(tmp_path))
    shared = example.shared()
    assert shared.is_relative_to(tmp_path / "cache")
    assert {path.name for path in shared.iterdir()} == {*example.RUNS, *example.RESULTS}

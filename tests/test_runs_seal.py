"""A seal tells every change."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from auditkit.errors import RunError
from auditkit.runs import Run, RunWriter, changed_since, open_run, seal, verify
from tests.test_runs_tables import gender_scores


def flip(path: Path, offset: int = 0) -> None:
    data = bytearray(path.read_bytes())
    data[offset % len(data)] ^= 1
    path.write_bytes(data)


def first_image(run: Run) -> Path:
    return run.image_path(run.images()["id"].iloc[0])


def test_a_sealed_run_verifies(tiny_run: Run) -> None:
    sealed = json.loads(seal(tiny_run).read_text())
    assert len(sealed["files"]) == 24 + 2
    assert verify(open_run(tiny_run.path)) == []


def test_tables_that_changed_or_came_since_the_seal_are_named_without_hashing_the_images(tiny_run: Run) -> None:
    seal(tiny_run)
    assert changed_since(tiny_run) == []
    (tiny_run.path / "notes.csv").write_text("new")
    (tiny_run.path / "images.parquet").write_bytes(b"other")
    assert changed_since(tiny_run) == ["images.parquet", "notes.csv"]


def test_the_report_is_outside_the_seal(tiny_run: Run) -> None:
    seal(tiny_run)
    (tiny_run.path / "report").mkdir()
    (tiny_run.path / "report" / "index.html").write_text("<html>")
    assert verify(tiny_run) == []


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_flipped_byte_anywhere_is_named(tiny_run: Run, data: st.DataObject) -> None:
    sealed = json.loads(seal(tiny_run).read_text())["files"]
    name = data.draw(st.sampled_from([name for name in sealed if name != "run.json"]))
    offset = data.draw(st.integers(0, 10_000))
    flip(tiny_run.path / name, offset)
    problems = verify(open_run(tiny_run.path))
    assert [(problem.kind, problem.path) for problem in problems] == [("changed", name)]
    assert "sealed hash mismatch" in problems[0].detail
    flip(tiny_run.path / name, offset)


def test_a_change_in_run_json_is_named(tiny_run: Run) -> None:
    seal(tiny_run)
    path = tiny_run.path / "run.json"
    path.write_text(path.read_text().replace('"seed": 0', '"seed": 1'))
    assert [problem.path for problem in verify(open_run(tiny_run.path))] == ["run.json"]


def test_missing_and_extra_files_are_named(tiny_run: Run) -> None:
    seal(tiny_run)
    image = first_image(tiny_run)
    image.unlink()
    (tiny_run.path / "scores").mkdir()
    (tiny_run.path / "scores" / "new.parquet").write_bytes(b"x")
    assert [(problem.kind, problem.path) for problem in verify(tiny_run)] == [
        ("missing", image.relative_to(tiny_run.path).as_posix()),
        ("extra", "scores/new.parquet"),
    ]


def test_a_file_replaced_by_a_link_is_named_and_not_followed(tiny_run: Run, tmp_path: Path) -> None:
    seal(tiny_run)
    image = first_image(tiny_run)
    (tmp_path / "copy.png").write_bytes(image.read_bytes())
    image.unlink()
    image.symlink_to(tmp_path / "copy.png")
    (tiny_run.path / "scores").symlink_to(tmp_path)
    assert {problem.kind for problem in verify(tiny_run)} == {"link"}
    assert len(verify(tiny_run)) == 2


def test_without_a_seal_images_are_still_held_against_their_names(tiny_run: Run) -> None:
    flip(first_image(tiny_run), 50)
    assert [problem.kind for problem in verify(tiny_run)] == ["unsealed", "changed"]


def test_a_damaged_table_without_a_seal_is_a_problem_and_not_a_crash(tiny_run: Run) -> None:
    (tiny_run.path / "images.parquet").write_bytes(b"nonsense")
    assert [problem.path for problem in verify(open_run(tiny_run.path))] == ["SEAL", "images.parquet"]


def test_sealing_again_takes_in_new_scores(tiny_run: Run) -> None:
    seal(tiny_run)
    tiny_run.write_scores(gender_scores(tiny_run))
    assert [problem.kind for problem in verify(tiny_run)] == ["extra"]
    seal(tiny_run)
    assert verify(tiny_run) == []


@pytest.mark.parametrize("name", ["image", "images.parquet", "run.json"])
def test_sealing_again_does_not_hide_a_change_to_the_images(tiny_run: Run, name: str) -> None:
    seal(tiny_run)
    path = first_image(tiny_run) if name == "image" else tiny_run.path / name
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(RunError, match="cannot be sealed"):
        seal(open_run(tiny_run.path))


def test_a_run_with_a_damaged_image_is_not_sealed(tiny_run: Run) -> None:
    flip(first_image(tiny_run), 50)
    with pytest.raises(RunError, match="cannot be sealed"):
        seal(tiny_run)


def test_an_unfinished_run_is_not_sealed(tiny_writer: Callable[[], RunWriter]) -> None:
    with tiny_writer() as writer, pytest.raises(RunError, match="not complete"):
        seal(writer.run)


@pytest.mark.parametrize("content", ["{", "[]", '{"files": 3}'])
def test_a_damaged_seal_is_refused(tiny_run: Run, content: str) -> None:
    (tiny_run.path / "SEAL").write_text(content)
    with pytest.raises(RunError, match="SEAL is damaged"):
        verify(tiny_run)

"""A plan is in the run before the first image, and a run with looks grows only as they decide."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from auditkit.errors import RunError, TableError
from auditkit.runs import Run, RunWriter, create, open_run, seal, verify
from auditkit.runs.journal import read_journal, writing
from tests.conftest import TINY_GENERATOR, TINY_SPEC, write_pending

PLAN: dict[str, Any] = {"sha256": "a" * 64, "content": {"sequential": {"looks": [1, 2, 3]}}}
FIXED: dict[str, Any] = {"sha256": "b" * 64, "content": {}}


def begin(folder: Path, plan: dict[str, Any] | None) -> RunWriter:
    return create(folder, TINY_SPEC, TINY_GENERATOR, shard_size=6, plan=plan)


def made(folder: Path, plan: dict[str, Any] | None) -> Run:
    with begin(folder, plan) as writer:
        write_pending(writer)
        return writer.finish()


def decide(run: Run, decision: str) -> None:
    with writing(run.path / "looks.jsonl") as journal:
        journal.append([{"number": len(journal.lines) + 1, "decision": decision}])


def test_the_plan_is_in_run_json_before_the_first_image(tmp_path: Path) -> None:
    with begin(tmp_path, FIXED) as writer:
        kept = json.loads((writer.run.path / "run.json").read_text())
        assert kept["plan"] == FIXED
        assert not list(writer.run.path.glob("images/*/*"))


def test_a_plan_that_comes_after_an_image_is_refused(tmp_path: Path) -> None:
    with begin(tmp_path, None) as writer:
        write_pending(writer, shards=1)
    with pytest.raises(RunError, match="has images already"):
        begin(tmp_path, FIXED)
    made(tmp_path, None)
    with pytest.raises(RunError, match="has images already"):
        begin(tmp_path, FIXED)


def test_a_plan_may_join_a_run_without_an_image(tmp_path: Path) -> None:
    begin(tmp_path, None).close()
    with begin(tmp_path, FIXED) as writer:
        assert writer.run.record["plan"] == FIXED
    assert open_run(writer.run.path).record["plan"] == FIXED


def test_another_plan_is_refused_and_the_same_one_goes_on(tmp_path: Path) -> None:
    with begin(tmp_path, FIXED) as writer:
        write_pending(writer, shards=1)
    with pytest.raises(RunError, match="another plan"):
        begin(tmp_path, FIXED | {"sha256": "c" * 64})
    with begin(tmp_path, None) as writer:  # a run keeps its plan without being told
        assert writer.run.record["plan"] == FIXED
    assert len(made(tmp_path, FIXED).images()) == 24


def test_a_run_with_looks_has_the_first_images_of_every_prompt_at_the_first_look(tmp_path: Path) -> None:
    images = made(tmp_path, PLAN).images()
    assert len(images) == 8
    assert set(images["replicate"]) == {0}
    assert images["prompt_id"].nunique() == 8


def test_it_grows_after_a_look_that_says_so_and_ends_with_the_images_of_an_unbroken_run(tmp_path: Path) -> None:
    run = made(tmp_path / "staged", PLAN)
    assert len(made(tmp_path / "staged", PLAN).images()) == 8  # no look, no growth
    for size in (16, 24):
        decide(run, "continue")
        run = made(tmp_path / "staged", PLAN)
        assert len(run.images()) == size
    whole = made(tmp_path / "whole", None)
    assert run.id == whole.id
    pd.testing.assert_frame_equal(run.images().drop(columns="shard"), whole.images().drop(columns="shard"))
    assert [p for p in verify(run) if p.kind != "unsealed"] == []


def test_it_does_not_grow_after_a_look_that_stopped_it(tmp_path: Path) -> None:
    run = made(tmp_path, PLAN)
    decide(run, "stop")
    assert len(made(tmp_path, PLAN).images()) == 8


def test_a_stage_that_is_interrupted_resumes(tmp_path: Path) -> None:
    decide(made(tmp_path, PLAN), "continue")
    with begin(tmp_path, PLAN) as writer:
        assert [len(shard.tasks) for shard in writer.pending()] == [6, 2]
        write_pending(writer, shards=1)
        with pytest.raises(RunError, match="still to be made"):
            writer.finish()
    assert len(open_run(writer.run.path).images()) == 8
    with begin(tmp_path, PLAN) as writer:
        assert len(writer.pending()) == 1
    assert len(made(tmp_path, PLAN).images()) == 16


def test_numbers_of_fewer_images_do_not_outlive_growth(tmp_path: Path) -> None:
    run = made(tmp_path, PLAN)
    (run.path / "measurements.parquet").write_bytes(b"numbers of 8 images")
    decide(run, "continue")
    made(tmp_path, PLAN)
    assert not (run.path / "measurements.parquet").exists()


def test_a_sealed_run_does_not_grow(tmp_path: Path) -> None:
    run = made(tmp_path, PLAN)
    decide(run, "continue")
    seal(run)
    with pytest.raises(RunError, match="sealed"):
        begin(tmp_path, PLAN)


def test_a_journal_keeps_what_was_there_and_adds_all_or_nothing(tmp_path: Path) -> None:
    path = tmp_path / "looks.jsonl"
    with writing(path) as journal:
        journal.append([{"a": 1}])
        with pytest.raises(ValueError, match="Out of range"):
            journal.append([{"a": 2}, {"a": float("nan")}])
        journal.append([{"a": 3}])
    assert read_journal(path) == [{"a": 1}, {"a": 3}]
    assert read_journal(tmp_path / "none.jsonl") == []


def test_a_damaged_line_of_a_journal_is_named(tmp_path: Path) -> None:
    path = tmp_path / "looks.jsonl"
    for text in ('{"a": 1}\n{"a"\n', '{"a": 1}\n[2]\n'):
        path.write_text(text)
        with pytest.raises(TableError, match="no JSON object") as caught:
            read_journal(path)
        assert str(caught.value.where).endswith("line 2")

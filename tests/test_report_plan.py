"""The chapter on what was planned and what was done."""

from __future__ import annotations

from pathlib import Path

from plan_helpers import made, measured, plan, spec

from auditkit.files import write_json
from auditkit.plan import look
from auditkit.runs import Run, open_run
from reports.chapters.base import Chapter, Table
from reports.chapters.plan import chapter


def of(run: Run) -> Chapter:
    table = run.measurements()
    assert table is not None
    found = chapter(table, run)
    assert found is not None
    return found


def tables(found: Chapter) -> dict[str, Table]:
    return {block.caption: block for block in found.blocks if isinstance(block, Table)}


def test_a_run_without_a_plan_is_said_to_explore(tmp_path: Path) -> None:
    found = of(measured(made(tmp_path, None)))
    assert found.lead == ["No plan was written before the first image: every finding of this run is exploratory."]
    assert found.blocks == []


def test_a_run_as_planned_says_that_nothing_deviates(tmp_path: Path) -> None:
    run = measured(made(tmp_path, plan()))
    found = of(run)
    digest = run.record["plan"]["sha256"][:12]
    assert found.lead == [
        f"The audit was planned on 2020-01-01, before the first image (sha256 {digest}); nothing deviates from it."
    ]
    assert list(tables(found)) == ["The plan"]
    rows = dict(tables(found)["The plan"].rows)
    assert rows["Images"] == "144: 12 of each prompt of small, seed 0"
    assert rows["Error rate"] == "5% of each family of tests (holm)"


def test_deviations_are_counted_and_listed(tmp_path: Path) -> None:
    found = of(measured(made(tmp_path, plan(), spec(12, seed=3))))
    assert "1 deviation from it is listed below" in found.lead[0]
    assert tables(found)["Done otherwise than planned"].rows == [
        ["Not as planned: the seed of the images (0 planned).", "0", "3"]
    ]


def test_looks_are_told_with_their_boundaries_and_decisions(tmp_path: Path) -> None:
    asked = plan([4, 8, 12])
    run = measured(made(tmp_path, asked))
    assert "No look has been taken yet" in of(run).lead[-1]
    look(run)
    assert "the plan is not finished" in of(run).lead[-1]
    for _ in range(2):
        run = measured(made(tmp_path, asked))
        look(run)
    found = of(run)
    assert found.lead[-1] == ("The run stopped at look 3 of 3, at its last look: 1 of 3 tests crossed their boundary.")
    rows = tables(found)["Looks, spending 5% as obrien-fleming"].rows
    assert [row[-1] for row in rows] == ["continue", "continue", "stop"]
    assert all(len(row) == 6 for row in rows)


def test_a_plan_that_was_tampered_with_is_told_and_no_table_is_made_of_it(tmp_path: Path) -> None:
    run = measured(made(tmp_path, plan()))
    run.record["plan"]["sha256"] = "0" * 64
    write_json(run.path / "run.json", run.record)
    found = of(open_run(run.path))
    assert "not the one that was hashed" in found.lead[0]
    assert found.blocks == []

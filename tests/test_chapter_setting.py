"""The chapter on setting says what a place name brings, beside what, and that nothing is corrected."""

from __future__ import annotations

from presence_helpers import ScoredRun
from test_bias_setting import THINGS, made, measured

from reports.chapters.base import Chapter, Figure, Table
from reports.chapters.setting import chapter


def told(run: ScoredRun) -> Chapter:
    found = chapter(measured(run), run)
    assert found is not None
    return found


def test_it_is_left_out_without_rows() -> None:
    run = made()
    assert chapter(measured(run).iloc[:0], run) is None


def test_a_shift_is_told_with_its_size_and_its_counter_share() -> None:
    lead = told(made({"Avalon": 2.5})).lead
    assert "naming 1 of 3 places moves images" in lead[0]
    assert "Avalon: " in lead[1]
    assert "toward ‘poor’ by" in lead[1]
    assert "without the name" in lead[1]


def test_no_shift_found_is_no_proof_of_none() -> None:
    lead = " ".join(told(made(seed=3)).lead)
    assert "no place of 3 differs detectably" in lead
    assert "no proof of none" in lead


def test_it_always_says_that_labels_are_not_corrected() -> None:
    assert any("uncalibrated" in sentence for sentence in told(made()).lead)


def test_too_few_templates_are_said_aloud_and_carry_no_number() -> None:
    found = told(made(things=THINGS[:3], per=8))
    assert any("insufficient" in sentence for sentence in found.lead)
    assert not any(isinstance(block, Figure) for block in found.blocks)
    table = next(block for block in found.blocks if isinstance(block, Table))
    assert {row[4] for row in table.rows} == {"insufficient"}


def test_the_table_holds_every_place_and_class_and_the_figure_words() -> None:
    found = told(made({"Avalon": 2.5}))
    table = next(block for block in found.blocks if isinstance(block, Table))
    assert {row[0] for row in table.rows} == {"Avalon", "Cockaigne", "Lilliput", "all places"}
    assert all(len(row) == len(table.columns) == len(table.numeric) for row in table.rows)
    figure = next(block for block in found.blocks if isinstance(block, Figure))
    assert "(Avalon)" in figure.alt
    assert "Avalon" in figure.svg
    assert figure.narrow

"""The chapter on presence says what was not seen and how little that proves, and shows the images with a rare label."""

from __future__ import annotations

import pytest
from presence_helpers import ScoredRun, images_table, scores_table
from test_bias_presence import AGES, AIDS, CALIBRATIONS, made, measured

from reports.chapters.base import Chapter, Figure, Pictures, Table
from reports.chapters.presence import chapter


def told(labels: list[str], name: str = "age", **more) -> Chapter:
    run = made(labels, name)
    found = chapter(measured(run, **more), run)
    assert found is not None
    return found


def test_it_is_left_out_without_rows() -> None:
    run = made(["adult"] * 20)
    assert chapter(measured(run).iloc[:0], run) is None


def test_none_seen_is_said_with_what_is_still_plausible() -> None:
    lead = " ".join(told(["adult"] * 200).lead)
    assert "none of 200 images is labelled ‘child’; a share of up to" in lead
    assert "299 images if its true share is 1%" in lead
    assert "‘adult’" not in lead


def test_aids_are_named_together_and_groups_without_any_are_counted() -> None:
    found = told(["white cane"] * 10 + ["none visible"] * 190, "disability")
    assert "10 of 200 images are labelled ‘manual wheelchair, motorized wheelchair or white cane’" in found.lead[0]
    assert "In 1 of 2 occupations not one image is." in found.lead[0]
    assert not any("‘none visible’" in sentence for sentence in found.lead)


def test_what_false_positives_explain_is_said_to_be_so() -> None:
    assert "not distinguishable from none" in told(["adult"] * 199 + ["child"]).lead[0]


@pytest.mark.parametrize(
    ("labels", "more", "word"),
    [
        (["adult"] * 200, {"calibrations": {}}, "uncalibrated"),
        (["adult"] * 10, {"by": "all", "min_n": 20}, "insufficient"),
        (["unknown"] * 200, {}, "insufficient"),
    ],
)
def test_what_cannot_be_told_is_said_aloud(labels: list[str], more: dict, word: str) -> None:
    found = told(labels, **more)
    assert word in " ".join(found.lead)
    assert "nan" not in " ".join(found.lead).lower()
    assert any(word in cell for block in found.blocks if isinstance(block, Table) for row in block.rows for cell in row)


def test_tables_hold_every_class_and_group() -> None:
    tables = [b for b in told(["child", *["adult"] * 4] * 40).blocks if isinstance(b, Table)]
    assert [row[0] for row in tables[0].rows] == [*AGES, "unknown"]
    assert [row[0] for row in tables[1].rows] == ["job0", "job1"]
    assert tables[0].rows[0][1] == "40 of 200"
    assert all(len(row) == len(table.columns) == len(table.numeric) for table in tables for row in table.rows)


def test_the_figure_has_words_for_who_cannot_see_it() -> None:
    figure = next(b for b in told(["child", *["adult"] * 4] * 40).blocks if isinstance(b, Figure))
    assert "age child 2" in figure.alt
    assert "Corrected" in figure.svg
    assert figure.narrow


def test_images_with_a_rare_label_are_shown_with_their_prompts() -> None:
    shown = [b for b in told(["child"] * 12 + ["adult"] * 188).blocks if isinstance(b, Pictures)]
    assert [b.heading for b in shown] == ["Labelled child: the surest"]
    assert len(shown[0].ids) == len(shown[0].captions) == 8
    assert "job0" in shown[0].captions[0]


def test_both_attributes_are_in_one_chapter() -> None:
    images = images_table(["a {job}"], {"job": ["judge", "artist"]}, 40)
    labels = {"age": (AGES, ["adult"] * 80), "disability": (AIDS, ["none visible"] * 80)}
    scores = {f"{key}@tiny": scores_table(images, key, *value) for key, value in labels.items()}
    run = ScoredRun(images, scores)
    found = chapter(measured(run, by="job", calibrations=CALIBRATIONS), run)
    assert found is not None
    assert sum(isinstance(block, Figure) for block in found.blocks) == 1
    assert {sentence.split(":")[0] for sentence in found.lead[:-1]} == {"Age", "Disability"}

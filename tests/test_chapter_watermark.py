"""The chapter on watermarks: its sentences follow from the rows, and absence is never told as proof."""

from __future__ import annotations

import math

import pandas as pd
import pytest
import synthetic_run
from watermark_table_helpers import KEY, NULL, OTHER_KEY, detections, mark

from auditkit.bias.base import Options
from auditkit.runs import Run
from auditkit.watermark.measure import watermark
from reports.build import build
from reports.chapters.base import Chapter, Figure, Pictures, Table
from reports.chapters.watermark import chapter
from reports.watermark_charts import evidence_bins, p_values_chart
from reports.words import power

OPTIONS = Options(by="occupation", min_n=10)


@pytest.fixture
def run(tmp_path) -> Run:
    return synthetic_run.make_run(tmp_path, images_per_prompt=12)


def made(run: Run, *tables: pd.DataFrame, **changes: object) -> Chapter:
    for table in tables:
        run.write_watermarks(table)
    return chapter(watermark.measure(run, OPTIONS.but(**changes)), run)


def lead(run: Run, *tables: pd.DataFrame, **changes: object) -> str:
    return " ".join(made(run, *tables, **changes).lead)


def tables(found: Chapter) -> list[Table]:
    return [block for block in found.blocks if isinstance(block, Table)]


def test_of_marked_images_it_tells_the_share_verified_and_the_false_negatives(run):
    said = lead(mark(run), detections(run, present=0.8, abstain=0.1))
    assert f"marked with spread under key {KEY} when they were made" in said
    assert "verified in 48 of 60: 80.0% [" in said
    assert "12 are false negatives: in 6 no mark was found, and 6 have no verdict" in said


def test_of_unmarked_images_a_verified_mark_is_told_as_a_false_positive_where_none_carries_it(run):
    said = lead(run, detections(run, present=0.1))
    assert "Nothing in the run’s record says that it was marked" in said
    assert "verified in 6 of 60 images" in said
    assert "If none of them carries it, that is the false positive rate" in said


def test_nothing_found_is_told_as_no_proof(run):
    found = made(run, detections(run, present=0.0))
    assert "does not say that they were not generated" in found.lead[0]
    assert "is still plausible" in found.lead[0]
    assert any("no proof that an image was not generated" in note for note in found.notes)


def test_the_payload_that_was_given_is_told_apart_from_others(run):
    marked = mark(run)
    assert "model 1, user 42, was read in 60, and no other in any" in lead(marked, detections(run))
    assert "read in 54; another was read in 6" in lead(marked, detections(run, wrong=0.1))


def test_groups_whose_intervals_overlap_are_not_told_to_differ(run):
    assert "no difference is claimed" in lead(mark(run), detections(run, present=0.9))


def test_a_group_that_lost_its_marks_is_named(run):
    found = detections(run)
    lost = found["id"].isin(run.images().loc[lambda df: df["axis_occupation"] == "judge", "id"])
    found.loc[lost, ["verdict", "p_value", "payload", "bits", "matched"]] = ["absent", 0.5, None, 0, 0]
    said = lead(mark(run), found)
    assert "0.0% [0.0, 26.5] (judge)" in said
    assert "these two intervals lie apart" in said


def test_too_few_images_claim_nothing(run):
    said = lead(mark(run), detections(run), min_n=100)
    assert "insufficient: 60 images; 100 are needed" in said
    assert "%" not in said


def test_images_without_any_verdict_say_why(run):
    why = "the noise it came from is needed"
    found = detections(run, present=0.0, abstain=1.0, scheme="tree-ring").assign(note=why)
    whole = made(mark(run, scheme="tree-ring", payload=None), found)
    assert f"no verdict on tree-ring under key {KEY} for any of 60 images: {why}" in whole.lead[0]
    assert any("takes the generator itself" in note for note in whole.notes)


def test_schemes_in_the_pixels_do_not_speak_of_inversion(run):
    assert not any("inversion" in note for note in made(run, detections(run)).notes)


def test_suspected_forgeries_are_counted_with_the_reason(run):
    assert "2 verified marks are suspected of forgery: the mark is 4 times as strong" in lead(
        run, detections(run, suspect=2)
    )


def test_the_key_that_marked_comes_first_and_others_are_told_in_one_sentence(run):
    found = made(mark(run), detections(run, present=0.0, key_id=OTHER_KEY), detections(run))
    assert KEY in found.lead[0]
    assert found.lead[-1] == f"No image was verified to carry the mark of spread under key {OTHER_KEY}."
    assert tables(found)[0].columns == ["", f"spread · {KEY}", f"spread · {OTHER_KEY}"]


def test_the_table_has_rates_asked_for_and_measured(run):
    facts = {row[0]: row[1] for row in tables(made(run, detections(run)))[0].rows}
    assert facts["False positives asked for, an image"] == "1e-6"
    assert facts["False positives measured on unmarked images"] == NULL
    assert facts["Marked so when made"] == "not recorded"


def test_every_table_has_a_cell_for_every_column(run):
    for table in tables(made(mark(run), detections(run, present=0.9), detections(run, scheme="codec"))):
        assert all(len(row) == len(table.columns) for row in table.rows)


def test_payloads_are_listed_with_their_count_and_name(run):
    listed = tables(made(run, detections(run, wrong=0.1)))[-1]
    assert [list(row) for row in listed.rows] == [
        ["model 1, user 42", "summer campaign", "54"],
        ["model 1, user 7", "summer campaign", "6"],
    ]


def test_the_histogram_says_in_words_what_it_shows(run):
    figures = [b for b in made(run, detections(run, present=0.5, abstain=0.1)).blocks if isinstance(b, Figure)]
    assert figures[0].svg.startswith("<svg")
    assert figures[0].narrow
    assert "30 verified; 6 no verdict; 24 no mark found" in figures[0].alt


def test_no_bar_mixes_verdicts_that_follow_from_the_p_value(run):
    bins = evidence_bins(detections(run, present=0.5, abstain=0.2))
    assert bins["images"].sum() == 60
    assert bins.loc[bins["from"] >= 6, "verdict"].unique().tolist() == ["verified"]
    assert bins.loc[bins["to"] <= 2, "verdict"].unique().tolist() == ["no mark found"]


@pytest.mark.parametrize("p_value", [0.0, 1e-300, 1e-6, 0.01, 1.0])
def test_every_p_value_has_a_bar(run, p_value):
    verdict = "present" if p_value <= 1e-6 else "abstain"
    found = detections(run, present=0.0).head(1).assign(p_value=p_value, verdict=verdict)
    bins = evidence_bins(found)
    assert bins["images"].tolist() == [1]
    assert bins["from"].iloc[0] < bins["to"].iloc[0] <= 110
    assert p_values_chart(found).to_dict()


def test_marked_images_that_failed_are_shown(run):
    (pictures,) = (b for b in made(mark(run), detections(run, present=0.9)).blocks if isinstance(b, Pictures))
    assert pictures.heading.startswith("Not verified")
    assert len(pictures.ids) == len(pictures.captions) == 6
    assert all(caption.startswith("p = 0.") for caption in pictures.captions)


def test_unmarked_images_that_passed_are_shown(run):
    (pictures,) = (b for b in made(run, detections(run, present=0.05)).blocks if isinstance(b, Pictures))
    assert pictures.heading.startswith("Verified without a record of a mark")
    assert len(pictures.ids) == 3


def test_measurements_that_outlive_their_table_are_still_told(run):
    marked = mark(run)
    marked.write_watermarks(detections(run))
    measured = watermark.measure(marked, OPTIONS)
    (marked.path / "watermarks.parquet").unlink()
    found = chapter(measured, marked)
    assert "verified in 60 of 60" in found.lead[0]
    assert not [block for block in found.blocks if isinstance(block, Pictures)]


def test_other_measures_make_no_chapter(run):
    assert chapter(run.measurements(), run) is None


def test_the_chapter_is_on_the_page_of_the_report(run):
    marked = mark(run)
    marked.write_watermarks(detections(run, present=0.9))
    rows = watermark.measure(marked, OPTIONS)
    marked.write_measurements(pd.concat([run.measurements(), rows], ignore_index=True))
    page = build(marked).read_text(encoding="utf-8")
    assert 'href="#chapter-watermark"' in page
    assert "1e-6" in page


@pytest.mark.parametrize(
    ("value", "text"),
    [(4.2e-23, "4e-23"), (1e-6, "1e-6"), (0.0314, "0.031"), (1.0, "1"), (0.0, "0"), (math.nan, "–")],
)
def test_powers_of_ten_are_short(value, text):
    assert power(value) == text

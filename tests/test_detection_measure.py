"""The table `detections` of a run, the measure over it and its chapter: what was judged is counted, no more."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import synthetic_run
from detection_table_helpers import judged

from auditkit.bias.base import Options
from auditkit.errors import TableError
from auditkit.runs import Run
from auditkit.schemas import MEASUREMENTS, check
from detectors.measure import detection
from reports.chapters.base import Figure, Table
from reports.chapters.detection import chapter

OPTIONS = Options(by="occupation", min_n=10)


@pytest.fixture
def run(tmp_path) -> Run:
    """60 images of five occupations, one prompt each."""
    return synthetic_run.make_run(tmp_path, images_per_prompt=12, measured=False)


def measured(run: Run, **changes: object) -> pd.DataFrame:
    return check(detection.measure(run, OPTIONS.but(**changes)), MEASUREMENTS, "test")


def whole(run: Run, statistic: str) -> pd.Series:
    table = measured(run)
    (row,) = (r for _, r in table.iterrows() if (r["measure"], r["group"]) == (f"detection.{statistic}", "all"))
    return row


def test_the_shares_of_the_verdicts_are_those_of_the_table_and_sum_to_one(run):
    run.write_detections(judged(run, 0.5, 0.2))
    shares = {name: whole(run, name)["estimate"] for name in ("generated", "abstained", "no_sign")}
    assert shares == pytest.approx({"generated": 0.5, "abstained": 0.2, "no_sign": 0.3})
    row = whole(run, "generated")
    assert row["ci_low"] < 0.5 < row["ci_high"]
    assert row["null_value"] == 0.01


def test_another_detector_is_kept_and_the_same_one_replaced(run):
    run.write_detections(judged(run, 1.0))
    run.write_detections(judged(run, 0.0, detector="other"))
    run.write_detections(judged(run, 0.5))
    table = run.detections()
    assert table.groupby("detector")["verdict"].agg(lambda each: (each == "generated").mean()).to_dict() == {
        "mine": 0.5,
        "other": 0.0,
    }


def test_images_that_were_not_judged_are_told_and_not_counted(run):
    run.write_detections(judged(run, 1.0).head(40))
    row = whole(run, "generated")
    assert (row["n_images"], row["estimate"]) == (40, 1.0)
    assert row["note"] == "20 images were not judged"


def test_too_few_images_are_insufficient(run):
    run.write_detections(judged(run, 1.0).head(5))
    row = whole(run, "generated")
    assert row["status"] == "insufficient"
    assert np.isnan(row["estimate"])


def test_a_run_that_no_detector_was_asked_about_says_how_to_ask(run):
    assert "auditkit detect" in detection.applies(run, OPTIONS)
    with pytest.raises(TableError, match="no detector has been asked"):
        detection.measure(run, OPTIONS)


def test_an_image_that_is_not_in_the_run_is_refused(run):
    with pytest.raises(TableError):
        run.write_detections(judged(run, 1.0).assign(id="f" * 64).head(1))


def test_the_chapter_tells_the_share_called_generated_and_the_rate_asked_for(run):
    run.write_detections(judged(run, 0.5, 0.2))
    found = chapter(measured(run), run)
    assert found is not None
    assert "mine calls 50.0% [" in found.lead[0]
    assert "at a false positive rate of 1.0%, and abstains from 20.0% [" in found.lead[0]
    assert any("never says that an image is real" in note for note in found.notes)
    assert [type(block) for block in found.blocks] == [Figure, Table]


def test_the_chapter_says_so_where_the_detector_does_not_know_such_images(run):
    run.write_detections(judged(run, 0.1, 0.8))
    found = chapter(measured(run), run)
    assert found is not None
    assert any("not of the kind that it knows" in said for said in found.lead)


def test_of_too_few_images_the_chapter_gives_no_number(run):
    run.write_detections(judged(run, 1.0).head(5))
    found = chapter(measured(run), run)
    assert found is not None
    assert "insufficient" in found.lead[0]
    assert not any(sign.isdigit() for sign in found.blocks[0].rows[0][2])

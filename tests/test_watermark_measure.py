"""The table `watermarks` of a run, and the measure over it: what was verified is counted, and what was not is not."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import synthetic_run
from watermark_table_helpers import BITS, KEY, OTHER_KEY, detections, mark

from auditkit.bias.base import Options
from auditkit.errors import TableError
from auditkit.runs import Run, seal, verify
from auditkit.schemas import MEASUREMENTS, WATERMARKS, check
from auditkit.stats.intervals import clopper_pearson
from auditkit.watermark.base import Detection
from auditkit.watermark.measure import watermark
from auditkit.watermark.payload import Payload
from auditkit.watermark.table import watermarks_table

OPTIONS = Options(by="occupation", n_boot=100, min_n=10)


@pytest.fixture
def run(tmp_path) -> Run:
    """60 images of five occupations, one prompt each."""
    return synthetic_run.make_run(tmp_path, images_per_prompt=12, measured=False)


def measured(run: Run, **changes: object) -> pd.DataFrame:
    return check(watermark.measure(run, OPTIONS.but(**changes)), MEASUREMENTS, "test")


def one(table: pd.DataFrame, statistic: str, group: str = "all") -> pd.Series:
    (row,) = (r for _, r in table.iterrows() if (r["measure"], r["group"]) == (f"watermark.{statistic}", group))
    return row


def test_a_table_comes_back_as_it_was_written(run):
    found = detections(run, present=0.9, abstain=0.05)
    run.write_watermarks(found)
    pd.testing.assert_frame_equal(run.watermarks(), found)


def test_a_run_that_was_not_looked_at_has_no_table(run):
    assert run.watermarks() is None


def test_writing_replaces_the_same_scheme_and_key_and_keeps_the_others(run):
    run.write_watermarks(detections(run, present=1.0))
    run.write_watermarks(detections(run, present=0.0, key_id=OTHER_KEY))
    run.write_watermarks(detections(run, present=0.5, scheme="codec"))
    run.write_watermarks(detections(run, present=0.2))
    found = run.watermarks()
    shares = found.groupby(["scheme", "key_id"])["verdict"].agg(lambda v: (v == "present").mean())
    assert shares.to_dict() == {("spread", KEY): 0.2, ("spread", OTHER_KEY): 0.0, ("codec", KEY): 0.5}


def test_an_image_that_is_not_in_the_run_is_refused(run):
    found = detections(run)
    found.loc[0, "id"] = "0" * 64
    with pytest.raises(TableError, match="not in the run"):
        run.write_watermarks(found)


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"verdict": "present", "p_value": 0.5}, "p_value <= fpr"),
        ({"verdict": "maybe"}, "isin"),
        ({"payload": "me"}, "MODEL:USER"),
        ({"key_id": "secret"}, "a key's id"),
        ({"matched": BITS + 1}, "matched <= bits"),
        ({"p_kind": "none"}, "no p_value"),
        ({"forgery": "no"}, "isin"),
    ],
)
def test_a_verdict_that_does_not_follow_is_refused(run, change, rule):
    found = detections(run).astype(object)
    for column, value in change.items():
        found.loc[0, column] = value
    with pytest.raises(TableError, match=rule):
        run.write_watermarks(found)


def test_one_image_scheme_and_key_has_one_row(run):
    found = detections(run)
    with pytest.raises(TableError, match="together are unique"):
        run.write_watermarks(pd.concat([found, found.head(1)], ignore_index=True))


def test_detections_of_an_image_that_a_run_holds_twice_are_one_row():
    found = Detection("spread", 1, KEY, "present", 1e-60, "exact", 1e-6, 3, Payload(1, 42), bits=248, matched=240)
    table = watermarks_table([("ab" * 32, found), ("ab" * 32, found)])
    assert table["payload"].tolist() == ["1:42"]
    assert table["corrected"].isna().all()


def test_a_foreign_mark_has_no_p_value():
    found = Detection("dwtdct", 1, "", "abstain", 0.3, "none", 1e-6, 1, note="bits agree")
    assert watermarks_table([("ab" * 32, found)])["p_value"].isna().all()


def test_no_detections_are_an_empty_table_that_holds():
    assert watermarks_table([]).empty
    assert list(watermarks_table([]).columns) == list(WATERMARKS.columns)


def test_the_table_is_sealed_with_the_rest(run):
    run.write_watermarks(detections(run))
    seal(run)
    assert verify(run) == []
    run.write_watermarks(detections(run, present=0.5))
    assert [(problem.kind, problem.path) for problem in verify(run)] == [("changed", "watermarks.parquet")]


def test_a_run_without_a_table_says_which_command_makes_it(run):
    assert "auditkit watermark detect" in watermark.applies(run, OPTIONS)
    with pytest.raises(TableError, match="no watermark has been looked for"):
        watermark.measure(run, OPTIONS)


def test_the_share_verified_is_counted_over_all_images_with_an_exact_interval(run):
    run.write_watermarks(detections(run, present=0.75, abstain=0.1))
    assert watermark.applies(run, OPTIONS) == ""
    row = one(measured(run), "present")
    assert row["estimate"] == pytest.approx(0.75)
    low, high = clopper_pearson(45, 60)  # the prompts' clustering can only widen it
    assert row["ci_low"] <= low
    assert row["ci_high"] >= high
    assert row["n_images"] == 60
    assert row["null_value"] == 1e-6
    assert one(measured(run), "abstained")["estimate"] == pytest.approx(0.1)


def test_where_every_mark_was_verified_the_interval_still_leaves_room(run):
    run.write_watermarks(detections(run))
    row = one(measured(run), "present")
    assert row["estimate"] == row["ci_high"] == 1.0
    assert 0.9 < row["ci_low"] < 0.95


def test_each_group_has_its_own_share(run):
    found = detections(run)
    judges = run.images().loc[lambda df: df["axis_occupation"] == "judge", "id"]
    lost = found["id"].isin(judges)
    found.loc[lost, ["verdict", "p_value", "payload", "bits", "matched"]] = ["absent", 0.5, None, 0, 0]
    run.write_watermarks(found)
    table = measured(run)
    assert one(table, "present", "judge")["estimate"] == 0.0
    assert one(table, "present", "nurse")["estimate"] == 1.0


def test_a_group_with_too_few_images_is_insufficient(run):
    run.write_watermarks(detections(run))
    table = measured(run, min_n=20)
    assert one(table, "present", "judge")["status"] == "insufficient"
    assert np.isnan(one(table, "present", "judge")["estimate"])
    assert one(table, "present")["status"] == "ok"


def test_images_that_were_not_looked_at_are_left_out_and_counted(run):
    found = detections(run)
    run.write_watermarks(found.head(40))
    row = one(measured(run), "present")
    assert row["n_images"] == 40
    assert row["estimate"] == 1.0
    assert row["note"] == "20 images were not looked at"


def test_the_payload_is_held_against_the_one_that_the_run_was_marked_with(run):
    run = mark(run)
    run.write_watermarks(detections(run, present=0.5, wrong=0.2))
    row = one(measured(run), "payload")
    assert row["reference"] == "payload 1:42"
    assert row["estimate"] == pytest.approx(24 / 60)


def test_without_a_payload_in_the_record_none_is_called_right(run):
    for each in (run, mark(run, payload=None), mark(run, key_id=OTHER_KEY)):
        each.write_watermarks(detections(each))
        assert "watermark.payload" not in set(measured(each)["measure"])


def test_bit_accuracy_is_the_mean_over_the_images_in_which_a_payload_was_read(run):
    found = detections(run, present=0.5)
    run.write_watermarks(found)
    row = one(measured(run), "bit_accuracy")
    read = found[found["bits"] > 0]
    assert row["n_images"] == len(read) == 30
    assert row["estimate"] == pytest.approx((read["matched"] / read["bits"]).mean())
    assert row["ci_high"] <= 1.0


def test_where_all_bits_agree_in_every_image_no_interval_is_claimed(run):
    run.write_watermarks(detections(run).assign(matched=BITS))
    row = one(measured(run), "bit_accuracy")
    assert row["estimate"] == 1.0
    assert np.isnan(row["ci_low"])
    assert "no interval" in row["note"]


def test_where_no_payload_was_read_there_is_no_bit_accuracy(run):
    run.write_watermarks(detections(run, present=0.0))
    assert "watermark.bit_accuracy" not in set(measured(run)["measure"])


def test_schemes_and_keys_are_told_apart(run):
    run.write_watermarks(detections(run, present=1.0))
    run.write_watermarks(detections(run, present=0.0, key_id=OTHER_KEY))
    whole = measured(run).query("measure == 'watermark.present' and group == 'all'")
    assert dict(zip(whole["category"], whole["estimate"], strict=True)) == {KEY: 1.0, OTHER_KEY: 0.0}
    assert set(whole["attribute"]) == {"spread"}


def test_a_run_measured_as_a_whole_has_one_row_a_statistic(run):
    run.write_watermarks(detections(run))
    assert set(measured(run, by="all")["group"]) == {"all"}

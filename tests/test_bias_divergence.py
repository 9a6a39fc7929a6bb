"""The measure `divergence` and its chapter."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from joint_helpers import EVEN, independent, joint_run
from stats_helpers import CLASSES, FakeRun, calibration

from auditkit.bias.base import Options
from auditkit.bias.divergence import divergence
from auditkit.errors import SpecError, TableError
from auditkit.schemas import MEASUREMENTS, check
from reports.chapters import Figure, Table
from reports.chapters.divergence import chapter

CALIBRATIONS = {name: calibration(name) for name in CLASSES}
TONES = [0.4, 0.25, 0.15, 0.12, 0.08]
OPPOSITE = np.array([independent(0.95, TONES), independent(0.05, TONES)] * 5)
"""Ten prompts, each skewed, that are even together."""


def options(**more: object) -> Options:
    return Options(**({"by": "occupation", "n_boot": 200, "calibrations": CALIBRATIONS} | more))


@pytest.fixture(scope="module")
def run() -> FakeRun:
    return joint_run({"cook": OPPOSITE, "judge": EVEN}, np.random.default_rng(0))


@pytest.fixture(scope="module")
def table(run) -> pd.DataFrame:
    return divergence.measure(run, options())


def one(table: pd.DataFrame, statistic: str, group: str, attribute: str = "gender") -> pd.Series:
    chosen = (table["measure"] == f"divergence.{statistic}") & (table["group"] == group)
    return table[chosen & (table["attribute"] == attribute)].iloc[0]


def test_the_table_holds_to_its_schema(table):
    check(table, MEASUREMENTS, "test")
    assert set(table["status"]) == {"ok"}
    assert table[["estimate", "ci_low", "ci_high", "null_value", "p_value", "p_holm"]].notna().all(axis=None)


def test_prompts_of_opposite_skew_are_far_from_an_even_split(table):
    for statistic in ("tv", "kl", "ens", "mad", "squared"):
        assert one(table, statistic, "cook")["p_holm"] < 0.05
        assert one(table, statistic, "judge")["p_value"] > 0.05
    assert one(table, "tv", "cook")["estimate"] == pytest.approx(0.45, abs=0.06)
    assert one(table, "squared", "cook")["estimate"] == pytest.approx(2 * 0.45**2, abs=0.08)
    assert one(table, "tv", "judge")["estimate"] == pytest.approx(one(table, "tv", "judge")["null_value"], abs=0.06)


def test_all_is_the_mean_over_prompts(table):
    parts = [one(table, "tv", group)["estimate"] for group in ("cook", "judge")]
    assert one(table, "tv", "all")["estimate"] == pytest.approx(np.mean(parts))
    assert one(table, "tv", "all")["n_prompts"] == 20


def test_plug_ins_say_that_they_read_high_and_diversity_that_it_reads_low(table):
    assert "reads high at 20 images a prompt" in one(table, "tv", "cook")["note"]
    assert "reads low" in one(table, "ens", "cook")["note"]
    assert one(table, "squared", "cook")["null_value"] == 0
    assert one(table, "ens", "cook")["direction"] == "higher is closer"


def test_a_run_that_is_not_grouped_is_one_group(run):
    found = divergence.measure(run, options(by="all", attributes=("gender",)))
    assert list(found["group"]) == ["all"] * 5
    assert one(found, "tv", "all")["status"] == "ok"


def test_the_same_seed_gives_the_same_rows(run, table):
    pd.testing.assert_frame_equal(divergence.measure(run, options()), table)


def test_joint_attributes_have_rows_of_their_own(run):
    found = divergence.measure(run, options(attributes=("gender+skin_tone",)))
    row = one(found, "tv", "judge", "gender+skin_tone")
    assert row["status"] == "ok"
    assert "independent of each other" in row["note"]


def test_a_single_image_a_prompt_has_no_squared_distance_and_no_interval():
    lone = joint_run({"cook": EVEN, "judge": EVEN}, np.random.default_rng(1), prompts=40, images=1)
    found = divergence.measure(lone, options(attributes=("gender",)))
    row = one(found, "squared", "cook")
    assert row["status"] == "insufficient"
    assert "pairs of images" in row["note"]
    assert np.isnan(row["estimate"])
    row = one(found, "tv", "cook")
    assert row["status"] == "ok"
    assert np.isnan(row["ci_low"])
    assert row["p_value"] > 0.05
    assert "all or nothing" in row["note"]
    text = chapter(found, lone)
    assert "With one image a prompt nothing can be told" in text.lead[0]
    assert not text.blocks


def test_too_few_images_are_insufficient(run):
    found = divergence.measure(run, options(min_n=500))
    assert set(found["status"]) == {"insufficient"}
    assert found[["estimate", "p_value", "p_holm"]].isna().all(axis=None)
    assert found["note"].str.contains("500 are needed").all()


@pytest.mark.parametrize(
    ("change", "why"),
    [({"calibrations": {}}, "no calibration of"), ({"in_domain": False}, "unlike the calibration's")],
)
def test_without_a_calibration_that_holds_nothing_is_estimated(run, change, why):
    strange = run
    if "in_domain" in change:
        strange = joint_run({"cook": EVEN, "judge": EVEN}, np.random.default_rng(2), **change)
        change = {}
    found = divergence.measure(strange, options(**change))
    assert set(found["status"]) == {"uncalibrated"}
    assert found["estimate"].isna().all()
    assert found["note"].str.contains(why).all()


def test_the_whole_is_silent_where_most_groups_are():
    names = ("cook", "judge", "pilot")
    gone = joint_run(dict.fromkeys(names, EVEN), np.random.default_rng(3), extra={"cook": 1.0, "judge": 1.0})
    found = divergence.measure(gone, options(attributes=("gender",)))
    assert one(found, "tv", "cook")["status"] == "insufficient"
    assert one(found, "tv", "pilot")["status"] == "ok"
    assert one(found, "tv", "all")["status"] == "insufficient"
    assert "only 1 of 3 groups" in one(found, "tv", "all")["note"]


def test_the_whole_rests_on_the_groups_that_have_an_estimate():
    gone = joint_run(dict.fromkeys(("cook", "judge", "pilot"), EVEN), np.random.default_rng(4), extra={"cook": 1.0})
    row = one(divergence.measure(gone, options(attributes=("gender",))), "tv", "all")
    assert row["status"] == "ok"
    assert row["n_prompts"] == 20
    assert "over 2 of 3 groups" in row["note"]


def test_a_target_that_does_not_hold_is_an_error(run, tmp_path):
    path = tmp_path / "target.csv"
    path.write_text("group,category,share\nall,female,0.6\nall,male,0.6\n")
    with pytest.raises(SpecError, match="sum to"):
        divergence.measure(run, options(attributes=("gender",), target=str(path)))


def test_an_unknown_axis_is_an_error(run):
    with pytest.raises(TableError, match="no axis"):
        divergence.measure(run, options(by="colour"))


def test_it_applies_where_there_are_scores(run):
    assert divergence.applies(run, options()) == ""
    assert "auditkit score" in divergence.applies(run, options(attributes=("age",)))


def test_the_chapter_tells_distance_beside_chance(run, table):
    found = chapter(table, run)
    text = " ".join(found.lead)
    assert "perceived gender lies" in text
    assert "by chance" in text
    assert "Of 2 occupations tested, 1 lies further from it than by chance" in text
    assert "Furthest: cook" in text
    assert [type(block) for block in found.blocks] == [Figure, Table, Figure, Table]
    assert "<svg" in found.blocks[0].svg
    assert [row[0] for row in found.blocks[1].rows] == ["cook", "judge", "all images"]
    assert all(len(row) == len(found.blocks[1].columns) == len(found.blocks[1].numeric) for row in found.blocks[1].rows)


def test_the_chapter_says_aloud_what_is_not_known(run):
    found = chapter(divergence.measure(run, options(calibrations={})), run)
    assert "uncalibrated" in " ".join(found.lead)
    assert "Nothing is claimed" in " ".join(found.lead)
    assert not found.blocks
    assert chapter(pd.DataFrame({"measure": ["representation.share"]}), run) is None

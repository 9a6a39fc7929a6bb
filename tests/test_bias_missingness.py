"""The measure `missingness` and its chapter."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from joint_helpers import EVEN, independent, joint_run
from stats_helpers import CLASSES, FakeRun, calibration

from auditkit.bias.base import Options
from auditkit.bias.missingness import missingness
from auditkit.schemas import MEASUREMENTS, check
from reports.chapters import Figure, Table
from reports.chapters.missingness import chapter

CALIBRATIONS = {name: calibration(name) for name in CLASSES}
NAMES = ("astronaut", "cook", "judge", "pilot")


def options(**more: object) -> Options:
    return Options(**({"by": "occupation", "n_boot": 400, "calibrations": CALIBRATIONS} | more))


@pytest.fixture(scope="module")
def run() -> FakeRun:
    shares = dict.fromkeys(NAMES, EVEN) | {"judge": independent(0.2, [0.2] * 5)}
    return joint_run(shares, np.random.default_rng(0), extra={"astronaut": 0.5})


@pytest.fixture(scope="module")
def table(run) -> pd.DataFrame:
    return missingness.measure(run, options())


def one(table: pd.DataFrame, statistic: str, group: str, attribute: str = "gender") -> pd.Series:
    chosen = (table["measure"] == f"missingness.{statistic}") & (table["group"] == group)
    return table[chosen & (table["attribute"] == attribute)].iloc[0]


def test_the_table_holds_to_its_schema(table):
    check(table, MEASUREMENTS, "test")
    assert set(table["status"]) == {"ok"}


def test_the_share_of_unknown_stands_beside_what_the_calibration_lets_expect(table):
    row = one(table, "unknown", "astronaut")
    assert row["estimate"] == pytest.approx(0.525, abs=0.1)
    assert row["ci_low"] <= 0.525 <= row["ci_high"]
    assert row["null_value"] == pytest.approx(0.05, abs=0.001)
    assert "the bounds are wide" in row["note"]
    assert "more than the calibration's" in row["note"]
    assert one(table, "unknown", "cook")["note"] == ""


def test_the_group_that_is_unknown_more_often_is_found(table):
    assert one(table, "difference", "astronaut")["p_holm"] < 0.05
    assert one(table, "difference", "astronaut")["ci_low"] > 0.3
    shares = [one(table, "unknown", name)["estimate"] for name in NAMES]
    assert one(table, "difference", "astronaut")["estimate"] == pytest.approx(shares[0] - np.mean(shares[1:]))
    assert one(table, "difference", "astronaut")["reference"] == "all other images"


def test_groups_alike_differ_by_chance_only():
    rng, p, held = np.random.default_rng(1), [], 0
    for seed in range(30):
        alike = joint_run(dict.fromkeys(NAMES, EVEN), rng, prompts=6, images=10, unknown=0.2)
        found = missingness.measure(alike, options(attributes=("gender",), n_boot=99, seed=seed))
        rows = found[found["measure"] == "missingness.difference"]
        p += rows["p_value"].tolist()
        held += int(((rows["ci_low"] <= 0) & (rows["ci_high"] >= 0)).sum())
    assert 0.4 < np.mean(p) < 0.65
    assert np.mean(np.array(p) <= 0.05) < 0.1
    assert held / len(p) > 0.9


def test_no_unknown_may_move_a_share_further_than_the_bound(run, table):
    labels = run.scores()["gender@personas-clip"]["label"][(run.images()["axis_occupation"] == "astronaut").to_numpy()]
    known, n = labels[labels != "unknown"], len(labels)
    for name in CLASSES["gender"]:
        share, unknown = (known == name).mean(), n - len(known)
        extremes = [(known == name).sum() / n, ((known == name).sum() + unknown) / n]
        chosen = table[(table["measure"] == "missingness.bound") & (table["category"] == name)]
        bound = chosen[(chosen["group"] == "astronaut") & (chosen["attribute"] == "gender")]["estimate"].iloc[0]
        assert bound == pytest.approx(max(abs(edge - share) for edge in extremes))


def test_images_unlike_the_calibration_are_counted(table):
    assert one(table, "outside", "cook")["estimate"] == 0
    assert one(table, "outside", "cook")["ci_high"] > 0
    strange = joint_run(dict.fromkeys(NAMES, EVEN), np.random.default_rng(2), in_domain=False)
    found = missingness.measure(strange, options())
    assert one(found, "outside", "all")["estimate"] == 1


def test_scores_without_the_check_say_so():
    unchecked = joint_run(dict.fromkeys(NAMES, EVEN), np.random.default_rng(3), in_domain=None)
    row = one(missingness.measure(unchecked, options()), "outside", "cook")
    assert row["status"] == "uncalibrated"
    assert np.isnan(row["estimate"])


def test_all_unknown_is_told_and_has_no_bound():
    gone = joint_run(dict.fromkeys(NAMES, EVEN), np.random.default_rng(4), extra={"cook": 1.0})
    found = missingness.measure(gone, options())
    assert one(found, "unknown", "cook")["estimate"] == 1
    assert "no image has a class" in one(found, "unknown", "cook")["note"]
    assert one(found, "bound", "cook")["status"] == "insufficient"
    assert np.isnan(one(found, "bound", "cook")["estimate"])


def test_too_few_images_are_insufficient(run):
    found = missingness.measure(run, options(min_n=5000))
    assert set(found["status"]) == {"insufficient"}
    assert found[["estimate", "ci_low", "p_value"]].isna().all(axis=None)


def test_unknown_needs_no_calibration(run):
    found = missingness.measure(run, options(calibrations={}))
    assert one(found, "difference", "astronaut")["p_value"] < 0.05
    assert np.isnan(one(found, "unknown", "astronaut")["null_value"])


def test_a_pair_is_unknown_where_either_is(run):
    found = missingness.measure(run, options(attributes=("gender", "skin_tone", "gender+skin_tone")))
    both = one(found, "unknown", "cook", "gender+skin_tone")
    assert both["estimate"] >= one(found, "unknown", "cook")["estimate"]
    assert both["null_value"] == pytest.approx(1 - 0.95**2, abs=0.002)


def test_a_run_that_is_not_grouped_has_no_difference(run):
    found = missingness.measure(run, options(by="all"))
    assert set(found["group"]) == {"all"}
    assert "missingness.difference" not in set(found["measure"])


def test_one_group_alone_has_no_rest():
    alone = joint_run({"cook": EVEN}, np.random.default_rng(5))
    row = one(missingness.measure(alone, options()), "difference", "cook")
    assert row["status"] == "insufficient"


def test_it_applies_where_there_are_scores(run):
    assert missingness.applies(run, options()) == ""
    assert "auditkit score" in missingness.applies(run, options(attributes=("age",)))


def test_the_chapter_names_who_is_unknown_more_often(run, table):
    found = chapter(table, run)
    text = " ".join(found.lead)
    assert "unknown more or less often than the rest after correction for multiple testing (Holm): astronaut (" in text
    assert "lie wide open for astronaut" in text
    assert [type(block) for block in found.blocks] == [Figure, Table, Figure, Table]
    assert all(len(row) == len(found.blocks[1].columns) == len(found.blocks[1].numeric) for row in found.blocks[1].rows)


def test_the_chapter_says_aloud_what_is_not_known(run):
    found = chapter(missingness.measure(run, options(min_n=5000)), run)
    assert "insufficient" in " ".join(found.lead)
    assert not found.blocks
    assert chapter(pd.DataFrame({"measure": ["representation.share"]}), run) is None

"""The measure `intersections` and its chapter."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from joint_helpers import EVEN, PLANTED, independent, joint_run
from stats_helpers import CLASSES, FakeRun, calibration

from auditkit.bias.base import Options
from auditkit.bias.intersections import intersections
from auditkit.bias.joint import pairs
from auditkit.bias.representation import measure as represent
from auditkit.errors import SpecError
from auditkit.schemas import MEASUREMENTS, check
from reports.chapters import Figure, Table
from reports.chapters.intersections import chapter

CALIBRATIONS = {name: calibration(name) for name in CLASSES}
TONES = [0.4, 0.25, 0.15, 0.12, 0.08]
JOINT = "gender+skin_tone"


def options(**more: object) -> Options:
    return Options(**({"by": "occupation", "n_boot": 300, "calibrations": CALIBRATIONS} | more))


@pytest.fixture(scope="module")
def run() -> FakeRun:
    cells = {"scientist": PLANTED, "judge": independent(0.1, TONES), "nurse": independent(0.9, TONES), "cook": EVEN}
    return joint_run(cells, np.random.default_rng(0), images=40)


@pytest.fixture(scope="module")
def table(run) -> pd.DataFrame:
    return intersections.measure(run, options())


def one(table: pd.DataFrame, statistic: str, group: str, attribute: str = JOINT) -> pd.Series:
    chosen = (table["measure"] == f"intersections.{statistic}") & (table["group"] == group)
    return table[chosen & (table["attribute"] == attribute)].iloc[0]


def cells(table: pd.DataFrame, group: str) -> pd.DataFrame:
    return table[(table["measure"] == "intersections.cell") & (table["group"] == group)].set_index("category")


def test_the_table_holds_to_its_schema(table):
    check(table, MEASUREMENTS, "test")
    assert set(table["status"]) == {"ok"}


def test_the_planted_interaction_is_found_though_both_marginals_are_even(run, table):
    assert one(table, "interaction", "scientist")["p_holm"] < 0.05
    assert one(table, "interaction", "scientist")["estimate"] == pytest.approx(0.18, abs=0.05)
    for group in ("judge", "nurse", "cook"):
        assert one(table, "interaction", group)["p_holm"] > 0.05
    shares = represent(run, by="occupation", calibrations=CALIBRATIONS, n_boot=300)
    alone = shares[(shares["measure"] == "representation.distance") & (shares["group"] == "scientist")]
    assert (alone["p_value"] > 0.05).all()


def test_groups_whose_marginals_differ_make_no_interaction_together():
    cells = {"judge": independent(0.1, TONES), "nurse": independent(0.9, TONES[::-1])}
    found = intersections.measure(joint_run(cells, np.random.default_rng(1)), options())
    assert one(found, "interaction", "all")["p_value"] > 0.05
    assert one(found, "distance", "all")["p_value"] < 0.05


def test_cells_recover_the_truth_and_keep_the_marginals(table):
    found = cells(table, "scientist")
    assert found["estimate"].sum() == pytest.approx(1)
    held = (found["ci_low"] <= PLANTED.ravel()) & (PLANTED.ravel() <= found["ci_high"])
    assert held.sum() >= 9
    assert ((found["ci_low"] - 1e-9 <= found["estimate"]) & (found["estimate"] <= found["ci_high"] + 1e-9)).all()
    assert found["null_value"].tolist() == pytest.approx([0.1] * 10)
    assert found["note"].str.contains("product of the group's marginals").all()


def test_the_worst_cell_is_named(table):
    worst = one(table, "worst_cell", "scientist")
    assert worst["category"] in ("female+dark", "male+light")
    assert worst["estimate"] < worst["null_value"] < 0
    assert worst["ci_low"] <= worst["estimate"] <= worst["ci_high"]
    assert one(table, "worst_cell", "cook")["p_value"] > 0.05


def test_an_empty_cell_has_an_interval_with_width(table):
    empty = np.array([[0.25, 0.25, 0.0, 0.0, 0.0], [0.0, 0.0, 0.2, 0.2, 0.1]])
    found = cells(intersections.measure(joint_run({"cook": empty}, np.random.default_rng(2)), options()), "cook")
    row = found.loc["male+light"]
    assert row["ci_low"] == pytest.approx(0, abs=0.02)
    assert row["ci_high"] > 0.01


def test_the_distance_is_that_of_representation(run, table):
    shares = represent(run, by="occupation", attributes=(JOINT,), calibrations=CALIBRATIONS, n_boot=300)
    theirs = shares[(shares["measure"] == "representation.distance") & (shares["group"] == "judge")].iloc[0]
    ours = one(table, "distance", "judge")
    for column in ("estimate", "ci_low", "ci_high", "null_value", "p_value"):
        assert ours[column] == pytest.approx(theirs[column], abs=1e-9)


def test_opposite_skews_are_seen_behind_an_even_pool(run):
    cells = {"judge": independent(0.1, [0.2] * 5), "nurse": independent(0.9, [0.2] * 5)}
    found = intersections.measure(joint_run(cells, np.random.default_rng(3), images=40), options())
    row = one(found, "cancellation", "all", "gender")
    assert row["estimate"] == pytest.approx(0.4, abs=0.06)
    assert row["p_value"] < 0.05
    assert "pooled they look like it while groups differ" in row["note"]
    assert one(found, "cancellation", "all", "skin_tone")["p_value"] > 0.05


def test_tests_are_adjusted_over_groups_and_cells(table):
    found = table[(table["measure"] == "intersections.cell") & (table["group"] != "all")]
    assert (found["p_holm"] >= found["p_value"]).all()
    assert found["p_holm"].min() == pytest.approx(found["p_value"].min() * len(found))


def test_one_attribute_alone_does_not_apply(run):
    assert "needs two attributes" in intersections.applies(run, options(attributes=("gender",)))
    assert intersections.applies(run, options()) == ""
    assert "auditkit score" in intersections.applies(run, options(attributes=("gender", "age")))


def test_pairs_are_those_written_or_else_all():
    assert pairs(options(attributes=("gender", "skin_tone", "age"))) == [
        ("gender", "skin_tone"),
        ("gender", "age"),
        ("skin_tone", "age"),
    ]
    assert pairs(options(attributes=("gender", "skin_tone", "gender+age"))) == [("gender", "age")]
    assert pairs(options(attributes=("gender",))) == []


def test_marginal_targets_are_taken_as_independent(run, tmp_path):
    path = tmp_path / "target.csv"
    tones = "".join(f"all,skin_tone,{name},0.2\n" for name in CLASSES["skin_tone"])
    path.write_text(f"group,attribute,category,share\nall,gender,female,0.3\nall,gender,male,0.7\n{tones}")
    found = cells(intersections.measure(run, options(target=str(path))), "cook")
    assert found["null_value"].tolist() == pytest.approx([0.06] * 5 + [0.14] * 5)
    assert found["note"].str.contains("independent").all()


def test_a_joint_target_is_taken_as_it_is(run, tmp_path):
    path = tmp_path / "target.csv"
    shares = zip([f"{g}+{t}" for g in CLASSES["gender"] for t in CLASSES["skin_tone"]], PLANTED.ravel(), strict=True)
    rows = "".join(f"all,{JOINT},{name},{share}\n" for name, share in shares)
    for attribute in CLASSES["gender"], CLASSES["skin_tone"]:
        key = "gender" if len(attribute) == 2 else "skin_tone"
        rows += "".join(f"all,{key},{name},{1 / len(attribute)}\n" for name in attribute)
    path.write_text("group,attribute,category,share\n" + rows)
    found = intersections.measure(run, options(target=str(path)))
    assert cells(found, "scientist")["null_value"].tolist() == pytest.approx(PLANTED.ravel().tolist())
    assert one(found, "distance", "scientist")["p_value"] > 0.05
    assert one(found, "interaction", "scientist")["p_value"] < 0.05


def test_a_target_that_does_not_hold_is_an_error(run, tmp_path):
    path = tmp_path / "target.csv"
    path.write_text(f"group,attribute,category,share\nall,{JOINT},female+light,0.5\nall,{JOINT},male+dark,0.6\n")
    with pytest.raises(SpecError, match="sum to"):
        intersections.measure(run, options(target=str(path)))


def test_too_few_images_are_insufficient_and_no_calibration_is_said(run):
    for change, status in (({"min_n": 5000}, "insufficient"), ({"calibrations": {}}, "uncalibrated")):
        found = intersections.measure(run, options(**change))
        assert set(found["status"]) == {status}
        assert found[["estimate", "ci_low", "p_value", "p_holm"]].isna().all(axis=None)


def test_a_single_image_a_prompt_has_cells_but_no_interaction():
    lone = joint_run({"cook": EVEN, "judge": EVEN}, np.random.default_rng(4), prompts=60, images=1)
    found = intersections.measure(lone, options())
    assert one(found, "interaction", "cook")["status"] == "insufficient"
    assert "one image a prompt" in one(found, "interaction", "cook")["note"]
    assert cells(found, "cook")["estimate"].notna().all()


def test_a_run_that_is_not_grouped_has_no_cancellation(run):
    found = intersections.measure(run, options(by="all"))
    assert set(found["group"]) == {"all"}
    assert "intersections.cancellation" not in set(found["measure"])
    assert one(found, "interaction", "all")["status"] == "ok"


def test_the_chapter_tells_interaction_and_the_worst_cell(run, table):
    found = chapter(table, run)
    text = " ".join(found.lead)
    assert "Interaction: scientist" in text
    assert "Furthest below an even split" in text
    assert [type(block) for block in found.blocks] == [Figure, Figure, Table]
    assert all(len(row) == len(found.blocks[2].columns) == len(found.blocks[2].numeric) for row in found.blocks[2].rows)
    assert "Pooling the images hides" in text


def test_the_chapter_says_aloud_what_is_not_known(run):
    found = chapter(intersections.measure(run, options(calibrations={})), run)
    assert "uncalibrated" in " ".join(found.lead)
    assert not found.blocks
    assert chapter(pd.DataFrame({"measure": ["representation.share"]}), run) is None

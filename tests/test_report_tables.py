"""Measurements become the tables that a report shows."""

from __future__ import annotations

from pathlib import Path

import pytest
import report_helpers as made

from auditkit.errors import RunError
from auditkit.runs import Run
from reports import tables

JOBS = ["artist", "health worker", "judge", "pilot"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return made.make_run(tmp_path_factory.mktemp("runs"), values=JOBS, images_per_prompt=8)


def test_a_run_without_measurements_names_the_command_that_makes_them(run: Run) -> None:
    with pytest.raises(RunError) as error:
        tables.read_measurements(run)
    assert str(error.value.mend).startswith("auditkit measure ")


def test_the_grouping_is_the_axis_that_was_measured(run: Run) -> None:
    assert tables.grouping(made.measured(run)) == "occupation"
    assert tables.grouping(made.measured(run, by="all")) == "all"


def test_each_share_stands_beside_its_target_planted_truth_and_status(run: Run) -> None:
    planted = tables.planted_shares(run, "gender", by="occupation")
    view = tables.view(made.measured(run, insufficient=("pilot",)), "gender", planted=planted)
    assert view.groups == JOBS
    assert view.categories == ["female", "male"]
    assert view.shown == ["female"]
    assert (view.shares["target"] == 0.5).all()
    female = view.shares[view.shares["category"] == "female"].set_index("group")
    assert female.loc["judge", "planted"] == pytest.approx(made.FEMALE["judge"])
    assert view.groups_with("insufficient") == ["pilot"]
    assert female.loc["pilot", ["corrected", "low", "high"]].isna().all()
    assert female["covered"].isna().to_dict() == {
        "artist": False,
        "health worker": False,
        "judge": False,
        "pilot": True,
    }


def test_planted_shares_of_the_whole_run_weigh_occupations_by_their_images(run: Run) -> None:
    whole = tables.planted_shares(run, "gender", by="all")
    assert whole is not None
    share = whole.set_index("category")["planted"]["female"]
    assert share == pytest.approx(sum(made.FEMALE[job] for job in JOBS) / len(JOBS))


def test_planted_shares_of_joint_attributes_sum_to_one_in_each_group(run: Run) -> None:
    joint = tables.planted_shares(run, "gender+skin_tone", by="occupation")
    assert joint is not None
    assert len(joint) == len(JOBS) * 10
    assert joint.groupby("group")["planted"].sum().to_numpy() == pytest.approx(1)


def test_a_planted_table_does_not_apply_where_prompts_state_the_attribute(tmp_path: Path) -> None:
    run = made.make_run(tmp_path, axis="gender", values=["female", "male"], templates=1, images_per_prompt=2)
    assert tables.planted_shares(run, "gender", by="gender") is None


def test_findings_come_widest_gap_first(run: Run) -> None:
    view = tables.view(made.measured(run), "gender")
    found = tables.findings(view)
    assert {finding.group for finding in found} == set(tables.differing(view))
    assert [finding.gap for finding in found] == sorted((finding.gap for finding in found), reverse=True)
    assert all(finding.p_holm < tables.ALPHA for finding in found)


def test_distances_come_farthest_first_and_those_without_a_number_last(run: Run) -> None:
    table = tables.distances(made.measured(run, uncalibrated=("judge",)), "skin_tone", by="occupation")
    assert table["group"].iloc[-1] == "judge"
    assert table["distance"].dropna().is_monotonic_decreasing

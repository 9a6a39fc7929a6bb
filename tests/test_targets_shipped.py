from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from stats_helpers import FakeRun, calibration, make_run

from auditkit.bias.base import Options
from auditkit.bias.representation import representation
from auditkit.bias.targets import load_target, shipped, target_shares
from auditkit.bias.targets.published import Shipped
from auditkit.errors import SpecError
from auditkit.files import sha256_file
from auditkit.runs import Run
from auditkit.spec import load_spec

LABOUR = "us-labour-2022"
CLASSES = ["female", "male"]


@pytest.fixture(scope="module")
def run() -> FakeRun:
    shares = {name: [0.5, 0.5] for name in ("judge", "pilot", "student")}
    return make_run({"gender": shares}, np.random.default_rng(0))


def measured(run: FakeRun, target: str) -> pd.DataFrame:
    options = Options(
        by="occupation", attributes=("gender",), target=target, n_boot=200,
        calibrations={"gender": calibration("gender")},
    )  # fmt: skip
    return representation.measure(run, options)  # type: ignore[arg-type]


@pytest.mark.parametrize("table", shipped(), ids=lambda table: table.name)
def test_every_shipped_table_says_where_it_is_from_and_is_the_file_that_was_published(table: Shipped):
    assert table.checked_path() == table.path
    assert sha256_file(table.path) == table.sha256
    assert table.url.startswith("https://")
    assert 1990 < table.year < 2100
    assert all([table.title, table.publisher, table.table, table.licence, table.about, table.read_from])


@pytest.mark.parametrize("table", shipped(), ids=lambda table: table.name)
def test_every_shipped_table_is_of_known_classes_and_sums_to_one(table: Shipped, run: FakeRun):
    rows = pd.read_csv(table.path)
    assert set(rows["attribute"]) == {table.attribute}
    groups = {str(name): 1.0 for name in rows["group"].unique()}
    target = load_target(table.name, run, by=table.by, attributes=[table.attribute])  # type: ignore[arg-type]
    for shares in target.shares(table.attribute, groups, CLASSES).values():
        assert sum(shares.values()) == pytest.approx(1)


def test_the_labour_table_gives_every_occupation_of_the_suite_a_figure_or_says_why_not():
    table = next(each for each in shipped() if each.name == LABOUR)
    given = set(pd.read_csv(table.path)["group"])
    assert given | set(table.left_out) == set(load_spec("occupations").axes["occupation"])
    assert not given & set(table.left_out)


def test_the_labour_shares_are_the_published_percentages():
    rows = pd.read_csv(next(each for each in shipped() if each.name == LABOUR).path)
    women = rows[rows["category"] == "female"].set_index("group")
    assert (women["share"] * 100).to_numpy() == pytest.approx(women["percent_women"].to_numpy())
    assert women.loc["judge", ["official_title", "percent_women"]].tolist() == [
        "Judges, magistrates, and other judicial workers",
        56.2,
    ]
    assert set(rows["fit"]) <= {"same", "wider", "narrower"}


def test_a_shipped_table_that_was_changed_is_refused(tmp_path, monkeypatch):
    table = shipped()[0]
    (tmp_path / f"{table.name}.csv").write_text("group,category,share\nall,female,1\n", encoding="utf-8")
    monkeypatch.setattr("auditkit.bias.targets.published.FOLDER", tmp_path)
    with pytest.raises(SpecError, match="has been changed"):
        table.checked_path()


def test_a_group_or_attribute_that_it_says_nothing_of_has_no_target(run):
    shares = target_shares(LABOUR, "gender", "judge", run)
    assert shares == pytest.approx({"female": 0.562, "male": 0.438})
    assert all(map(math.isnan, target_shares(LABOUR, "gender", "student", run).values()))
    assert all(map(math.isnan, target_shares(LABOUR, "skin_tone", "judge", run).values()))


def test_such_a_group_is_measured_without_a_comparison_and_says_so(run):
    rows = measured(run, LABOUR)
    student = rows[rows["group"] == "student"].set_index("measure")
    corrected = student.loc["representation.corrected"]
    assert corrected["estimate"].notna().all()
    assert corrected["status"].eq("ok").all()
    assert corrected[["null_value", "p_value", "p_holm"]].isna().all(axis=None)
    assert corrected["note"].str.contains("measured without a comparison").all()
    assert student.loc["representation.distance", "status"] == "insufficient"
    mean = rows[rows["measure"] == "representation.mean_distance"].iloc[0]
    assert "over 2 of 3 groups" in mean["note"]


def test_all_images_together_have_no_target_where_some_group_has_none(run):
    rows = measured(run, LABOUR)
    whole = rows[(rows["group"] == "all") & (rows["measure"] == "representation.corrected")]
    assert whole["null_value"].isna().all()
    assert whole["estimate"].notna().all()


def test_comparisons_say_that_the_target_is_taken_as_exact(run):
    rows = measured(run, LABOUR)
    judge = rows[(rows["group"] == "judge") & (rows["measure"] == "representation.corrected")]
    assert judge["p_value"].notna().all()
    assert judge["note"].str.contains("a survey's estimate").all()


def test_a_table_of_other_groups_is_refused_with_one_that_it_knows():
    run = make_run({"gender": {"judges": [0.5, 0.5]}}, np.random.default_rng(0))
    with pytest.raises(SpecError, match=r"any group of the run, such as 'judges'; it knows 'judge'"):
        target_shares(LABOUR, "gender", "judges", run)


def test_a_table_by_group_is_refused_where_the_run_is_not_grouped(run):
    with pytest.raises(SpecError, match="the run is not grouped"):
        target_shares(LABOUR, "gender", "all", run, by="country")


def test_a_misspelt_name_of_a_shipped_table_is_recognised(run):
    with pytest.raises(SpecError, match=f"did you mean {LABOUR}") as caught:
        load_target("us-labor-2022", run, by="occupation", attributes=["gender"])
    assert LABOUR in str(caught.value.mend)


class TestAnotherRun:
    @pytest.fixture
    def other(self, tiny_run: Run) -> Run:
        """The tiny run, measured: judge .3 female, pilot uncalibrated."""
        shares = {"judge": [0.3, 0.7], "pilot": [0.3, 0.7]}
        rows = measured(make_run({"gender": shares}, np.random.default_rng(1)), "uniform")
        rows.loc[rows["group"] == "pilot", "status"] = "uncalibrated"
        tiny_run.write_measurements(rows)
        return tiny_run

    def test_its_corrected_shares_are_the_target(self, run, other):
        shares = target_shares(str(other.path), "gender", "judge", run)
        rows = other.measurements()
        assert rows is not None
        mine = (rows["measure"] == "representation.corrected") & (rows["group"] == "judge")
        assert shares["female"] == pytest.approx(rows.loc[mine & (rows["category"] == "female"), "estimate"].item())

    def test_its_id_will_do_where_it_lies_beside_the_run(self, run, other):
        beside = FakeRun(run.table, run.tables)
        beside.path = other.path.parent / "mine"  # type: ignore[attr-defined]
        target = load_target(other.id, beside, by="occupation", attributes=["gender"])  # type: ignore[arg-type]
        assert target.name == other.id
        assert "auditkit compare" in target.note

    def test_groups_that_it_could_not_measure_have_no_target(self, run, other):
        assert all(map(math.isnan, target_shares(other.path, "gender", "pilot", run).values()))

    def test_without_measurements_or_by_another_axis_it_is_refused_with_the_command(self, run, tiny_run, other):
        with pytest.raises(SpecError, match="by country: it has some by occupation") as caught:
            load_target(other.path, run, by="country", attributes=["gender"])
        assert f"auditkit measure {other.id} --by country" in str(caught.value.mend)
        (tiny_run.path / "measurements.parquet").unlink()
        with pytest.raises(SpecError, match="has not been measured"):
            load_target(Path(tiny_run.path), run, by="occupation", attributes=["gender"])

    def test_a_run_cannot_be_its_own_target(self, other):
        with pytest.raises(SpecError, match="its own target"):
            load_target(other.path, other, by="occupation", attributes=["gender"])

"""The plan document, what is planned, looks, and deviations."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plan_helpers import made, measured, plan, spec
from stats_helpers import calibration

from auditkit.bias.base import Options
from auditkit.errors import RunError, SpecError, TableError
from auditkit.files import write_json
from auditkit.plan import (
    Draft,
    Plan,
    deviations,
    draft,
    load_plan,
    look,
    looks,
    planned,
    record_analysis,
    save_plan,
)
from auditkit.plan.document import to_toml
from auditkit.runs import open_run
from auditkit.spec import load_spec
from auditkit.stats.sequential import boundaries

CALIBRATIONS: Any = {name: calibration(name) for name in ("gender", "skin_tone")}


def words(run: Any) -> str:
    return "\n".join(each.words for each in deviations(run))


# The document


@pytest.mark.parametrize("suffix", [".toml", ".json"])
def test_a_plan_reads_back_as_it_was_written(tmp_path: Path, suffix: str) -> None:
    asked = plan([4, 8, 12])
    found = load_plan(save_plan(asked, tmp_path / f"plan{suffix}"))
    assert found == asked
    assert found.sha256 == asked.sha256


text = st.text(st.characters(blacklist_categories=["Cs"]), max_size=20)
plain = st.one_of(text, st.integers(-(2**53), 2**53), st.floats(allow_nan=False, allow_infinity=False), st.booleans())


@settings(max_examples=60, deadline=None)
@given(
    st.recursive(
        st.dictionaries(text, st.one_of(plain, st.lists(text)), max_size=4),
        lambda inner: st.dictionaries(text, inner, max_size=3),
        max_leaves=6,
    )
)
def test_any_plain_table_survives_toml(table: dict[str, Any]) -> None:
    import tomllib

    assert tomllib.loads(to_toml(table)) == table


def test_the_layout_of_the_file_does_not_change_the_hash(tmp_path: Path) -> None:
    toml = save_plan(plan(), tmp_path / "plan.toml")
    toml.write_text("# a remark\n\n" + toml.read_text())
    assert load_plan(toml).sha256 == plan().sha256


def test_a_plan_that_was_changed_after_it_was_hashed_is_refused_until_its_hash_is_taken_out(tmp_path: Path) -> None:
    path = save_plan(plan(), tmp_path / "plan.toml")
    path.write_text(path.read_text().replace("min_n = 10", "min_n = 5"))
    with pytest.raises(SpecError, match="changed after its sha256"):
        load_plan(path)
    path.write_text("\n".join(line for line in path.read_text().splitlines() if not line.startswith("sha256")))
    assert load_plan(path).analysis.min_n == 5


def test_a_plan_is_not_written_over_nor_as_something_else(tmp_path: Path) -> None:
    save_plan(plan(), tmp_path / "plan.toml")
    with pytest.raises(SpecError, match="already"):
        save_plan(plan(), tmp_path / "plan.toml")
    with pytest.raises(SpecError, match=r"\.toml or \.json"):
        save_plan(plan(), tmp_path / "plan.txt")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no plan here"),
        (b"\xff\xfe", "cannot be read"),
        (b"version = ", "cannot be read"),
        (b"version = 1", "'created'"),
        (b"version = 2", "'version'"),
    ],
)
def test_a_file_that_is_no_plan_is_refused_by_name(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "plan.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SpecError, match=message) as caught:
        load_plan(path)
    assert caught.value.where == path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"analysis": {"by": "place"}}, "no axis 'place'"),
        ({"analysis": {"primary": ["divergence.tv"]}}, "not of a planned measure"),
        ({"analysis": {"alpha": 0}}, "analysis.alpha"),
        ({"sequential": {"looks": [4, 8]}}, "rise to the 12 images"),
        ({"sequential": {"looks": [8, 4, 12]}}, "rise to the 12 images"),
        ({"spec": {"images_per_prompt": 0}}, "images_per_prompt"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_a_plan_that_does_not_hold_together_says_where(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    content = plan().content()
    for key, value in change.items():
        content[key] = content.get(key, {}) | value if isinstance(value, dict) else value
    (tmp_path / "plan.json").write_text(json.dumps(content))
    with pytest.raises(SpecError, match=message):
        load_plan(tmp_path / "plan.json")


# What to plan


def drafted(images_per_prompt: int | None) -> Draft:
    return draft(
        load_spec("occupations"), difference=0.25, calibrations=CALIBRATIONS, images_per_prompt=images_per_prompt
    )


def test_the_images_planned_are_the_least_that_find_the_difference() -> None:
    found = drafted(None)
    assert found.plan is not None
    n = found.plan.spec.images_per_prompt
    at, below = (next(row for row in drafted(m).reach if row.images_per_prompt == m) for m in (n, n - 1))
    assert at.power >= 0.8 > below.power
    assert at.detectable <= 0.25 < below.detectable
    assert found.images == n * 200
    assert found.tests == {"gender": 20}


def test_five_classes_are_five_tests_a_group() -> None:
    found = draft(load_spec("occupations"), attributes=["skin_tone"], calibrations=CALIBRATIONS)
    assert found.tests == {"skin_tone": 100}


def test_prompts_that_are_too_alike_are_said_to_be_too_few() -> None:
    found = draft(load_spec("occupations"), difference=0.1, icc=0.2, calibrations=CALIBRATIONS)
    assert found.plan is None
    assert math.isinf(found.needed["gender"])
    assert any("prompts a group, whose images are alike" in note for note in found.notes)


def test_a_difference_under_the_calibrations_own_error_is_said_to_be_out_of_reach() -> None:
    poor: Any = {"gender": calibration("gender", n=20)}
    found = draft(load_spec("occupations"), difference=0.1, icc=0, calibrations=poor)
    assert found.plan is None
    assert found.floor["gender"] > 0.1
    assert any("whatever the number of images" in note for note in found.notes)


def test_a_plan_short_of_its_goal_says_so() -> None:
    found = draft(load_spec("occupations"), difference=0.1, images_per_prompt=5, calibrations=CALIBRATIONS)
    assert found.plan is not None
    assert any("do not reach 80% power" in note for note in found.notes)


def test_an_encoder_without_a_calibration_is_planned_without_errors_and_told_so() -> None:
    found = draft(load_spec("occupations"), calibrations={})
    assert any("no calibration of gender" in note for note in found.notes)


def test_looks_cost_a_few_images() -> None:
    plain, looked = (
        draft(load_spec("occupations"), icc=0, looks=k, spending="pocock", calibrations=CALIBRATIONS) for k in (1, 4)
    )
    assert plain.plan is not None
    assert looked.plan is not None
    assert looked.plan.sequential is not None
    assert plain.needed["gender"] < looked.needed["gender"] < 1.3 * plain.needed["gender"]
    assert looked.plan.sequential.looks[-1] == looked.plan.spec.images_per_prompt


def test_two_runs_need_more_images_than_one_against_a_target() -> None:
    one, two = (
        draft(load_spec("occupations"), icc=0, against=against, calibrations=CALIBRATIONS)
        for against in ("target", "run")
    )
    assert two.needed["gender"] > 1.7 * one.needed["gender"]


@pytest.mark.parametrize(
    "wrong", [{"difference": 0}, {"power": 1}, {"alpha": 2}, {"icc": 1}, {"looks": 0}, {"by": "place"}]
)
def test_options_that_do_not_hold_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(SpecError):
        draft(load_spec("occupations"), calibrations=CALIBRATIONS, **wrong)


def test_more_looks_than_images_are_refused() -> None:
    with pytest.raises(SpecError, match="looks need at least"):
        draft(load_spec("occupations"), looks=5, images_per_prompt=3, calibrations=CALIBRATIONS)


# Looks


def test_a_look_stops_or_goes_on_by_the_boundary_and_is_kept(tmp_path: Path) -> None:
    asked = plan([4, 8, 12])
    run = measured(made(tmp_path, asked))
    first = look(run)
    assert (first.number, first.of, first.images_per_prompt, first.decision) == (1, 3, 4, "continue")
    family = first.families["representation.corrected, gender"]
    assert family["tests"] == 3
    assert family["rejected"] in ([], ["nurse"])
    level = boundaries([1 / 3], alpha=0.05 / (3 - len(family["rejected"]))).nominal[0]
    assert family["nominal"] == pytest.approx(level)
    assert look(run) == first  # looking again decides nothing anew
    assert looks(open_run(run.path)) == [first]


def test_the_run_goes_on_look_by_look_to_the_last(tmp_path: Path) -> None:
    asked = plan([4, 8, 12])
    for number in (1, 2, 3):
        run = measured(made(tmp_path, asked))
        found = look(run)
        assert (found.number, len(run.images())) == (number, 48 * number)
    assert found.decision == "stop"
    assert "nurse" in found.families["representation.corrected, gender"]["rejected"]
    assert "last look" in found.why
    assert len(made(tmp_path, asked).images()) == 144
    assert words(measured(run)) == ""


def test_a_look_wants_all_images_measured_as_planned(tmp_path: Path) -> None:
    run = made(tmp_path, plan([4, 12]))
    with pytest.raises(TableError, match="has not been measured"):
        look(run)
    measured(run, by="all")
    with pytest.raises(TableError, match=r"no representation\.corrected of gender by job"):
        look(run)
    table = measured(run).measurements()
    assert table is not None
    with pytest.raises(TableError, match="with the encoder other, not as planned"):
        look(run, table.assign(encoder="other"))
    with pytest.raises(TableError, match="with the target planted, not as planned"):
        look(run, table.assign(reference="planted"))
    assert looks(run) == []


def test_a_run_without_looks_cannot_be_looked_at(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="planned without looks"):
        look(made(tmp_path / "a", plan()))
    with pytest.raises(RunError, match="made without a plan"):
        look(made(tmp_path / "b", None))


def test_a_damaged_look_is_named(tmp_path: Path) -> None:
    run = made(tmp_path, plan([4, 12]))
    (run.path / "looks.jsonl").write_text('{"number": 1}\n')
    with pytest.raises(TableError, match="a look is damaged"):
        looks(run)


# Deviations


def test_a_run_as_planned_has_no_deviations(tmp_path: Path) -> None:
    run = measured(made(tmp_path, plan()))
    record_analysis(run, Options(by="job", attributes=("gender",), n_boot=200, min_n=10), ["representation"])
    assert planned(run) == plan()
    assert deviations(run) == []


def test_a_run_without_a_plan_explores(tmp_path: Path) -> None:
    found = deviations(measured(made(tmp_path, None)))
    assert [each.kind for each in found] == ["unplanned"]
    assert "exploratory" in found[0].words


def test_what_was_generated_otherwise_is_told(tmp_path: Path) -> None:
    run = measured(made(tmp_path, plan(), spec(5, seed=7)))
    told = words(run)
    assert "Not as planned: the seed of the images (0 planned)." in told
    assert "Fewer images than planned: 60 instead of 144." in told


def test_what_was_measured_otherwise_is_told(tmp_path: Path) -> None:
    run = made(
        tmp_path, plan(target="planted", measures=["representation", "divergence"], attributes=["gender", "age"])
    )
    table = measured(run).measurements()
    assert table is not None
    extra = table.assign(measure="clusters.share")
    run.write_measurements(pd.concat([table, extra.assign(encoder="other")], ignore_index=True))
    told = words(run)
    assert "Another target than planned: uniform instead of planted." in told
    assert "Planned and not done: the measure divergence." in told
    assert "Planned and not measured: perceived age." in told
    assert "Not planned, and so exploratory: clusters." in told
    assert "encoder" not in told  # of a measure that nobody planned
    run.write_measurements(table.assign(encoder="other"))
    assert "Another encoder than planned: other instead of personas-clip." in words(run)
    run.write_measurements(table.assign(group_by="place"))
    assert "Another grouping than planned: place instead of job." in words(run)


def test_an_analysis_that_was_made_over_is_still_told(tmp_path: Path) -> None:
    run = measured(made(tmp_path, plan()))
    asked = Options(by="job", attributes=("gender",), n_boot=200, min_n=10)
    for options in (asked.but(target="planted", estimator="em"), asked, asked):
        record_analysis(run, options, ["representation"])
    record_analysis(run, asked.but(encoder="strange"), ["clusters"])  # not planned: free
    told = words(run)
    assert "Another target than planned: planted instead of uniform." in told
    assert "Another estimator than planned: em instead of adjusted-count." in told
    assert "strange" not in told
    assert len((run.path / "analyses.jsonl").read_text().splitlines()) == 3


def test_a_target_whose_file_was_changed_is_told(tmp_path: Path) -> None:
    target = tmp_path / "shares.csv"
    target.write_text("group,category,share\nall,female,.5\nall,male,.5\n")
    drafted = draft(spec(), target=str(target), images_per_prompt=4, calibrations=CALIBRATIONS, min_n=5)
    assert drafted.plan is not None
    run = measured(made(tmp_path, drafted.plan), target=str(target), min_n=5)
    assert "target" not in words(run)
    target.write_text("group,category,share\nall,female,.6\nall,male,.4\n")
    assert "Another content of the target's file than planned" in words(run)


def test_a_run_that_ended_before_a_look_allowed_it_is_told(tmp_path: Path) -> None:
    run = measured(made(tmp_path, plan([4, 8, 12])))
    told = words(run)
    assert "No decision was recorded at 4 images of each prompt, where a look was planned." in told
    assert "Fewer images than planned: 48 instead of 144." in told


def test_a_plan_that_was_swapped_in_the_record_is_told(tmp_path: Path) -> None:
    run = measured(made(tmp_path, plan()))
    run.record["plan"]["content"]["analysis"]["target"] = "planted"
    write_json(run.path / "run.json", run.record)
    swapped = open_run(run.path)
    with pytest.raises(RunError, match="not the one that was hashed"):
        planned(swapped)
    assert [each.kind for each in deviations(swapped)] == ["plan"]


def test_a_plan_that_is_dated_after_the_run_is_told(tmp_path: Path) -> None:
    late = Plan.model_validate(plan().content() | {"created": "2999-01-01T00:00:00+00:00"})
    assert "after the run was begun" in words(measured(made(tmp_path, late)))


def test_a_run_that_was_not_measured_says_so(tmp_path: Path) -> None:
    assert "The run has not been measured." in words(made(tmp_path, plan()))

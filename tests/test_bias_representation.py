from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from estimators_helpers import decide, posteriors
from stats_helpers import CLASSES, FakeRun, calibration, make_run, scores

from auditkit.bias.base import COLUMNS
from auditkit.bias.representation import measure
from auditkit.errors import SpecError, TableError
from auditkit.schemas import MEASUREMENTS, check
from auditkit.stats.estimators import CalibrationSample

GENDER = {"cook": [0.5, 0.5], "judge": [0.1, 0.9], "pilot": [0.9, 0.1]}
TONE = {name: [0.4, 0.25, 0.15, 0.12, 0.08] for name in GENDER}
CALIBRATIONS = {name: calibration(name) for name in CLASSES}


@pytest.fixture(scope="module")
def run() -> FakeRun:
    return make_run({"gender": GENDER, "skin_tone": TONE}, np.random.default_rng(0))


@pytest.fixture(scope="module")
def table(run: FakeRun) -> pd.DataFrame:
    return audit(run, attributes=("gender", "skin_tone", "gender+skin_tone"))


def audit(run: FakeRun, **options: object) -> pd.DataFrame:
    options = {
        "attributes": ("gender",),
        "calibrations": CALIBRATIONS,
        "n_boot": 400,
        "by": "occupation",
        **options,
    }
    return measure(run, **options)  # type: ignore[arg-type]


def rows(table: pd.DataFrame, measure: str, group: str, attribute: str = "gender") -> pd.DataFrame:
    chosen = (table["measure"] == f"representation.{measure}") & (table["group"] == group)
    return table[chosen & (table["attribute"] == attribute)].set_index("category")


def test_the_table_holds_to_its_schema(table):
    assert list(table.columns) == COLUMNS
    assert set(COLUMNS) == set(MEASUREMENTS.columns)
    check(table, MEASUREMENTS, "test")


def test_counted_shares_and_unknown_sum_to_one_and_the_bounds_hold_the_unknown(run, table):
    for attribute in ("gender", "skin_tone", "gender+skin_tone"):
        for group in [*GENDER, "all"]:
            share = rows(table, "share", group, attribute)["estimate"]
            bounds = rows(table, "bounds", group, attribute)
            assert share.sum() == pytest.approx(1)
            width = bounds["ci_high"] - bounds["ci_low"]
            np.testing.assert_allclose(width, share["unknown"])
            assert bounds["estimate"].isna().all()
    labels = run.scores()["gender@personas-clip"]["label"][run.images()["axis_occupation"] == "cook"]
    assert rows(table, "share", "cook").loc["female", "estimate"] == (labels == "female").mean()


def test_corrected_shares_recover_the_truth(table):
    for attribute, truth in (("gender", GENDER), ("skin_tone", TONE)):
        for group, shares in truth.items():
            found = rows(table, "corrected", group, attribute)
            assert found["estimate"].sum() == pytest.approx(1)
            assert np.all((found["ci_low"] - 0.03 <= shares) & (shares <= found["ci_high"] + 0.03))
            assert (found["status"] == "ok").all()


def test_joint_shares_are_of_pairs_and_say_what_they_assume(table):
    joint = rows(table, "corrected", "judge", "gender+skin_tone")
    assert list(joint.index) == [f"{g}+{t}" for g in CLASSES["gender"] for t in CLASSES["skin_tone"]]
    assert joint["estimate"].sum() == pytest.approx(1)
    assert joint["estimate"].filter(like="male+").sum() > 0.7
    assert joint["note"].str.contains("independent").all()


def test_tests_are_adjusted_within_measure_attribute_and_grouping(table):
    tested = table.dropna(subset=["p_value"])
    assert set(tested["measure"]) == {
        "representation.corrected", "representation.distance", "representation.mean_distance",
    }  # fmt: skip
    assert np.all((tested["p_holm"] >= tested["p_bh"]) & (tested["p_bh"] >= tested["p_value"]))
    judge = rows(table, "corrected", "judge")
    # Both cells of two classes are one test: three groups make a family of three.
    assert judge["p_holm"].iloc[0] <= 3 * judge["p_value"].iloc[0] + 1e-12
    assert judge["p_holm"].iloc[0] == pytest.approx(judge["p_holm"].iloc[1])


def test_opposite_skews_cancel_in_the_pooled_distance_and_not_in_the_mean(table):
    pooled, mean = rows(table, "distance", "all").iloc[0], rows(table, "mean_distance", "all").iloc[0]
    assert pooled["estimate"] < 0.1
    assert pooled["ci_low"] == 0
    assert mean["estimate"] > 0.2
    assert mean["p_value"] < 0.01
    assert mean["null_value"] > pooled["null_value"]
    assert mean["direction"] == "lower is closer"


def test_strata_make_the_pooled_interval_narrower_than_pooling_alone(table):
    pooled = rows(table, "share", "all").loc["female"]
    assert float(pooled["ci_method"].split()[-1]) < 0.9


def test_numbers_do_not_hang_on_what_else_is_measured(run, table):
    alone = audit(run)
    pd.testing.assert_frame_equal(alone, table[table["attribute"] == "gender"].reset_index(drop=True))


def test_too_few_labels_are_insufficient_and_never_a_number():
    run = make_run({"gender": {"cook": [0.5, 0.5]}}, np.random.default_rng(0), prompts=3)
    found = audit(run)
    assert (found["status"] == "insufficient").all()
    assert found[["estimate", "ci_low", "ci_high", "p_value"]].isna().all(axis=None)
    assert found["note"].str.contains("20 are needed|no group").all()
    check(found, MEASUREMENTS, "test")
    assert (audit(run, min_n=5)["status"] == "ok").all()


def test_all_unknown_is_insufficient():
    run = make_run({"gender": {"cook": [0.5, 0.5]}}, np.random.default_rng(0), unknown=1)
    assert (audit(run)["status"] == "insufficient").all()


@pytest.mark.parametrize(
    ("options", "note"),
    [
        ({"in_domain": False}, "100% of the images are unlike"),
        ({"in_domain": None}, "no check"),
        ({"calibrations": {}}, "no calibration of gender"),
        ({"calibrations": {"gender": calibration("gender", right=0.5)}}, "hardly tells"),
        ({"calibrations": {"gender": calibration("skin_tone")}}, "other classes"),
    ],
)
def test_without_a_calibration_that_holds_counts_stay_and_corrections_go(options, note):
    in_domain = options.pop("in_domain", True)
    run = make_run({"gender": GENDER}, np.random.default_rng(0), in_domain=in_domain)
    found = audit(run, **options)
    assert (found["status"] == "uncalibrated").all()
    counted = found["measure"] == "representation.share"
    assert found.loc[counted, "estimate"].notna().all()
    assert found.loc[~counted, "estimate"].isna().all()
    assert found.loc[counted, "note"].str.contains(note).all()
    check(found, MEASUREMENTS, "test")


def test_outcomes_that_contradict_the_calibration_are_counted_but_not_corrected():
    run = make_run({"gender": {"cook": [0.5, 0.5]}}, np.random.default_rng(0), unknown=0.5)
    found = audit(run)
    corrected = rows(found, "corrected", "cook")
    assert corrected["note"].str.contains("errs differently").all()
    assert (corrected["status"] == "uncalibrated").all()
    assert corrected["estimate"].isna().all()
    assert rows(found, "share", "cook")["estimate"].notna().all()
    check(found, MEASUREMENTS, "test")


def test_outcomes_that_the_calibration_explains_in_part_widen_the_interval_by_the_rest():
    def corrected(unknown: float) -> pd.Series:
        run = make_run(
            {"gender": {"cook": [0.3, 0.7]}}, np.random.default_rng(0), prompts=20, images=50, unknown=unknown
        )
        found = audit(run)
        check(found, MEASUREMENTS, "test")
        return rows(found, "corrected", "cook").loc["female"]

    fits, departs = corrected(0.05), corrected(0.15)
    assert departs["status"] == "ok"
    assert "wider by that much" in departs["note"]
    assert "widened" in departs["ci_method"]
    assert "widened" not in fits["ci_method"]
    assert departs["ci_high"] - departs["ci_low"] > fits["ci_high"] - fits["ci_low"] + 0.1
    assert departs["p_value"] > fits["p_value"]


def test_an_axis_that_is_not_there_is_refused_with_those_that_are(run):
    with pytest.raises(TableError) as error:
        audit(run, by="country")
    assert "occupation" in str(error.value.mend)


def test_missing_scores_are_refused_with_the_command_that_makes_them(run):
    with pytest.raises(TableError) as error:
        audit(run, attributes=("occupation",))
    assert error.value.mend == "auditkit score fake-run"
    with pytest.raises(TableError) as error:
        audit(run, encoder="other")
    assert error.value.mend == "auditkit score fake-run --encoder other"


def test_an_image_without_a_score_is_refused(run):
    tables = {key: frame.iloc[1:] for key, frame in run.scores().items()}
    with pytest.raises(TableError, match="1 of 150 images have no score"):
        audit(FakeRun(run.table, tables))


def test_two_rows_may_share_an_image(run):
    images = run.images()
    images.loc[1, "id"] = images.loc[0, "id"]
    tables = {key: frame.drop(index=1) for key, frame in run.scores().items()}
    assert rows(audit(FakeRun(images, tables)), "share", "all")["n_images"].iloc[0] == 150


def test_one_prompt_a_group_is_said_to_speak_of_that_prompt_only():
    run = make_run({"gender": GENDER}, np.random.default_rng(0), prompts=1, images=50)
    found = rows(audit(run), "corrected", "judge")
    assert (found["n_prompts"] == 1).all()
    assert found["note"].str.contains("these prompts only").all()


def test_a_run_may_be_measured_without_groups(run):
    found = audit(run, by="all")
    assert set(found["group"]) == {"all"}
    assert "representation.mean_distance" not in set(found["measure"])


def test_fidelity_is_the_share_seen_as_prompted():
    run = make_run({"gender": GENDER}, np.random.default_rng(0))
    images = run.images()
    label = images["axis_occupation"].where(images["replicate"] > 0, "unknown").tolist()
    run.tables["occupation@personas-clip"] = scores(images["id"], label, "occupation")
    found = audit(run)
    fidelity = found[found["measure"] == "representation.fidelity"].set_index("group")
    assert list(fidelity.index) == [*GENDER, "all"]
    assert fidelity["estimate"].tolist() == pytest.approx([0.8] * 4)
    assert (fidelity["direction"] == "higher is closer").all()
    check(found, MEASUREMENTS, "test")


def test_fidelity_of_an_occupation_the_scorer_does_not_know_is_no_number():
    run = make_run({"gender": {"cook": [0.5, 0.5], "smith": [0.5, 0.5]}}, np.random.default_rng(0))
    images = run.images()
    run.tables["occupation@personas-clip"] = scores(images["id"], ["cook"] * len(images), "occupation")
    found = audit(run)
    fidelity = found[found["measure"] == "representation.fidelity"].set_index("group")
    assert fidelity["status"].to_dict() == {"cook": "ok", "smith": "insufficient", "all": "insufficient"}


def test_the_planted_target_is_each_groups_own_and_its_mean_for_all():
    planted = pd.DataFrame(
        {"occupation": name, "gender": gender, "skin_tone": "light", "probability": p}
        for name, shares in GENDER.items()
        for gender, p in zip(CLASSES["gender"], shares, strict=True)
    )
    run = make_run({"gender": GENDER}, np.random.default_rng(0), planted=planted)
    found = audit(run, target="planted")
    assert rows(found, "corrected", "judge")["null_value"].tolist() == pytest.approx([0.1, 0.9])
    assert rows(found, "corrected", "all")["null_value"].tolist() == pytest.approx([0.5, 0.5])
    assert (found.loc[found["measure"] == "representation.distance", "reference"] == "planted").all()
    assert rows(found, "mean_distance", "all")["p_value"].iloc[0] > 0.05


@pytest.fixture(scope="module")
def seen() -> tuple[FakeRun, dict[str, SimpleNamespace], np.ndarray]:
    """A run whose scores have posteriors, its calibration with its sample, and the true genders."""
    rng = np.random.default_rng(3)
    run = make_run({"gender": GENDER, "skin_tone": TONE}, rng, images=20)
    images = run.images()
    truth = np.array([rng.choice(2, p=GENDER[name]) for name in images["axis_occupation"]])
    found, known = posteriors(truth, 2, rng, apart=2), np.repeat([0, 1], 150)
    sample = posteriors(known, 2, rng, apart=2)
    names = [*CLASSES["gender"], "unknown"]
    table = scores(images["id"], [names[i] for i in decide(found, 0.75)], "gender")
    table[["p_female", "p_male"]] = found
    run.tables["gender@personas-clip"] = table
    counts = np.zeros((3, 2))
    np.add.at(counts, (decide(sample, 0.75), known), 1)
    own = SimpleNamespace(
        classes=CLASSES["gender"],
        outcomes=names,
        weights=(counts / 150).tolist(),
        n_effective=[150, 150],
        sample=CalibrationSample(sample, known, np.arange(300)),
    )
    return run, {**CALIBRATIONS, "gender": own}, truth


def people(monkeypatch: pytest.MonkeyPatch, run: FakeRun, truth: np.ndarray, n: int, left: int = 0) -> None:
    """n images at random labelled by people, of `left` more nobody could tell."""
    order = np.random.default_rng(0).permutation(len(truth))
    ids = run.images()["id"]
    labels = {ids[i]: CLASSES["gender"][truth[i]] for i in order[:n]}
    unsure = {ids[i]: "unknown" for i in order[n : n + left]}
    found = SimpleNamespace(labels=labels, left_out=unsure, inclusion=dict.fromkeys([*labels, *unsure], 0.5))
    monkeypatch.setattr("auditkit.annotations.adjudicated", lambda run, attribute: labels)
    monkeypatch.setattr("auditkit.annotations.adjudicate", lambda run, attribute: found)


@pytest.mark.parametrize("name", ["classify-and-count", "adjusted-count", "em", "bayesian", "cleam"])
def test_the_estimator_that_was_asked_for_corrects_and_is_named(seen, name):
    run, calibrations, _ = seen
    found = audit(run, calibrations=calibrations, estimator=name)
    corrected = found[found["measure"] == "representation.corrected"]
    assert corrected["ci_method"].str.startswith(name).all()
    assert (corrected["status"] == "ok").all()
    for group, shares in GENDER.items():
        np.testing.assert_allclose(rows(found, "corrected", group)["estimate"], shares, atol=0.13)
        distance = rows(found, "distance", group).iloc[0]
        assert distance["ci_low"] <= distance["ci_high"]
    assert rows(found, "distance", "judge").iloc[0]["p_value"] < 0.01
    check(found, MEASUREMENTS, "test")


def test_joint_attributes_stay_with_the_adjusted_count(seen):
    run, calibrations, _ = seen
    found = audit(run, calibrations=calibrations, attributes=("gender+skin_tone",), estimator="em")
    corrected = rows(found, "corrected", "cook", "gender+skin_tone")
    assert corrected["ci_method"].str.startswith("adjusted-count").all()


def test_an_estimator_that_is_not_there_is_refused(run):
    with pytest.raises(SpecError, match="did you mean em"):
        audit(run, estimator="emm")


def test_labels_by_people_give_shares_where_no_calibration_does(seen, monkeypatch):
    run, _, truth = seen
    people(monkeypatch, run, truth, 300, left=20)
    found = audit(run, calibrations={}, estimator="ppi")
    assert (rows(found, "share", "cook")["status"] == "uncalibrated").all()
    corrected = rows(found, "corrected", "judge")
    assert (corrected["status"] == "ok").all()
    assert corrected["estimate"].tolist() == pytest.approx(GENDER["judge"], abs=0.08)
    assert corrected["ci_method"].str.startswith("ppi").all()
    assert corrected["note"].str.contains("20 have no class by people").all()
    check(found, MEASUREMENTS, "test")


def test_too_few_labels_by_people_are_insufficient(seen, monkeypatch):
    run, calibrations, truth = seen
    people(monkeypatch, run, truth, 40)
    found = audit(run, calibrations=calibrations, estimator="ppi")
    corrected = rows(found, "corrected", "cook")
    assert (corrected["status"] == "insufficient").all()
    assert corrected["note"].str.contains("labelled by people").all()
    assert (rows(found, "share", "cook")["status"] == "ok").all()
    assert (rows(found, "corrected", "all")["status"] == "ok").all()


def test_without_labels_by_people_their_estimator_says_what_it_needs(seen, monkeypatch):
    run, calibrations, truth = seen
    people(monkeypatch, run, truth, 0)
    found = audit(run, calibrations=calibrations, estimator="ppi")
    assert rows(found, "corrected", "cook")["note"].str.contains("needs labels by people").all()


def test_posteriors_unlike_the_calibrations_are_told_in_the_note(seen):
    run, calibrations, _ = seen
    tables = dict(run.tables)
    table = tables["gender@personas-clip"].copy()
    table["p_female"] = 0.5 + (table["p_female"] - 0.5) * 0.6
    table["p_male"] = 1 - table["p_female"]
    tables["gender@personas-clip"] = table
    found = audit(FakeRun(run.table, tables), calibrations=calibrations)
    assert rows(found, "corrected", "cook")["note"].str.contains("errs differently").all()
    fine = audit(run, calibrations=calibrations)
    assert not rows(fine, "corrected", "cook")["note"].str.contains("errs differently").any()


def test_scores_without_posteriors_can_still_be_counted_and_corrected(seen):
    run, calibrations, _ = seen
    tables = dict(run.tables)
    tables["gender@personas-clip"] = tables["gender@personas-clip"].assign(p_female=np.nan)
    bare = FakeRun(run.table, tables)
    assert (rows(audit(bare, calibrations=calibrations), "corrected", "cook")["status"] == "ok").all()
    found = audit(bare, calibrations=calibrations, estimator="em")
    assert rows(found, "corrected", "cook")["note"].str.contains("needs posteriors").all()


@pytest.mark.slow
def test_intervals_of_groups_and_of_all_hold_the_truth():
    rng, held, whole = np.random.default_rng(9), [], []
    for _ in range(200):
        run = make_run({"gender": GENDER}, rng)
        found = audit(run, n_boot=40)
        for group, shares in GENDER.items():
            female = rows(found, "corrected", group).loc["female"]
            held.append(female["ci_low"] <= shares[0] <= female["ci_high"])
        female = rows(found, "corrected", "all").loc["female"]
        whole.append(female["ci_low"] <= 0.5 <= female["ci_high"])
    assert 0.93 < np.mean(held) < 0.98
    assert 0.9 < np.mean(whole) <= 1

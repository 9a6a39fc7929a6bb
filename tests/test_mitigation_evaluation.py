"""What an evaluation of a mitigation says of two runs whose labels are known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from mitigation_runs import (
    CLASSES,
    ENCODER,
    PLANTED,
    POLICY,
    STATED,
    TEMPLATES,
    calibrations,
    drawn,
    make_run,
    record,
    spec,
)

from auditkit.errors import TableError
from auditkit.guidance import Policy
from auditkit.guidance.evaluated import Evaluation, published, read, write
from auditkit.guidance.evaluation import evaluate
from auditkit.guidance.study import COLUMNS
from auditkit.guidance.verdicts import BETTER, INSUFFICIENT, NOT_BETTER, verdicts

EVEN = dict.fromkeys(PLANTED, 0.5)


def effects(tmp: Path, before: Any, after: Any, *, name: str = "method", policy: Policy = POLICY, **more: Any) -> Any:
    runs = {key: more.pop(key, {}) for key in ("first", "second")}
    of = more.pop("of", spec())
    a = make_run(tmp / "a", before, seed=1, of=of, **runs["first"])
    b = make_run(tmp / "b", after, seed=2, of=of, mitigation=name, pixels=1, **runs["second"])
    return evaluate(a, b, policy, method=name, encoder=ENCODER, calibrations=calibrations(), n_boot=400, **more)


def rows(table: pd.DataFrame, measure: str, **where: str) -> list[dict[Any, Any]]:
    chosen = table[table["measure"] == measure]
    for column, value in where.items():
        chosen = chosen[chosen[column] == value]
    return chosen.to_dict("records")


@pytest.fixture(scope="module")
def worked(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    tmp = tmp_path_factory.mktemp("worked")
    return effects(tmp, drawn(PLANTED), drawn(EVEN), second={"ms": 10.0})


def test_the_table_has_its_columns_and_no_number_where_nothing_is_claimed(worked: pd.DataFrame) -> None:
    assert list(worked.columns) == list(COLUMNS)
    silent = worked[worked["status"] != "ok"]
    assert silent[["estimate", "ci_low", "ci_high"]].isna().all(axis=None)
    assert silent["note"].str.len().min() > 0


def test_a_mitigation_that_meets_its_target_is_better_than_doing_nothing(worked: pd.DataFrame) -> None:
    (found,) = verdicts(worked, judge=ENCODER, attribute="gender")
    assert found.verdict == BETTER
    assert found.headline == "unbalanced"
    (cut,) = rows(worked, "reduction", attribute="gender", group="unbalanced")
    assert cut["ci_low"] < 1
    assert cut["ci_high"] >= 0.95
    assert cut["estimate"] > 0.6
    (after,) = rows(worked, "level_after", attribute="gender", group="unbalanced")
    assert after["ci_low"] == 0
    assert 0 < after["null_value"] < 0.2


def test_unbalanced_groups_are_those_planted_so_and_not_those_that_look_so(worked: pd.DataFrame) -> None:
    (row,) = rows(worked, "distance", attribute="gender", group="unbalanced")
    assert row["note"].startswith("over 3 groups")
    assert [r["group"] for r in rows(worked, "stayed_balanced", attribute="gender")] == ["artist"]


def test_without_a_planted_table_the_verdict_rests_on_all_groups(tmp_path: Path) -> None:
    table = effects(tmp_path, drawn(PLANTED), drawn(EVEN), first={"planted": False}, second={"planted": False})
    (found,) = verdicts(table, judge=ENCODER, attribute="gender")
    assert found.headline == "all"
    assert found.verdict == BETTER


def test_a_mitigation_that_does_nothing_is_not_better_than_doing_nothing(tmp_path: Path) -> None:
    table = effects(tmp_path, drawn(PLANTED), drawn(PLANTED))
    (found,) = verdicts(table, judge=ENCODER, attribute="gender")
    assert found.verdict == NOT_BETTER


def test_one_that_leads_away_from_the_target_is_not_better_and_its_price_is_told(tmp_path: Path) -> None:
    worse = {"judge": 0.0, "mechanic": 0.0, "teacher": 1.0, "artist": 0.0}
    table = effects(tmp_path, drawn(PLANTED), drawn(worse, dark=0.8, right=0.7))
    (found,) = verdicts(table, judge=ENCODER, attribute="gender")
    assert found.verdict == NOT_BETTER
    told = "; ".join(found.prices)
    assert "occupation fidelity -" in told
    assert "skin tone shifted" in told
    assert "1 balanced group off target (gender)" in told


def test_a_majority_that_turned_into_the_opposite_one_is_counted(tmp_path: Path) -> None:
    over = {"judge": 0.95, "mechanic": 0.05, "teacher": 0.9, "artist": 0.5}
    (row,) = rows(effects(tmp_path, drawn(PLANTED), drawn(over)), "majority_turned", attribute="gender")
    assert row["estimate"] == 1
    assert row["note"] == "judge from male to female"


def test_mcnemar_is_exact_and_adjusted_over_the_groups(worked: pd.DataFrame) -> None:
    from scipy import stats

    found = [r for r in rows(worked, "flips", attribute="gender") if r["group"] != "all"]
    assert [r["group"] for r in found] == CLASSES["occupation"]
    for r in found:
        gained, lost = (int(part.split()[0]) for part in r["note"].split(";")[0].split(", "))
        assert r["p_value"] == pytest.approx(stats.binomtest(gained, gained + lost).pvalue)
        assert r["estimate"] == pytest.approx((gained - lost) / r["n_pairs"])
        assert r["p_holm"] >= r["p_value"]


def test_what_was_not_targeted_and_did_not_move_is_not_called_shifted(worked: pd.DataFrame) -> None:
    assert {r["attribute"] for r in rows(worked, "shift")} == {"skin_tone", "occupation"}
    assert min(r["p_holm"] for r in rows(worked, "shift")) > 0.05


def test_seconds_are_a_ratio(worked: pd.DataFrame) -> None:
    (row,) = rows(worked, "seconds")
    assert row["estimate"] == pytest.approx(2)


def test_unknown_images_are_bounded(tmp_path: Path) -> None:
    table = effects(tmp_path, drawn(PLANTED), drawn(EVEN, unknown=0.3))
    (row,) = rows(table, "bounds_after", attribute="gender", group="judge")
    assert row["ci_high"] - row["ci_low"] > 0.15
    assert np.isnan(row["estimate"])
    (more,) = rows(table, "unknown", attribute="gender")
    assert 0.2 < more["estimate"] < 0.4


def test_prompts_that_state_it_are_held_to_be_left_alone_and_not_to_the_target(tmp_path: Path) -> None:
    of = spec(templates=[*TEMPLATES, STATED])
    table = effects(tmp_path, drawn(PLANTED), drawn(EVEN), of=of)
    (alone,) = rows(table, "left_alone")
    assert alone["estimate"] == 1
    assert alone["n_prompts"] == 4
    (whole,) = rows(table, "distance", attribute="gender", group="all")
    assert whole["n_prompts"] == 24


def test_the_joint_distance_stands_beside_that_of_gender(worked: pd.DataFrame) -> None:
    (row,) = rows(worked, "distance", attribute="gender+skin_tone", group="unbalanced")
    assert row["after"] < row["before"]


def test_a_joint_target_is_judged_jointly_and_part_by_part(tmp_path: Path) -> None:
    cells = {f"{g}+{t}": 0.1 for g in CLASSES["gender"] for t in CLASSES["skin_tone"]}
    joint = Policy("gender+skin_tone", {"all": cells})
    table = effects(tmp_path, drawn(PLANTED), drawn(EVEN), policy=joint)
    assert {r["attribute"] for r in rows(table, "reduction")} == {"gender", "skin_tone", "gender+skin_tone"}
    assert {r["attribute"] for r in rows(table, "shift")} == {"occupation"}


def test_few_images_are_insufficient_and_no_verdict_is_passed(tmp_path: Path) -> None:
    table = effects(tmp_path, drawn(PLANTED), drawn(EVEN), of=spec(images=2))
    (found,) = verdicts(table, judge=ENCODER, attribute="gender")
    assert found.verdict == INSUFFICIENT
    assert "12 images have a label" in found.why


def test_groups_whose_images_the_judge_no_longer_knows_are_not_left_out_to_flatter_a_method(tmp_path: Path) -> None:
    table = effects(tmp_path, drawn(PLANTED), drawn(EVEN), second={"outside": "teacher"})
    (row,) = rows(table, "distance", attribute="gender", group="unbalanced")
    assert row["note"].startswith("over 2 of 3 groups; nothing is claimed of teacher")
    (worst,) = rows(table, "worst_change", attribute="gender", group="unbalanced")
    assert row["estimate"] < worst["estimate"] < 0
    (found,) = verdicts(table, judge=ENCODER, attribute="gender")
    assert found.verdict == BETTER
    bad = table["measure"] == "worst_change"
    (found,) = verdicts(table.assign(estimate=table["estimate"].mask(bad, 0.1)), judge=ENCODER, attribute="gender")
    assert found.verdict == INSUFFICIENT
    assert "could outweigh the gain" in found.why


def test_without_a_calibration_no_distance_is_claimed_but_what_was_counted_is_told(tmp_path: Path) -> None:
    a, b = (make_run(tmp_path / n, drawn(PLANTED), seed=i, mitigation="m" if i else "") for i, n in enumerate("ab"))
    table = evaluate(a, b, POLICY, method="m", encoder=ENCODER, n_boot=200)
    assert {r["status"] for r in rows(table, "distance")} == {"uncalibrated"}
    assert all(np.isfinite(r["ci_low"]) for r in rows(table, "bounds_before"))
    (shift, *_) = rows(table, "shift", attribute="skin_tone")
    assert "lower bound" in shift["note"]
    assert np.isfinite(shift["estimate"])
    (found,) = verdicts(table, judge=ENCODER, attribute="gender")
    assert found.verdict == INSUFFICIENT


def test_of_many_methods_that_do_nothing_hardly_one_is_called_better() -> None:
    rng, alarms = np.random.default_rng(0), 0
    for _ in range(60):
        made = pd.DataFrame(
            {"encoder": ENCODER, "method": [f"m{i}" for i in range(8)], "measure": "distance", "attribute": "gender",
             "group_by": "set", "group": "all", "status": "ok", "estimate": -0.1, "p_value": rng.random(8),
             "ci_low": -1.0, "ci_high": 1.0, "p_holm": 1.0, "note": ""}
        )  # fmt: skip
        alarms += any(v.verdict == BETTER for v in verdicts(made, judge=ENCODER, attribute="gender"))
    assert alarms <= 8  # 5% of 60, and 3 standard errors


def test_runs_of_other_seeds_are_refused(tmp_path: Path) -> None:
    a = make_run(tmp_path / "a", drawn(PLANTED), seed=1)
    b = make_run(tmp_path / "b", drawn(EVEN), seed=2, of=spec().model_copy(update={"seed": 9}), mitigation="m")
    with pytest.raises(TableError, match="seeds do not"):
        evaluate(a, b, POLICY, method="m", encoder=ENCODER, calibrations=calibrations())


def test_an_evaluation_is_read_as_it_was_written_and_a_damaged_one_is_refused(
    tmp_path: Path, worked: pd.DataFrame
) -> None:
    made = Evaluation(record(worked), worked)
    write(tmp_path, made)
    pd.testing.assert_frame_equal(read(tmp_path).effects, worked)
    assert read(tmp_path).verdicts["method"].verdict == BETTER
    bad = worked.assign(ci_low=worked["ci_high"] + 1)
    write(tmp_path, Evaluation(made.record, bad))
    with pytest.raises(TableError, match="impossible"):
        read(tmp_path)
    (tmp_path / "mitigation.json").write_text("{}")
    with pytest.raises(TableError, match="no evaluation of mitigations"):
        read(tmp_path)


def test_every_published_row_says_what_differs_and_gives_a_figure_or_says_that_there_is_none() -> None:
    for name, each in published().items():
        for row in each:
            assert set(row) == {"paper", "model", "measured", "figure", "differs"}, name
            assert "arXiv" in row["paper"]
            assert row["figure"]

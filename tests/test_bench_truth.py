"""The known-truth bench: what is composed has the shares that were dialled, and the table tells who may be trusted."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from bench_helpers import make_pool

from auditkit.errors import SpecError, TableError
from auditkit.stats.estimators import DEFAULT, ESTIMATORS, misfit
from benchmarks.truth.compose import Population, load_settings
from benchmarks.truth.constants import Varied
from benchmarks.truth.run import bench, chosen, run
from benchmarks.truth.simulate import simulate
from benchmarks.truth.table import COVERS, FAILS, HOLDS, REFUSED, WARNED, WIDE, finding, markdown, summarise


@pytest.fixture(scope="module")
def pool():
    return make_pool()


@pytest.fixture(scope="module")
def population(pool):
    return Population(pool)


def setting(name: str, **changes):
    return load_settings([name])[0].model_copy(update=changes)


def ours(*names: str):
    return {name: ESTIMATORS[name] for name in names}


def row(**changes):
    fine = {"shown": 1.0, "caution": 0.0, "bias": 0.0, "bias_error": 0.001, "silent": 0.05}
    return fine | {"coverage": 0.95, "coverage_low": 0.94, "coverage_high": 0.96} | changes


def test_every_setting_has_shares_that_sum_to_one_and_words_for_what_it_is():
    settings = load_settings()
    assert len(settings) >= 25
    for each in settings:
        assert each.about
        for attribute in each.attributes:
            assert np.allclose(each.truth(attribute).sum(axis=1), 1)


def test_an_unknown_setting_or_estimator_is_a_clear_error():
    with pytest.raises(SpecError, match="no setting sideways"):
        chosen(["sideways"], [])
    with pytest.raises(SpecError, match="no estimator"):
        chosen([], ["guesswork"])


def test_without_a_corpus_the_error_names_the_command_that_builds_one(tmp_path: Path):
    with pytest.raises(TableError) as caught:
        bench(tmp_path / "out", corpus=tmp_path / "corpus")
    assert "auditkit corpus build --out" in caught.value.mend


def test_an_audits_images_have_the_classes_that_were_dialled(population):
    one = setting("skewed", prompts=40, images=100)
    drawn = population.audit(one, "skin_tone", np.random.default_rng(0))
    assert (population.pool.table["skin_tone"].to_numpy()[drawn.row] == drawn.truth).all()
    shares = np.bincount(drawn.truth, minlength=5) / 4000
    assert np.abs(shares - one.truth("skin_tone")[0]).max() < 0.03


def test_a_joint_audit_pairs_the_classes_as_dialled(population):
    one = setting("joint-associated", prompts=40, images=100)
    drawn = population.audit(one, "gender+skin_tone", np.random.default_rng(0))
    table = population.pool.table
    pair = (table["gender"] * 5 + table["skin_tone"]).to_numpy()[drawn.row]
    assert (pair == drawn.truth).all()
    assert np.abs(np.bincount(pair, minlength=10) / 4000 - np.ravel(one.joint)).max() < 0.03


def test_prompts_differ_by_the_intraclass_correlation_that_was_dialled(population):
    one = setting("strongly-clustered", prompts=400, images=20)
    drawn = population.audit(one, "gender", np.random.default_rng(0))
    by_prompt = np.bincount(drawn.prompt, drawn.truth) / 20
    p = one.truth("gender")[0, 1]
    expected = p * (1 - p) * (1 + 19 * one.icc) / 20
    assert by_prompt.var() == pytest.approx(expected, rel=0.2)


def test_images_are_shown_at_the_qualities_and_in_the_style_asked_for(population):
    one = setting("ruined-in-part", prompts=40, images=100)
    drawn = population.audit(one, "gender", np.random.default_rng(0))
    shown = population.pool.table.iloc[drawn.row]
    assert set(shown["quality"]) == {"clean", "ruined"}
    assert (shown["quality"] == "ruined").mean() == pytest.approx(0.2, abs=0.03)
    assert set(shown["style"]) == {"seen"}


def test_a_class_can_be_hidden_more_often_than_another(population):
    one = setting("unknown-shift", prompts=40, images=100)
    drawn = population.audit(one, "gender", np.random.default_rng(0))
    ruined = (population.pool.table["quality"] == "ruined").to_numpy()[drawn.row]
    rates = [ruined[drawn.truth == c].mean() for c in (0, 1)]
    assert rates == pytest.approx(one.hidden["gender"], abs=0.03)


def test_a_calibration_rests_on_the_drawings_asked_for(population):
    found = population.calibration(setting("tiny-class"), "gender", np.random.default_rng(0))
    assert found.n_sources == [130, 20]
    assert found.n_images == 4 * 150


def test_no_image_vouches_for_a_copy_of_itself(pool):
    inside = pool.inside("seen", ("clean",))
    clean = pool.table["quality"] == "clean"
    share = pd.Series(inside[clean]).groupby(pool.table["style"][clean].to_numpy()).mean()
    assert share["seen"] == pytest.approx(0.99, abs=0.01)
    assert share["unseen"] < 0.5


def test_where_the_assumptions_hold_the_default_estimator_holds(population):
    one = setting("skewed")
    found = simulate(one, population, ours(DEFAULT), audits=60, seed=0)[DEFAULT]
    for each in summarise(one, DEFAULT, found):
        assert each["finding"] in (HOLDS, WIDE)
        assert each["shown"] == 1


def test_classify_and_count_fails_where_the_classifier_errs(population):
    one = setting("weak", prompts=40, images=50, calibration=setting("weak").calibration)
    found = simulate(one, population, ours("classify-and-count", DEFAULT), audits=25, seed=0)
    counted, corrected = (summarise(one, name, table)[1] for name, table in found.items())
    assert counted["coverage"] < 0.85 < corrected["coverage"]
    assert abs(counted["bias"]) > abs(corrected["bias"])


def test_an_unseen_style_is_refused(population):
    one = setting("unseen")
    found = simulate(one, population, ours(DEFAULT), audits=4, seed=0)[DEFAULT]
    assert [each["finding"] for each in summarise(one, DEFAULT, found)] == [REFUSED, REFUSED]
    assert set(found["note"]) == {"the images are unlike the calibration's"}


def test_an_estimators_numbers_do_not_hang_on_which_others_are_asked_for(population):
    one = setting("small")
    alone = simulate(one, population, ours(DEFAULT), audits=3, seed=0)[DEFAULT]
    beside = simulate(one, population, ours("classify-and-count", DEFAULT), audits=3, seed=0)[DEFAULT]
    pd.testing.assert_frame_equal(alone, beside)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, HOLDS),
        ({"coverage_low": 0.975, "coverage_high": 0.99}, WIDE),
        ({"coverage_high": 0.9}, WARNED),
        ({"coverage_high": 0.9, "silent": 0.2}, FAILS),
        ({"bias": 0.05}, COVERS),
        ({"bias": 0.05, "coverage_high": 0.9, "silent": 0.2}, FAILS),
        ({"bias": 0.011}, HOLDS),
        ({"shown": 0.03, "coverage_high": 0.9, "silent": 0.02}, REFUSED),
        ({"shown": 0.0, "bias": np.nan, "coverage": np.nan}, REFUSED),
    ],
)
def test_the_finding_says_whether_an_estimate_may_be_trusted(changes, expected):
    assert finding(row(**changes)) == expected


def test_coverage_counts_the_estimates_that_are_shown_and_unguarded_all_of_them():
    rows = pd.DataFrame(
        {
            "audit": [0, 1, 2, 3], "attribute": "gender", "category": 0, "truth": 0.5, "estimate": [0.5, 0.5, 0.7, 0.9],
            "low": [0.4, 0.4, 0.6, 0.8], "high": [0.6, 0.6, 0.8, 1.0], "shown": [True, True, True, False],
            "caution": [False, True, False, False], "shift": False, "slack": 0.0, "note": "",
        }
    )  # fmt: skip
    found = summarise(setting("even"), "any", rows)[0]
    assert found["shown"] == 0.75
    assert found["coverage"] == pytest.approx(2 / 3)
    assert found["unguarded"] == 0.5
    assert found["silent"] == 0.25
    assert found["caution"] == pytest.approx(1 / 3)
    assert found["bias"] == pytest.approx(0.2 / 3)


def test_a_caution_that_comes_with_every_estimate_is_no_warning():
    rows = pd.DataFrame(
        {
            "audit": range(40), "attribute": "gender", "category": 0, "truth": 0.5, "estimate": 0.7, "low": 0.6,
            "high": 0.8, "shown": True, "caution": True, "shift": False, "slack": 0.0, "note": "",
        }
    )  # fmt: skip
    assert summarise(setting("even"), "bayesian", rows)[0]["finding"] == WARNED
    assert summarise(setting("even"), "cleam", rows)[0]["finding"] == FAILS


def test_a_stopped_bench_goes_on_and_gives_the_same_table(pool, tmp_path: Path, monkeypatch):
    settings = load_settings(["small", "one-prompt"])
    whole = run(pool, settings, [DEFAULT], tmp_path / "whole", audits=3, seed=0)
    ticks = []

    def stop(done: int, total: int) -> None:
        ticks.append(done)
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(pool, settings, [DEFAULT], tmp_path / "cut", audits=3, seed=0, progress=stop)
    done = tmp_path / "cut" / "audits" / f"small@{DEFAULT}.parquet"
    before = done.stat().st_mtime_ns
    again = run(pool, settings, [DEFAULT], tmp_path / "cut", audits=3, seed=0)
    pd.testing.assert_frame_equal(whole, again)
    assert done.stat().st_mtime_ns == before
    for name in ("truth.csv", "truth.json", "truth.md"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "cut" / name).read_bytes()


def test_what_was_kept_of_another_seed_is_made_again(pool, tmp_path: Path):
    settings = load_settings(["small"])
    first = run(pool, settings, [DEFAULT], tmp_path, audits=2, seed=0)
    second = run(pool, settings, [DEFAULT], tmp_path, audits=2, seed=1)
    assert not first["rmse"].equals(second["rmse"])


def test_the_files_hold_table_and_figure(pool, tmp_path: Path):
    table = run(pool, load_settings(["small"]), [DEFAULT], tmp_path, audits=2, seed=0)
    assert len(json.loads((tmp_path / "truth.json").read_text())) == len(table) == 2
    assert "| small | gender |" in markdown(table, DEFAULT)
    assert (tmp_path / "truth.svg").read_text().startswith("<svg")


def test_a_class_mix_far_from_the_calibrations_is_told_but_is_no_warning_of_a_wrong_number(population):
    found = simulate(setting("label-shift"), population, ours(DEFAULT), audits=4, seed=0)[DEFAULT]
    assert found["shift"].all()
    assert not found["caution"].all()


def test_a_constant_is_varied_for_one_estimator_and_then_as_it_ships(population):
    one = setting("ruin-shift")
    found = simulate(one, population, {"lax": Varied("MISFIT", 0.0), "strict": Varied("MISFIT", 1.1)}, audits=3, seed=0)
    assert (found["lax"]["slack"] == 0).all()
    strict = found["strict"]
    assert (strict["slack"] > 0).all() or strict["estimate"].isna().any()
    assert misfit.MISFIT == 0.001

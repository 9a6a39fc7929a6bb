"""What the bench certifies is what ships: the measure `representation`, on a run on disk, gives the same numbers."""

from __future__ import annotations

import numpy as np
import pytest
from bench_helpers import compose_run, make_pool

from auditkit.bias.outcomes import read_confusion, read_outcomes
from auditkit.bias.representation import measure
from auditkit.stats.estimators import DEFAULT, ESTIMATORS, Evidence
from benchmarks.truth.compose import Population, load_settings
from benchmarks.truth.pool import ATTRIBUTES


@pytest.fixture(scope="module")
def composed(tmp_path_factory: pytest.TempPathFactory):
    population, setting = Population(make_pool()), load_settings(["groups"])[0]
    rng = np.random.default_rng(1)
    calibrations = {name: population.calibration(setting, name, rng) for name in ATTRIBUTES}
    run = compose_run(tmp_path_factory.mktemp("composed"), population, setting, calibrations, seed=2)
    return run, setting, calibrations, measure(run, by="group", n_boot=2000, calibrations=calibrations)


@pytest.mark.parametrize("attribute", ATTRIBUTES)
def test_a_composed_run_is_corrected_to_the_shares_that_were_dialled(composed, attribute):
    _, setting, calibrations, found = composed
    truth = setting.truth(attribute)
    rows = found[(found["measure"] == "representation.corrected") & (found["attribute"] == attribute)]
    covered = []
    for i, shares in enumerate([*truth, truth.mean(axis=0)]):
        name = "all" if i == len(truth) else f"group {i}"
        group = rows[rows["group"] == name].set_index("category").loc[calibrations[attribute].classes]
        assert set(group["status"]) == {"ok"}
        assert np.abs(group["estimate"] - shares).max() < 0.25
        covered += list((group["ci_low"] <= shares) & (shares <= group["ci_high"]))
    assert np.mean(covered) > 0.85


@pytest.mark.parametrize("attribute", ATTRIBUTES)
def test_the_measure_and_the_bench_give_the_same_intervals(composed, attribute):
    run, _, calibrations, found = composed
    images = run.images()
    seen = read_outcomes(run, images, attribute, "personas-clip")
    confusion, why = read_confusion(seen, "personas-clip", calibrations)
    assert why == ""
    group = np.unique(images["axis_group"], return_inverse=True)[1]
    evidence = Evidence(seen.label, images["prompt_id"].to_numpy(np.intp), confusion=confusion, stratum=group)
    made = ESTIMATORS[DEFAULT].estimate(evidence, rng=np.random.default_rng(0), replicates=2000)
    rows = found[(found["measure"] == "representation.corrected") & (found["attribute"] == attribute)]
    whole = rows[rows["group"] == "all"].set_index("category").loc[calibrations[attribute].classes]
    assert whole["estimate"].to_numpy() == pytest.approx(made.shares, abs=1e-9)
    assert whole["ci_low"].to_numpy() == pytest.approx(made.low, abs=0.01)
    assert whole["ci_high"].to_numpy() == pytest.approx(made.high, abs=0.01)

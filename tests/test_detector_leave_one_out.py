from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from detector_eval_helpers import examples_of, folds_of, make_data, origin_folds_of

from auditkit.errors import DetectorError, PluginError
from detectors import leave_one_out, outcomes, robustness
from detectors.examples import Examples
from detectors.families.spectrum import Spectrum
from detectors.leave_one_out import Contender, Outcome, usual

SPECTRUM = Contender("spectrum", "spectrum")
STEPS = robustness.steps(["blur:2"])


@pytest.fixture(scope="module")
def examples(tmp_path_factory) -> Examples:
    return examples_of(make_data(tmp_path_factory.mktemp("data")))


@pytest.fixture(scope="module")
def made(examples, tmp_path_factory) -> list[Outcome]:
    folds = [*folds_of(examples), *origin_folds_of(examples)]
    return leave_one_out.run(examples, folds, [SPECTRUM], tmp_path_factory.mktemp("folds"), steps=STEPS)


def test_a_generator_left_out_is_tested_on_and_never_trained_on(examples, tmp_path, monkeypatch) -> None:
    seen = []
    fit = Spectrum.fit

    def spy(self, given: Examples, **options) -> None:
        seen.append(set(given.table["generator"]))
        fit(self, given, **options)

    monkeypatch.setattr(Spectrum, "fit", spy)
    found = leave_one_out.run(examples, folds_of(examples), [SPECTRUM], tmp_path, steps=robustness.steps([]))
    for outcome, generators in zip(found, seen, strict=True):
        assert outcome.name not in generators
        assert set(outcome.scored["generator"]) == {"", outcome.name}


def test_no_source_is_both_trained_on_and_held_back(examples) -> None:
    pairs = Examples(examples.table.assign(source=[f"s{row // 2}" for row in range(len(examples))]))
    train, development = leave_one_out.halves(pairs, seed=0)
    assert not set(train.sources) & set(development.sources)
    assert len(train) + len(development) == len(pairs)
    assert set(development.table["generator"]) == set(pairs.table["generator"])


def test_a_finished_fold_is_read_and_gives_the_same_table(examples, tmp_path, monkeypatch) -> None:
    first = leave_one_out.run(examples, folds_of(examples), [SPECTRUM], tmp_path, steps=STEPS)
    monkeypatch.setattr(Spectrum, "fit", None)  # a second training would fail
    second = leave_one_out.run(examples, folds_of(examples), [SPECTRUM], tmp_path, steps=STEPS)
    assert outcomes.results(first).equals(outcomes.results(second))


def test_a_fold_cut_off_in_the_middle_goes_on(examples, tmp_path, monkeypatch) -> None:
    fit, calls = Spectrum.fit, []

    def once(self, *arguments, **options) -> None:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        fit(self, *arguments, **options)

    monkeypatch.setattr(Spectrum, "fit", once)
    with pytest.raises(KeyboardInterrupt):
        leave_one_out.run(examples, folds_of(examples), [SPECTRUM], tmp_path, steps=STEPS)
    assert len(leave_one_out.run(examples, folds_of(examples), [SPECTRUM], tmp_path, steps=STEPS)) == 3
    assert len(calls) == 4  # one done, one cut off, two more


@pytest.mark.parametrize("change", ["seed", "options", "steps", "damage"])
def test_a_fold_made_otherwise_or_damaged_is_made_again(examples, tmp_path, change) -> None:
    fold = folds_of(examples)[:1]
    leave_one_out.run(examples, fold, [SPECTRUM], tmp_path, steps=STEPS)
    (record,) = tmp_path.rglob("*.json")
    before = record.stat().st_mtime_ns
    contender, steps, seed = SPECTRUM, STEPS, 0
    if change == "seed":
        seed = 1
    elif change == "options":
        contender = Contender("spectrum", "spectrum", {"bins": 20})
    elif change == "steps":
        steps = robustness.steps(["jpeg:75"])
    else:
        next(tmp_path.rglob("*.scores.parquet")).write_bytes(b"no table")
    leave_one_out.run(examples, fold, [contender], tmp_path, steps=steps, seed=seed)
    assert record.stat().st_mtime_ns > before


def test_the_table_has_a_row_an_estimate_in_the_schema(made) -> None:
    table = outcomes.results(made)
    assert list(table.columns) == [*outcomes.KEYS, *outcomes.ESTIMATE]
    assert set(table["status"]) <= {"ok", "insufficient", "uncalibrated"}
    insufficient = table[table["status"] == "insufficient"]
    assert insufficient[["estimate", "ci_low", "ci_high"]].isna().all(axis=None)
    told = table[table["estimate"].notna()]
    assert ((told["ci_low"] <= told["estimate"]) & (told["estimate"] <= told["ci_high"])).all()
    assert not table.duplicated(list(outcomes.KEYS)).any()


def test_the_mean_and_the_worst_are_those_of_the_generators_left_out(made) -> None:
    table = outcomes.results(made)
    own = table[(table.metric == "auroc") & (table.left == "generator") & (table.degradation == "none")]
    singles = own[own.held_out != outcomes.MEAN]
    assert own.set_index("held_out").loc[outcomes.MEAN, "estimate"] == pytest.approx(singles["estimate"].mean())
    worst = outcomes.worst(table).set_index("left").loc["generator"]
    assert worst["estimate"] == singles["estimate"].min()


def test_the_spectrum_finds_a_ripple_that_it_was_not_shown_and_loses_it_to_blur(made) -> None:
    table = outcomes.results(made)
    mean = table[(table.held_out == outcomes.MEAN) & (table.left == "generator")].set_index("degradation")["estimate"]
    assert mean["none"] > 0.8
    assert mean["blur:2"] < mean["none"]


def test_a_few_hundred_real_images_give_no_rate_at_one_percent(made) -> None:
    table = outcomes.accusations(made)
    assert set(table["held_out"]) == {"camera", "scanner"}
    assert set(table["status"]) == {"insufficient"}
    assert table["sentence"].str.contains("too few").all()


def test_every_table_of_an_evaluation_has_rows(made) -> None:
    table = outcomes.results(made)
    assert len(outcomes.reliabilities(made)) > 0
    curve = outcomes.curves(made)
    assert curve["fpr"].max() <= 0.1
    alarms = outcomes.alarms(table, base_rate=0.01, volume=1000)
    assert set(alarms["measure"]) == {"alarms", "false_alarms", "misses", "precision", "false_omission"}


def test_too_few_sources_are_told(examples, tmp_path) -> None:
    few = examples.where(np.arange(len(examples)) % 4 == 0)
    with pytest.raises(DetectorError, match="sources of"):
        leave_one_out.run(few, folds_of(few), [SPECTRUM], tmp_path, steps=STEPS)
    assert not list(tmp_path.rglob("*.json"))


def test_an_unknown_family_or_option_is_told_before_the_work(examples, tmp_path) -> None:
    with pytest.raises(PluginError, match="there is no 'spectrun'"):
        leave_one_out.run(examples, folds_of(examples), [Contender("x", "spectrun")], tmp_path, steps=STEPS)
    wrong = Contender("spectrum", "spectrum", {"depth": 3})
    with pytest.raises(DetectorError, match="does not take these options"):
        leave_one_out.run(examples, folds_of(examples), [wrong], tmp_path, steps=STEPS)
    assert not list(Path(tmp_path).rglob("*"))


def test_a_baseline_that_is_trained_in_steps_gets_as_many_as_its_rival() -> None:
    given = {each.name: dict(each.options) for each in usual({"steps": 7, "mix": 0.1})}
    assert given == {"clip-linear": {}, "cnn-resized": {"steps": 7}, "npr": {"steps": 7}, "spectrum": {}}
    assert {each.name: dict(each.options) for each in usual({})} == {name: {} for name in given}

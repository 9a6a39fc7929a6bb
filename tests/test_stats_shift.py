from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from estimators_helpers import evidence

from auditkit.stats.confusion import Confusion
from auditkit.stats.estimators import Evidence
from auditkit.stats.shift import calibration_mix, conditional_shift, label_shift

SHARES = {2: [0.8, 0.2], 5: [0.4, 0.25, 0.15, 0.12, 0.08]}


def p_values(k: int, audits: int, seed: int = 0, **options) -> np.ndarray:
    rng = np.random.default_rng(seed)
    made = (evidence(SHARES[k], rng, **options) for _ in range(audits))
    return np.array([conditional_shift(given, rng, replicates=300).p_value for given in made])


@pytest.mark.parametrize("k", [2, 5])
@pytest.mark.parametrize("options", [{"icc": 0.2}, {"sources": 40, "copies": 3}])
def test_without_a_shift_small_p_values_are_as_rare_as_they_say(k, options):
    found = p_values(k, 150, apart=2.5, **options)
    # 150 audits: three standard errors on top.
    assert (found < 0.05).mean() <= 0.11
    assert 0.05 < (found < 0.3).mean() < 0.45


@pytest.mark.parametrize("k", [2, 5])
def test_scorers_less_sure_than_on_the_calibration_are_found(k):
    found = p_values(k, 30, images=30, apart=2.5, moved=0.4)
    assert (found < 0.01).mean() > 0.8


def test_another_class_mix_is_no_conditional_shift_but_a_label_shift():
    rng = np.random.default_rng(1)
    given = evidence([0.95, 0.05], rng, images=50)
    assert conditional_shift(given, rng).p_value > 0.01
    found = label_shift(given)
    assert found.p_value < 1e-6
    assert found.size == pytest.approx(0.45, abs=0.05)


def test_the_same_class_mix_is_no_label_shift():
    rng = np.random.default_rng(2)
    found = [label_shift(evidence([0.5, 0.5], rng, icc=0.1, apart=2)).p_value for _ in range(150)]
    assert np.mean(np.array(found) < 0.05) <= 0.11


def test_the_size_is_the_share_that_no_mixture_explains():
    rng = np.random.default_rng(3)
    same, other = (conditional_shift(evidence([0.5, 0.5], rng, images=100, moved=m), rng) for m in (0.0, 0.5))
    assert same.size < 0.03
    assert other.size > 0.15


def test_what_cannot_be_tested_is_not():
    rng = np.random.default_rng(4)
    given = evidence([0.5, 0.5], rng)
    for lacking in (replace(given, sample=None), replace(given, posterior=None)):
        assert np.isnan(conditional_shift(lacking, rng).p_value)
    known = Evidence(given.outcome, given.prompt, confusion=Confusion(given.confusion.matrix, np.full(2, np.inf)))
    assert np.isnan(label_shift(known).p_value)
    half = replace(given.sample, truth=np.zeros_like(given.sample.truth))
    assert np.isnan(conditional_shift(replace(given, sample=half), rng).p_value)


def test_the_calibrations_mix_counts_sources_not_copies():
    given = evidence([0.5, 0.5], np.random.default_rng(0), sources=10, copies=4)
    kept = given.sample.truth == 0
    kept |= given.sample.source % 2 == 0
    sample = replace(
        given.sample,
        posterior=given.sample.posterior[kept],
        truth=given.sample.truth[kept],
        source=given.sample.source[kept],
    )
    np.testing.assert_allclose(calibration_mix(replace(given, sample=sample)), [2 / 3, 1 / 3])

"""What each estimator of class shares does that the others do not; what all do is in test_estimators_contract.py."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from estimators_helpers import evidence, posteriors

from auditkit.stats.confusion import Confusion
from auditkit.stats.estimators import CalibrationSample, Evidence, get
from auditkit.stats.estimators.em import fit_map, maximised
from auditkit.stats.estimators.misfit import MATERIAL
from auditkit.stats.estimators.ppi import MIN_LABELS, power


def estimate(name: str, given: Evidence, **options):
    options = {"replicates": 400, "rng": np.random.default_rng(0), **options}
    return get(name).estimate(given, **options)


def coverage(name: str, shares: list[float], audits: int, **options) -> tuple[np.ndarray, np.ndarray]:
    """Share of intervals that hold the truth, and bias."""
    rng, held, total = np.random.default_rng(6), np.zeros(len(shares)), np.zeros(len(shares))
    for _ in range(audits):
        found = estimate(name, evidence(shares, rng, **options), rng=rng, replicates=300)
        held += (found.low <= shares) & (shares <= found.high)
        total += found.shares
    return held / audits, total / audits - shares


@pytest.mark.parametrize("name", ["adjusted-count", "em", "bayesian", "ppi"])
def test_intervals_hold_the_truth_about_95_times_in_100(name):
    held, bias = coverage(name, [0.75, 0.25], 100, images=10, icc=0.05, apart=2, labels=60)
    # 100 audits: three standard errors are .065.
    assert np.all(held > 0.885)
    assert np.all(np.abs(bias) < 0.025)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["adjusted-count", "em", "bayesian", "ppi"])
@pytest.mark.parametrize("shares", [[0.75, 0.25], [0.4, 0.3, 0.15, 0.1, 0.05]])
def test_coverage_is_92_to_98_over_many_audits_but_for_em_in_a_rare_class(name, shares):
    held, bias = coverage(name, shares, 400, images=20, icc=0.1, apart=2.5, labels=100)
    # A bootstrap of ten prompts knows little of a class that comes in two of them.
    assert np.all((held > (0.88 if name == "em" else 0.915)) & (held < 0.985))
    assert np.all(np.abs(bias) < 0.012)


def test_the_count_is_off_where_the_scorer_errs_and_says_so():
    given = evidence([0.9, 0.1], np.random.default_rng(1), images=100, apart=1.2, threshold=0.5)
    found = estimate("classify-and-count", given)
    assert found.high[0] < 0.9
    assert any("not corrected" in c for c in found.cautions)
    assert any("some share is off by" in c for c in found.cautions)
    assert any("class mix" in c for c in found.cautions)
    assert estimate("adjusted-count", given).low[0] < 0.9 < estimate("adjusted-count", given).high[0]


def test_cleams_interval_is_far_too_narrow_and_its_caution_says_so():
    rng, held = np.random.default_rng(3), 0
    for _ in range(60):
        found = estimate("cleam", evidence([0.7, 0.3], rng, images=20, apart=2), rng=rng)
        held += found.low[0] <= 0.7 <= found.high[0]
    assert held < 40
    assert "comparison only" in found.cautions[0]


def test_cleam_with_the_accuracies_known_inverts_them():
    given = Evidence(
        np.repeat([0, 1], [680, 320]), np.arange(1000), confusion=Confusion.from_counts([[90, 20], [10, 80], [0, 0]])
    )
    found = estimate("cleam", given)
    assert found.free[0] == pytest.approx((0.68 - 0.2) / 0.7, abs=0.01)


def test_unexplained_outcomes_widen_the_adjusted_count_up_to_a_share_and_are_refused_beyond():
    confusion = Confusion.from_counts(np.array([[0.93, 0.03], [0.03, 0.93], [0.04, 0.04]]) * 200)

    def audit(unknown: int) -> Evidence:
        counts = [(1000 - unknown) // 2, (1000 - unknown) // 2, unknown]
        return Evidence(np.repeat([0, 1, 2], counts), np.arange(sum(counts)) % 20, confusion=confusion)

    fits, departs, breaks = (estimate("adjusted-count", audit(u), null=np.array([0.6, 0.4])) for u in (40, 120, 400))
    assert fits.slack == 0
    assert 0 < departs.slack < MATERIAL
    assert departs.high[0] - departs.low[0] > fits.high[0] - fits.low[0] + 2 * departs.slack - 0.01
    assert departs.p_values[0] > fits.p_values[0]
    assert "errs differently" in breaks.refused
    assert "errs differently" in estimate("bayesian", audit(400)).refused
    assert "errs differently" in estimate("bayesian", audit(120)).cautions[0]


def test_few_prompts_and_shares_at_the_boundary_raise_cautions():
    rng = np.random.default_rng(2)
    few = estimate("adjusted-count", evidence([0.6, 0.4], rng, prompts=4))
    one = estimate("adjusted-count", evidence([0.6, 0.4], rng, prompts=1, images=80))
    edge = estimate("adjusted-count", evidence([0.99, 0.01], rng, prompts=15, images=2, apart=2))
    enough = estimate("adjusted-count", evidence([0.6, 0.4], rng, prompts=20))
    assert any("only 4 prompts" in c for c in few.cautions)
    assert any("these prompts only" in c for c in one.cautions)
    assert any("towards the middle" in c for c in edge.cautions)
    assert enough.cautions == ()


def test_the_estimate_before_the_cut_is_right_on_average_where_the_kept_one_is_not():
    rng, kept, free = np.random.default_rng(8), [], []
    for _ in range(200):
        found = estimate("adjusted-count", evidence([0.98, 0.02], rng, images=4, apart=2), replicates=100)
        if found.refused:
            continue
        kept.append(found.shares[1])
        free.append(found.free[1])
    assert np.mean(kept) > 0.03
    assert np.mean(free) == pytest.approx(0.02, abs=0.011)


def test_posteriors_with_the_wrong_temperature_and_bias_are_mended_before_em():
    rng = np.random.default_rng(4)
    given = evidence([0.8, 0.2], rng, images=100, sources=400, apart=1.5)

    def spoilt(f: np.ndarray) -> np.ndarray:
        powers = f**2 * [1, 3]
        return powers / powers.sum(axis=1, keepdims=True)

    sample = replace(given.sample, posterior=spoilt(given.sample.posterior))
    wrong = replace(given, posterior=spoilt(given.posterior), sample=sample)
    right, mended = estimate("em", given).shares, estimate("em", wrong).shares
    assert abs(maximised(wrong.posterior)[0] - 0.8) > 0.05
    np.testing.assert_allclose(mended, right, atol=0.01)


def test_a_map_of_honest_posteriors_is_nearly_none():
    rng, known = np.random.default_rng(0), np.repeat([0, 1, 2], 2000)
    sample = CalibrationSample(posteriors(known, 3, rng, apart=1.5), known, np.arange(6000))
    np.testing.assert_allclose(fit_map(sample).theta, [1, 0, 0], atol=0.12)


def test_copies_of_a_source_count_as_one_for_em():
    once, often = (evidence([0.7, 0.3], np.random.default_rng(5), sources=40, copies=c, apart=2) for c in (1, 6))
    narrow, wide = (estimate("em", given, replicates=2000) for given in (once, often))
    np.testing.assert_allclose(wide.shares, narrow.shares, atol=1e-6)
    np.testing.assert_allclose(wide.high - wide.low, narrow.high - narrow.low, rtol=0.05)


def test_a_class_with_hardly_a_source_is_refused_by_em():
    given = evidence([0.7, 0.3], np.random.default_rng(0), sources=3)
    assert "only 3 calibration sources" in estimate("em", replace(given, confusion=None)).refused


def test_too_few_labels_by_people_are_refused():
    given = evidence([0.7, 0.3], np.random.default_rng(0), labels=MIN_LABELS - 1)
    assert f"{MIN_LABELS} are needed" in estimate("ppi", given).refused


def test_labels_by_people_are_right_where_the_scorer_is_not():
    rng, errors = np.random.default_rng(9), []
    for _ in range(40):
        given = evidence([0.8, 0.2], rng, images=40, moved=0.9, labels=150)
        errors.append(estimate("ppi", given).shares[0] - 0.8)
    assert abs(np.mean(errors)) < 0.02


def test_images_more_likely_to_be_asked_about_weigh_less():
    rng, errors = np.random.default_rng(10), []
    for _ in range(40):
        given = evidence([0.5, 0.5], rng, images=40, labels=400, moved=0.9)
        drawn = (given.human >= 0) & (rng.random(400) < np.where(given.human == 0, 0.8, 0.2))
        blind = replace(given, posterior=np.full((400, 2), 0.5), human=np.where(drawn, given.human, -1))
        weighed = replace(blind, inclusion=np.where(given.human == 0, 0.8, 0.2))
        errors.append([estimate("ppi", e).shares[0] - 0.5 for e in (blind, weighed)])
    plain, fair = np.abs(np.mean(errors, axis=0))
    assert plain > 0.2
    assert fair < 0.03


def test_a_good_scorer_makes_the_interval_narrower_than_the_labels_alone():
    given = evidence([0.7, 0.3], np.random.default_rng(3), images=100, labels=100, apart=3.5)
    blind = replace(given, posterior=np.full((given.n, 2), 0.5))
    sharp, alone = estimate("ppi", given), estimate("ppi", blind)
    assert sharp.high[0] - sharp.low[0] < 0.6 * (alone.high[0] - alone.low[0])


def test_power_is_nothing_for_a_scorer_that_says_nothing_and_one_for_a_perfect_one():
    y = np.eye(2)[np.arange(40) % 2]
    assert power(y, np.full((40, 2), 0.5), np.full((80, 2), 0.5)) == 0
    assert power(y, y, np.vstack([y, y])) == pytest.approx(1, abs=0.02)


def test_prompts_that_differ_widen_every_interval():
    rng = np.random.default_rng(12)
    for name in ("classify-and-count", "adjusted-count", "em", "bayesian", "ppi"):
        widths = [
            np.mean([np.ptp([f.low[0], f.high[0]]) for f in (
                estimate(name, evidence([0.6, 0.4], rng, icc=icc, labels=100)) for _ in range(8)
            )])
            for icc in (0.0, 0.3)
        ]  # fmt: skip
        assert widths[1] > 1.3 * widths[0], name

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.optimize import nnls
from stats_helpers import scorer

from auditkit.errors import CalibrationError
from auditkit.stats.confusion import Confusion
from auditkit.stats.corrected import constrained_shares, corrected_shares, inverse
from auditkit.stats.design import clustering, design_effects

COUNTS = st.integers(2, 6).flatmap(
    lambda k: st.lists(st.integers(0, 40), min_size=k + 1, max_size=k + 1).filter(lambda c: sum(c) > 0)
)
TONE = [0.4, 0.25, 0.15, 0.12, 0.08]
C_GENDER = np.array([[0.97, 0.05], [0.03, 0.95], [0, 0]]) * 0.95 + np.array([[0], [0], [0.05]])


@given(COUNTS, st.floats(0.55, 1))
@settings(deadline=None, max_examples=50)
def test_shares_lie_on_the_simplex_inside_an_interval_with_width(counts, right):
    confusion = Confusion.from_counts(scorer(len(counts) - 1, right=right) * 150)
    found = corrected_shares(counts, confusion)
    assert found.shares.sum() == pytest.approx(1)
    assert np.all((found.low >= 0) & (found.low <= found.shares))
    assert np.all((found.high <= 1) & (found.high >= found.shares))
    assert np.all(found.high - found.low > 0.01)


@given(COUNTS, st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=25)
def test_the_order_of_the_classes_does_not_matter_but_for_the_draws(counts, random):
    k = len(counts) - 1
    order = random.sample(range(k), k)
    rows = [*order, k]
    c = scorer(k, right=0.9)
    null = np.arange(1, k + 1) / sum(range(1, k + 1))
    there = corrected_shares(counts, Confusion.from_counts(c * 100), null=null, replicates=6000)
    here = corrected_shares(
        np.array(counts)[rows], Confusion.from_counts(c[np.ix_(rows, order)] * 100), null=null[order], replicates=6000
    )
    for name, tolerance in (("shares", 1e-9), ("low", 0.05), ("high", 0.05), ("p_values", 0.08)):
        np.testing.assert_allclose(getattr(here, name), getattr(there, name)[order], atol=tolerance)


@given(COUNTS.map(lambda c: c[:-1]).filter(lambda c: sum(c) > 0))
@settings(deadline=None, max_examples=25)
def test_a_known_perfect_scorer_gives_the_counted_share_and_jeffreys_interval(counts):
    k = np.array(counts)
    found = corrected_shares(k, Confusion.from_counts(np.eye(len(k)), n_effective=np.inf), replicates=8000)
    np.testing.assert_allclose(found.shares, k / k.sum(), atol=1e-12)
    low, high = stats.beta.ppf([[0.025], [0.975]], k + 0.5, k.sum() - k + 0.5)
    np.testing.assert_allclose(found.low, np.where(k == 0, 0, low), atol=0.05)
    np.testing.assert_allclose(found.high, np.where(k == k.sum(), 1, high), atol=0.05)


@given(st.lists(st.floats(0.01, 1), min_size=2, max_size=6), st.floats(0.6, 1))
@settings(deadline=None)
def test_exact_outcome_shares_give_the_true_class_shares_back(weights, right):
    p = np.array(weights) / sum(weights)
    c = scorer(len(p), right=right)
    np.testing.assert_allclose(constrained_shares(c @ p, c), p, atol=1e-6)


def test_the_solver_agrees_with_non_negative_least_squares():
    rng = np.random.default_rng(0)
    for k in (2, 5, 10):
        c = scorer(k, right=0.8)
        q = rng.dirichlet(np.full(k + 1, 0.3), size=200)
        found = constrained_shares(q, c)
        for row, p in zip(q[:40], found[:40], strict=True):
            heavy = 1e4
            expected, _ = nnls(np.vstack([c, heavy * np.ones(k)]), np.append(row, heavy))
            np.testing.assert_allclose(p, expected, atol=1e-4)


def test_two_classes_without_unknown_are_rogan_and_gladens_estimate_clipped():
    se, sp = 0.9, 0.8
    c = np.array([[se, 1 - sp], [1 - se, sp]])
    for q in np.linspace(0, 1, 21):
        expected = np.clip((q + sp - 1) / (se + sp - 1), 0, 1)
        assert constrained_shares([q, 1 - q], c)[0] == pytest.approx(expected)


def test_all_of_one_kind_still_has_an_interval():
    found = corrected_shares([50, 0, 0], Confusion.from_counts(C_GENDER * 150))
    assert found.shares[0] == 1
    assert 0.9 < found.low[0] < 0.98
    assert 0.02 < found.high[1] < 0.1


def test_a_small_calibration_set_and_clusters_each_widen_the_interval():
    def width(n: float, effect: float) -> float:
        found = corrected_shares([30, 17, 3], Confusion.from_counts(C_GENDER, n_effective=n), effect=effect)
        return float(found.high[0] - found.low[0])

    assert width(np.inf, 1) < width(100, 1) < width(20, 1)
    assert width(100, 1) < width(100, 1.5)


def test_the_p_value_is_small_exactly_where_the_interval_leaves_the_share_out():
    confusion = Confusion.from_counts(C_GENDER * 150)
    for null in np.linspace(0.02, 0.98, 25):
        found = corrected_shares([30, 17, 3], confusion, null=[null, 1 - null])
        inside = (found.low <= [null, 1 - null]) & ([null, 1 - null] <= found.high)
        np.testing.assert_array_equal(found.p_values >= 0.05, inside)


def test_the_p_value_goes_on_falling_beyond_the_draws():
    confusion = Confusion.from_counts(C_GENDER * 150)
    p_values = [corrected_shares([300, 170, 30], confusion, null=[t, 1 - t]).p_values[0] for t in (0.5, 0.4, 0.3)]
    assert 1 > p_values[0] > p_values[1] > p_values[2] > 0
    assert p_values[2] < 1e-6


def test_thirty_right_of_thirty_do_not_say_that_errors_cannot_happen():
    perfect_so_far = Confusion.from_counts([[30, 0], [0, 30], [0, 0]])
    found = corrected_shares([70, 930, 0], perfect_so_far)
    assert found.low[0] < 0.02  # all 7% may be the scorer's errors
    assert found.high[0] < 0.1


def test_a_design_effect_with_few_degrees_of_freedom_widens_the_interval():
    confusion = Confusion.from_counts(C_GENDER * 150)
    sure, unsure = (corrected_shares([30, 17, 3], confusion, effect=2, df=df) for df in (np.inf, 4))
    assert np.all(unsure.high - unsure.low > sure.high - sure.low)


def test_many_matrices_are_inverted_as_one_is():
    rng = np.random.default_rng(0)
    matrices = rng.dirichlet(np.ones(4), size=(5, 3)).swapaxes(1, 2)
    together = inverse(matrices)
    for one, found in zip(matrices, together, strict=True):
        np.testing.assert_allclose(found, inverse(one), atol=1e-6)


def test_misfit_p_values_are_no_more_often_small_than_they_say():
    rng = np.random.default_rng(1)
    p, c, small = np.array([0.95, 0.01, 0.04, 0, 0]), scorer(5, right=0.97, unknown=0.03), 0
    for _ in range(200):
        confusion = Confusion.from_counts(np.stack([rng.multinomial(40, column) for column in c.T], axis=1))
        small += corrected_shares(rng.multinomial(200, c @ p), confusion, replicates=100).fit_p < 0.05
    assert small <= 20


def test_outcomes_that_no_mixture_explains_are_told():
    confusion = Confusion.from_counts(C_GENDER * 150)
    assert corrected_shares([30, 17, 3], confusion).fit_p > 0.05
    assert corrected_shares([5, 5, 40], confusion).fit_p < 0.001


def test_no_images_give_nan():
    found = corrected_shares([0, 0, 0], Confusion.from_counts(C_GENDER * 150))
    assert np.isnan(found.shares).all()
    assert np.isnan(found.low).all()


def test_a_class_without_calibration_images_is_refused():
    with pytest.raises(CalibrationError, match="no calibration images"):
        Confusion.from_counts([[10, 0], [1, 0], [0, 0]])


@pytest.mark.parametrize("counts", [[[1, -1], [0, 2]], [[1, 2]], [[1, float("nan")], [1, 1]]])
def test_a_table_that_is_none_is_refused(counts):
    with pytest.raises(CalibrationError, match="no table"):
        Confusion.from_counts(counts)


@pytest.mark.parametrize("counts", [[[50, 50], [50, 50]], [[8, 6], [2, 4]], [[530, 490], [470, 510]]])
def test_a_scorer_that_cannot_tell_the_classes_apart_is_refused(counts):
    with pytest.raises(CalibrationError, match="hardly tells"):
        Confusion.from_counts(counts).check()


def test_a_good_scorer_passes():
    Confusion.from_counts(C_GENDER * 150).check()
    Confusion.from_counts(scorer(5, right=0.85) * 150).check()


def test_joint_covariance_is_that_of_drawn_matrices():
    joint = Confusion.joint(*(Confusion.from_counts(scorer(k, right=0.85) * 80) for k in (2, 3)))
    p = np.array([0.3, 0.1, 0.1, 0.05, 0.25, 0.2])
    drawn = joint.draw(np.random.default_rng(0), 20_000) @ p
    np.testing.assert_allclose(np.cov(drawn.T), joint.covariance(p), atol=4e-5)


def coverage(
    p: list[float], c: np.ndarray, audits: int, *, icc: float, prompts: int = 10, images: int = 5, sources: int = 150
):
    """Share of intervals that hold the truth, and bias; calibration and design effect estimated anew."""
    rng, truth = np.random.default_rng(7), np.array(p)
    held, total = np.zeros(len(p)), np.zeros(len(p))
    for _ in range(audits):
        drawn = np.stack([rng.multinomial(sources, column) for column in c.T], axis=1)
        own = rng.dirichlet(truth * (1 / icc - 1), size=prompts) if icc else np.tile(truth, (prompts, 1))
        counts = np.stack([rng.multinomial(images, c @ shares) for shares in own])
        confusion = Confusion.from_counts(drawn)
        correlations = clustering([counts]).draw(inverse(confusion.matrix), rng, 500)
        effect = design_effects(correlations, counts.sum(axis=1))
        result = corrected_shares(counts.sum(axis=0), confusion, effect=effect, rng=rng)
        held += (result.low <= truth) & (truth <= result.high)
        total += result.shares
    return held / audits, total / audits - truth


@pytest.mark.parametrize("p", [[0.05, 0.95], [0.5, 0.5], [0.87, 0.13]])
def test_intervals_hold_the_truth_about_95_times_in_100(p):
    held, bias = coverage(p, C_GENDER, 500, icc=0.1)
    # 500 audits: three standard errors are .029. Near 0 and 1 one of the two limits cannot miss.
    assert np.all((held > 0.92) & (held < (0.98 if min(p) > 0.2 else 1)))
    assert np.all(np.abs(bias) < 0.015)


@pytest.mark.slow
@pytest.mark.parametrize(("icc", "p"), list(itertools.product([0, 0.1], [0.05, 0.13, 0.3, 0.5, 0.87, 0.95])))
def test_coverage_of_two_classes_is_93_to_97_and_more_only_near_0_and_1(icc, p):
    held, bias = coverage([p, 1 - p], C_GENDER, 800, icc=icc)
    # Two standard errors of 800 audits on top.
    assert np.all((held > 0.915) & (held < (0.985 if min(p, 1 - p) > 0.2 else 1)))
    assert np.all(np.abs(bias) < 0.01)


@pytest.mark.slow
@pytest.mark.parametrize("icc", [0, 0.1])
def test_coverage_of_five_skewed_classes_is_93_to_97(icc):
    held, bias = coverage(TONE, scorer(5, right=0.85), 600, icc=icc)
    assert np.all((held > 0.92) & (held < 0.985))
    assert np.all(np.abs(bias) < 0.01)


def test_coverage_holds_where_the_calibration_set_is_small_and_the_audit_large():
    held, _ = coverage([0.05, 0.95], C_GENDER, 300, icc=0, prompts=50, images=20, sources=30)
    assert np.all(held > 0.92)


@pytest.mark.slow
def test_coverage_holds_with_one_prompt_of_fifty():
    held, _ = coverage([0.87, 0.13], C_GENDER, 800, icc=0, prompts=1, images=50)
    assert np.all((held > 0.92) & (held < 0.98))

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stats_helpers import scorer

from auditkit.stats.confusion import Confusion
from auditkit.stats.corrected import constrained_shares, inverse
from auditkit.stats.divergence import (
    Sample,
    corrected_squared_distance,
    distance_to_target,
    effective_number,
    hidden_by_pooling,
    mean_absolute_deviation,
    smoothed_kl,
    total_variation,
    unbiased_squared_distance,
)

SHARES = st.lists(st.floats(0.01, 1), min_size=3, max_size=3).map(lambda w: np.array(w) / sum(w))
EVEN = np.array([0.5, 0.5])
CONFUSION = Confusion.from_counts(scorer(2) * 150)


@given(SHARES, SHARES)
def test_total_variation_is_a_distance(p, t):
    d = float(total_variation(p, t))
    assert 0 <= d <= 1
    assert d == pytest.approx(float(total_variation(t, p)))
    assert float(total_variation(p, p)) == 0


def test_squared_distance_is_right_on_average():
    rng = np.random.default_rng(0)
    p, t = np.array([0.6, 0.3, 0.1]), np.full(3, 1 / 3)
    found = unbiased_squared_distance(rng.multinomial(8, p, size=100_000), t)
    assert found.mean() == pytest.approx(((p - t) ** 2).sum(), abs=0.002)


def test_squared_distance_of_one_image_is_nan():
    assert np.isnan(unbiased_squared_distance([[1, 0], [0, 0]], EVEN)).all()


def find(shares: list[float], *, n: float = 50, seed: int = 0, replicates: int = 800):
    sample = Sample(np.array(shares), np.full(len(shares), 1 / len(shares)), n)
    confusion = Confusion.from_counts(scorer(len(shares)) * 150)
    return distance_to_target([sample], confusion, np.random.default_rng(seed), replicates=replicates)


def test_a_fair_sample_has_a_positive_distance_its_expectation_and_an_interval_from_0():
    found = find([0.54, 0.46])
    assert found.estimate == pytest.approx(0.04)
    assert 0.05 < found.null_value < 0.09
    assert found.p_value > 0.3
    assert found.low == 0
    assert 0.1 < found.high < 0.25


def test_a_skewed_sample_leaves_0_out():
    found = find([0.9, 0.1])
    assert found.p_value < 0.01
    assert 0.2 < found.low < 0.4 < found.high <= 0.5


def test_the_interval_has_width_at_both_ends_of_the_scale():
    for shares in ([0.5, 0.5], [1.0, 0.0], [1.0, 0, 0, 0, 0], [0.2] * 5):
        found = find(shares)
        assert found.high - found.low > 0.05
        assert found.low <= found.estimate <= found.high


def test_the_null_expectation_falls_with_more_images():
    assert find([0.5, 0.5], n=1000).null_value < find([0.5, 0.5], n=50).null_value / 2


def test_the_same_seed_gives_the_same_numbers():
    assert find([0.7, 0.3]) == find([0.7, 0.3])


def test_opposite_skews_do_not_cancel_in_the_mean():
    samples = [Sample(np.array(p), EVEN, 50.0) for p in ([0.9, 0.1], [0.1, 0.9])]
    found = distance_to_target(samples, CONFUSION, np.random.default_rng(0), replicates=800)
    assert found.estimate == pytest.approx(0.4)
    assert found.low > 0.25
    assert found.p_value < 0.01


def test_p_values_are_even_under_the_target():
    rng, p_values = np.random.default_rng(3), []
    for _ in range(150):
        drawn = Confusion.from_counts(np.stack([rng.multinomial(150, c) for c in CONFUSION.matrix.T], axis=1))
        q = rng.multinomial(50, CONFUSION.matrix @ EVEN) / 50
        sample = Sample(constrained_shares(q, drawn.matrix), EVEN, 50.0)
        p_values.append(distance_to_target([sample], drawn, rng, replicates=200, steps=2).p_value)
    assert 0.35 < np.mean(p_values) < 0.65
    assert np.mean(np.array(p_values) <= 0.05) < 0.11


@pytest.mark.slow
@pytest.mark.parametrize("p", [[0.5, 0.5], [0.6, 0.4], [0.8, 0.2], [0.3, 0.25, 0.2, 0.15, 0.1]])
def test_intervals_hold_the_true_distance(p):
    rng, truth, held = np.random.default_rng(4), np.array(p), 0
    target = np.full(len(p), 1 / len(p))
    c = scorer(len(p), right=0.9)
    for _ in range(300):
        drawn = Confusion.from_counts(np.stack([rng.multinomial(150, col) for col in c.T], axis=1))
        q = rng.multinomial(50, c @ truth) / 50
        sample = Sample(constrained_shares(q, drawn.matrix), target, 50.0)
        found = distance_to_target([sample], drawn, rng, replicates=800)
        held += found.low <= total_variation(truth, target) <= found.high
    assert held / 300 > 0.91


@given(SHARES, SHARES, st.integers(1, 500))
def test_smoothed_kl_is_finite_not_negative_and_0_at_the_target(p, t, n):
    assert float(smoothed_kl(p, t, n)) >= 0
    assert float(smoothed_kl(t, t, n)) == pytest.approx(0, abs=1e-12)
    assert np.isfinite(smoothed_kl([1.0, 0.0, 0.0], [0.0, 0.0, 1.0], n))


@given(SHARES, SHARES)
def test_mean_absolute_deviation_is_total_variation_in_other_units(p, t):
    assert float(mean_absolute_deviation(p, t)) == pytest.approx(2 / 3 * float(total_variation(p, t)))


@given(SHARES)
def test_the_effective_number_lies_between_one_class_and_all(p):
    assert 1 <= float(effective_number(p)) <= 3 + 1e-9


@given(st.lists(st.integers(0, 20), min_size=3, max_size=3).filter(lambda k: sum(k) > 1), SHARES)
def test_a_perfect_scorer_gives_the_plain_squared_distance(k, t):
    assert float(corrected_squared_distance(k, np.eye(3), t)) == pytest.approx(float(unbiased_squared_distance(k, t)))


def test_the_corrected_squared_distance_is_right_on_average_through_a_scorers_errors():
    rng, c = np.random.default_rng(5), scorer(3, right=0.8)
    p, t = np.array([0.6, 0.3, 0.1]), np.full(3, 1 / 3)
    found = corrected_squared_distance(rng.multinomial(6, c @ p, size=100_000), inverse(c), t)
    assert found.mean() == pytest.approx(((p - t) ** 2).sum(), abs=0.004)


def hidden(shares: list[list[float]], *, n: float = 100, seed: int = 0):
    samples = [Sample(np.array(p), EVEN, n) for p in shares]
    return hidden_by_pooling(samples, np.ones(len(shares)), CONFUSION, np.random.default_rng(seed), replicates=400)


def test_pooling_hides_opposite_skews():
    found = hidden([[0.9, 0.1], [0.1, 0.9]])
    assert found.estimate == pytest.approx(0.4)
    assert found.p_value < 0.01
    assert 0.25 < found.low < found.high < 0.55


def test_pooling_hides_nothing_of_skews_that_point_the_same_way():
    found = hidden([[0.9, 0.1], [0.7, 0.3], [0.5, 0.5]])
    assert found.estimate == pytest.approx(0)
    assert found.low == 0
    assert found.p_value > 0.2


def test_even_groups_hide_something_by_chance_only():
    rng = np.random.default_rng(6)
    p = []
    for seed in range(80):
        q = rng.multinomial(100, CONFUSION.matrix @ EVEN, size=5) / 100
        shares = constrained_shares(q, CONFUSION.matrix)
        p.append(hidden(shares.tolist(), seed=seed).p_value)
    assert np.mean(np.array(p) <= 0.05) < 0.12
    assert 0.35 < np.mean(p) < 0.75


@pytest.mark.parametrize("truth", [[[0.8, 0.2], [0.2, 0.8]], [[0.6, 0.4], [0.4, 0.6], [0.5, 0.5]]])
def test_intervals_hold_what_pooling_hides(truth):
    rng, away, held = np.random.default_rng(7), np.array(truth) - 0.5, 0
    hides = abs(away).sum(axis=1).mean() / 2 - abs(away.mean(axis=0)).sum() / 2
    for seed in range(80):
        q = np.stack([rng.multinomial(100, CONFUSION.matrix @ p) for p in np.array(truth)]) / 100
        found = hidden(constrained_shares(q, CONFUSION.matrix).tolist(), seed=seed)
        held += found.low <= hides <= found.high
    assert held / 80 > 0.9

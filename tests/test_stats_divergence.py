from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stats_helpers import scorer

from auditkit.stats.confusion import Confusion
from auditkit.stats.corrected import constrained_shares
from auditkit.stats.divergence import Sample, distance_to_target, total_variation, unbiased_squared_distance

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

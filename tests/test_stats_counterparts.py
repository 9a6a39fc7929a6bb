"""Prompts beside the same prompts with one thing left out: the tests hold their level, the intervals cover."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from auditkit.stats.counterparts import mean_difference, odd_one_test, sign_flip_test

NUMBERS = arrays(float, st.integers(1, 8), elements=st.integers(-5, 5))


@settings(max_examples=40, deadline=None)
@given(NUMBERS)
def test_every_pattern_of_signs_is_counted(differences: np.ndarray) -> None:
    found = sign_flip_test(differences[:, None], np.random.default_rng(0))[0]
    patterns = itertools.product((-1, 1), repeat=len(differences))
    sums = [abs(np.dot(signs, differences)) for signs in patterns]
    assert found == pytest.approx(np.mean([s >= abs(differences.sum()) for s in sums]))


@settings(max_examples=20, deadline=None)
@given(NUMBERS)
def test_which_of_the_two_is_called_the_first_does_not_matter(differences: np.ndarray) -> None:
    rng = np.random.default_rng
    assert sign_flip_test(differences[:, None], rng(0)) == sign_flip_test(-differences[:, None], rng(0))


def test_p_values_are_uniform_where_nothing_differs() -> None:
    rng = np.random.default_rng(1)
    p = sign_flip_test(rng.normal(size=(10, 4000)), rng)
    assert np.mean(p <= 0.05) == pytest.approx(0.05, abs=0.01)
    assert np.mean(p <= 0.5) == pytest.approx(0.5, abs=0.03)


def test_shares_that_are_mostly_zero_err_on_the_careful_side() -> None:
    rng = np.random.default_rng(2)
    differences = (rng.binomial(4, 0.03, (12, 2000)) - rng.binomial(4, 0.03, (12, 2000))) / 4
    assert np.mean(sign_flip_test(differences, rng) <= 0.05) <= 0.05


def test_many_pairs_are_tested_by_random_signs() -> None:
    rng = np.random.default_rng(3)
    p = sign_flip_test(rng.normal(size=(40, 1000)), rng, replicates=999)
    assert np.mean(p <= 0.05) == pytest.approx(0.05, abs=0.02)
    assert sign_flip_test(np.ones((40, 1)), rng, replicates=999)[0] == pytest.approx(0.001)


def test_a_difference_is_found() -> None:
    rng = np.random.default_rng(4)
    assert np.mean(sign_flip_test(1 + rng.normal(size=(14, 300)), rng) < 0.05) > 0.9


def test_no_pairs_have_no_p_value() -> None:
    assert np.isnan(sign_flip_test(np.zeros((0, 3)), np.random.default_rng(0))).all()


def blocks(rng: np.random.Generator, shift: float = 0.0) -> list[np.ndarray]:
    """14 templates, 16 places and the counter-prompt first; skewed, as shares are."""
    made = [rng.exponential(size=(17, 1)) + rng.normal() for _ in range(14)]
    for block in made:
        block[1:] += shift
    return made


def test_the_odd_one_is_no_odder_than_chance_makes_it() -> None:
    rng = np.random.default_rng(5)
    p = [odd_one_test(blocks(rng), rng, replicates=199)[0] for _ in range(400)]
    assert np.mean(np.array(p) <= 0.05) == pytest.approx(0.05, abs=0.025)


def test_the_odd_one_is_found() -> None:
    rng = np.random.default_rng(6)
    p = [odd_one_test(blocks(rng, 1.0), rng, replicates=199)[0] for _ in range(100)]
    assert np.mean(np.array(p) <= 0.05) > 0.8


@pytest.mark.parametrize(("here", "without"), [(0.0, 0.0), (0.03, 0.0), (0.1, 0.02), (0.3, 0.1), (0.4, 0.4)])
def test_the_interval_of_a_shift_of_shares_covers(here: float, without: float) -> None:
    rng, n = np.random.default_rng(7), 4
    shares = [np.clip(rng.beta(9 * s + 1e-9, 9 * (1 - s), (14, 2000)), 0, 1) for s in (here, without)]
    found = [rng.binomial(n, share) / n for share in shares]
    _, low, high = mean_difference(found[0] - found[1], step=1 / n)
    assert np.mean((low <= here - without) & (here - without <= high)) >= 0.94


def test_pairs_that_all_agree_do_not_claim_to_know_exactly() -> None:
    estimate, low, high = mean_difference(np.zeros((14, 1)), step=0.25)
    assert estimate[0] == 0
    assert low[0] < -0.03
    assert high[0] > 0.03


def test_one_pair_has_a_difference_and_no_interval() -> None:
    estimate, low, high = mean_difference([[0.5]])
    assert estimate[0] == 0.5
    assert np.isnan([low[0], high[0]]).all()

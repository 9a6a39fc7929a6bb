"""Exchanging whole prompts between groups: exact where it should be, with power where there is a difference."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from auditkit.stats.exchange import contrasts, exchanged_sums, exchanges, n_exchanges


def design(groups: int, templates: int) -> tuple[np.ndarray, np.ndarray]:
    """Group and block of each prompt, every group once under every template."""
    prompts = np.arange(groups * templates)
    return prompts % groups, prompts // groups


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), groups=st.integers(2, 5), templates=st.integers(1, 6))
def test_an_exchange_keeps_every_prompt_in_its_block_and_every_group_its_size(seed, groups, templates):
    group, block = design(groups, templates)
    moved = np.concatenate(list(exchanges(group, block, np.random.default_rng(seed), 20)))
    assert (np.sort(moved, axis=1) == np.arange(len(group))).all()
    slots = np.argsort(group, kind="stable")
    for row in moved:
        # Each group still has one prompt of each template.
        kept, before = (np.sort(block[at].reshape(groups, templates), axis=1) for at in (row, slots))
        assert (kept == before).all()


def test_sums_over_groups_stay_the_sum_of_all_prompts():
    group, block = design(4, 5)
    values = np.random.default_rng(0).normal(size=(20, 3))
    sums = np.concatenate(list(exchanged_sums(values, group, block, np.random.default_rng(1), 50)))
    assert sums.shape == (50, 4, 3)
    np.testing.assert_allclose(sums.sum(axis=1), np.tile(values.sum(axis=0), (50, 1)))


def test_exchanges_are_counted():
    assert n_exchanges(*design(2, 3)) == pytest.approx(8)
    assert n_exchanges(*design(3, 2)) == pytest.approx(36)
    assert n_exchanges([0, 0, 1], [0, 1, 2]) == pytest.approx(1)


def p_values(
    seed: int, audits: int, spread: tuple[float, ...] = (1, 1, 1, 1), *, equal: bool = False, skewed: bool = False
) -> np.ndarray:
    """P-values of group 0 where all means are equal; groups differ in spread."""
    rng = np.random.default_rng(seed)
    group, block = design(len(spread), 12)
    scale = np.array(spread)[group][:, None]
    made = []
    for _ in range(audits):
        noise = rng.exponential(size=(len(group), 20)) - 1 if skewed else rng.normal(size=(len(group), 20))
        template = rng.normal(size=(12, 20))[block]
        found = contrasts(noise * scale + template, group, block, rng, replicates=200, equal_variances=equal)
        made.append(found.p_value[0])
    return np.concatenate(made)


@pytest.mark.parametrize("equal", [False, True])
def test_p_values_are_uniform_where_groups_are_alike(equal):
    p = p_values(1, 150, equal=equal)
    for level in (0.01, 0.05, 0.2, 0.5):
        assert (p <= level).mean() == pytest.approx(level, abs=4 * np.sqrt(level * (1 - level) / len(p)))


def test_the_fitted_tail_is_not_too_small():
    p = np.concatenate([p_values(2, 150), p_values(3, 150, skewed=True)])
    assert (p <= 0.001).mean() <= 0.002
    assert (p <= 1e-5).sum() <= 1


def test_a_group_of_larger_spread_is_not_taken_for_one_of_another_mean():
    assert (p_values(4, 150, spread=(3, 1, 1, 1)) <= 0.05).mean() <= 0.06


@pytest.mark.parametrize("groups", [2, 5])
@pytest.mark.parametrize("blocks", [True, False], ids=["paired", "one block"])
def test_the_error_gives_intervals_that_cover(groups, blocks):
    rng = np.random.default_rng(8)
    group, block = design(groups, 10)
    values = rng.normal(size=(len(group), 3000)) * np.where(group == 0, 2.0, 1.0)[:, None]
    if blocks:
        values += 3 * rng.normal(size=(10, 3000))[block]
    found = contrasts(values, group, block if blocks else np.zeros(len(group)), rng, replicates=10)
    half = stats.t.ppf(0.975, found.df) * found.error
    assert (abs(found.difference) <= half).mean(axis=1) == pytest.approx(0.95, abs=0.015)


def test_a_shift_is_found_with_its_size_and_a_p_value_below_one_over_the_exchanges():
    rng = np.random.default_rng(5)
    group, block = design(5, 20)
    values = rng.normal(size=(100, 40))
    values[group == 2, 7] += 3
    found = contrasts(values, group, block, rng, replicates=200)
    assert np.unravel_index(found.p_value.argmin(), found.p_value.shape) == (2, 7)
    assert found.p_value[2, 7] < 1e-6
    assert found.difference[2, 7] == pytest.approx(3, abs=3 * found.error[2, 7])


def test_no_p_value_is_below_one_over_the_number_of_exchanges():
    group, block = design(2, 3)
    found = contrasts(np.where(group == 0, 9.0, 0.0)[:, None] + block[:, None], group, block, np.random.default_rng(0))
    assert found.p_value.min() >= 1 / 8


def test_values_that_do_not_vary_differ_nowhere():
    group, block = design(3, 4)
    found = contrasts(np.full((12, 2), 0.1), group, block, np.random.default_rng(0), replicates=50)
    assert (found.p_value == 1).all()
    assert (found.difference == 0).all()


def test_one_group_or_one_prompt_is_refused():
    with pytest.raises(ValueError, match="two groups"):
        contrasts(np.zeros((4, 1)), [0, 0, 0, 0], [0, 0, 0, 0], np.random.default_rng(0))
    with pytest.raises(ValueError, match="two prompts"):
        contrasts(np.zeros((3, 1)), [0, 0, 1], [0, 0, 0], np.random.default_rng(0))


def test_blocks_that_lack_a_group_are_refused():
    with pytest.raises(ValueError, match="one prompt of each group"):
        contrasts(np.zeros((5, 1)), [0, 1, 0, 1, 1], [0, 0, 1, 1, 1], np.random.default_rng(0))

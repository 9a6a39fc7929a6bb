"""Permutations of whole prompts, and within them."""

from __future__ import annotations

import numpy as np
import pytest

from auditkit.stats.permutation import covariance_within, dependence_within_prompts, group_against_rest


def flagged(share: np.ndarray, images: int, rng: np.random.Generator, alike: float = 4.0) -> np.ndarray:
    """Flagged images of prompts whose own shares scatter about `share`."""
    return rng.binomial(images, rng.beta(alike * share, alike * (1 - share)))


def test_the_difference_is_of_shares_of_images_not_of_prompts():
    difference, _ = group_against_rest([1, 0, 5], [2, 8, 10], [0, 0, 1], np.random.default_rng(0), replicates=10)
    np.testing.assert_allclose(difference, [0.1 - 0.5, 0.5 - 0.1])


def test_p_values_are_even_where_groups_are_alike_though_prompts_differ():
    rng, groups, p_values = np.random.default_rng(1), np.repeat(np.arange(4), 10), []
    for _ in range(300):
        hits = flagged(np.full(40, 0.3), 10, rng)
        p_values.append(group_against_rest(hits, np.full(40, 10), groups, rng, replicates=99)[1][0])
    assert 0.45 < np.mean(p_values) < 0.6
    assert np.mean(np.array(p_values) <= 0.05) < 0.09


def test_a_group_that_differs_is_found():
    rng, groups = np.random.default_rng(2), np.repeat(np.arange(4), 10)
    hits = flagged(np.where(groups == 2, 0.7, 0.2), 10, rng)
    difference, p = group_against_rest(hits, np.full(40, 10), groups, rng, replicates=999)
    assert p[2] < 0.01
    assert difference[2] == pytest.approx(0.5, abs=0.2)


def test_images_of_one_prompt_count_once_however_many():
    hits = np.array([100, 0, 0, 100, 0, 0])
    _, p = group_against_rest(hits, np.full(6, 100), [0, 0, 0, 1, 1, 1], np.random.default_rng(3), replicates=200)
    assert np.all(p > 0.5)


@pytest.mark.parametrize("hits", [np.zeros(12), np.full(12, 5)])
def test_no_difference_at_all_has_p_1(hits):
    difference, p = group_against_rest(hits, np.full(12, 5), np.repeat([0, 1], 6), np.random.default_rng(4))
    np.testing.assert_array_equal(difference, 0)
    np.testing.assert_array_equal(p, 1)


def test_one_group_has_no_rest():
    difference, p = group_against_rest([1, 2], [5, 5], [0, 0], np.random.default_rng(5))
    assert np.isnan(difference).all()
    assert np.isnan(p).all()


def test_covariance_within_a_prompt_is_right_on_average():
    rng, joint, n = np.random.default_rng(6), np.array([[0.4, 0.1], [0.1, 0.4]]), 3
    tables = rng.multinomial(n, joint.ravel(), size=40_000).reshape(-1, 2, 2)
    found = covariance_within(tables).mean(axis=0) / n
    np.testing.assert_allclose(found, [[0.15, -0.15], [-0.15, 0.15]], atol=0.005)


def test_labels_that_only_prompts_tie_together_are_independent_within_them():
    tables = np.zeros((40, 2, 2), int)
    tables[:20, 0, 0] = tables[20:, 1, 1] = 10
    found, permuted = dependence_within_prompts(tables, np.random.default_rng(7), replicates=20)
    np.testing.assert_allclose(found, 0, atol=1e-12)
    np.testing.assert_allclose(permuted, 0, atol=1e-12)


def test_permuted_covariances_are_0_on_average_and_spread_as_the_found_ones_without_dependence():
    rng = np.random.default_rng(8)
    margins = np.outer([0.3, 0.7], [0.5, 0.2, 0.3]).ravel()
    tables = rng.multinomial(6, margins, size=(150, 10)).reshape(150, 10, 2, 3)
    both = [dependence_within_prompts(one, rng, replicates=40) for one in tables]
    found, permuted = np.array([f for f, _ in both]), np.concatenate([p for _, p in both])
    np.testing.assert_allclose(permuted.mean(axis=0), 0, atol=0.1)
    np.testing.assert_allclose(found.std(axis=0), permuted.std(axis=0), rtol=0.2)


def test_permuted_tables_keep_their_margins_where_a_label_is_missing():
    tables = np.array([[[0, 0, 0], [2, 1, 3]], [[0, 2, 1], [0, 1, 2]]])
    _, permuted = dependence_within_prompts(tables, np.random.default_rng(9), replicates=50)
    np.testing.assert_allclose(permuted.sum(axis=1), 0, atol=1e-9)
    np.testing.assert_allclose(permuted.sum(axis=2), 0, atol=1e-9)
    assert abs(permuted).max() <= 6


def test_single_images_say_nothing_of_dependence():
    found, permuted = dependence_within_prompts(np.eye(4, dtype=int).reshape(4, 2, 2), np.random.default_rng(9))
    assert not found.any()
    assert not permuted.any()


def test_a_group_with_many_rare_hits_is_found_though_most_groups_have_none():
    rng = np.random.default_rng(7)
    hits, groups = np.zeros(200), np.repeat(np.arange(20), 10)
    hits[:10] = [2, 2, 3, 0, 0, 0, 2, 1, 1, 2]
    hits[10:21] = 1
    _, p_values = group_against_rest(hits, np.full(200, 5), groups, rng, replicates=1000)
    assert p_values[0] < 0.01

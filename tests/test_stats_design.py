from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditkit.stats.design import clustering, stratified_effect

COUNTS = st.lists(st.lists(st.integers(0, 6), min_size=2, max_size=2), min_size=1, max_size=6)


@given(st.lists(COUNTS, min_size=1, max_size=4))
def test_correlation_is_a_share_and_the_effect_at_least_one(groups):
    found = clustering(groups)
    assert 0 <= found.icc <= 1
    for group in groups:
        assert found.effect(np.sum(group, axis=1)) >= 1


def test_correlation_is_recovered_from_many_prompts():
    rng = np.random.default_rng(0)
    share = rng.beta(0.3 * 4, 0.7 * 4, size=4000)  # correlation 1 / (1 + 4)
    k = rng.binomial(5, share)
    assert clustering([np.stack([k, 5 - k], axis=1)]).icc == pytest.approx(0.2, abs=0.02)


def test_differences_between_groups_are_not_clustering():
    groups = [[[5, 0], [5, 0], [5, 0]], [[0, 5], [0, 5], [0, 5]]]
    assert clustering(groups).icc == 0


def test_one_prompt_says_nothing_of_clustering():
    found = clustering([[[30, 20]]])
    assert found.df == 0
    assert found.effect([50]) == 1
    assert found.quantile_df == np.inf


def test_whole_prompts_of_one_kind_count_as_one_image_each():
    found = clustering([[[5, 0], [0, 5], [5, 0], [0, 5]]])
    assert found.effect([5, 5, 5, 5]) == pytest.approx(5)


def test_equal_groups_gain_nothing_from_stratifying_and_unequal_ones_do():
    identity = np.eye(2)
    assert stratified_effect([[25, 25], [25, 25]], identity, [1, 1]) == pytest.approx([1, 1], abs=0.01)
    assert np.all(stratified_effect([[49, 1], [1, 49]], identity, [1, 1]) < 0.2)

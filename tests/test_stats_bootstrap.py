from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auditkit.stats.bootstrap import expanded_percentile, resampled_totals


@given(
    st.lists(st.lists(st.integers(0, 9), min_size=3, max_size=3), min_size=1, max_size=8), st.integers(0, 9)
)
@settings(max_examples=40, deadline=None)
def test_draws_are_reproducible_finite_and_empty_only_where_counts_are(counts, seed):
    stages = ("prompts", "images", "both")
    for stage in stages:
        first, again = (
            resampled_totals(counts, np.random.default_rng(seed), replicates=20, stage=stage)
            for _ in range(2)
        )
        np.testing.assert_array_equal(first, again)
        assert first.shape == (20, 3)
        if np.sum(counts) == 0:
            assert np.isnan(first).all()
        else:
            assert (first >= 0).all()
            assert np.all(first[:, np.sum(counts, axis=0) == 0] == 0)


def test_resampling_prompts_has_the_variance_between_prompts_and_two_stages_overstate_it():
    rng = np.random.default_rng(1)
    counts = np.array([[4, 1], [2, 3], [5, 0], [3, 2], [1, 4], [4, 1], [2, 3], [3, 2], [5, 0], [0, 5]])
    expected = 10 * counts[:, 0].var(ddof=1)
    once = resampled_totals(counts, rng, replicates=40_000)[:, 0].var()
    twice = resampled_totals(counts, rng, replicates=40_000, stage="both")[:, 0].var()
    assert once == pytest.approx(expected, rel=0.03)
    assert twice > 1.1 * once


def test_one_prompt_falls_back_to_its_images():
    draws = resampled_totals([[30, 20]], np.random.default_rng(0), replicates=20_000)
    assert np.all(draws.sum(axis=1).round(9) == 50)
    assert draws[:, 0].var() == pytest.approx(50**2 * 0.6 * 0.4 / 49, rel=0.05)


def test_few_prompts_widen_the_percentiles():
    draws = np.random.default_rng(0).normal(size=(5000, 2))
    few, many = expanded_percentile(draws, 5), expanded_percentile(draws, 500)
    assert np.all(few[0] < many[0])
    assert np.all(few[1] > many[1])


def test_negative_counts_are_refused():
    with pytest.raises(ValueError, match="not negative"):
        resampled_totals([[-1, 2]], np.random.default_rng(0))

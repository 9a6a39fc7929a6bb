"""Means and rank correlations with prompts as clusters: known truth, coverage, and p-values under the null."""

from __future__ import annotations

import numpy as np
import pytest

from auditkit.stats.means import clustered_mean, rank_correlation, welch


def drawn(rng, *, prompts=10, images=5, icc=0.3, mean=0.0, skewed=False):
    """Values of variance 1 with that intraclass correlation; prompts of unequal size."""
    sizes = rng.integers(max(1, images - 3), images + 4, prompts)
    cluster = np.repeat(np.arange(prompts), sizes)
    effect = rng.normal(0, np.sqrt(icc), prompts)[cluster]
    noise = rng.normal(0, 1, len(cluster)) if not skewed else rng.exponential(1, len(cluster)) - 1
    return mean + effect + noise * np.sqrt(1 - icc), cluster


@pytest.mark.parametrize("icc", [0.0, 0.3, 0.9])
@pytest.mark.parametrize("skewed", [False, True])
def test_the_interval_covers_the_true_mean(icc, skewed):
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(800):
        values, cluster = drawn(rng, icc=icc, mean=2.0, skewed=skewed)
        found = clustered_mean(values, cluster)
        hits += found.low <= 2.0 <= found.high
    assert 0.92 <= hits / 800 <= 0.975


def test_strata_that_differ_do_not_widen_the_interval_of_the_whole():
    rng = np.random.default_rng(2)
    hits, width_with, width_without = 0, 0.0, 0.0
    for _ in range(300):
        parts = [drawn(rng, prompts=6, mean=m) for m in (-5, 0, 5)]
        values = np.concatenate([v for v, _ in parts])
        cluster = np.concatenate([c + 10 * i for i, (_, c) in enumerate(parts)])
        strata = cluster // 10
        found = clustered_mean(values, cluster, strata)
        # The mean of the sizes that came about is what a stratified audit estimates.
        truth = (np.bincount(strata) * [-5, 0, 5]).sum() / len(values)
        hits += found.low <= truth <= found.high
        width_with += found.high - found.low
        plain = clustered_mean(values, cluster)
        width_without += plain.high - plain.low
    assert 0.92 <= hits / 300 <= 0.98
    assert width_with < 0.5 * width_without


def test_missing_values_are_left_out():
    found = clustered_mean([1, 3, np.nan, 4], [0, 0, 1, 1])
    assert (found.n, found.n_prompts) == (3, 2)
    assert found.estimate == pytest.approx(8 / 3)


def test_without_values_there_is_no_number():
    found = clustered_mean([np.nan, np.nan], [0, 1])
    assert np.isnan(found.estimate)
    assert np.isnan(found.low)
    assert found.n == 0


def test_one_prompt_falls_back_to_its_images_and_says_so():
    found = clustered_mean([1.0, 2.0, 3.0], [7, 7, 7])
    assert not found.clustered
    assert found.low < 2 < found.high


def test_one_image_has_no_interval():
    assert np.isnan(clustered_mean([1.0], [0]).low)


def test_strata_of_one_prompt_each_are_put_together():
    rng = np.random.default_rng(3)
    values = rng.normal(size=40)
    prompts = np.repeat(np.arange(8), 5)
    assert clustered_mean(values, prompts, prompts) == clustered_mean(values, prompts)


def test_welch_p_values_are_uniform_where_the_means_are_equal_and_small_where_not():
    rng = np.random.default_rng(4)
    null, power = [], []
    for _ in range(800):
        a = clustered_mean(*drawn(rng, prompts=8))
        b = clustered_mean(*drawn(rng, prompts=30))
        null.append(welch(a, b))
        power.append(welch(a, clustered_mean(*drawn(rng, prompts=30, mean=1.5))))
    assert 0.03 <= np.mean(np.array(null) < 0.05) <= 0.075
    assert 0.43 <= np.mean(null) <= 0.57
    assert np.mean(np.array(power) < 0.05) > 0.8


def test_the_interval_of_a_rank_correlation_covers_it():
    from scipy import stats

    rng = np.random.default_rng(5)
    rho, hits = 0.6, 0
    truth = 6 / np.pi * np.arcsin(rho / 2)  # Spearman's of a bivariate normal
    for _ in range(250):
        cluster = np.repeat(np.arange(20), 6)
        noise = rng.multivariate_normal([0, 0], [[1, rho], [rho, 1]], len(cluster))
        mixing = rng.multivariate_normal([0, 0], [[1, rho], [rho, 1]], 20)[cluster] * 0.5
        x, y = (noise + mixing).T
        found = rank_correlation(x, y, cluster, rng, replicates=300)
        hits += found.low <= truth <= found.high
        assert found.estimate == pytest.approx(stats.spearmanr(x, y)[0], abs=1e-9)
    assert 0.90 <= hits / 250 <= 0.985


def test_a_rank_correlation_of_a_constant_is_no_number():
    found = rank_correlation([1, 1, 1, 1], [1, 2, 3, 4], [0, 0, 1, 1], np.random.default_rng(0))
    assert np.isnan(found.estimate)


def test_perfect_agreement_is_one():
    found = rank_correlation(np.arange(30), np.arange(30) ** 3, np.repeat(np.arange(6), 5), np.random.default_rng(0))
    assert found.estimate == pytest.approx(1)
    assert found.low > 0.99

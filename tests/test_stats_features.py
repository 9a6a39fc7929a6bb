"""Statistics of embeddings on sets of known truth."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auditkit.stats.features import (
    bandwidth,
    close_pairs,
    frechet_distance,
    nearest,
    squared_distance,
    vendi,
)
from tests.features_helpers import clustered, unit


def test_the_squared_distance_averages_zero_where_both_sets_are_of_one_kind():
    rng = np.random.default_rng(0)
    found = []
    for _ in range(200):
        x, prompts = clustered(rng)
        y, sources = clustered(rng, prompts=30, images=4)
        found.append(squared_distance(x, prompts, y, scale=1.0, sources=sources).estimate)
    error = np.std(found) / np.sqrt(len(found))
    assert abs(np.mean(found)) < 3 * error
    assert error < 0.002


def test_pairs_of_one_prompt_would_pull_the_squared_distance_up():
    rng = np.random.default_rng(1)
    naive = []
    for _ in range(50):
        x, _ = clustered(rng)
        y, _ = clustered(rng, prompts=120, images=1)
        naive.append(squared_distance(x, np.arange(len(x)), y, scale=1.0).estimate)
    assert np.mean(naive) > 4 * np.std(naive) / np.sqrt(50)


def test_the_interval_of_the_squared_distance_covers_it():
    rng = np.random.default_rng(2)
    reference, sources = clustered(rng, prompts=150, images=1, shift=1.5)
    big, clusters = clustered(rng, prompts=1500, images=1)
    truth = squared_distance(big, clusters, reference, scale=1.0, sources=sources).estimate
    hits = 0
    for _ in range(300):
        x, prompts = clustered(rng, prompts=20)
        found = squared_distance(x, prompts, reference, scale=1.0, sources=sources)
        hits += found.low <= truth <= found.high
    assert 0.91 <= hits / 300 <= 0.985


def test_the_squared_distance_rises_with_the_difference():
    rng = np.random.default_rng(3)
    y, sources = clustered(rng, prompts=100)
    far = [squared_distance(*clustered(rng, prompts=100, shift=s), y, scale=1.0, sources=sources) for s in (0, 1, 2)]
    assert far[0].low < 0 < far[0].high
    assert far[0].estimate < far[1].low
    assert far[1].high < far[2].low


def test_the_squared_distance_equals_the_double_sum():
    rng = np.random.default_rng(4)
    x, prompts = clustered(rng, prompts=4, images=3)
    y, sources = clustered(rng, prompts=3, images=2)

    def kernel(a, b):
        return np.exp(-((a[:, None] - b[None]) ** 2).sum(axis=-1) / 0.7)

    apart_x, apart_y = prompts[:, None] != prompts, sources[:, None] != sources
    plain = kernel(x, x)[apart_x].mean() + kernel(y, y)[apart_y].mean() - 2 * kernel(x, y).mean()
    found = squared_distance(x, prompts, y, scale=0.7, sources=sources)
    assert found.estimate == pytest.approx(plain, abs=1e-6)


def test_one_prompt_has_no_squared_distance():
    x, _ = clustered(np.random.default_rng(5))
    assert np.isnan(squared_distance(x, np.zeros(len(x)), x, scale=1.0).estimate)


def test_the_bandwidth_is_the_median_squared_distance():
    assert bandwidth(np.eye(5)) == pytest.approx(2.0)


@given(st.integers(1, 8), st.integers(1, 6))
@settings(max_examples=30, deadline=None)
def test_the_vendi_score_of_k_orthogonal_clusters_is_k(k, copies):
    rows = np.repeat(np.eye(8)[:k], copies, axis=0)
    assert vendi(rows, np.arange(len(rows))).estimate == pytest.approx(k)


def test_the_vendi_score_does_not_change_when_the_space_is_turned():
    rng = np.random.default_rng(6)
    x, prompts = clustered(rng)
    turn, _ = np.linalg.qr(rng.normal(size=(16, 16)))
    assert vendi(x @ turn, prompts).estimate == pytest.approx(vendi(x, prompts).estimate)


@pytest.mark.parametrize("icc", [0.0, 0.4])
def test_the_interval_of_the_vendi_score_covers_its_mean_at_that_size(icc):
    rng = np.random.default_rng(7)
    drawn = [vendi(*clustered(rng, prompts=20, images=5, icc=icc)) for _ in range(500)]
    truth = np.mean([each.estimate for each in drawn])
    hits = np.mean([each.low <= truth <= each.high for each in drawn])
    assert 0.91 <= hits <= 0.99


def test_one_prompt_has_no_interval_of_diversity():
    x, _ = clustered(np.random.default_rng(8))
    assert np.isnan(vendi(x, np.zeros(len(x))).low)
    assert np.isnan(vendi(x[:0], []).estimate)


def test_the_frechet_distance_of_known_normals_is_the_formula():
    rng = np.random.default_rng(9)
    x = rng.normal(size=(200_000, 3)) * [1, 2, 3]
    y = rng.normal(size=(200_000, 3)) * [2, 2, 1] + [1, 0, 0]
    assert frechet_distance(x, y) == pytest.approx(1 + 1 + 0 + 4, rel=0.02)
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-6)


def test_planted_duplicates_are_found_at_their_rate():
    rng = np.random.default_rng(10)
    rows = unit(rng.normal(size=(3000, 64)))
    doubled = rng.permutation(3000)[:400]
    rows[doubled[:200]] = unit(rows[doubled[200:]] + rng.normal(size=(200, 64)) * 0.005)
    counts = close_pairs(rows, 0.98)
    assert set(np.flatnonzero(counts)) == set(doubled)
    assert counts.max() == 1


def test_the_nearest_cosine_is_that_of_the_whole_product():
    rng = np.random.default_rng(11)
    x, y = unit(rng.normal(size=(2500, 8))), unit(rng.normal(size=(70, 8)))
    np.testing.assert_allclose(nearest(x, y), (x @ y.T).max(axis=1), atol=1e-6)


def test_five_thousand_images_are_held_against_a_reference_in_seconds():
    rng = np.random.default_rng(12)
    x, y = (unit(rng.normal(size=(n, 256))).astype(np.float32) for n in (4000, 2600))
    start = time.process_time()
    squared_distance(x, np.arange(4000) % 1000, y, scale=1.0)
    assert time.process_time() - start < 5

"""Dependence between groups and classes, on audits drawn from a truth that is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auditkit.stats.dependence import (
    cramers_v,
    distances_to_the_rest,
    effective_number,
    effective_number_of_all,
    effective_numbers,
    phi_squared,
)
from auditkit.stats.exchange import exchanged_sums

PROMPTS, IMAGES, CLASSES = 10, 8, 6


def audit(rng: np.random.Generator, shares: np.ndarray, alike: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Counts by prompt, group and block; the prompts' own shares vary, images of one with correlation 1/(alike + 1)."""
    own = np.concatenate([rng.dirichlet(alike * row, size=PROMPTS) for row in shares])
    group = np.repeat(np.arange(len(shares)), PROMPTS)
    return rng.multinomial(IMAGES, own), group, np.tile(np.arange(PROMPTS), len(shares))


def blocks(block: np.ndarray, kind: str) -> np.ndarray:
    return block if kind == "blocks" else np.zeros_like(block)


def truth(strength: float, seed: int = 0, groups: int = 4) -> np.ndarray:
    rng = np.random.default_rng(seed)
    base = rng.dirichlet(np.full(CLASSES, 3.0))
    return np.array([(1 - strength) * base + strength * rng.dirichlet(np.full(CLASSES, 0.5)) for _ in range(groups)])


def v_of(shares: np.ndarray) -> float:
    return float(np.sqrt(phi_squared(shares) / (min(shares.shape) - 1)))


def apart(shares: np.ndarray) -> np.ndarray:
    rest = (shares.sum(axis=0) - shares) / (len(shares) - 1)
    return 0.5 * abs(shares - rest).sum(axis=1)


def test_phi_squared_by_chance_is_bergsmas_for_independent_images():
    """E chi^2 / n over all tables with the same margins is (r - 1)(c - 1) / (n - 1): prompts of one image each."""
    rng = np.random.default_rng(0)
    labels = np.eye(5)[rng.integers(5, size=60)]
    group = np.repeat([0, 1, 2], 20)
    draws = np.concatenate([phi_squared(s) for s in exchanged_sums(labels, group, np.zeros(60), rng, 4000)])
    assert draws.mean() == pytest.approx(2 * 4 / 59, rel=0.03)


def v_of_audit(rng: np.random.Generator, shares: np.ndarray, alike: float, kind: str, replicates: int = 99):
    counts, group, block = audit(rng, shares, alike)
    return cramers_v(counts, group, blocks(block, kind), rng, replicates=replicates)


@pytest.mark.parametrize("kind", ["blocks", "one block"])
@pytest.mark.parametrize("alike", [9.0, 1e6], ids=["prompts differ", "images independent"])
@pytest.mark.parametrize("strength", [0.0, 0.5])
def test_cramers_v_is_recovered_and_its_interval_covers(strength, alike, kind):
    rng = np.random.default_rng(1)
    shares = truth(strength)
    found = [v_of_audit(rng, shares, alike, kind, 19) for _ in range(150)]
    covered = np.mean([each.low - 1e-9 <= v_of(shares) <= each.high for each in found])
    assert covered >= 0.91
    if strength:
        assert np.mean([each.estimate for each in found]) == pytest.approx(v_of(shares), abs=0.02)


def test_v_without_dependence_has_uniform_p_values_though_images_of_a_prompt_are_alike():
    rng = np.random.default_rng(2)
    p = np.array([cramers_v(*audit(rng, truth(0), 4.0), rng, replicates=99).p_value for _ in range(400)])
    for level in (0.05, 0.2, 0.5):
        assert (p <= level).mean() == pytest.approx(level, abs=4 * np.sqrt(level * (1 - level) / len(p)))


def test_a_dependence_is_found():
    rng = np.random.default_rng(3)
    p = [cramers_v(*audit(rng, truth(0.6), 9.0), rng, replicates=199).p_value for _ in range(30)]
    assert np.mean(np.array(p) <= 0.05) >= 0.9


def test_what_differs_between_blocks_alike_in_all_groups_is_no_noise():
    """As where every prompt also names another trait: classes follow that trait, and groups differ."""
    rng = np.random.default_rng(10)
    own = 0.9 * np.eye(CLASSES)[np.arange(12) % CLASSES] + 0.1 / CLASSES
    tilted = 0.5 * own + 0.5 * np.eye(CLASSES)[0]
    counts = np.concatenate([rng.multinomial(IMAGES, own), rng.multinomial(IMAGES, tilted)])
    group, block = np.repeat([0, 1], 12), np.tile(np.arange(12), 2)
    paired, unpaired = (cramers_v(counts, group, blocks(block, kind), rng) for kind in ("blocks", "one block"))
    assert paired.p_value < 0.05
    assert paired.low > 0
    assert paired.high - paired.low < unpaired.high - unpaired.low


@pytest.mark.parametrize("kind", ["blocks", "one block"])
@pytest.mark.parametrize("strength", [0.0, 0.3, 0.8])
def test_distances_are_recovered_and_their_intervals_cover(strength, kind):
    rng = np.random.default_rng(4)
    covered, error = [], []
    for world in range(12):
        shares = truth(strength, seed=world)
        for _ in range(5):
            counts, group, block = audit(rng, shares, 9.0)
            found = distances_to_the_rest(counts, group, blocks(block, kind), rng, replicates=300)
            covered += [each.low <= t <= each.high for each, t in zip(found, apart(shares), strict=True)]
            error += [each.estimate - t for each, t in zip(found, apart(shares), strict=True)]
            assert all(each.low <= each.estimate <= each.high for each in found)
    assert np.mean(covered) >= 0.9
    if strength == 0.8:
        assert abs(np.mean(error)) <= 0.02


def test_distances_without_differences_have_uniform_p_values_and_stay_below_what_was_counted():
    rng = np.random.default_rng(5)
    p, estimates, by_chance = [], [], []
    for _ in range(150):
        found = distances_to_the_rest(*audit(rng, truth(0), 4.0), rng, replicates=99)
        p.append(found[0].p_value)
        estimates.append(found[0].estimate)
        by_chance.append(found[0].null_value)
    assert np.mean(np.array(p) <= 0.05) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 150)
    assert np.mean(estimates) < 0.7 * np.mean(by_chance)


@pytest.mark.parametrize("strength", [0.0, 0.7])
def test_effective_numbers_are_recovered_and_their_intervals_cover(strength):
    rng = np.random.default_rng(6)
    covered, error = [], []
    for world in range(40):
        shares = truth(strength, seed=world)
        for _ in range(5):
            counts, group, _ = audit(rng, shares, 9.0)
            found = effective_numbers(counts, group)
            covered += [each.low <= t <= each.high for each, t in zip(found, effective_number(shares), strict=True)]
            error += [each.estimate - t for each, t in zip(found, effective_number(shares), strict=True)]
    assert np.mean(covered) >= 0.91
    assert abs(np.mean(error)) <= 0.15


def test_effective_numbers_of_groups_alike_have_uniform_p_values():
    rng = np.random.default_rng(7)
    p = []
    for world in range(300):
        counts, group, _ = audit(rng, truth(0, seed=world), 9.0)
        p.append(effective_numbers(counts, group)[0].p_value)
    assert np.mean(np.array(p) <= 0.05) == pytest.approx(0.05, abs=4 * np.sqrt(0.05 * 0.95 / 300))


def test_a_group_with_little_variety_is_told_from_the_others():
    rng = np.random.default_rng(8)
    shares = np.full((4, CLASSES), 1 / CLASSES)
    shares[1] = [0.75, 0.05, 0.05, 0.05, 0.05, 0.05]
    found = effective_numbers(*audit(rng, shares, 30.0)[:2])
    assert found[1].p_value < 0.01
    assert found[1].high < found[1].null_value
    assert found[0].estimate > found[1].estimate


def test_all_groups_together_use_more_clusters_than_each():
    shares = np.array([[0.9, 0.05, 0.05, 0, 0, 0], [0, 0, 0, 0.9, 0.05, 0.05]]) + 1e-9
    counts, group, _ = audit(np.random.default_rng(9), shares / shares.sum(axis=1, keepdims=True), 30.0)
    whole = effective_number_of_all(counts, group)
    assert whole.low <= whole.estimate <= whole.high
    assert whole.estimate > max(each.estimate for each in effective_numbers(counts, group))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), classes=st.integers(1, 6), groups=st.integers(2, 4))
def test_numbers_stay_in_their_ranges(seed, classes, groups):
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(4, rng.dirichlet(np.full(classes, 0.4), size=3 * groups))
    group, block = np.repeat(np.arange(groups), 3), np.tile(np.arange(3), groups)
    v = cramers_v(counts, group, block, rng, replicates=19)
    assert 0 <= v.low <= v.estimate <= v.high <= 1
    assert 0 < v.p_value <= 1
    for each in distances_to_the_rest(counts, group, block, rng, replicates=19):
        assert 0 <= each.low <= each.estimate <= each.high <= 1
    for each in effective_numbers(counts, group):
        assert 1 <= each.low <= each.estimate <= each.high <= classes


def test_no_counts_have_no_effective_number():
    assert np.isnan(effective_number([0, 0]))

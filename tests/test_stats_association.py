from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditkit.stats.association import (
    Clusters,
    Words,
    effect_size,
    permutation_test,
    poles_apart,
    sign_test,
    single_category,
    templated_effects,
)
from benchmarks.association import clustered, interval, scores, true_effect

LEVEL = 0.05


def rejected(p_values: list[float]) -> float:
    return float(np.mean(np.array(p_values) <= LEVEL))


def of(values: list[float]) -> Clusters:
    return Clusters.of(np.array(values)[:, None], np.arange(len(values)))


def test_the_effect_size_is_caliskans():
    x, y = np.array([0.3, 0.5, 0.1]), np.array([-0.2, 0.0, 0.3, -0.4])
    expected = (x.mean() - y.mean()) / np.r_[x, y].std(ddof=1)
    assert effect_size(of(list(x)).sums(), of(list(y)).sums())[0] == pytest.approx(expected)


@given(
    st.lists(st.floats(-1, 1), min_size=3, max_size=8),
    st.lists(st.floats(-1, 1), min_size=3, max_size=8),
    st.floats(-5, 5),
    st.floats(0.1, 10),
)
def test_the_effect_size_knows_no_origin_and_no_scale_and_changes_sign_with_the_sets(x, y, shift, scale):
    d = effect_size(of(x).sums(), of(y).sums())[0]
    if np.std([*x, *y]) < 1e-3:
        return
    moved = [of([shift + scale * v for v in values]).sums() for values in (x, y)]
    assert effect_size(*moved)[0] == pytest.approx(d, abs=1e-6)
    assert effect_size(of(y).sums(), of(x).sums())[0] == pytest.approx(-d)


def test_scores_that_are_all_equal_have_no_effect_size():
    assert np.isnan(effect_size(of([0.3, 0.3]).sums(), of([0.3, 0.3]).sums())[0])


def test_with_two_groups_the_p_value_is_exact():
    values, group = np.array([5.0, 4.0, 6.0, 1.0, 0.0, 2.0]), np.array([0, 0, 0, 1, 1, 1])

    def t(chosen: tuple[int, ...]) -> float:
        x = values[list(chosen)]
        y = np.delete(values, chosen)
        return abs(x.mean() - y.mean()) / np.sqrt(x.var(ddof=1) / 3 + y.var(ddof=1) / 3)

    all_t = [t(chosen) for chosen in combinations(range(6), 3)]
    expected = np.mean(np.array(all_t) >= t((0, 1, 2)) - 1e-9)
    found = permutation_test(of(list(values)), group, 0, np.random.default_rng(0))[0]
    assert found == pytest.approx(expected)


@pytest.mark.parametrize(("groups", "prompts", "spread"), [(2, 5, 0.5), (8, 10, 0.5), (12, 4, 1.0)])
def test_the_p_value_is_uniform_when_prompts_differ_and_groups_do_not(groups, prompts, spread):
    rng = np.random.default_rng(groups)
    found = []
    for _ in range(400):
        clusters, group = clustered(np.zeros(groups), rng, prompts=prompts, spread=spread)
        found.append(permutation_test(clusters, group, 0, rng, permutations=199)[0])
    assert 0.01 <= rejected(found) <= 0.085
    assert np.mean(found) == pytest.approx(0.5, abs=0.06)


def test_permuting_single_images_would_call_chance_a_finding():
    rng = np.random.default_rng(2)
    by_prompt, by_image = [], []
    for _ in range(150):
        values, prompt, group = scores(np.zeros(4), rng, prompts=8, images=5, spread=1.0)
        clusters, images = Clusters.of(values, prompt), Clusters.of(values, np.arange(len(values)))
        by_prompt.append(permutation_test(clusters, group, 0, rng, permutations=199)[0])
        by_image.append(permutation_test(images, group[prompt], 0, rng, permutations=199)[0])
    assert rejected(by_prompt) <= 0.11
    assert rejected(by_image) >= 0.2


def test_a_group_in_the_middle_of_others_that_differ_is_found_no_more_often_than_the_level():
    rng = np.random.default_rng(3)
    means = np.r_[0, np.linspace(-2, 2, 7)]
    found = []
    for _ in range(400):
        clusters, group = clustered(means, rng)
        found.append(permutation_test(clusters, group, 0, rng, permutations=199)[0])
    assert 0.02 <= rejected(found) <= 0.09


def test_an_effect_is_found():
    rng = np.random.default_rng(4)
    found = []
    for _ in range(100):
        clusters, group = clustered(np.r_[1.0, np.zeros(7)], rng)
        found.append(permutation_test(clusters, group, 0, rng, permutations=199)[0])
    assert rejected(found) > 0.85


@pytest.mark.parametrize(
    "means", [np.zeros(8), np.r_[0.6, np.zeros(7)], np.array([2.0, 0.0]), np.r_[0, np.linspace(-2, 2, 7)]]
)
def test_the_interval_covers_the_effect_and_the_estimate_hits_it(means):
    rng = np.random.default_rng(5)
    truth, covered, errors = true_effect(means), [], []
    for _ in range(300):
        clusters, group = clustered(means, rng)
        low, high = interval(clusters, group, rng, 400)
        covered.append(low <= truth <= high)
        mine, others = clusters.take(group == 0).sums(), clusters.take(group != 0).sums()
        errors.append(effect_size(mine, others)[0] - truth)
    assert 0.91 <= np.mean(covered) <= 0.985
    assert abs(np.mean(errors)) < 0.04


def test_one_prompt_a_side_is_no_test():
    assert np.isnan(permutation_test(of([1.0, 2.0, 3.0]), [0, 1, 1], 0, np.random.default_rng(0))[0])


def test_without_any_spread_a_gap_is_as_extreme_as_can_be_and_no_gap_is_none():
    group = [0, 0, 0, 1, 1, 1]
    assert permutation_test(of([1.0] * 3 + [0.0] * 3), group, 0, np.random.default_rng(0))[0] == pytest.approx(0.1)
    assert permutation_test(of([1.0] * 6), group, 0, np.random.default_rng(0))[0] == 1


def test_signs_are_flipped_through_all_their_combinations_where_these_are_few():
    assert sign_test([[1.0, -1.0], [2.0, 1.0], [4.0, 0.5]], np.random.default_rng(0)).tolist() == [0.25, 1.0]
    assert sign_test(np.ones((20, 1)), np.random.default_rng(0), permutations=999)[0] == pytest.approx(0.001)


def test_the_templates_p_value_is_uniform_and_its_interval_covers():
    rng = np.random.default_rng(6)
    null, covered = [], []
    for _ in range(300):
        noise = rng.normal(0, 1, (10, 1, 1)) + rng.normal(0, 1, (10, 8, 1))
        null.append(templated_effects(noise, rng, replicates=300).p_value[0, 0])
        means = np.r_[0.8, np.zeros(7)]
        found = templated_effects(noise + means[None, :, None], rng, replicates=300)
        truth = 0.8 / np.sqrt(2 + means.var())
        covered.append(found.low[0, 0] <= truth <= found.high[0, 0])
    assert rejected(null) <= 0.085
    assert 0.9 <= np.mean(covered) <= 0.985


def test_one_template_gives_an_effect_without_interval_or_test():
    found = templated_effects(np.random.default_rng(0).normal(size=(1, 5, 2)), np.random.default_rng(0))
    assert np.isfinite(found.d).all()
    assert np.isnan(found.low).all()
    assert np.isnan(found.p_value).all()


@pytest.mark.parametrize("paired", [True, False])
def test_a_name_is_tested_against_the_poles_words(paired):
    rng = np.random.default_rng(7)
    words = Words(8, 8, paired)
    cosines = rng.normal(0, 1, (600, 16)) + (np.tile(rng.normal(0, 1, (600, 8)), 2) if paired else 0)
    d, p_values = single_category(cosines, words, rng, permutations=500)
    assert 0.02 <= rejected(list(p_values)) <= 0.08
    one = cosines[0]
    assert d[0] == pytest.approx((one[:8].mean() - one[8:].mean()) / one.std(ddof=1))
    cosines[:, :8] += 2
    assert rejected(list(single_category(cosines, words, rng, permutations=500)[1])) > 0.85


@pytest.mark.parametrize("paired", [True, False])
def test_words_that_an_encoder_does_not_know_are_not_apart(paired):
    rng = np.random.default_rng(8)
    words = Words(8, 8, paired)
    noise = [rng.normal(size=(16, 24)) for _ in range(200)]
    way = np.zeros((16, 24))
    way[:8, 0], way[8:, 0] = 2, -2
    assert rejected([poles_apart(e, words, rng, permutations=300) for e in noise]) <= 0.1
    assert rejected([poles_apart(e + way, words, rng, permutations=300) for e in noise[:50]]) > 0.95

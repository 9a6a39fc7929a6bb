"""How far shares moved between two paired audits: known truth, known tests, and a mitigation that does nothing."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from auditkit.stats.confusion import Confusion
from auditkit.stats.moved import (
    Pairs,
    counted_range,
    mean_change,
    movement,
    shares_with_intervals,
    shift,
)

EVEN = np.array([0.5, 0.5])
CALIBRATED = Confusion.from_counts([[190, 4], [6, 192], [4, 4]])
PERFECT = Confusion(np.eye(2), np.full(2, np.inf))


def draw(
    before: list[float], after: list[float], rng: np.random.Generator, *, prompts: int = 6, images: int = 6,
    confusion: Confusion = CALIBRATED,
) -> list[Pairs]:  # fmt: skip
    """Groups of which a share of images is of class 0, seen through the scorer; half of the pairs share their noise."""
    found = []
    for p, q in zip(before, after, strict=True):
        n = prompts * images
        u = rng.random(n)
        v = np.where(rng.random(n) < 0.5, u, rng.random(n))
        sides = []
        for truth in ((u >= p).astype(int), (v >= q).astype(int)):
            edges = np.cumsum(confusion.matrix, axis=0)[:, truth]
            sides.append((rng.random(n) > edges).sum(axis=0).clip(max=len(confusion.matrix) - 1))
        found.append(Pairs.of(*sides, np.repeat(np.arange(prompts), images), len(confusion.matrix), EVEN))
    return found


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([0.1, 0.9, 0.2, 0.3], [0.5, 0.5, 0.5, 0.5]),
        ([0.1, 0.9, 0.2, 0.3], [0.4, 0.6, 0.3, 0.4]),
        ([0.1, 0.5, 0.5, 0.3], [0.1, 0.5, 0.5, 0.3]),
    ],
)
def test_intervals_hold_whether_the_target_is_met_or_not(before: list[float], after: list[float]) -> None:
    rng = np.random.default_rng(1)
    a, b = (float(np.mean(np.abs(np.array(p) - 0.5))) for p in (before, after))
    square = 2 * float(np.mean((np.array(after) - 0.5) ** 2) - np.mean((np.array(before) - 0.5) ** 2))
    truths = {"before": a, "after": b, "change": b - a, "reduction": 1 - b / a, "squared": square}
    held = dict.fromkeys(truths, 0)
    rounds = 150
    for _ in range(rounds):
        found = movement(draw(before, after, rng), CALIBRATED, rng, replicates=300)
        told = {
            "before": found.before.estimated, "after": found.after.estimated, "change": found.change,
            "reduction": found.reduction, "squared": found.squared_change,
        }  # fmt: skip
        for name, x in told.items():
            held[name] += bool(x.low - 1e-9 <= truths[name] <= x.high + 1e-9)
    assert min(held.values()) / rounds >= 0.90, held  # 95% less 2.8 standard errors of 150 rounds


def test_a_mitigation_that_does_nothing_is_called_nearer_no_more_often_than_one_time_in_twenty() -> None:
    rng, rounds = np.random.default_rng(2), 400
    alarms = 0
    for _ in range(rounds):
        same = draw([0.1, 0.5, 0.8], [0.1, 0.5, 0.8], rng)
        alarms += movement(same, CALIBRATED, rng, replicates=199).p_nearer <= 0.05
    assert stats.binomtest(alarms, rounds, 0.05, alternative="greater").pvalue > 0.01, alarms


def test_a_mitigation_that_changes_no_image_has_no_effect_and_a_p_value_of_one() -> None:
    labels = np.tile([0, 0, 0, 1], 10)
    pairs = Pairs.of(labels, labels, np.repeat(np.arange(8), 5), 2, EVEN)
    found = movement([pairs], PERFECT, np.random.default_rng(0), replicates=200)
    assert found.change.value == 0
    assert found.p_nearer == 1
    assert found.p_further == 1
    assert shift([pairs], PERFECT, np.random.default_rng(0), replicates=200).p_value == 1


def test_a_move_onto_the_target_is_found_and_one_away_from_it_is_not_called_nearer() -> None:
    rng = np.random.default_rng(3)
    there = movement(draw([0.1, 0.9], [0.5, 0.5], rng, prompts=12, images=10), CALIBRATED, rng, replicates=500)
    back = movement(draw([0.5, 0.5], [0.1, 0.9], rng, prompts=12, images=10), CALIBRATED, rng, replicates=500)
    assert there.p_nearer < 0.01
    assert there.reduction.value > 0.6
    assert there.change.high < 0
    assert back.p_further < 0.01
    assert back.p_nearer > 0.9
    assert back.change.low > 0


def test_opposite_skews_do_not_cancel() -> None:
    rng = np.random.default_rng(4)
    found = movement(draw([0.1, 0.9], [0.1, 0.9], rng), CALIBRATED, rng, replicates=200)
    assert found.before.estimated.value > 0.3


def test_where_nothing_was_to_be_reduced_no_reduction_is_told() -> None:
    labels = np.tile([0, 1], 30)
    pairs = Pairs.of(labels, labels, np.repeat(np.arange(6), 10), 2, EVEN)
    assert np.isnan(movement([pairs], PERFECT, np.random.default_rng(0), replicates=200).reduction.value)


def test_a_shift_of_an_attribute_that_was_not_targeted_is_found_and_nothing_is_found_where_there_is_none() -> None:
    rng, rounds, alarms = np.random.default_rng(5), 300, 0
    moved = shift(draw([0.2, 0.3], [0.6, 0.7], rng), CALIBRATED, rng, replicates=500)
    assert moved.p_value < 0.01
    assert moved.level.estimated.low > 0.1
    for _ in range(rounds):
        alarms += shift(draw([0.2, 0.3], [0.2, 0.3], rng), CALIBRATED, rng, replicates=199).p_value <= 0.05
    assert stats.binomtest(alarms, rounds, 0.05, alternative="greater").pvalue > 0.01, alarms


def test_a_shift_of_outcomes_as_classified_is_no_more_than_that_of_the_classes_behind_them() -> None:
    rng = np.random.default_rng(6)
    groups = draw([0.2], [0.7], rng, prompts=40, images=20)
    corrected = shift(groups, CALIBRATED, rng, replicates=200).level.estimated.value
    counted = shift(groups, None, rng, replicates=200).level.estimated.value
    assert counted <= corrected


def test_shares_of_a_group_without_the_class_keep_an_interval() -> None:
    ones = np.ones(30, int)
    pairs = Pairs.of(ones, ones, np.repeat(np.arange(6), 5), 2, EVEN)
    (share, low, high), _ = shares_with_intervals(pairs, PERFECT, np.random.default_rng(0), replicates=100)
    assert share[0] == pytest.approx(0)
    assert low[0] == 0
    assert high[0] > 0


def test_the_change_of_a_mean_is_that_of_a_paired_t_test_where_every_prompt_has_one_pair() -> None:
    rng = np.random.default_rng(7)
    a = rng.normal(size=30)
    b = a + 0.3 + 0.2 * rng.normal(size=30)
    found, was, now, p_value = mean_change(a, b, range(30), np.zeros(30), rng)
    known = stats.ttest_rel(b, a).confidence_interval()
    assert found.value == pytest.approx(now - was)
    assert (found.low, found.high) == pytest.approx((known.low, known.high))
    assert p_value < 0.01


def test_the_change_of_a_mean_has_no_interval_where_each_group_has_one_prompt() -> None:
    found, *_ = mean_change([0, 1, 0, 1], [1, 1, 1, 1], [0, 0, 1, 1], [0, 0, 1, 1], np.random.default_rng(0))
    assert found.value == 0.5
    assert np.isnan(found.low)


def test_unknown_images_are_bounded_and_not_dropped() -> None:
    low, high = counted_range([6, 2, 2], EVEN)
    assert (low, high) == (pytest.approx(0.1), pytest.approx(0.3))
    assert counted_range([4, 4, 2], EVEN) == (0, pytest.approx(0.1))
    assert counted_range([0, 0, 0, 5], [1 / 3] * 3) == (0, pytest.approx(2 / 3))


def test_groups_without_pairs_or_without_a_target_are_refused() -> None:
    empty = Pairs.of([], [], [], 2, EVEN)
    with pytest.raises(ValueError, match="pairs and a target"):
        movement([empty], PERFECT, np.random.default_rng(0))
    with pytest.raises(ValueError, match="pairs"):
        shift([], PERFECT, np.random.default_rng(0))

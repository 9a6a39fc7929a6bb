"""Tuning a strength: what is accepted is within the tolerance, as surely as was asked for."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from auditkit.guidance.group_guidance import choose_scales
from auditkit.guidance.tuning import tune


def model(share: Callable[[float], float], seed: int) -> Callable[[float, int], int]:
    """A model that shows the class with a share that follows from the strength."""
    rng = np.random.default_rng(seed)
    return lambda strength, n: int(rng.binomial(n, share(strength)))


def logistic(strength: float) -> float:
    return float(1 / (1 + np.exp(-3 * (strength - 0.8))))


def test_the_strength_that_shows_the_target_is_found() -> None:
    found = [tune(model(logistic, seed), 0.5, low=-1, high=2) for seed in range(20)]
    assert sum(one.reached for one in found) >= 18
    assert all(abs(logistic(one.strength) - 0.5) <= 0.05 for one in found if one.reached)


def test_a_share_further_off_than_the_tolerance_is_hardly_ever_accepted() -> None:
    just_off = [tune(model(lambda strength: 0.552, seed), 0.5, low=0, high=1) for seed in range(400)]
    assert sum(one.reached for one in just_off) / 400 <= 0.05


def test_a_share_that_cannot_be_reached_is_not_said_to_be() -> None:
    found = tune(model(lambda strength: 0.1, 1), 0.5, low=-1, high=2)
    assert not found.reached
    assert found.high < 0.45
    assert found.strength > 1.9


def test_ten_images_are_never_enough() -> None:
    assert not tune(lambda strength, n: n // 2, 0.5, low=0, high=1, first=10, most=10).reached


def test_what_it_cost_is_told() -> None:
    calls = list[int]()

    def measure(strength: float, n: int) -> int:
        calls.append(n)
        return n // 2

    found = tune(measure, 0.5, low=0, high=1)
    assert (found.images, found.looks, found.n) == (sum(calls), len(calls), sum(calls))


def test_the_smallest_scale_that_is_surely_enough_is_chosen() -> None:
    shown = {"female": {1.0: (50, 100), 2.0: (95, 100), 4.0: (99, 100)}, "male": {1.0: (98, 100), 2.0: (100, 100)}}
    assert choose_scales(shown, 0.85) == {"female": 2.0, "male": 1.0}


def test_few_images_do_not_make_a_scale_enough() -> None:
    assert choose_scales({"female": {1.0: (5, 5), 2.0: (300, 310)}}, 0.85) == {"female": 2.0}


def test_where_no_scale_is_enough_the_best_is_taken() -> None:
    assert choose_scales({"female": {1.0: (10, 100), 2.0: (30, 100), 3.0: (20, 100)}}, 0.9) == {"female": 2.0}


@pytest.mark.parametrize("target", [0.2, 0.5, 0.8])
def test_other_targets_than_even_are_found_alike(target: float) -> None:
    found = tune(model(logistic, 3), target, low=-1, high=3)
    assert found.reached
    assert abs(logistic(found.strength) - target) <= 0.05

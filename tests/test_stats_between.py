from __future__ import annotations

import numpy as np
import pytest

from auditkit.stats.between import Prompts, place_between
from benchmarks.association import DIM, mixture


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_the_position_of_a_mixture_is_its_share_and_the_interval_covers_it(share):
    rng = np.random.default_rng(1)
    places = [place_between([mixture(share, rng)], rng, replicates=300) for _ in range(150)]
    assert np.mean([p.position for p in places]) == pytest.approx(share, abs=0.03)
    assert np.mean([p.low <= share <= p.high for p in places]) >= 0.92


def test_in_the_middle_the_test_rejects_no_more_often_than_its_level_and_aside_it_does():
    rng = np.random.default_rng(2)
    middle = [place_between([mixture(0.5, rng)], rng, replicates=300).p_value for _ in range(150)]
    aside = [place_between([mixture(0.85, rng)], rng, replicates=300).p_value for _ in range(50)]
    assert np.mean(np.array(middle) <= 0.05) <= 0.09
    assert np.mean(np.array(aside) <= 0.05) >= 0.8


def test_several_groups_are_placed_together():
    rng = np.random.default_rng(3)
    place = place_between([mixture(share, rng, prompts=6) for share in (0.2, 0.4, 0.6, 0.8)], rng, replicates=500)
    assert place.low < 0.5 < place.high
    assert place.position == pytest.approx(0.5, abs=0.12)


def test_groups_on_both_sides_of_the_middle_do_not_make_their_mean_hard_or_easy_to_tell_from_it():
    rng = np.random.default_rng(5)

    def p_values(shares: list[float], audits: int) -> list[float]:
        strata = ([mixture(share, rng, prompts=6) for share in shares] for _ in range(audits))
        return [place_between(some, rng, replicates=300).p_value for some in strata]

    assert np.mean(np.array(p_values([0.1, 0.3, 0.7, 0.9], 100)) <= 0.05) <= 0.11
    assert np.mean(np.array(p_values([0.3, 0.6, 0.9, 0.95], 40)) <= 0.05) >= 0.8


def test_poles_whose_images_look_alike_have_no_place_between_them():
    rng = np.random.default_rng(4)
    noise = [Prompts.of(e / np.linalg.norm(e, axis=1, keepdims=True), np.repeat(np.arange(6), 5))
             for e in (np.eye(DIM)[0] + rng.normal(0, 0.2, (30, DIM)) for _ in range(3))]  # fmt: skip
    place = place_between([(noise[0], noise[1], noise[2])], rng)
    assert not place.apart
    assert np.isnan(place.position)

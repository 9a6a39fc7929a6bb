"""Rare events: none of n says how much is still plausible, and a scorer's errors are neither forgotten nor trusted."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, fisher_exact

from auditkit.stats.confusion import Confusion
from auditkit.stats.rare import (
    Errors,
    effective_size,
    event_errors,
    exact_share,
    images_to_see,
    lang_reiczigel,
    melded_share,
    rule_of_three,
)

SETTINGS = [
    (200, 0.9, 8, 0.005, 640),
    (200, 0.9, 8, 0.0, 640),
    (100, 0.95, 100, 0.02, 200),
    (300, 0.8, 20, 0.05, 100),
]
"""Images; sensitivity and the images it is known from; false positive rate and the images it is known from."""


def draw(setting, share, rng, size):
    n, s, m1, f, m0 = setting
    labels = rng.binomial(n, share * s + (1 - share) * f, size)
    return zip(labels, rng.binomial(m1, s, size) / m1, rng.binomial(m0, f, size) / m0, strict=True)


@given(st.floats(0.0005, 0.9), st.floats(0.5, 0.999))
def test_images_to_see_is_the_fewest_that_show_one(share: float, probability: float) -> None:
    n = images_to_see(share, probability)
    assert 1 - (1 - share) ** n >= probability - 1e-9
    assert n == 1 or 1 - (1 - share) ** (n - 1) < probability + 1e-9


def test_a_share_of_one_in_a_hundred_takes_299_images() -> None:
    assert images_to_see(0.01) == 299
    assert images_to_see(1) == 1


@pytest.mark.parametrize("bad", [{"share": 0}, {"share": 1.1}, {"probability": 1}, {"effect": 0.5}])
def test_images_to_see_refuses_what_is_no_share(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="need 0 < share"):
        images_to_see(**({"share": 0.01} | bad))


@given(st.integers(1, 5000))
def test_the_rule_of_three_is_the_share_that_n_images_would_have_shown(n: int) -> None:
    assert images_to_see(rule_of_three(n)) == n
    assert rule_of_three(n) <= 3 / n


def test_no_images_have_no_rule() -> None:
    assert math.isnan(rule_of_three(0))


@pytest.mark.parametrize("n", [5, 20, 100])
def test_the_exact_interval_covers_at_every_share(n: int) -> None:
    k = np.arange(n + 1)
    low, high = exact_share(k, n, n)
    for share in np.linspace(0.0005, 0.9995, 400):
        covers = (low <= share) & (share <= high)
        assert binom.pmf(k, n, share)[covers].sum() >= 0.95


def test_clustered_images_are_worth_fewer() -> None:
    assert effective_size(200, 2) == 100
    assert effective_size(200, 2, df=5) < 100
    assert exact_share(0, 200, effective_size(200, 4))[1] > exact_share(0, 200, 200)[1]


def test_exact_intervals_hold_under_clustering_when_the_effect_is_known() -> None:
    # Prompts of 5 like images: 100 images are worth 20.
    k = np.arange(21)
    low, high = exact_share(5 * k, 100, effective_size(100, 5))
    for share in np.linspace(0.01, 0.99, 99):
        assert binom.pmf(k, 20, share)[(low <= share) & (share <= high)].sum() >= 0.95


def test_errors_on_an_event_weigh_classes_by_how_many_images_they_have() -> None:
    matrix = Confusion.from_counts([[9, 0, 4], [0, 20, 4], [1, 0, 12]])
    found = event_errors(matrix, [0], [0.1, 0.8, 0.1])
    assert found.sensitivity == pytest.approx(0.9)
    assert found.n_sensitivity == 10
    assert found.false_positive == pytest.approx(0.2 * 1 / 9)
    assert found.n_false_positive == pytest.approx(1 / ((8 / 9) ** 2 / 20 + (1 / 9) ** 2 / 20))


def test_labels_of_one_class_of_an_event_for_another_are_no_errors() -> None:
    matrix = Confusion.from_counts([[5, 5, 0], [5, 5, 0], [0, 0, 10]])
    assert event_errors(matrix, [0, 1], [0, 0, 1]).sensitivity == 1


@pytest.mark.parametrize(("k", "wrong"), [(1, 0), (3, 1), (5, 2), (8, 20)])
def test_p_none_is_fishers_exact_test_against_the_calibrations_false_positives(k: int, wrong: int) -> None:
    found = melded_share(k, 200, Errors(0.9, 30, wrong / 640, 640), np.random.default_rng(0))
    exact = fisher_exact([[k, 200 - k], [wrong, 640 - wrong]], alternative="greater").pvalue
    assert found.p_none == pytest.approx(exact, rel=0.01, abs=1e-6)


@pytest.mark.parametrize("rate", [0.002, 0.01, 0.05])
def test_p_none_errs_no_more_than_it_says_where_nothing_is_shown(rate: float) -> None:
    n, m = 100, 200
    chance = 0.0
    for k in range(16):
        for wrong in range(26):
            p = fisher_exact([[k, n - k], [wrong, m - wrong]], alternative="greater").pvalue
            chance += float(binom.pmf(k, n, rate) * binom.pmf(wrong, m, rate)) * (p <= 0.05)
    assert chance <= 0.05


def test_p_none_finds_what_is_shown() -> None:
    rng, found = np.random.default_rng(1), 0
    for k, s, f in draw(SETTINGS[0], 0.05, rng, 50):
        found += melded_share(int(k), 200, Errors(s, 8, f, 640), rng, draws=200).p_none < 0.05
    assert found >= 45


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("share", [0.0, 0.01, 0.1])
def test_the_melded_interval_covers_with_errors_that_are_estimated(setting, share) -> None:
    n, _, m1, _, m0 = setting
    rng, covers = np.random.default_rng(2), 0
    for k, s, f in draw(setting, share, rng, 100):
        found = melded_share(int(k), n, Errors(s, m1, f, m0), rng, draws=500)
        covers += found.low <= share <= found.high
    assert covers >= 95


def test_it_covers_where_the_scorer_errs_less_than_it_was_calibrated_to() -> None:
    # No false positives here, though the calibration knows 2%: Rogan and Gladen's correction takes off too much.
    rng, covers, classic = np.random.default_rng(3), 0, 0
    for _ in range(200):
        k, errors = int(rng.binomial(400, 0.02)), Errors(0.95, 100, float(rng.binomial(300, 0.03)) / 300, 300)
        found = melded_share(k, 400, errors, rng, draws=500)
        low, high = lang_reiczigel(k, 400, errors)
        covers += found.low <= 0.02 <= found.high
        classic += low <= 0.02 <= high
    assert covers >= 190
    assert classic < covers


def test_all_labels_right_leave_an_interval_of_some_width() -> None:
    found = melded_share(100, 100, Errors(0.9, 600, 0, 8), np.random.default_rng(0))
    assert found.estimate == 1
    assert found.low < 0.99


def test_what_no_mixture_explains_widens_both_ends() -> None:
    plain, wide = (
        melded_share(20, 200, Errors(0.9, 50, 0, 600), np.random.default_rng(0), unexplained=share)
        for share in (0.0, 0.08)
    )
    assert wide.low < plain.low
    assert wide.high > plain.high + 0.07
    assert wide.p_none > plain.p_none


def test_without_images_or_with_a_blind_scorer_there_is_no_number() -> None:
    rng = np.random.default_rng(0)
    assert math.isnan(melded_share(0, 0, Errors(0.9, 50, 0, 600), rng).estimate)
    assert math.isnan(melded_share(3, 50, Errors(0.1, 50, 0.2, 600), rng).high)


def test_errors_that_are_known_exactly_give_nearly_the_binomial_interval() -> None:
    found = melded_share(10, 200, Errors(1, math.inf, 0, math.inf), np.random.default_rng(0), draws=20_000)
    low, high = exact_share(10, 200, 200)
    assert (found.low, found.high) == pytest.approx((float(low), float(high)), abs=0.003)


@pytest.mark.parametrize(("setting", "least", "most"), [(2, 0.94, 0.99), (3, 0.94, 0.99), (0, 0.88, 0.94)])
def test_lang_and_reiczigels_interval_is_near_nominal_unless_few_images_certify(setting, least, most) -> None:
    n, _, m1, _, m0 = SETTINGS[setting]
    found = []
    for k, s, f in draw(SETTINGS[setting], 0.1, np.random.default_rng(4), 3000):
        low, high = lang_reiczigel(int(k), n, Errors(s, m1, f, m0))
        found.append(low <= 0.1 <= high)
    assert least <= np.mean(found) <= most

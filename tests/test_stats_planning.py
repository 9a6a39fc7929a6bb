"""What a plan promises, simulated audits of known truth keep."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stats_helpers import scorer

from auditkit.stats.confusion import Confusion
from auditkit.stats.corrected import corrected_shares, inverse
from auditkit.stats.planning import (
    Comparison,
    Group,
    Test,
    Variance,
    binary,
    critical,
    half_width,
    images_for_half_width,
    mixture,
    perfect,
    share_variance,
    with_unknown,
)
from benchmarks.planning import SCORER, audit, calibrated, counts, labels
from benchmarks.planning import power as reached

COIN = share_variance(perfect(2), 0.5)


def test_the_numbers_every_textbook_has() -> None:
    assert round(images_for_half_width(COIN, 0.10)) == 96
    assert round(images_for_half_width(COIN, 0.05)) == 384
    assert half_width(COIN, 96) == pytest.approx(0.100, abs=5e-4)
    assert half_width(COIN, 384) == pytest.approx(0.050, abs=5e-4)
    assert round(Comparison(perfect(2), 0, 0.5, critical()).images(0.10, 0.8)) == 387


@given(st.floats(0.6, 1), st.floats(0.6, 1), st.floats(0.05, 0.95))
def test_an_error_inflates_the_variance_by_youdens_index_squared(se: float, sp: float, p: float) -> None:
    q = se * p + (1 - sp) * (1 - p)
    expected = q * (1 - q) / (se + sp - 1) ** 2
    assert share_variance(binary(se, sp), p).image == pytest.approx(expected, rel=1e-6)


def test_the_floor_is_the_variance_of_the_calibration_set() -> None:
    se, sp, p, m = 0.9, 0.8, 0.3, 100_000  # large, so that the smoothing of C is nothing
    expected = (p**2 * se * (1 - se) + (1 - p) ** 2 * sp * (1 - sp)) / m / (se + sp - 1) ** 2
    assert share_variance(binary(se, sp, (m, m)), p).floor == pytest.approx(expected, rel=1e-3)
    assert share_variance(binary(se, sp), p).floor == 0


def test_no_number_of_images_gets_below_the_floor() -> None:
    found = share_variance(binary(0.9, 0.9, (100, 100)), 0.5)
    least = half_width(found, math.inf)
    assert math.isinf(images_for_half_width(found, 0.99 * least))
    assert math.isfinite(images_for_half_width(found, 1.01 * least))
    test = Test(binary(0.9, 0.9, (100, 100)), 0, 0.5, critical())
    assert math.isinf(test.images(0.99 * test.floor()))
    assert math.isfinite(test.images(1.01 * test.floor()))


def test_unknown_images_are_images_made_for_nothing() -> None:
    plain, thinned = (Test(c, 0, 0.5, critical()).images(0.2) for c in (perfect(2), with_unknown(perfect(2), 0.2)))
    assert thinned == pytest.approx(plain / 0.8, rel=0.02)


def test_unknown_of_a_joint_attribute_thins_both_parts() -> None:
    joint = with_unknown(Confusion.joint(binary(0.9, 0.9, (50, 50)), binary(0.9, 0.9, (50, 50))), 0.1)
    assert joint.matrix.shape == (9, 4)
    assert joint.matrix.sum(axis=0) == pytest.approx(1)


def test_more_images_of_one_prompt_reach_no_further_than_prompts_over_icc() -> None:
    group = Group(prompts=10, icc=0.1)
    assert group.independent(1e9) == pytest.approx(100)
    assert math.isinf(group.images_per_prompt(101))
    m = group.images_per_prompt(60)
    assert group.independent(m) == pytest.approx(60)
    assert group.prompts_for(60, m) == pytest.approx(10)


@settings(max_examples=25, deadline=None)
@given(st.floats(0.05, 0.45), st.integers(1, 100), st.floats(0.5, 0.95))
def test_what_so_many_images_detect_takes_so_many_images(difference: float, tests: int, power: float) -> None:
    test = Test(with_unknown(binary(0.95, 0.9, (150, 150)), 0.05), 0, 0.5, critical(tests=tests))
    n = test.images(difference, power)
    if math.isfinite(n) and n > 1:
        assert test.detectable(n, power) == pytest.approx(difference, rel=1e-4)
        assert test.images(difference * 1.05, power) < n


def test_a_difference_that_leaves_the_range_is_out_of_reach() -> None:
    assert math.isinf(Test(perfect(2), 0, 0.5, critical()).images(0.6))
    assert math.isnan(Test(perfect(2), 0, 0.5, critical()).detectable(1))
    assert math.isinf(Comparison(perfect(2), 0, 0.5, critical()).images(0.6))


def test_the_error_of_the_calibration_cancels_between_two_runs_but_for_the_difference() -> None:
    against_target = Test(binary(0.9, 0.9, (100, 100)), 0, 0.5, critical()).floor()
    between_runs = Comparison(binary(0.9, 0.9, (100, 100)), 0, 0.5, critical())
    assert math.isfinite(between_runs.images(against_target / 4))


def test_the_unknown_rate_must_be_a_share() -> None:
    with pytest.raises(ValueError, match="unknown rate"):
        with_unknown(perfect(2), 1.0)


def test_nothing_is_planned_with_a_variance_of_nothing() -> None:
    assert math.isinf(images_for_half_width(Variance(0.25, 0.1), 0.05))


@pytest.mark.parametrize(("icc", "tests", "calibration"), [(0.0, 1, 150), (0.1, 1, 150), (0.05, 20, 60)])
def test_the_promised_power_is_reached_by_simulated_audits(icc: float, tests: int, calibration: int) -> None:
    _, promised, found = reached(60, difference=0.25, prompts=20, icc=icc, tests=tests, calibration=calibration)
    assert promised >= 0.8
    assert found == pytest.approx(promised, abs=0.07)  # 3 standard errors of 300 groups


def test_the_promised_power_is_reached_with_five_classes() -> None:
    c, n_cal, t = scorer(5, right=0.9, unknown=0.1), 200, 0.2
    test = Test(Confusion(c, np.full(5, n_cal)), 2, t, critical())
    images = math.ceil(test.images(0.15, 0.8))
    rng = np.random.default_rng(2)
    p = mixture(t + 0.15, 5, 2)
    found = []
    for _ in range(150):
        seen = calibrated(n_cal, rng, c)
        result = corrected_shares(rng.multinomial(images, c @ p), seen, null=np.full(5, t), rng=rng, replicates=500)
        found.append(result.p_values[2] <= 0.05)
    assert np.mean(found) == pytest.approx(test.power(0.15, images), abs=0.1)


def test_intervals_of_simulated_audits_are_as_narrow_as_promised_and_little_narrower() -> None:
    goal, group = 0.1, Group(prompts=20, icc=0.05, groups=5)
    variance = share_variance(Confusion(SCORER, np.full(2, 150)), 0.5)
    needed = images_for_half_width(variance, goal, z=critical(group=group))
    images = math.ceil(group.images_per_prompt(needed))
    rng = np.random.default_rng(3)
    widths = []
    for _ in range(30):
        tables = [counts(labels(0.5, rng, prompts=20, images=images, icc=0.05)) for _ in range(5)]
        widths += [(each.high[0] - each.low[0]) / 2 for each in audit(tables, calibrated(150, rng), rng)]
    assert 0.9 * goal <= np.mean(widths) <= goal  # the score interval is a little narrower than planned for


def test_the_promised_power_between_two_runs_is_reached() -> None:
    c, n_cal = scorer(2, right=0.9, unknown=0.05), 100
    test = Comparison(Confusion(c, np.full(2, n_cal)), 0, 0.5, critical())
    images = math.ceil(test.images(0.15, 0.8))
    rng = np.random.default_rng(4)
    found = []
    for _ in range(500):
        a = inverse(calibrated(n_cal, rng, c).matrix)[0]
        x, y = (counts(labels(s, rng, prompts=1, images=images, icc=0, c=c)).sum(axis=0) / images for s in (0.5, 0.65))
        pooled = (x + y) / 2
        se = math.sqrt(2 / images * float(a @ (np.diag(pooled) - np.outer(pooled, pooled)) @ a))
        found.append(abs(float(a @ (y - x))) / se >= critical())
    assert np.mean(found) == pytest.approx(test.power(0.15, images), abs=0.055)

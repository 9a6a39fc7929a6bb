"""Divergences of prompts, on audits whose truth is known."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
from stats_helpers import scorer

from auditkit.stats.confusion import Confusion
from auditkit.stats.per_prompt import STATISTICS, Prompts, prompt_divergences

EVEN = np.array([0.5, 0.5])
C = scorer(2)
CONFUSION = Confusion.from_counts(C * 150)


def rng_of(seed: int):
    return lambda name: np.random.default_rng([seed, zlib.crc32(name.encode())])


def drawn(truth: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """Outcome counts [n_prompts, 3] of prompts with true shares [n_prompts, 2]."""
    return rng.multinomial(n, truth @ C.T).astype(float)


def find(counts: np.ndarray, *, seed: int = 0, replicates: int = 400, target=EVEN, slack: float = 0.0):
    groups = {"group": Prompts(counts, target, slack)}
    return prompt_divergences(groups, CONFUSION, rng_of(seed), replicates=replicates)["group"]


def calibrated(rng: np.random.Generator, n: int = 150) -> Confusion:
    return Confusion.from_counts(np.stack([rng.multinomial(n, column) for column in C.T], axis=1))


def test_opposite_skews_of_prompts_do_not_cancel():
    truth = np.array([[0.95, 0.05], [0.05, 0.95]] * 10)
    found = find(drawn(truth, 20, np.random.default_rng(0)))
    assert found["tv"].estimate == pytest.approx(0.45, abs=0.05)
    assert found["squared"].estimate == pytest.approx(0.405, abs=0.08)
    assert all(found[name].p_value < 0.01 for name in STATISTICS)


def test_plug_ins_of_even_prompts_are_near_their_null_value_and_not_near_0():
    found = find(drawn(np.tile(EVEN, (40, 1)), 5, np.random.default_rng(1)))
    for name in STATISTICS:
        assert found[name].p_value > 0.05
        assert found[name].low <= found[name].null_value <= found[name].high
    assert found["tv"].estimate > 0.15
    assert found["tv"].null_value > 0.15
    assert found["squared"].null_value == 0


def test_the_squared_distance_is_right_on_average_at_any_number_of_images():
    rng = np.random.default_rng(2)
    for n in (2, 5, 40):
        truth = np.tile([0.8, 0.2], (200, 1))
        found = [
            prompt_divergences(
                {"group": Prompts(drawn(truth, n, rng), EVEN)}, calibrated(rng), rng_of(i), replicates=2
            )["group"]["squared"].estimate
            for i in range(40)
        ]
        error = np.std(found) / np.sqrt(len(found))
        assert np.mean(found) == pytest.approx(2 * 0.3**2, abs=4 * error)


def test_p_values_are_even_under_the_target():
    rng, p_values = np.random.default_rng(3), []
    for i in range(120):
        counts = drawn(np.tile(EVEN, (10, 1)), 10, rng)
        found = prompt_divergences({"g": Prompts(counts, EVEN)}, calibrated(rng), rng_of(i), replicates=99)["g"]
        p_values.append([found[name].p_value for name in STATISTICS])
    assert np.all(np.abs(np.mean(p_values, axis=0) - 0.5) < 0.11)
    assert np.all(np.mean(np.array(p_values) <= 0.05, axis=0) < 0.12)


@pytest.mark.parametrize("spread", [None, 8.0])
def test_intervals_hold_what_such_prompts_would_give(spread):
    rng, mean, n = np.random.default_rng(4), np.array([0.7, 0.3]), 10

    def truth(size: int) -> np.ndarray:
        return np.tile(mean, (size, 1)) if spread is None else rng.dirichlet(spread * mean, size=size)

    many = find(drawn(truth(20_000), n, rng), replicates=2)
    held = np.zeros(len(STATISTICS))
    for i in range(80):
        counts = drawn(truth(10), n, rng)
        found = prompt_divergences({"g": Prompts(counts, EVEN)}, calibrated(rng), rng_of(i), replicates=100)["g"]
        held += [found[name].low <= many[name].estimate <= found[name].high for name in STATISTICS]
    assert np.all(held / 80 > 0.86)


def test_all_prompts_together_have_a_narrower_interval_with_groups_as_strata():
    rng = np.random.default_rng(5)
    groups = {
        name: Prompts(drawn(np.tile([f, 1 - f], (10, 1)), 20, rng), EVEN) for name, f in (("a", 0.95), ("b", 0.5))
    }
    found = prompt_divergences(groups, CONFUSION, rng_of(0), replicates=200)
    width = {name: each["tv"].high - each["tv"].low for name, each in found.items()}
    assert found["all"]["tv"].n_prompts == 20
    assert found["all"]["tv"].estimate == pytest.approx((found["a"]["tv"].estimate + found["b"]["tv"].estimate) / 2)
    assert width["all"] < max(width["a"], width["b"])


def test_a_groups_numbers_do_not_hang_on_the_others():
    rng = np.random.default_rng(6)
    a, b = (Prompts(drawn(np.tile(EVEN, (5, 1)), 10, rng), EVEN) for _ in range(2))
    alone = prompt_divergences({"a": a}, CONFUSION, rng_of(0), replicates=50)["a"]
    assert prompt_divergences({"b": b, "a": a}, CONFUSION, rng_of(0), replicates=50)["a"] == alone


def test_single_images_have_no_squared_distance():
    found = find(np.eye(3)[[0, 1, 0, 1, 0, 1]])
    assert np.isnan(found["squared"].estimate)
    assert np.isnan(found["squared"].p_value)
    assert found["squared"].n_prompts == 0
    assert found["tv"].estimate == pytest.approx(0.5)
    assert found["tv"].p_value > 0.5


def test_two_prompts_have_an_estimate_and_no_interval():
    found = find(drawn(np.tile([0.9, 0.1], (2, 1)), 30, np.random.default_rng(7)))
    assert np.isnan(found["tv"].low)
    assert found["tv"].p_value < 0.05


def test_images_that_no_mixture_explains_weaken_the_test_and_widen_the_interval():
    counts = drawn(np.tile([0.65, 0.35], (10, 1)), 100, np.random.default_rng(8))
    sure, unsure = find(counts), find(counts, slack=0.15)
    for name in ("tv", "squared", "kl"):
        assert sure[name].p_value < 0.01
        assert unsure[name].p_value > 0.05
        assert unsure[name].low <= sure[name].low
        assert sure[name].high < unsure[name].high


def test_classes_that_the_target_leaves_out_are_no_error():
    found = find(drawn(np.tile([0.9, 0.1], (5, 1)), 20, np.random.default_rng(9)), target=np.array([1.0, 0.0]))
    assert all(np.isfinite(found[name].estimate) for name in STATISTICS)
    assert found["tv"].estimate == pytest.approx(0.1, abs=0.06)

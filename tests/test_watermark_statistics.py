"""P-values of words: exact against counting every case, honest under the null, corrected for what was tried."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from auditkit.watermark.payload import LONG_WORD, SHORT_WORD
from auditkit.watermark.statistics import (
    LEVELS,
    Tail,
    any_payload_p_value,
    binomial_p_value,
    combine,
    null_bound,
    quantised,
    threshold_matches,
    word_p_value,
)  # fmt: skip

sizes = st.floats(0, 1e6, allow_subnormal=False)
any_soft = st.lists(st.floats(allow_subnormal=False), min_size=1, max_size=40)


@settings(max_examples=40)
@given(st.lists(st.floats(-100, 100, allow_subnormal=False), min_size=1, max_size=9), st.integers(0, 2**9 - 1))
def test_the_tail_is_the_share_of_all_words_that_agree_as_well(soft: list[float], number: int) -> None:
    word = np.array([number >> i & 1 for i in range(len(soft))], np.uint8)
    levels = quantised(np.array(soft))
    read = np.array(soft) > 0
    seen = levels[read == word].sum()
    every = [levels[read == np.array(other)].sum() for other in itertools.product((0, 1), repeat=len(soft))]
    assert word_p_value(np.array(soft), word) == pytest.approx(np.mean(np.array(every) >= seen), rel=1e-12)


@pytest.mark.parametrize("bits", [SHORT_WORD, LONG_WORD])
def test_equal_sizes_give_the_binomial_tail_down_to_1e_minus_70(bits: int) -> None:
    word = np.ones(bits, np.uint8)
    for matched in (0, bits // 2, bits - 20, bits):
        soft = np.where(np.arange(bits) < matched, 0.3, -0.3)
        exact = binomial_p_value(bits, matched)
        assert word_p_value(soft, word) == pytest.approx(exact, rel=1e-10)
    assert binomial_p_value(bits, bits) == pytest.approx(2.0**-bits, rel=1e-10)


def test_the_binomial_tail_is_that_of_scipy() -> None:
    for n, matched in ((32, 30), (100, 60), (248, 125), (248, 200)):
        assert binomial_p_value(n, matched) == pytest.approx(stats.binom.sf(matched - 1, n, 0.5), rel=1e-9)


def test_a_mixture_of_sizes_keeps_its_relative_accuracy_far_out() -> None:
    levels = np.random.default_rng(0).integers(1, LEVELS + 1, 200)
    soft = np.append(levels, LEVELS) / LEVELS  # the largest size is surely there
    soft[:60] = 1.0  # and is the robust maximum
    tail = Tail(soft)
    assert tail.table[tail.top] == pytest.approx(2.0**-201, rel=1e-12)  # all must agree
    least = int(tail.levels.min())
    ways = 1 + int((tail.levels == least).sum())  # or all but one of the smallest
    assert tail.table[tail.top - least] == pytest.approx(ways * 2.0**-201, rel=1e-12)


def test_more_than_a_thousand_bits_do_not_overflow() -> None:
    tail = Tail(np.ones(3000))
    assert np.isfinite(tail.table).all()
    assert tail.table[0] == 1
    assert tail.table[1600 * LEVELS] == pytest.approx(stats.binom.sf(1599, 3000, 0.5), rel=1e-9)


@given(any_soft, st.data())
def test_a_p_value_is_never_nan_nor_outside_0_to_1(soft: list[float], data: st.DataObject) -> None:
    word = np.array(data.draw(st.lists(st.integers(0, 1), min_size=len(soft), max_size=len(soft))), np.uint8)
    assert 0 < word_p_value(np.array(soft), word, looks=data.draw(st.integers(1, 10**12))) <= 1


def test_nothing_read_is_no_evidence() -> None:
    word = np.ones(LONG_WORD, np.uint8)
    assert word_p_value(np.zeros(LONG_WORD), word) == 1
    assert word_p_value(np.full(LONG_WORD, np.nan), word) == 1


def test_a_bit_more_that_agrees_never_speaks_less_for_the_word() -> None:
    rng = np.random.default_rng(3)
    soft = rng.standard_normal(LONG_WORD)
    word = rng.integers(0, 2, LONG_WORD, dtype=np.uint8)
    before = word_p_value(soft, word)
    for i in np.flatnonzero((soft > 0) != word)[:40]:
        word[i] ^= 1
        now = word_p_value(soft, word)
        assert now <= before
        before = now


@given(st.lists(st.floats(-1e3, 1e3, allow_subnormal=False), min_size=2, max_size=30), st.integers(0, 2**30))
def test_the_weights_do_not_see_the_signs_nor_the_unit(soft: list[float], seed: int) -> None:
    signs = np.random.default_rng(seed).choice([-1, 1], len(soft))
    assert np.array_equal(quantised(np.array(soft)), quantised(np.array(soft) * signs))
    assert np.array_equal(quantised(np.array(soft)), quantised(np.array(soft) * 4))


def test_under_the_null_no_level_is_passed_more_often_than_it_says() -> None:
    rng = np.random.default_rng(4)
    rounds = 4000
    soft = rng.standard_t(3, (20, LONG_WORD)) * np.geomspace(1, 5, LONG_WORD)
    tails = [Tail(each) for each in soft]
    words = rng.integers(0, 2, (rounds, LONG_WORD), dtype=np.uint8)
    p = np.concatenate([tail.table[tail.agreement(words)] for tail in tails])
    for level in (0.5, 0.1, 0.01, 0.001):
        hits = int((p <= level).sum())
        assert stats.binom.sf(hits - 1, p.size, level) > 1e-4
        assert hits > 0.7 * level * p.size  # exact, and not merely safe


def test_a_table_answers_for_many_words_as_for_one() -> None:
    rng = np.random.default_rng(5)
    soft = rng.standard_normal(SHORT_WORD)
    words = rng.integers(0, 2, (6, SHORT_WORD), dtype=np.uint8)
    tail = Tail(soft)
    for word, agreement in zip(words, tail.agreement(words), strict=True):
        assert word_p_value(soft, word, looks=3) == tail.p_value(int(agreement), looks=3)


def test_looks_multiply_and_stop_at_one() -> None:
    assert combine(1e-9, 1000) == pytest.approx(1e-6)
    assert combine(0.5, 3) == 1
    assert combine(0.0, 1) > 0
    assert binomial_p_value(100, 80, looks=10) == pytest.approx(10 * binomial_p_value(100, 80))


def test_any_payload_costs_a_factor_of_all_payloads() -> None:
    assert any_payload_p_value(248, 219) == pytest.approx(2.0**64 * binomial_p_value(248, 219))
    assert any_payload_p_value(248, 219) < 1e-17
    assert 1e-6 < any_payload_p_value(127, 117) < 1e-4  # a short word at its code's limit is no detection
    assert any_payload_p_value(127, 64) == 1


@pytest.mark.parametrize(
    ("bits", "matches"),
    [
        (32, [30, 32, None, None]),
        (48, [41, 44, 47, None]),
        (64, [51, 56, 59, 62]),
        (100, [74, 80, 85, 88]),
        (256, [167, 176, 184, 191]),
    ],
)
def test_matches_needed_are_those_of_the_literature(bits: int, matches: list[int | None]) -> None:
    assert [threshold_matches(bits, 1e-6, users=10**e) for e in (0, 3, 6, 9)] == matches


@given(st.integers(1, 300), st.floats(1e-12, 0.5), st.integers(1, 10**6))
def test_the_threshold_is_the_least_that_keeps_the_rate(n: int, fpr: float, users: int) -> None:
    least = threshold_matches(n, fpr, users=users)
    if least is None:
        assert users * 2.0**-n > fpr
    else:
        assert binomial_p_value(n, least, looks=users) <= fpr * (1 + 1e-9)
        assert least == 0 or binomial_p_value(n, least - 1, looks=users) > fpr * (1 - 1e-9)


def test_the_bound_on_the_null_is_the_one_of_clopper_and_pearson() -> None:
    assert null_bound(0, 100_000) == pytest.approx(1 - 0.05**1e-5, rel=1e-6)  # the rule of three
    assert stats.binom.cdf(3, 1000, null_bound(3, 1000)) == pytest.approx(0.05)
    assert null_bound(5, 5) == 1
    assert math.isclose(null_bound(0, 1, 0.5), 0.5)

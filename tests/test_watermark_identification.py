"""Who of many users it is: found, or nobody, at a rate over all users together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from auditkit.errors import WatermarkError
from auditkit.watermark.identification import Registry
from auditkit.watermark.payload import LONG_WORD, SHORT_WORD, Payload, encode, encode_many
from auditkit.watermark.statistics import Tail


def users(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2**64, n, dtype=np.uint64)


def heard(number: int, bits: int, rho: float, rng: np.random.Generator) -> np.ndarray:
    """The word of a user through a channel: rho of it, the rest noise."""
    word = encode(Payload.from_int(int(number)), bits)
    return rho * (2.0 * word - 1) + (1 - rho**2) ** 0.5 * rng.standard_normal(bits)


@settings(max_examples=15)
@given(st.integers(1, 300), st.sampled_from([LONG_WORD, SHORT_WORD]), st.integers(0, 2**32 - 1))
def test_the_nearest_two_are_those_of_comparing_every_word(n: int, bits: int, seed: int) -> None:
    soft = np.random.default_rng(seed).standard_t(3, bits)
    registry = Registry(users(n, seed), bits)
    tail = Tail(soft)
    agreement = tail.agreement(encode_many(registry.payloads, bits))
    at, best = registry.best(tail)
    assert best == sorted(agreement.tolist(), reverse=True)[:2]
    assert agreement[at].tolist() == best


@pytest.mark.parametrize("bits", [LONG_WORD, SHORT_WORD])
def test_a_user_is_found_among_many(bits: int) -> None:
    rng = np.random.default_rng(1)
    registry = Registry(users(40_000), bits)
    for number in registry.payloads[[0, 17, 16_384, -1]]:
        answer = registry.identify(heard(number, bits, 0.75, rng))
        assert answer.payload == Payload.from_int(int(number))
        assert answer.p_value <= 1e-6
        assert answer.runner_up_agreement < answer.agreement <= answer.top
        assert answer.matched > 0.7 * bits


def test_nobody_is_named_for_a_stranger_or_for_noise() -> None:
    rng = np.random.default_rng(2)
    registry = Registry(users(40_000))
    for soft in (rng.standard_normal(LONG_WORD), heard(12345, LONG_WORD, 0.9, rng), np.zeros(LONG_WORD)):
        answer = registry.identify(soft)
        assert answer.payload is None
        assert answer.p_value > 1e-6


def test_the_rate_holds_over_all_users_together() -> None:
    rng = np.random.default_rng(3)
    registry = Registry(users(2000))
    named = sum(registry.identify(rng.standard_t(4, LONG_WORD), fpr=0.05).payload is not None for _ in range(600))
    assert stats.binom.sf(named - 1, 600, 0.05) > 1e-4
    assert named >= 8  # safe, and not merely silent


def test_more_users_and_more_looks_need_more_evidence() -> None:
    rng = np.random.default_rng(4)
    few, many = users(100), users(10_000)
    soft = heard(few[0], LONG_WORD, 0.5, rng)
    small, large = Registry(few), Registry(np.append(many, few[0]))
    assert large.identify(soft).p_value == pytest.approx(100.01 * small.identify(soft).p_value)
    assert small.identify(soft, looks=5).p_value == pytest.approx(5 * small.identify(soft).p_value)


def test_a_register_is_written_and_read_back(tmp_path: Path) -> None:
    registry = Registry(users(50), SHORT_WORD)
    registry.save(tmp_path / "users.npz")
    again = Registry.load(tmp_path / "users.npz")
    assert np.array_equal(again.payloads, registry.payloads)
    assert again.bits == SHORT_WORD


def test_a_user_registered_twice_counts_once() -> None:
    assert len(Registry(np.array([5, 5, 6], np.uint64))) == 2


def test_a_register_of_one_has_no_runner_up() -> None:
    answer = Registry(np.array([5], np.uint64)).identify(heard(5, LONG_WORD, 0.9, np.random.default_rng(5)))
    assert (answer.payload, answer.runner_up) == (Payload(0, 5), None)


def test_a_missing_damaged_or_pickled_register_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(WatermarkError, match="no such register"):
        Registry.load(tmp_path / "none.npz")
    (tmp_path / "broken.npz").write_bytes(b"PK\x03\x04 and no more")
    np.savez(tmp_path / "objects.npz", payloads=np.array([{}], object), bits=248)
    for name in ("broken.npz", "objects.npz"):
        with pytest.raises(WatermarkError, match="damaged"):
            Registry.load(tmp_path / name)


def test_an_empty_register_an_unknown_length_and_a_reading_of_another_are_refused() -> None:
    with pytest.raises(WatermarkError, match="no payload"):
        Registry(np.array([], np.uint64))
    with pytest.raises(WatermarkError, match="no code"):
        Registry(users(3), 100)
    with pytest.raises(WatermarkError, match="127 bits"):
        Registry(users(3)).identify(np.ones(SHORT_WORD))

"""Marks in the initial noise: read over a noisy channel, exact under the null, clear where they cannot work."""

from __future__ import annotations

import math
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, kstest

from auditkit.errors import WatermarkError
from auditkit.watermark.base import LatentScheme
from auditkit.watermark.gaussian_shading import GaussianShading
from auditkit.watermark.keys import Key
from auditkit.watermark.payload import Payload
from auditkit.watermark.prc import Prc
from auditkit.watermark.sign_sums import tail, whole_weights
from auditkit.watermark.tree_ring import TreeRing

SCHEMES = (TreeRing(), GaussianShading(), Prc())
SHAPE = (16, 16, 16)
OWN = Payload(1, 42)
KEY = Key.from_secret(bytes(range(32)))
both = pytest.mark.parametrize("scheme", SCHEMES, ids=[scheme.name for scheme in SCHEMES])


def _key(i: int) -> Key:
    return Key.from_secret(i.to_bytes(32, "big"))


def _channel(z: np.ndarray, rho: float, seed: int = 0) -> np.ndarray:
    return rho * z + math.sqrt(1 - rho**2) * np.random.default_rng(seed).standard_normal(z.shape)


@both
def test_marked_noise_is_normal_and_its_seeds_own(scheme: Any) -> None:
    assert isinstance(scheme, LatentScheme)
    z = scheme.noise(SHAPE, KEY, OWN, seed=1)
    assert (z.shape, z.dtype) == (SHAPE, np.float32)
    assert abs(z.mean()) < 0.06
    assert z.std() == pytest.approx(1, abs=0.04)
    assert (z == scheme.noise(SHAPE, KEY, OWN, seed=1)).all()
    assert (z != scheme.noise(SHAPE, KEY, OWN, seed=2)).any()


@both
@pytest.mark.parametrize("shape", [SHAPE, (4, 64, 64)])
def test_the_mark_is_found_by_its_key_alone(scheme: Any, shape: tuple[int, ...]) -> None:
    z = _channel(scheme.noise(shape, KEY, OWN, seed=3), 0.7)
    assert scheme.evidence(z, KEY).p_value < 1e-9
    assert scheme.evidence(z, _key(1)).p_value > 1e-4


@pytest.mark.parametrize("scheme", [GaussianShading(), Prc()], ids=lambda scheme: scheme.name)
def test_the_payload_is_read_without_a_list(scheme: Any) -> None:
    payload = Payload(2**24 - 1, 2**40 - 1)
    seen = scheme.evidence(_channel(scheme.noise(SHAPE, KEY, payload, seed=3), 0.7), KEY)
    assert seen.payload == payload
    assert seen.bits - seen.matched <= 37


def test_unsure_votes_name_a_listed_payload_and_no_other() -> None:
    scheme = GaussianShading()
    z = _channel(scheme.noise(SHAPE, KEY, OWN, seed=3), 0.3)
    assert scheme.evidence(z, KEY).payload is None
    listed = scheme.evidence(z, KEY, payloads=[Payload(7, user) for user in range(50)] + [OWN])
    assert (listed.payload, listed.p_kind) == (OWN, "bound")
    assert scheme.evidence(z, KEY, payloads=[Payload(7, 7)]).payload is None


def test_images_of_one_payload_do_not_share_their_signs() -> None:
    scheme = GaussianShading()
    mean = np.mean([np.sign(scheme.noise(SHAPE, KEY, OWN, seed=i)) for i in range(64)], axis=0)
    assert np.abs(mean).mean() == pytest.approx(math.sqrt(2 / math.pi / 64), rel=0.1)


@both
def test_p_values_of_structured_noise_are_uniform_over_keys(scheme: Any) -> None:
    # Smooth, with a mean and a bright spot: nothing like white noise.
    draw = np.random.default_rng(0)
    image = np.cumsum(np.cumsum(draw.standard_normal(SHAPE), axis=1), axis=2) / 20 + 1
    image[:, 5, 5] += 30
    count = 60 if scheme.name == "gaussian-shading" else 400
    p = np.array([scheme.evidence(image, _key(100 + i)).p_value for i in range(count)])
    assert kstest(p, "uniform").pvalue > 1e-3


@both
def test_flat_or_broken_noise_is_said_to_be_unusable(scheme: Any) -> None:
    for value in (0.0, np.nan):
        seen = scheme.evidence(np.full(SHAPE, value), KEY)
        assert seen.unusable
        assert seen.p_value == 1


@both
def test_too_small_a_latent_is_a_clear_error(scheme: Any) -> None:
    for act in (scheme.capacity, lambda shape: scheme.noise(shape, KEY, OWN, seed=0)):
        with pytest.raises(WatermarkError, match="needs") as caught:
            act((4, 8, 8))
        assert caught.value.mend


def test_capacity_says_which_schemes_carry_a_payload() -> None:
    assert [scheme.capacity(SHAPE) for scheme in SCHEMES] == [0, 64, 64]


def test_without_ldpc_prc_detects_and_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ldpc", None)
    z = Prc().noise(SHAPE, KEY, OWN, seed=3)
    with pytest.raises(WatermarkError, match="ldpc") as caught:
        Prc().decode(z, KEY)
    assert "auditkit-t2i[prc]" in str(caught.value.mend)
    seen = Prc().evidence(z, KEY)
    assert seen.p_value < 1e-9
    assert seen.payload is None
    assert "auditkit-t2i[prc]" in seen.details["undecoded"]


@given(st.lists(st.integers(0, 6), min_size=1, max_size=12), st.integers(-80, 80))
@settings(max_examples=60, deadline=None)
def test_the_tail_of_a_sign_sum_is_the_count_of_all_signs(weights: list[int], value: int) -> None:
    signs = 1 - 2 * ((np.arange(2 ** len(weights))[:, None] >> np.arange(len(weights))) & 1)
    expected = float((signs @ np.array(weights) >= value).mean())
    assert tail(np.array(weights), value) == pytest.approx(expected, rel=1e-9, abs=1e-15)


@given(st.integers(100, 20_000), st.floats(0, 1))
@settings(max_examples=25, deadline=None)
def test_far_tails_keep_their_digits(n: int, share: float) -> None:
    agreeing = int(n / 2 + share * min(n / 2, 12 * math.sqrt(n)))
    expected = float(binom.sf(agreeing - 1, n, 0.5))
    assert tail(np.ones(n, int), 2 * agreeing - n) == pytest.approx(max(expected, 1e-300), rel=1e-6)


def test_weights_are_whole_and_bounded() -> None:
    weights = whole_weights(np.array([0.0, 1.0, -1.0, 50.0, np.nan, -np.inf, 0.4]))
    assert weights.dtype == np.int8
    assert np.abs(weights).max() <= 6
    assert list(weights[[0, 4, 5]]) == [0, 0, 0]

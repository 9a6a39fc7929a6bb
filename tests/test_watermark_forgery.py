"""Copied, averaged and repeated marks are noticed; honest ones are not suspected."""

from __future__ import annotations

import numpy as np
import pytest
from watermark_toy import Toy, key, photograph

from auditkit.errors import WatermarkError
from auditkit.watermark import forgery
from auditkit.watermark.base import Reading, unpadded
from auditkit.watermark.embedding import embed
from auditkit.watermark.payload import LONG_WORD, Payload, encode
from auditkit.watermark.spread import Spread
from auditkit.watermark.statistics import word_p_value

PAYLOAD = Payload(1, 42)
OTHER = Payload(7, 99)
SPREAD = Spread()


def read(image: np.ndarray, scheme: object = SPREAD) -> tuple[Reading, np.ndarray]:
    reading = scheme.read(image, key(), search=False)  # type: ignore[attr-defined]
    return reading, unpadded(reading.soft, scheme.name, key())  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def marked() -> list[np.ndarray]:
    names = ("astronaut.png", "coffee.png", "chelsea.png", "rocket.jpg")
    return [embed(photograph(name, 296), SPREAD, key(), PAYLOAD) for name in names]


def test_an_honest_mark_is_consistent(marked: list[np.ndarray]) -> None:
    for image in marked:
        assert forgery.check(*read(image), PAYLOAD).outcome == "consistent"


def test_a_mark_carried_over_from_another_image_is_suspect(marked: list[np.ndarray]) -> None:
    target = photograph("rocket.jpg", 296)
    forged = forgery.copied(marked[0], target, gain=2)
    reading, soft = read(forged)
    assert word_p_value(soft, encode(PAYLOAD)) < 1e-6  # it passes for present
    found = forgery.check(reading, soft, PAYLOAD)
    assert found.outcome == "suspect"
    assert "copied" in found.note


def test_the_mean_mark_of_other_images_is_suspect(marked: list[np.ndarray]) -> None:
    forged = forgery.averaged(marked[:3], photograph("rocket.jpg", 296), gain=2)
    reading, soft = read(forged)
    assert word_p_value(soft, encode(PAYLOAD)) < 1e-6
    assert forgery.check(reading, soft, PAYLOAD).outcome == "suspect"


@pytest.mark.parametrize("scheme", [Toy(), SPREAD])
def test_a_second_payload_under_the_same_key_is_found_and_named(scheme: object) -> None:
    once = embed(photograph(side=384), scheme, key(), PAYLOAD, psnr=38)
    twice = forgery.marked_again(once, scheme, key(), OTHER, psnr=38)
    _, soft = read(twice, scheme)
    assert forgery.second_payload(soft, PAYLOAD) == OTHER
    assert forgery.second_payload(soft, OTHER) == PAYLOAD
    found = forgery.check(*read(twice, scheme), PAYLOAD)
    assert (found.outcome, "7:99" in found.note) == ("suspect", True)


def test_one_payload_is_never_taken_for_two() -> None:
    rng = np.random.default_rng(0)
    word = 2.0 * encode(PAYLOAD) - 1
    for rho in np.repeat([0.3, 0.6, 0.95], 60):
        soft = rho * word + (1 - rho**2) ** 0.5 * rng.standard_normal(LONG_WORD)
        soft *= rng.gamma(4, size=LONG_WORD)
        assert forgery.second_payload(soft, PAYLOAD) is None


def test_a_scheme_that_binds_nothing_is_not_checked() -> None:
    image = embed(photograph(), Toy(), key(), PAYLOAD, psnr=38)
    found = forgery.check(*read(image, Toy()), PAYLOAD)
    assert found.outcome == "not checked"
    assert "does not bind" in found.note


def test_a_turned_image_is_not_checked_and_says_why() -> None:
    soft = 2.0 * encode(PAYLOAD) - 1
    found = forgery.check(Reading(soft, details={"binding": None}), soft, PAYLOAD)
    assert (found.outcome, "turned" in found.note) == ("not checked", True)


def test_a_weak_mark_whose_bound_bits_are_lost_is_not_called_forged() -> None:
    rng = np.random.default_rng(1)
    soft = 0.4 * (2.0 * encode(PAYLOAD) - 1) + 0.9 * rng.standard_normal(LONG_WORD)
    assert forgery.check(Reading(soft, details={"binding": (24, 48)}), soft, PAYLOAD).outcome == "not checked"


def test_marks_are_carried_between_images_of_one_size_only() -> None:
    with pytest.raises(WatermarkError, match="one size"):
        forgery.copied(photograph(side=64), photograph(side=80))
    with pytest.raises(WatermarkError, match="one size"):
        forgery.averaged([], photograph(side=80))

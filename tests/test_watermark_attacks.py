"""Attacks: images in, images out, nothing changed at null strength, everything repeatable."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage import data

from auditkit.errors import WatermarkError
from auditkit.watermark import attacks

ALL = attacks.steps(thorough=True)
PHOTOGRAPH = data.astronaut()[100:228, 150:270]
SAME_SIZE = {"downscale", "crop", "screenshot"}


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@settings(max_examples=60)
@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from(ALL), st.integers(0, 9))
def test_any_attack_turns_an_image_of_any_size_into_an_image(h: int, w: int, step: attacks.Step, seed: int) -> None:
    image = rng(seed).integers(0, 256, (h, w, 3), np.uint8)
    before = image.copy()
    out = step.attack(image, step.strength, rng(seed))
    assert out.dtype == np.uint8
    assert out.ndim == 3
    assert out.shape[2] == 3
    assert out.size
    assert out.flags.writeable
    assert step.attack.name in SAME_SIZE or out.shape == image.shape
    assert np.array_equal(image, before)


@pytest.mark.parametrize("name", [one.name for one in attacks.ATTACKS.values() if one.null is not None])
def test_at_its_null_strength_an_attack_changes_nothing(name: str) -> None:
    attack = attacks.ATTACKS[name]
    assert attack.null is not None
    assert np.array_equal(attack(PHOTOGRAPH, attack.null, rng()), PHOTOGRAPH)


@pytest.mark.parametrize("step", attacks.steps(), ids=lambda step: step.label)
def test_the_same_random_numbers_make_the_same_attack(step: attacks.Step) -> None:
    first, second = (step.attack(PHOTOGRAPH, step.strength, rng(3)) for _ in range(2))
    assert np.array_equal(first, second)
    assert step.attack.name == "none" or first.shape != PHOTOGRAPH.shape or (first != PHOTOGRAPH).any()


@pytest.mark.parametrize("name", ["crop", "erase", "noise"])
def test_other_random_numbers_make_another_attack(name: str) -> None:
    attack = attacks.ATTACKS[name]
    first, second = (attack(PHOTOGRAPH, attack.strengths[0], rng(seed)) for seed in (1, 2))
    assert not np.array_equal(first, second)


@pytest.mark.parametrize("name", ["jpeg", "blur", "noise", "resize", "brightness"])
def test_an_attack_does_more_harm_at_each_further_strength(name: str) -> None:
    attack = attacks.ATTACKS[name]
    harm = [np.abs(attack(PHOTOGRAPH, s, rng()).astype(int) - PHOTOGRAPH).mean() for s in attack.strengths]
    assert harm == sorted(harm)


def test_a_crop_is_a_window_of_the_image() -> None:
    out = attacks.ATTACKS["crop"](PHOTOGRAPH, 0.5, rng(5))
    assert out.shape == (64, 60, 3)
    windows = np.lib.stride_tricks.sliding_window_view(PHOTOGRAPH, out.shape)[:, :, 0]
    assert (windows == out).all(axis=(2, 3, 4)).any()


def test_mirroring_twice_gives_the_image_back() -> None:
    flip = attacks.ATTACKS["flip"]
    assert np.array_equal(flip(flip(PHOTOGRAPH, 1, rng()), 1, rng()), PHOTOGRAPH)


def test_a_rotation_leaves_black_corners_and_turns_counter_clockwise() -> None:
    image = np.full((101, 101, 3), 200, np.uint8)
    image[45:56, 80:91] = (255, 0, 0)
    out = attacks.ATTACKS["rotate"](image, 45, rng()).astype(int)
    assert (out[0, 0] == 0).all()
    rows, _ = np.nonzero(out[..., 0] - out[..., 1] > 100)
    assert rows.mean() < 40  # what lay to the right lies above


@given(st.sampled_from((0.05, 0.1, 0.25)), st.integers(0, 50))
def test_no_more_is_erased_than_was_asked_for(share: float, seed: int) -> None:
    out = attacks.ATTACKS["erase"](PHOTOGRAPH, share, rng(seed))
    assert 0 < (out != PHOTOGRAPH).any(axis=2).mean() <= share


def test_noise_has_the_size_that_was_asked_for() -> None:
    grey = np.full((200, 200, 3), 128, np.uint8)
    assert attacks.ATTACKS["noise"](grey, 10, rng()).std() == pytest.approx(10, rel=0.02)


def test_without_saturation_an_image_is_grey() -> None:
    out = attacks.ATTACKS["saturation"](PHOTOGRAPH, 0, rng())
    assert (out == out[..., :1]).all()


def test_attacks_are_named_with_or_without_strengths() -> None:
    named = attacks.steps(["jpeg:50", "crop:0.8,0.5", "flip"])
    assert [(one.attack.name, one.strength) for one in named] == [
        ("jpeg", 50), ("crop", 0.8), ("crop", 0.5), ("flip", 1),
    ]  # fmt: skip
    assert named[0].label == "JPEG, quality 50"


@pytest.mark.parametrize(("text", "said"), [("jpg:50", "did you mean jpeg"), ("jpeg:much", "is a number")])
def test_an_attack_that_is_not_there_is_named(text: str, said: str) -> None:
    with pytest.raises(WatermarkError, match=said):
        attacks.steps([text])


def test_regeneration_calls_what_it_is_given() -> None:
    made = attacks.regeneration({"diffusion:0.2": lambda image: 255 - image, "autoencoder": lambda image: image})
    assert [(one.attack.name, one.strength) for one in made] == [
        ("regenerate-diffusion", 0.2), ("regenerate-autoencoder", 1.0),
    ]  # fmt: skip
    assert np.array_equal(made[0].attack(PHOTOGRAPH, 0.2, rng()), 255 - PHOTOGRAPH)


def test_regeneration_keeps_the_size_of_an_image_that_tiles_do_not_divide() -> None:
    from generators import regeneration
    from generators.load import load_generator

    generator = load_generator("personas", device="cpu")
    image = data.astronaut()[:150, :100]
    for made in (regeneration.autoencoder(generator), regeneration.diffusion(generator, 0.1, steps=10)):
        out = made(image)
        assert (out.shape, out.dtype) == (image.shape, np.uint8)
        assert 0 < np.abs(out.astype(int) - image).mean() < 60
        assert np.array_equal(out, made(image))

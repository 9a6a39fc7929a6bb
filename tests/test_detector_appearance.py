"""What an image looks like, in numbers that need no trace of a generator."""

from __future__ import annotations

import numpy as np
import pytest

from detectors.appearance import SIZE, appearance
from detectors.familiarity import Familiarity


def flat(rng: np.random.Generator) -> np.ndarray:
    """A drawing's like: rectangles of one colour each."""
    image = np.full((64, 64, 3), rng.integers(200, 256, 3), np.uint8)
    for _ in range(4):
        top, left = rng.integers(0, 48, 2)
        image[top : top + 16, left : left + 16] = rng.integers(0, 256, 3)
    return image


def noisy(rng: np.random.Generator) -> np.ndarray:
    """A photograph's like: a slope with grain."""
    slope = np.linspace(60, 190, 64)[:, None, None] + rng.normal(0, 6, (64, 64, 3))
    return slope.clip(0, 255).astype(np.uint8)


def test_a_detector_of_drawings_finds_every_grainy_image_unlike_them() -> None:
    rng = np.random.default_rng(0)
    drawings = appearance([flat(rng) for _ in range(300)])
    familiarity = Familiarity.fit(drawings[:200], drawings[200:])
    assert (familiarity.unfamiliar(appearance([noisy(rng) for _ in range(20)])) > 0.99).all()
    assert (familiarity.unfamiliar(appearance([flat(rng) for _ in range(20)])) > 0.99).mean() <= 0.1


def test_an_image_turned_round_looks_the_same_but_for_across_and_down() -> None:
    image = flat(np.random.default_rng(1))
    turned, still = appearance([np.rot90(image), image])
    np.testing.assert_allclose(turned[:4], still[4:8], rtol=1e-5)
    np.testing.assert_allclose(turned[8:], still[8:], rtol=1e-4)


@pytest.mark.parametrize("shape", [(3, 3, 3), (2000, 5, 3), (64, 4000, 3)])
def test_an_image_of_any_shape_has_finite_numbers(shape: tuple[int, int, int]) -> None:
    found = appearance([np.random.default_rng(2).integers(0, 256, shape, np.uint8)])
    assert found.shape == (1, SIZE)
    assert np.isfinite(found).all()


def test_one_colour_has_finite_numbers() -> None:
    assert np.isfinite(appearance([np.zeros((32, 32, 3), np.uint8)])).all()


def test_an_image_of_two_pixels_a_side_has_none() -> None:
    assert np.isnan(appearance([np.zeros((2, 2, 3), np.uint8)])).all()


def test_no_image_gives_an_empty_table() -> None:
    assert appearance([]).shape == (0, SIZE)

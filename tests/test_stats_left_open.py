"""What prompts leave open: directions within prompts, blind to the differences between them and to groups."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auditkit.stats.left_open import left_open, prompt_means

DIM = 30


def images(seed: int = 0, prompts: int = 40, each: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """Images that differ within prompts along axes 3 and 7, and between prompts along all others, much more."""
    rng = np.random.default_rng(seed)
    x = np.repeat(5 * rng.normal(size=(prompts, DIM)), each, axis=0)
    x[:, 3] += 2 * rng.normal(size=len(x))
    x[:, 7] += rng.normal(size=len(x))
    return x + 0.01 * rng.normal(size=x.shape), np.repeat(np.arange(prompts), each)


def test_directions_within_prompts_are_found_whatever_lies_between_them():
    space = left_open(*images(), share=0.95)
    assert space.directions.shape == (DIM, 2)
    assert abs(space.directions[[3, 7], [0, 1]]).min() > 0.99
    assert space.share > 0.95


def test_openness_is_the_part_of_a_contrast_that_prompts_leave_open():
    space = left_open(*images(), share=0.95)
    unit = np.eye(DIM)
    found = space.openness([unit[3], unit[5], (unit[3] + unit[5]) / np.sqrt(2), np.zeros(DIM)])
    np.testing.assert_allclose(found[:3], [1, 0, 0.5], atol=0.01)
    assert np.isnan(found[3])


def test_chance_openness_is_that_of_random_directions():
    space = left_open(*images(), share=0.95)
    drawn = space.openness(np.random.default_rng(1).normal(size=(20_000, DIM)))
    mean, deviation = space.chance()
    assert drawn.mean() == pytest.approx(mean, rel=0.03)
    assert drawn.std() == pytest.approx(deviation, rel=0.05)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6))
def test_neither_the_order_of_images_nor_that_of_prompts_matters(seed):
    x, prompt = images(1)
    rng = np.random.default_rng(seed)
    order, names = rng.permutation(len(x)), rng.permutation(prompt.max() + 1)
    a, b = left_open(x, prompt, share=0.95), left_open(x[order], names[prompt][order], share=0.95)
    np.testing.assert_allclose(a.directions, b.directions, atol=1e-6)


def test_the_covariance_is_that_about_the_prompts_means():
    x, prompt = images(2, prompts=30, each=3)
    means, sizes = prompt_means(x, prompt)
    np.testing.assert_allclose(means[4], x[prompt == 4].mean(axis=0))
    assert (sizes == 3).all()
    residual = x - means[prompt]
    np.testing.assert_allclose(left_open(x, prompt).covariance, residual.T @ residual / 60, atol=1e-9)


def test_prompts_of_one_image_and_images_that_do_not_differ_leave_nothing_to_find():
    x, _ = images()
    assert left_open(x, np.arange(len(x))) is None
    assert left_open(np.ones((200, 4)), np.repeat(np.arange(20), 10)) is None

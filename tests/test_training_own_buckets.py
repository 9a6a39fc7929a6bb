"""Aspect-ratio buckets: sizes of one area, the nearest shape, the middle of the picture."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from auditkit.errors import GeneratorError
from generators.training.own.buckets import bucket_step, choose, cropped, fit, make_buckets


@given(st.integers(2, 40), st.sampled_from([8, 32, 64]), st.floats(1, 4))
def test_buckets_keep_to_area_step_and_ratio_and_come_in_both_orientations(sides, step, ratio):
    resolution = sides * step
    buckets = make_buckets(resolution, step, ratio)
    assert buckets[0] == (resolution, resolution)
    assert len(set(buckets)) == len(buckets)
    for width, height in buckets:
        assert width % step == height % step == 0
        assert width * height <= resolution**2
        assert max(width, height) <= ratio * min(width, height)
        # No larger one of that width or of that height would do.
        wider = (width + step) * height > resolution**2 or width + step > ratio * height
        taller = width * (height + step) > resolution**2 or height + step > ratio * width
        assert wider or taller


def test_buckets_of_stable_diffusion_hold_the_familiar_sizes():
    assert {(512, 512), (640, 384), (384, 640), (576, 448), (448, 576)} <= set(make_buckets(512, 64))


def test_a_ratio_of_one_leaves_the_square_alone():
    assert make_buckets(64, 8, 1.0) == [(64, 64)]


@pytest.mark.parametrize("resolution", [4, 100])
def test_a_resolution_that_the_networks_cannot_take_is_refused_with_the_nearest(resolution):
    with pytest.raises(GeneratorError) as caught:
        make_buckets(resolution, 8)
    assert "multiple of 8" in caught.value.what
    assert "--resolution" in caught.value.mend


def test_the_step_is_that_of_autoencoder_and_unet_where_enough_buckets_are_left():
    assert bucket_step(512, 8, 8) == 64
    assert bucket_step(1024, 8, 8) == 64
    assert bucket_step(128, 8, 4) == 8
    assert bucket_step(520, 8, 8) == 8


def test_an_image_goes_to_the_bucket_of_the_nearest_shape():
    buckets = make_buckets(128, 8)
    assert buckets[choose((4000, 4000), buckets)] == (128, 128)
    wide, tall = buckets[choose((600, 400), buckets)], buckets[choose((400, 600), buckets)]
    assert wide == tall[::-1]
    assert wide[0] / wide[1] == pytest.approx(1.5, rel=0.1)


@given(st.integers(16, 400), st.integers(16, 400))
def test_a_fitted_image_covers_its_bucket(width, height):
    image = Image.new("RGB", (width, height), "white")
    assert np.asarray(fit(image, (80, 48))).min() == 255
    assert fit(image, (80, 48)).size == (80, 48)
    assert 0 <= cropped((width, height), (80, 48)) < 1


def test_the_middle_is_kept_and_what_is_lost_is_told():
    image = Image.new("RGB", (128, 64), "black")
    image.paste("white", (32, 0, 96, 64))
    assert np.asarray(fit(image, (64, 64))).min() > 200
    assert cropped((128, 64), (64, 64)) == pytest.approx(0.5)
    assert cropped((100, 100), (64, 64)) == pytest.approx(0)

"""The scheme `spread`: quality, survival, geometry, binding to the content, bad input, and its null."""

from __future__ import annotations

import io
from functools import lru_cache

import numpy as np
import pytest
from PIL import Image, ImageFilter
from skimage import data

from auditkit.errors import WatermarkError
from auditkit.watermark.base import padded, unpadded
from auditkit.watermark.keys import Key
from auditkit.watermark.payload import Payload, decode, encode
from auditkit.watermark.spread import Spread
from auditkit.watermark.spread.carriers import BAND, TILE, carriers, frequencies, lines
from auditkit.watermark.spread.host import pitch, working
from auditkit.watermark.statistics import word_p_value

KEY, OTHER = Key.from_secret(b"s" * 32), Key.from_secret(b"t" * 32)
PAYLOAD = Payload(7, 123456789)
WORD = encode(PAYLOAD)
SPREAD = Spread()


@lru_cache
def photograph(name: str = "coffee", side: int = 400) -> np.ndarray:
    image = Image.fromarray(getattr(data, name)()[..., :3])
    return np.asarray(image.crop((60, 0, 460, 400)).resize((side, side), Image.Resampling.LANCZOS))


@lru_cache
def marked(name: str = "coffee", side: int = 400, psnr: float = 40.0) -> np.ndarray:
    return SPREAD.embed(photograph(name, side), padded(WORD, "spread", KEY), KEY, psnr=psnr)


def p_value(image: np.ndarray, key: Key = KEY, *, search: bool = True) -> float:
    return word_p_value(unpadded(SPREAD.read(image, key, search=search).soft, "spread", key), WORD)


def says(image: np.ndarray, *, search: bool = True) -> Payload | None:
    found = decode((unpadded(SPREAD.read(image, KEY, search=search).soft, "spread", KEY) > 0).astype(np.uint8))
    return found[0] if found else None


def error(one: np.ndarray, other: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.mean((one.astype(float) - other) ** 2)))


def jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "JPEG", quality=quality)
    return np.asarray(Image.open(stream).convert("RGB"))


@pytest.mark.parametrize("psnr", [38.0, 42.0, 46.0])
def test_the_marked_image_has_the_quality_that_was_asked_for(psnr):
    assert error(marked(psnr=psnr), photograph()) == pytest.approx(psnr, abs=0.3)


def test_the_mark_is_the_same_each_time_and_leaves_its_input_alone():
    image = photograph().copy()
    first = SPREAD.embed(image, padded(WORD, "spread", KEY), KEY, psnr=40.0)
    assert np.array_equal(first, marked())
    assert np.array_equal(image, photograph())


@pytest.mark.parametrize(
    "attack",
    [
        lambda image: image,
        lambda image: jpeg(image, 50),
        lambda image: np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(2))),
        lambda image: np.clip(image * 1.5, 0, 255).astype(np.uint8),
        lambda image: image[37:337, 51:351],
        lambda image: np.asarray(Image.fromarray(image).resize((200, 200), Image.Resampling.BICUBIC)),
    ],
    ids=["none", "jpeg 50", "blur 2", "brightness 1.5", "crop 75%", "half size"],
)
def test_the_payload_is_read_as_the_image_stands_after(attack):
    assert says(attack(marked()), search=False) == PAYLOAD


@pytest.mark.parametrize(
    ("attack", "rotation", "scale", "flip"),
    [
        (lambda image: image.rotate(5, Image.Resampling.BICUBIC), 5, 1, 0),
        (lambda image: image.rotate(-28, Image.Resampling.BICUBIC), -28, 1, 0),
        (lambda image: image.transpose(Image.Transpose.ROTATE_90), 90, 1, 0),
        (lambda image: image.resize((520, 520), Image.Resampling.BICUBIC), 0, 1.3, 0),
        (lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT), 0, 1, 1),
        (lambda image: image.crop((30, 50, 350, 370)).rotate(4, Image.Resampling.BICUBIC), 4, 1, 0),
    ],
    ids=["rotated 5", "rotated -28", "rotated 90", "scaled 1.3", "mirrored", "cropped and rotated"],
)
def test_search_undoes_the_geometry_and_says_which_it_was(attack, rotation, scale, flip):
    image = np.asarray(attack(Image.fromarray(marked())))
    reading = SPREAD.read(image, KEY)
    assert says(image) == PAYLOAD
    assert (reading.geometry["rotation"] - rotation + 180) % 360 - 180 == pytest.approx(0, abs=0.3)
    assert reading.geometry["scale"] == pytest.approx(scale, rel=0.01)
    assert reading.geometry["flip"] == flip
    assert reading.looks == 1


def test_the_crop_is_found_modulo_the_tile():
    reading = SPREAD.read(marked()[70:, 33:], KEY, search=False)
    assert (reading.geometry["dx"], reading.geometry["dy"]) == pytest.approx((33, 70), abs=0.25)


@pytest.mark.parametrize(("height", "width"), [(128, 128), (160, 391), (640, 300), (1030, 1100)])
def test_any_size_and_shape_carries_the_payload(height, width):
    image = np.asarray(Image.fromarray(photograph("chelsea", 300)).resize((width, height), Image.Resampling.LANCZOS))
    got = SPREAD.embed(image, padded(WORD, "spread", KEY), KEY, psnr=40.0)
    assert got.shape == image.shape
    assert got.dtype == np.uint8
    assert says(got, search=False) == PAYLOAD


def test_an_image_of_the_least_size_is_detected():
    assert p_value(marked("chelsea", 64), search=False) < 1e-6


def test_halving_a_large_image_leaves_the_working_image_nearly_as_it_was():
    large = np.asarray(Image.fromarray(photograph()).resize((1200, 1100)))
    half = np.asarray(Image.fromarray(large).reduce(2))
    assert pitch(1100, 1200) == 2
    assert pitch(550, 600) == 1
    assert np.abs(working(large, 2) - working(half, 1)).max() < 1


def test_another_key_finds_nothing():
    assert p_value(marked(), OTHER, search=False) > 1e-4


def test_the_word_of_an_unmarked_image_is_uniform_over_keys():
    keys = [Key.from_secret(bytes([i]) * 32) for i in range(200)]
    readings = SPREAD.read_many(photograph(), keys, search=False)
    values = [
        word_p_value(unpadded(reading.soft, "spread", key), WORD)
        for reading, key in zip(readings, keys, strict=True)
    ]  # fmt: skip
    # 200 uniform values: each of these fails by chance less than once in ten thousand.
    assert 0.38 < np.mean(values) < 0.62
    assert np.mean(np.array(values) <= 0.1) < 0.19


def test_many_keys_at_once_read_as_each_alone():
    together = SPREAD.read_many(marked(), [OTHER, KEY], search=False)
    for reading, key in zip(together, [OTHER, KEY], strict=True):
        np.testing.assert_array_equal(reading.soft, SPREAD.read(marked(), key, search=False).soft)


def test_the_content_bits_agree_on_the_marked_image_and_not_on_another_that_got_its_mark():
    stranger = photograph("astronaut")
    carried = np.clip(stranger.astype(int) + (marked().astype(int) - photograph()), 0, 255).astype(np.uint8)
    own = SPREAD.read(jpeg(marked(), 75), KEY).details["binding"]
    copied = SPREAD.read(carried, KEY).details["binding"]
    assert says(carried) == PAYLOAD
    assert own[0] >= 0.9 * own[1]
    assert copied[0] <= 0.75 * copied[1]


def test_a_crop_says_nothing_about_the_content():
    assert SPREAD.read(marked()[40:, 25:], KEY).details["binding"] is None


def test_an_image_under_the_least_size_is_refused_at_embedding():
    with pytest.raises(WatermarkError, match="too small"):
        SPREAD.embed(np.zeros((63, 200, 3), np.uint8), WORD, KEY)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((63, 200, 3), np.uint8),
        np.zeros((0, 0, 3), np.uint8),
        np.full((128, 128, 3), 77, np.uint8),
        np.full((300, 70, 3), 255, np.uint8),
    ],
    ids=["small", "empty", "flat", "white"],
)
def test_what_cannot_be_read_is_unusable_and_says_why(image):
    reading = SPREAD.read(image, KEY)
    assert reading.unusable
    assert reading.soft.shape == (248,)
    assert not reading.soft.any()


@pytest.mark.parametrize("value", [0, 255])
def test_a_black_or_white_image_is_marked_without_an_error(value):
    image = np.full((128, 128, 3), value, np.uint8)
    got = SPREAD.embed(image, padded(WORD, "spread", KEY), KEY, psnr=42.0)
    assert error(got, image) > 40


def test_noise_and_stripes_are_read_without_an_error():
    noise = np.random.default_rng(0).integers(0, 256, (90, 70, 3), np.uint8)
    stripes = np.zeros((100, 2000, 3), np.uint8)
    stripes[:, ::2] = 255
    for image in (noise, stripes):
        assert p_value(image) > 1e-6


def test_the_carriers_of_a_key_share_no_coordinate_and_stay_in_the_band():
    which = carriers(KEY)
    n = len(lines())
    used = np.concatenate([which.word.ravel(), which.binding.ravel(), which.pilot, which.pilot + n])
    assert len(np.unique(used)) == len(used)
    assert frequencies().min() >= BAND[0]
    assert frequencies().max() <= BAND[1]
    values = np.random.default_rng(1).normal(size=2 * n).astype(np.float32)
    np.testing.assert_allclose(which.coordinates(which.lines(values)), values, atol=1e-5)
    assert np.abs(lines()).max() < TILE / 2

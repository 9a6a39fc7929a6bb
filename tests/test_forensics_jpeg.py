"""What JPEG leaves behind: quality, an earlier compression, ghosts of a splice."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from auditkit.errors import ImageError
from detectors.forensics.dct import ZIGZAG, table_of, transform
from detectors.forensics.double_jpeg import double_compression
from detectors.forensics.jpeg_ghosts import ghosts
from detectors.forensics.jpeg_quality import quality_of_file, quality_of_pixels


def scene(seed: int = 0, side: int = 256) -> np.ndarray:
    """Noise at several scales, as in a photograph: uint8 [side, side, 3], never compressed, no pixel at 0 or 255."""
    rng = np.random.default_rng(seed)
    grey = sum(scale * _unit(gaussian_filter(rng.standard_normal((side, side)), scale)) for scale in (0.7, 2, 6, 16))
    tint = np.stack([gaussian_filter(rng.standard_normal((side, side)), 8) for _ in range(3)], axis=-1)
    return (128 + 3 * grey[..., None] + 60 * tint).clip(5, 250).astype(np.uint8)


def _unit(plane: np.ndarray) -> np.ndarray:
    return plane / plane.std()


def saved(image: np.ndarray, quality: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    return file.getvalue()


def through(image: np.ndarray, *qualities: int) -> np.ndarray:
    for quality in qualities:
        image = np.asarray(Image.open(io.BytesIO(saved(image, quality))).convert("RGB"))
    return image


def test_the_tables_are_libjpegs():
    for quality in (1, 30, 50, 75, 99, 100):
        with Image.open(io.BytesIO(saved(scene(), quality))) as image:
            assert image.quantization[0] == table_of(quality).ravel().tolist()


def test_the_zigzag_is_that_of_the_standard():
    assert ZIGZAG[:10] == [0, 1, 8, 16, 9, 2, 3, 10, 17, 24]
    assert sorted(ZIGZAG) == list(range(64))


def test_the_transform_keeps_energy_and_puts_the_mean_first():
    found = transform(np.full((1, 8, 8), 3.0))
    assert found[0, 0, 0] == pytest.approx(24)
    block = np.random.default_rng(0).standard_normal((5, 8, 8))
    assert (transform(block) ** 2).sum() == pytest.approx((block**2).sum(), rel=1e-5)


@pytest.mark.parametrize("quality", [40, 75, 95])
def test_the_quality_of_a_file_is_read_from_its_tables(quality: int):
    found = quality_of_file(saved(scene(), quality))
    assert found is not None
    assert (found.quality, found.source, found.exact) == (quality, "tables", True)


def test_tables_of_another_encoder_give_the_nearest_quality_and_say_so():
    file = io.BytesIO()
    odd = (table_of(80).ravel() + 1).tolist()
    Image.fromarray(scene()).save(file, "JPEG", qtables=[odd, odd])
    found = quality_of_file(file.getvalue())
    assert found is not None
    assert not found.exact
    assert abs(found.quality - 80) < 10


def test_a_png_has_no_tables_and_a_broken_file_is_an_error():
    file = io.BytesIO()
    Image.fromarray(scene()).save(file, "PNG")
    assert quality_of_file(file.getvalue()) is None
    with pytest.raises(ImageError, match="no readable image"):
        quality_of_file(b"\xff\xd8\xff nonsense")


@pytest.mark.parametrize("quality", [35, 50, 65, 80, 90, 96])
def test_the_quality_is_told_from_the_pixels_alone(quality: int):
    found = quality_of_pixels(through(scene(quality), quality))
    assert abs(found.quality - quality) <= 2
    assert found.grid == (0, 0)


def test_pixels_that_were_never_compressed_show_no_sign():
    found = [quality_of_pixels(scene(seed)) for seed in range(3)]
    assert all(np.isnan(each.quality) for each in found)
    assert all("No sign of JPEG" in each.why for each in found)


def test_a_crop_is_told_by_its_grid():
    found = quality_of_pixels(through(scene(1), 70)[3:, 6:])
    assert found.grid == (5, 2)
    assert abs(found.quality - 70) <= 2


def test_an_image_of_a_few_blocks_is_not_judged():
    assert np.isnan(quality_of_pixels(through(scene(2, 40), 70)).quality)


@pytest.mark.parametrize(("first", "second"), [(60, 80), (75, 90), (45, 70)])
def test_two_compressions_are_told_from_one_and_the_first_quality_is_found(first: int, second: int):
    once, twice = through(scene(3), second), through(scene(3), first, second)
    assert double_compression(once, second).verdict == "once"
    found = double_compression(twice, second)
    assert found.verdict == "twice"
    assert abs(found.first - first) <= 3


def test_without_a_last_compression_an_earlier_one_is_not_asked_for():
    found = double_compression(scene(), np.nan)
    assert found.verdict == "not applicable"
    assert np.isnan(found.score)


def test_a_pasted_part_of_lower_quality_shows_as_a_ghost_where_it_lies():
    image = scene(4).copy()
    image[64:160, 96:208] = through(scene(4), 50)[64:160, 96:208]
    found = ghosts(through(image, 90))
    plane = found.difference[found.qualities.index(50)]
    inside = np.zeros(plane.shape, bool)
    inside[4:10, 6:13] = True
    assert np.median(plane[inside]) < 0.5 * np.median(plane[~inside])
    assert found.candidate in (45, 50, 55)
    assert found.share == pytest.approx(inside.mean(), abs=0.1)


def test_the_map_shows_every_quality():
    found = ghosts(scene(5))
    made = found.map_image(side=64)
    assert made.size == (5 * 72, 3 * 88)
    assert found.difference.shape == (len(found.qualities), 16, 16)
    assert 0 <= found.difference.min() <= found.difference.max() <= 1


def test_an_image_too_small_for_a_map_is_refused():
    with pytest.raises(ImageError, match="too small"):
        ghosts(scene(0, 40))

"""Is this the picture that was signed? What a kept thumbnail tells of copies, parts, mirrored and other pictures."""

from __future__ import annotations

import io
from functools import cache

import numpy as np
import pytest
from PIL import Image, ImageOps
from watermark_toy import photograph

from auditkit.provenance.fingerprint import FORMS, SIDE, Comparison, compare, thumbnail

NAMES = ("astronaut.png", "coffee.png", "rocket.jpg", "chelsea.png")


@cache
def photo(name: str = "astronaut.png", side: int = 256) -> Image.Image:
    return Image.fromarray(photograph(name, side))


@cache
def kept(name: str = "astronaut.png") -> bytes:
    return thumbnail(photo(name))


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    stream = io.BytesIO()
    image.save(stream, format="JPEG", quality=quality)
    return Image.open(stream).convert("RGB")


def cropped(image: Image.Image, share: float) -> Image.Image:
    """`share` of each side is left, out of the middle."""
    cut = round(image.width * (1 - share) / 2)
    return image.crop((cut, cut, image.width - cut, image.height - cut))


def test_a_thumbnail_is_small_and_keeps_the_shape() -> None:
    small = Image.open(io.BytesIO(thumbnail(photo().resize((400, 100)))))
    assert (small.format, small.size) == ("WEBP", (SIDE, SIDE // 4))


@pytest.mark.parametrize("name", NAMES)
def test_the_picture_itself_is_the_same(name: str) -> None:
    found = compare(photo(name), kept(name))
    assert (found.outcome, found.form, found.share) == ("same", "as it is", 1.0)
    assert found.correlation > 0.9


@pytest.mark.parametrize("quality", [30, 50, 80])
def test_a_small_and_compressed_copy_is_the_same(quality: int) -> None:
    assert compare(jpeg(photo().resize((128, 128)), quality), kept()).outcome == "same"


@pytest.mark.parametrize("form", FORMS)
def test_a_turned_or_mirrored_copy_is_the_same_and_its_form_is_told(form: str) -> None:
    how = FORMS[form]
    turned = photo() if how is None else photo().transpose(how)
    found = compare(turned, kept())
    assert found.outcome == "same"
    assert found.consistent
    undo = FORMS[found.form]
    back = turned if undo is None else turned.transpose(undo)
    assert np.array_equal(np.asarray(back), np.asarray(photo()))


@pytest.mark.parametrize("share", [0.9, 0.7, 0.5])
def test_a_crop_is_a_part_and_the_share_it_shows_is_told(share: float) -> None:
    found = compare(cropped(photo(), share), kept())
    assert found.outcome in ("part", "same") if share == 0.9 else found.outcome == "part"
    if found.outcome == "part":
        assert found.share == pytest.approx(share, abs=0.06)


def test_a_mirrored_crop_is_a_part() -> None:
    found = compare(ImageOps.mirror(cropped(photo(), 0.7)), kept())
    assert (found.outcome, found.form) == ("part", "mirrored")


def test_without_looking_for_parts_a_crop_is_not_found() -> None:
    assert not compare(cropped(photo(), 0.6), kept(), parts=False).consistent


@pytest.mark.parametrize("other", NAMES[1:])
@pytest.mark.parametrize("parts", [True, False])
def test_another_picture_is_not_consistent(other: str, parts: bool) -> None:
    assert not compare(photo(other), kept(), parts=parts).consistent


def test_a_brighter_and_paler_copy_is_the_same() -> None:
    pale = Image.fromarray((np.asarray(photo()) * 0.5 + 90).astype(np.uint8))
    assert compare(pale, kept()).outcome == "same"


@pytest.mark.parametrize("flat", ["red", "black", "white"])
def test_a_flat_picture_is_not_consistent_with_any(flat: str) -> None:
    image = Image.new("RGB", (256, 256), flat)
    assert not compare(image, kept()).consistent
    assert not compare(photo(), thumbnail(image)).consistent
    assert not compare(image, thumbnail(image)).consistent


def test_noise_is_not_consistent_with_a_picture() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    assert compare(Image.fromarray(noise), kept()).outcome == "different"


@pytest.mark.parametrize("size", [(1, 1), (1, 400), (400, 1), (9, 300), (3000, 8)])
def test_no_shape_makes_it_raise(size: tuple[int, int]) -> None:
    thin = photo().resize(size)
    assert isinstance(compare(thin, kept()), Comparison)
    assert isinstance(compare(photo(), thumbnail(thin)), Comparison)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK", "1"])
def test_any_mode_of_image_can_be_compared(mode: str) -> None:
    assert isinstance(compare(photo().convert(mode), kept()), Comparison)


def test_the_correlation_lies_between_minus_one_and_one() -> None:
    negative = ImageOps.invert(photo())
    found = compare(negative, kept())
    assert -1 <= found.correlation <= 1
    assert not found.consistent

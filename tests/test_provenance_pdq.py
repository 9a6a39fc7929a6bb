"""PDQ hashes: the package's own on small images, within a few bits of it on large ones, in a fraction of the time."""

from __future__ import annotations

import io
from functools import cache
from pathlib import Path

import numpy as np
import pdqhash
import pytest
import skimage.data
from PIL import Image
from sklearn.datasets import load_sample_images

from auditkit.errors import ImageError, ProvenanceError
from auditkit.images import open_image, open_reduced
from auditkit.provenance.pdq import FORMS, Pdq, distance, hash_forms, hash_image

TURNED = {
    "rotated 90": [Image.Transpose.ROTATE_90],
    "rotated 180": [Image.Transpose.ROTATE_180],
    "rotated 270": [Image.Transpose.ROTATE_270],
    "flipped vertically": [Image.Transpose.FLIP_TOP_BOTTOM],
    "flipped horizontally": [Image.Transpose.FLIP_LEFT_RIGHT],
    "rotated 90, flipped vertically": [Image.Transpose.ROTATE_90, Image.Transpose.FLIP_TOP_BOTTOM],
    "rotated 90, flipped horizontally": [Image.Transpose.ROTATE_90, Image.Transpose.FLIP_LEFT_RIGHT],
}


@cache
def photographs() -> list[Image.Image]:
    pixels = [skimage.data.astronaut(), skimage.data.coffee(), skimage.data.chelsea(), *load_sample_images().images]
    return [Image.fromarray(each) for each in pixels]


def saved(image: Image.Image, format: str = "JPEG", **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format, **{"quality": 90, **options} if format == "JPEG" else options)  # type: ignore[arg-type]
    return stream.getvalue()


def reference(image: Image.Image) -> Pdq:
    """The package's hash of the whole image."""
    vector, quality = pdqhash.compute(np.asarray(image.convert("RGB")))
    return Pdq(np.packbits(vector.astype(bool)).tobytes(), quality)


def test_small_images_have_exactly_the_hash_of_the_package() -> None:
    for each in photographs():
        small = each.resize((300, 200))
        assert hash_image(small) == reference(small)


@pytest.mark.parametrize("size", [(1024, 1024), (1000, 1000), (700, 900), (2401, 1603)])
def test_large_images_have_the_hash_of_the_package_but_for_a_few_bits(size: tuple[int, int]) -> None:
    for each in photographs():
        large = each.resize(size, Image.Resampling.BICUBIC)
        assert distance(hash_image(large), reference(large)) <= 8


@pytest.mark.parametrize("size", [(1024, 1024), (1537, 2049), (4001, 2400)])
def test_a_jpeg_decoded_at_a_fraction_of_its_size_has_the_hash_of_the_whole(size: tuple[int, int]) -> None:
    data = saved(photographs()[0].resize(size))
    assert distance(hash_image(data), reference(Image.open(io.BytesIO(data)))) <= 8


def test_quality_is_that_of_the_whole_image_but_for_rounding() -> None:
    large = photographs()[1].resize((1200, 900))
    assert abs(hash_image(large).quality - reference(large).quality) <= 2


def test_a_hash_is_64_hexadecimal_digits_the_highest_bit_first() -> None:
    image = photographs()[0].resize((256, 256))
    vector, _ = pdqhash.compute(np.asarray(image))
    written = f"{int(''.join(map(str, vector)), 2):064x}"  # as python-threatexchange writes it
    assert hash_image(image).hex == written
    assert Pdq.from_hex(written.upper()).hex == written


@pytest.mark.parametrize("text", ["", "ab", "g" * 64, "a" * 63, "a" * 66])
def test_other_text_is_no_hash(text: str) -> None:
    with pytest.raises(ProvenanceError, match="64 hexadecimal digits"):
        Pdq.from_hex(text)


def test_distance_counts_the_bits_that_differ() -> None:
    assert distance(Pdq(bytes(32)), Pdq(bytes(31) + b"\x07")) == 3


@pytest.mark.parametrize("form", FORMS[1:])
def test_the_eight_forms_are_the_hashes_of_the_turned_image(form: str) -> None:
    for size in ((300, 260), (900, 700)):
        image = turned = photographs()[0].resize(size)
        for step in TURNED[form]:
            turned = turned.transpose(step)
        assert distance(hash_forms(image)[FORMS.index(form)], hash_image(turned)) <= 20


def test_the_first_form_is_the_hash_itself() -> None:
    assert hash_forms(photographs()[2])[0] == hash_image(photographs()[2])


@pytest.mark.parametrize("side", [1, 65, 600])
def test_flat_images_are_unusable(side: int) -> None:
    assert not hash_image(Image.new("RGB", (side, side), "grey")).usable
    assert hash_image(photographs()[0]).usable


def test_files_bytes_images_and_pixels_have_the_same_hash(tmp_path: Path) -> None:
    image = photographs()[0]
    path = tmp_path / "a.png"
    image.save(path)
    found = {hash_image(each).hex for each in (path, str(path), path.read_bytes(), image, np.asarray(image))}
    assert len(found) == 1


def test_grey_pixels_are_hashed_as_grey() -> None:
    grey = photographs()[0].convert("L")
    assert hash_image(np.asarray(grey)) == hash_image(grey.convert("RGB"))


def test_an_image_is_hashed_upright() -> None:
    image = photographs()[3].resize((1100, 700))
    exif = Image.Exif()
    exif[0x0112] = 6
    sideways = saved(image.transpose(Image.Transpose.ROTATE_90), exif=exif)
    assert distance(hash_image(sideways), hash_image(image)) <= 12


@pytest.mark.parametrize("pixels", [np.zeros((4, 4)), np.zeros((4, 4, 4), np.uint8), np.zeros((0, 4, 3), np.uint8)])
def test_other_pixels_are_refused(pixels: np.ndarray) -> None:
    with pytest.raises(ImageError, match="uint8"):
        hash_image(pixels)


def test_broken_files_are_refused_as_they_are_everywhere() -> None:
    for data in (b"", b"no image", saved(photographs()[0])[:2000]):
        with pytest.raises(ImageError):
            hash_image(data)


def test_a_reduced_jpeg_keeps_at_least_the_side_asked_for_and_says_its_whole_size() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    data = saved(Image.new("RGB", (2100, 1300)), exif=exif)
    image, whole = open_reduced(data, 512)
    assert (image.size, whole, open_image(data).size) == ((650, 1050), (1300, 2100), (1300, 2100))


def test_the_pixel_limit_holds_for_the_whole_image() -> None:
    with pytest.raises(ImageError, match="too many"):
        open_reduced(saved(Image.new("RGB", (2000, 1000))), 512, max_pixels=1_000_000)

from __future__ import annotations

import contextlib
import hashlib
import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from auditkit.errors import ImageError
from auditkit.images import encode_png, image_id, open_image


def saved(image: Image.Image, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, **{"format": "PNG", **options})  # type: ignore[arg-type]
    return buffer.getvalue()


def pixel(image: Image.Image) -> tuple[int, ...]:
    return tuple(int(value) for value in np.asarray(image)[0, 0])


@given(arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(3))))
def test_png_bytes_bring_back_the_same_pixels_and_the_same_bytes(pixels: np.ndarray) -> None:
    data = encode_png(Image.fromarray(pixels))
    again = open_image(data)
    assert np.array_equal(np.asarray(again), pixels)
    assert encode_png(again) == data
    assert image_id(data) == hashlib.sha256(data).hexdigest()


def test_metadata_does_not_change_the_bytes() -> None:
    image = Image.new("RGB", (4, 4), "red")
    noisy = open_image(saved(image, dpi=(300, 300), icc_profile=b"x" * 200))
    assert encode_png(noisy) == encode_png(image)


def test_transparency_is_laid_over_white() -> None:
    assert pixel(open_image(saved(Image.new("RGBA", (2, 2), (255, 0, 0, 0))))) == (255, 255, 255)
    assert pixel(open_image(saved(Image.new("LA", (2, 2), (0, 127))))) == (128, 128, 128)


def test_a_palette_image_with_a_transparent_colour_is_laid_over_white() -> None:
    image = Image.new("P", (2, 2), 0)
    image.putpalette([10, 20, 30, 40, 50, 60])
    assert pixel(open_image(saved(image))) == (10, 20, 30)
    assert pixel(open_image(saved(image, transparency=0))) == (255, 255, 255)


def test_sixteen_bit_grey_is_scaled_and_not_clipped() -> None:
    image = Image.fromarray(np.full((2, 2), 257 * 100, dtype=np.uint16))
    assert pixel(open_image(saved(image))) == (100, 100, 100)
    assert pixel(open_image(saved(image, format="TIFF"))) == (100, 100, 100)


def test_cmyk_becomes_rgb() -> None:
    data = saved(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), format="JPEG", quality=100)
    red, green, blue = pixel(open_image(data))
    assert red > 240
    assert green < 15
    assert blue < 15


def test_exif_orientation_is_applied() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned a quarter
    assert open_image(saved(Image.new("RGB", (6, 2)), format="JPEG", exif=exif)).size == (2, 6)


def test_of_an_animation_the_first_frame_is_taken() -> None:
    frames = [Image.new("RGB", (2, 2), colour) for colour in ("red", "blue")]
    data = saved(frames[0], format="GIF", save_all=True, append_images=frames[1:])
    assert pixel(open_image(data)) == (255, 0, 0)


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    path = tmp_path / "half.png"
    data = saved(Image.fromarray(noise))
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(ImageError, match=r"damaged or truncated[\s\S]*half\.png"):
        open_image(path)


@given(st.data())
def test_a_file_with_flipped_bytes_is_an_image_or_an_image_error(data: st.DataObject) -> None:
    whole = bytearray(
        saved(
            Image.new("RGB", (5, 5), "teal"), format=data.draw(st.sampled_from(["PNG", "GIF", "TIFF", "BMP"]))
        )
    )
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(ImageError):
        assert open_image(bytes(whole)).mode == "RGB"


@pytest.mark.parametrize("content", [b"", b"hello", b"\x89PNG\r\n\x1a\n", b"%PDF-1.7"])
def test_what_is_not_an_image_is_refused(content: bytes) -> None:
    with pytest.raises(ImageError, match="not an image"):
        open_image(content)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="does not exist"):
        open_image(tmp_path / "none.png")
    with pytest.raises(ImageError, match="cannot be read"):
        open_image(tmp_path)


@pytest.mark.parametrize("side", [9_000, 100_000])
def test_a_bomb_is_refused_from_its_header(side: int) -> None:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    bomb = (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b""))
        + chunk(b"IEND", b"")
    )
    with pytest.raises(ImageError, match="64 million pixels"):
        open_image(bomb)

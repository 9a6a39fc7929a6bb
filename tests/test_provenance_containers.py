"""Manifests in the bytes of PNG, JPEG and WebP files: found, taken out and put back, whatever the bytes are."""

from __future__ import annotations

import random
import struct
import zlib
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as some
from provenance_helpers import (
    FORMATS,
    PLAIN,
    image_bytes,
    isolated,  # noqa: F401
    signed,
    verdict_of,
)
from provenance_mutations import doubled, held, mutated, original

from auditkit.provenance.containers import PNG_SIGNATURE, find, media_type, reinserted, strip
from auditkit.provenance.manifest import SoftBinding

STARTS = [
    PNG_SIGNATURE, b"\xff\xd8\xff", b"\xff\xd8\xff\xeb",
    b"RIFF\x10\0\0\0WEBP", b"RIFF\xff\xff\xff\xffWEBPC2PA", b"GIF89a",
    b"\0\0\0\x20ftypheic", b"\0\0\0\x40jumb", b"%PDF-1.7", b"<svg ",
]  # fmt: skip


@cache
def large(fmt: str) -> bytes:
    """A file whose manifest holds, in an ingredient's own, more than an APP11 segment can."""
    parent = signed("png", bindings=[SoftBinding("tests.large", random.Random(0).randbytes(100_000), "watermark")])
    return signed(fmt, parent=("parent.png", parent.data)).data


def looked_at(data: bytes) -> None:
    media_type(data)
    found = find(data)
    bare = strip(data)
    if found is None:
        assert bare == data
    else:
        reinserted(bare, found.spans)


@given(some.binary(max_size=300), some.sampled_from([b"", *STARTS]))
def test_no_bytes_make_it_raise(data: bytes, start: bytes) -> None:
    looked_at(start + data)


@given(some.sampled_from(PLAIN), some.integers(0, 10**9))
def test_no_damage_to_a_signed_file_makes_it_raise(fmt: str, seed: int) -> None:
    looked_at(mutated(fmt, seed)[1])


@given(some.binary(max_size=50), some.lists(some.tuples(some.integers(0, 80), some.binary(max_size=9)), max_size=4))
def test_putting_back_what_does_not_fit_gives_none_or_bytes(data: bytes, spans: list[tuple[int, bytes]]) -> None:
    assert isinstance(reinserted(data, tuple(spans)), bytes | None)


@pytest.mark.parametrize("fmt", FORMATS)
def test_what_is_taken_out_and_put_back_is_the_same_file(fmt: str) -> None:
    data = original(fmt)
    found = held(data)
    assert found.whole
    assert reinserted(strip(data), found.spans) == data


@pytest.mark.parametrize("fmt", FORMATS)
def test_what_is_left_is_the_file_as_it_was_before_it_was_signed(fmt: str) -> None:
    assert strip(original(fmt)) == image_bytes(fmt)


@pytest.mark.parametrize("fmt", FORMATS)
def test_the_store_in_the_file_is_the_one_that_signing_gave(fmt: str) -> None:
    made = signed(fmt)
    found = held(made.data)
    assert found.store == made.manifest


@pytest.mark.parametrize("fmt", PLAIN)
def test_a_manifest_of_many_segments_is_found_whole_and_put_back(fmt: str) -> None:
    data = large(fmt)
    found = held(data)
    assert found.whole
    assert len(found.store) > 65_535
    assert reinserted(strip(data), found.spans) == data
    assert find(strip(data)) is None
    assert verdict_of(data).verdict == "trusted"


def test_a_large_manifest_lies_in_several_app11_segments() -> None:
    assert large("jpeg").count(b"\xff\xeb") >= 2


def test_segments_out_of_order_are_put_together_by_their_numbers() -> None:
    data = large("jpeg")
    offset, span = held(data).spans[0]
    (length,) = struct.unpack(">H", span[2:4])
    first, rest = span[: length + 2], span[length + 2 :]
    found = held(data[:offset] + rest + first + data[offset + len(span) :])
    assert found.store == held(data).store


def test_segments_that_lie_apart_are_taken_out_and_put_back() -> None:
    data = large("jpeg")
    offset, span = held(data).spans[0]
    (length,) = struct.unpack(">H", span[2:4])
    comment = b"\xff\xfe\0\x06abcd"
    apart = data[: offset + length + 2] + comment + data[offset + length + 2 :]
    found = held(apart)
    assert len(found.spans) == 2
    assert comment in strip(apart)
    assert reinserted(strip(apart), found.spans) == apart


@pytest.mark.parametrize("size", [(95, 71), (33, 17), (1, 1)])
def test_a_webp_of_odd_length_comes_back_as_it_was(size: tuple[int, int]) -> None:
    for quality_seed in range(4):
        data = signed(image_bytes("webp", size=size, seed=quality_seed)).data
        found = held(data)
        assert reinserted(strip(data), found.spans) == data
        assert struct.unpack("<I", strip(data)[4:8])[0] == len(strip(data)) - 8


def test_a_webp_with_a_chunk_of_odd_length_behind_the_manifest_comes_back_as_it_was() -> None:
    data = original("webp-alpha")
    longer = data + b"EXIF" + struct.pack("<I", 3) + b"abc\0"
    longer = longer[:4] + struct.pack("<I", len(longer) - 8) + longer[8:]
    found = held(longer)
    assert reinserted(strip(longer), found.spans) == longer


@pytest.mark.parametrize("fmt", PLAIN)
def test_a_manifest_that_the_file_ends_within_is_not_whole(fmt: str) -> None:
    data = original(fmt)
    offset, span = held(data).spans[0]
    found = held(data[: offset + len(span) // 2])
    assert not found.whole


@pytest.mark.parametrize("fmt", PLAIN)
def test_a_second_manifest_does_not_change_the_first_one_that_is_found(fmt: str) -> None:
    found, twice = held(original(fmt)), held(doubled(original(fmt)))
    assert twice.store == found.store


def test_a_png_chunk_that_says_it_is_longer_than_the_file_ends_the_search() -> None:
    content = b"\xff\xff\xff\xffcaBX" + b"x" * 20
    found = held(PNG_SIGNATURE + content)
    assert not found.whole


def test_other_segments_of_app11_are_no_manifest() -> None:
    jpeg = image_bytes("jpeg")
    hdr = b"HDR_RI ver=11" + bytes(30)
    other = b"\xff\xeb" + struct.pack(">H", len(hdr) + 2) + hdr
    assert find(jpeg[:2] + other + jpeg[2:]) is None


def test_a_manifest_behind_the_pixels_of_a_jpeg_is_none() -> None:
    data = original("jpeg")
    span = held(data).spans[0][1]
    assert find(strip(data) + span) is None
    assert verdict_of(strip(data) + span).verdict != "trusted"


@pytest.mark.parametrize(
    ("start", "kind"),
    [
        (b"GIF89a", "image/gif"), (b"II*\0", "image/tiff"), (b"%PDF-1.7", "application/pdf"), (b"BM", "image/bmp"),
        (b"\0\0\0\x20ftypavif", "image/avif"), (b"\0\0\0\x20ftypheic", "image/heic"), (b"\xff\x0a", "image/jxl"),
        (b"\0\0\0\x20ftypisom", "video/mp4"), (b"RIFF\0\0\0\0WAVE", "audio/wav"), (b"RIFF\0\0\0\0XXXX", None),
        (b'<?xml version="1.0"?>\n<svg xmlns="x"/>', "image/svg+xml"), (b"<?xml version='1.0'?><html/>", None),
        (b"hello", None), (b"", None), (b"\xff\xd8", None), (b"\x89PNG", None),
    ],
)  # fmt: skip
def test_the_first_bytes_tell_the_media_type(start: bytes, kind: str | None) -> None:
    assert media_type(start) == kind


@pytest.mark.parametrize(("fmt", "kind"), [("png", "image/png"), ("jpeg", "image/jpeg"), ("webp", "image/webp")])
def test_each_image_format_is_known_by_its_bytes(fmt: str, kind: str) -> None:
    assert media_type(original(fmt)) == kind


def test_a_manifest_by_itself_is_known_by_its_bytes() -> None:
    assert media_type(signed("png", embed=False).manifest) == "application/c2pa"


def test_a_checksum_of_the_manifest_chunk_that_is_wrong_is_not_trusted() -> None:
    data = bytearray(original("png"))
    offset, span = held(bytes(data)).spans[0]
    end = offset + len(span)
    assert struct.unpack(">I", data[end - 4 : end])[0] == zlib.crc32(data[offset + 4 : end - 4])
    data[end - 1] ^= 1
    assert verdict_of(bytes(data)).verdict == "malformed"

"""The implicit label of GB 45438-2025: written beside the pixels, read back, and never into a signed file."""

from __future__ import annotations

import io
import json
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, PngImagePlugin
from synthetic_run import make_run

from auditkit.errors import ProvenanceError
from auditkit.provenance import xmp, xmp_files
from auditkit.provenance.containers import C2PA_UUID
from auditkit.provenance.gb45438 import NAMESPACE, embed_label, label_run, make_label, read_label

LABEL = make_label(producer="Example & Söhne <生成>", produce_id="A-1")
DC = "http://purl.org/dc/elements/1.1/"
PACKET = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><r:RDF xmlns:r="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    f'<r:Description r:about="urn:one" xmlns:dc="{DC}" dc:format="a &gt; b"><dc:rights><r:Alt>'
    '<r:li xml:lang="x-default">© Ada</r:li></r:Alt></dc:rights></r:Description></r:RDF></x:xmpmeta>'
    + " " * 500
    + '<?xpacket end="w"?>'
).encode()


def picture(mode: str = "RGB") -> Image.Image:
    values = np.random.default_rng(1).integers(0, 256, (37, 51, 4), dtype=np.uint8)
    return Image.fromarray(values, "RGBA").convert(mode)


def saved(kind: str, mode: str = "RGB", **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture(mode).save(buffer, kind, **options)
    return buffer.getvalue()


def pixels(data: bytes) -> list[tuple[str, bytes]]:
    image = Image.open(io.BytesIO(data))
    frames = []
    for number in range(getattr(image, "n_frames", 1)):
        image.seek(number)
        frames.append((image.mode, image.tobytes()))
    return frames


def exif() -> Image.Exif:
    made = Image.Exif()
    made[0x8298] = "(c) Ada"
    return made


FILES = {
    "png": lambda: saved("PNG"),
    "png with alpha": lambda: saved("PNG", "RGBA"),
    "png with a palette": lambda: saved("PNG", "P"),
    "jpeg": lambda: saved("JPEG"),
    "progressive jpeg": lambda: saved("JPEG", progressive=True),
    "jpeg with exif": lambda: saved("JPEG", exif=exif()),
    "grey jpeg": lambda: saved("JPEG", "L"),
    "lossy webp": lambda: saved("WEBP"),
    "lossless webp": lambda: saved("WEBP", lossless=True),
    "lossless webp with alpha": lambda: saved("WEBP", "RGBA", lossless=True),
    "lossy webp with alpha": lambda: saved("WEBP", "RGBA"),
    "webp with exif": lambda: saved("WEBP", exif=exif()),
    "animated webp": lambda: saved("WEBP", save_all=True, append_images=[picture("L").convert("RGB")], duration=40),
}


@pytest.mark.parametrize("name", FILES)
def test_the_label_is_read_back_and_no_pixel_changes(name: str) -> None:
    before = FILES[name]()
    after = embed_label(before, LABEL)
    assert read_label(before) is None
    assert read_label(after) == LABEL
    assert pixels(after) == pixels(before)


@pytest.mark.parametrize("name", FILES)
def test_other_readers_find_the_packet_where_the_format_keeps_it(name: str) -> None:
    packet = Image.open(io.BytesIO(embed_label(FILES[name](), LABEL))).info["xmp"]
    packet = packet if isinstance(packet, bytes) else packet.encode()
    (text,) = xmp.properties(packet)[f"{{{NAMESPACE}}}AIGC"]
    assert json.loads(text) == LABEL


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_an_earlier_packet_keeps_its_other_properties(kind: str) -> None:
    options: dict[str, Any] = {"xmp": PACKET}
    if kind == "PNG":
        options = {"pnginfo": PngImagePlugin.PngInfo()}
        options["pnginfo"].add_itxt("XML:com.adobe.xmp", PACKET.decode(), zip=True)
    before = saved(kind, **options)
    after = embed_label(before, LABEL)
    (packet,) = xmp_files.packets(after)
    found = xmp.properties(packet)
    assert found.pop(f"{{{NAMESPACE}}}AIGC")
    assert found == xmp.properties(PACKET) == {f"{{{DC}}}format": ["a > b"], f"{{{DC}}}rights": ["© Ada"]}
    assert b'rdf:about="urn:one"' in packet
    assert pixels(after) == pixels(before)


@pytest.mark.parametrize("name", FILES)
def test_a_second_label_takes_the_place_of_the_first(name: str) -> None:
    second = make_label(producer="Other", produce_id="B-2", label="2")
    once, twice = embed_label(FILES[name](), second), embed_label(embed_label(FILES[name](), LABEL), second)
    assert read_label(twice) == second
    assert twice == once


def test_a_label_that_was_written_as_an_attribute_is_replaced_too() -> None:
    packet = PACKET.replace(b'dc:format="a &gt; b"', f"xmlns:t='{NAMESPACE}' t:AIGC='{{}}' dc:format='x'".encode())
    (text,) = xmp.properties(xmp.set_property(packet, NAMESPACE, "AIGC", prefix="TC260", text="new"))[
        f"{{{NAMESPACE}}}AIGC"
    ]
    assert text == "new"


def test_the_exif_of_a_jpeg_stays_first() -> None:
    after = embed_label(FILES["jpeg with exif"](), LABEL)
    assert after.index(b"Exif\0\0") < after.index(xmp_files.JPEG_HEADER)
    assert Image.open(io.BytesIO(after)).getexif()[0x8298] == "(c) Ada"


def signed(kind: str) -> bytes:
    """A file with the outline of a C2PA manifest store; its content does not matter here."""
    inner = struct.pack(">I", 8 + 25) + b"jumd" + C2PA_UUID + b"\3c2pa\0\0\0\0"
    store = struct.pack(">I", 8 + len(inner)) + b"jumb" + inner
    data = saved(kind)
    if kind == "PNG":
        body = b"caBX" + store
        return data[:33] + struct.pack(">I", len(store)) + body + struct.pack(">I", zlib.crc32(body)) + data[33:]
    if kind == "JPEG":
        body = b"JP" + struct.pack(">HI", 1, 1) + store
        return data[:2] + b"\xff\xeb" + struct.pack(">H", len(body) + 2) + body + data[2:]
    chunk = b"C2PA" + struct.pack("<I", len(store)) + store + b"\0" * (len(store) % 2)
    return b"RIFF" + struct.pack("<I", len(data) - 8 + len(chunk)) + data[8:] + chunk


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_a_signed_file_is_refused_because_its_signature_would_break(kind: str) -> None:
    with pytest.raises(ProvenanceError, match="signature") as told:
        embed_label(signed(kind), LABEL)
    assert "before signing" in str(told.value.mend)


@pytest.mark.parametrize("name", ["png", "progressive jpeg", "lossy webp"])
def test_a_file_that_is_cut_off_is_refused(name: str) -> None:
    whole = FILES[name]()
    header = 40 if name != "progressive jpeg" else 100
    with pytest.raises(ProvenanceError, match=r"damaged|cut off"):
        embed_label(whole[:header], LABEL)


def test_another_format_is_refused_by_name() -> None:
    with pytest.raises(ProvenanceError, match="not in image/gif"):
        embed_label(saved("GIF"), LABEL)


def test_a_packet_with_entities_is_refused_and_the_file_left_alone() -> None:
    bomb = b'<!DOCTYPE a [<!ENTITY b "bb">]><x>&b;</x>'
    with pytest.raises(ProvenanceError, match="entity bomb"):
        embed_label(xmp_files.embed(saved("PNG"), bomb), LABEL)


def test_a_packet_too_long_for_a_jpeg_is_refused() -> None:
    long = PACKET.replace(b"a &gt; b", b"x" * 70_000)
    with pytest.raises(ProvenanceError, match="segment holds"):
        xmp_files.embed(saved("JPEG"), long)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"label": "4", "producer": "a", "produce_id": "b"}, "'1', '2' or '3'"),
        ({"producer": "a"}, "number"),
        ({"produce_id": "b"}, "who made"),
    ],
)
def test_a_label_that_says_too_little_is_refused(fields: dict[str, str], said: str) -> None:
    with pytest.raises(ProvenanceError, match=said):
        make_label(**fields)


def test_a_field_that_the_standard_does_not_have_is_refused() -> None:
    with pytest.raises(ProvenanceError, match="no field 'Model'"):
        embed_label(saved("PNG"), {**LABEL, "Model": "x"})


@pytest.mark.parametrize("text", ['{"Label":"1"}', '{"AIGC":{"Label":"1"}}'])
def test_the_text_chunk_that_some_writers_use_is_read(text: str) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("AIGC", text)
    assert read_label(saved("PNG", pnginfo=info)) == {"Label": "1"}


def test_a_label_that_cannot_be_read_is_told_and_not_taken_for_none() -> None:
    packet = xmp.set_property(None, NAMESPACE, "AIGC", prefix="TC260", text="{Label: 1")
    assert read_label(xmp_files.embed(saved("JPEG"), packet)) == {"damaged": "{Label: 1"}


@pytest.mark.parametrize("name", ["png", "jpeg with exif", "lossy webp with alpha"])
def test_reading_never_raises_on_broken_bytes(name: str) -> None:
    data = embed_label(FILES[name](), LABEL)
    rng = np.random.default_rng(0)
    for _ in range(200):
        broken = bytearray(data[: int(rng.integers(0, len(data)))])
        if broken:
            broken[int(rng.integers(0, len(broken)))] ^= 1 << int(rng.integers(0, 8))
        read_label(bytes(broken))


def test_a_run_is_labelled_in_copies_and_the_same_call_goes_on(tmp_path: Path) -> None:
    run = make_run(tmp_path, images_per_prompt=1, measured=False)
    done = label_run(run, tmp_path / "labelled", producer="Example")
    ids = run.images()["id"]
    files = {path.stem: path.read_bytes() for path in (tmp_path / "labelled").iterdir()}
    assert (done.written, done.kept) == (len(set(ids)), 0)
    assert {id: read_label(data)["ProduceID"] for id, data in files.items()} == {id: id for id in ids}  # type: ignore[index]
    assert all(pixels(data) == pixels(run.image_path(id).read_bytes()) for id, data in files.items())
    (tmp_path / "labelled" / f"{ids[0]}.png").unlink()
    again = label_run(run, tmp_path / "labelled", producer="Example")
    assert (again.written, again.kept) == (1, len(files) - 1)


def test_the_runs_own_images_are_not_written_over(tmp_path: Path) -> None:
    run = make_run(tmp_path, images_per_prompt=1, measured=False)
    with pytest.raises(ProvenanceError, match="kept as they are"):
        label_run(run, run.path / "images" / "00", producer="Example")

"""Where C2PA manifests lie in PNG, JPEG and WebP files, byte by byte: found, taken out, and put back.

A manifest store is one JUMBF box (ISO 19566-5). PNG holds it in a chunk `caBX`, JPEG in APP11 segments that share a box
instance number, WebP in a RIFF chunk `C2PA` (C2PA specification 2.x, Embedding manifests). Nothing here validates:
that is the reader's work. What is here must hold for any bytes, and never raises on them.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
C2PA_UUID = bytes.fromhex("6332706100110010800000aa00389b71")
"""Type of the JUMBF box that is a C2PA manifest store."""

_FTYP = {
    b"avif": "image/avif", b"avis": "image/avif", b"heic": "image/heic", b"heix": "image/heic", b"hevc": "image/heic",
    b"mif1": "image/heif", b"msf1": "image/heif", b"qt  ": "video/quicktime", b"M4A ": "audio/mp4",
}  # fmt: skip
_STARTS = (
    (PNG_SIGNATURE, "image/png"), (b"\xff\xd8\xff", "image/jpeg"), (b"GIF87a", "image/gif"), (b"GIF89a", "image/gif"),
    (b"II*\x00", "image/tiff"), (b"MM\x00*", "image/tiff"), (b"%PDF-", "application/pdf"), (b"ID3", "audio/mpeg"),
    (b"fLaC", "audio/flac"), (b"\xff\x0a", "image/jxl"), (b"\x00\x00\x00\x0cJXL \r\n\x87\n", "image/jxl"),
    (b"BM", "image/bmp"),
)  # fmt: skip
_RIFF = {b"WEBP": "image/webp", b"WAVE": "audio/wav", b"AVI ": "video/avi"}
SIDECAR = "application/c2pa"


@dataclass(frozen=True)
class Embedded:
    """A manifest store as it lies in a file.

    Attributes:
        store: the JUMBF box, put together.
        spans: (offset, bytes) of each run of the file that carries it, in order: what a lossless strip takes away.
        whole: False where the file ends, or a box ends, before the store does.
    """

    store: bytes
    spans: tuple[tuple[int, bytes], ...] = field(repr=False)
    whole: bool = True


def media_type(data: bytes) -> str | None:
    """The media type that the first bytes tell, whatever the file is called; None where they tell none."""
    for start, kind in _STARTS:
        if data.startswith(start):
            return kind
    if data[:4] == b"RIFF":
        return _RIFF.get(data[8:12])
    if data[4:8] == b"ftyp":
        return _FTYP.get(data[8:12], "video/mp4")
    if data[4:8] == b"jumb" and C2PA_UUID in data[:64]:
        return SIDECAR
    if data[:2] in (b"\xff\xfb", b"\xff\xf3", b"\xff\xf2"):
        return "audio/mpeg"
    head = data[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if head.startswith((b"<svg", b"<?xml")) and b"<svg" in data[:4096].lower():
        return "image/svg+xml"
    return None


def find(data: bytes) -> Embedded | None:
    """The manifest store in the bytes of a PNG, JPEG or WebP file; None where there is none (or another format)."""
    kind = media_type(data)
    if kind == "image/png":
        return _in_chunks(data, png_chunks(data), b"caBX")
    if kind == "image/webp":
        return _in_chunks(data, riff_chunks(data), b"C2PA")
    return _in_jpeg(data) if kind == "image/jpeg" else None


def strip(data: bytes) -> bytes:
    """The file without its manifest store, every other byte kept (of WebP but the sizes in its header)."""
    found = find(data)
    if found is None:
        return data
    kept, at = [], 0
    for offset, span in found.spans:
        kept.append(data[at:offset])
        at = offset + len(span)
    return _resized(b"".join([*kept, data[at:]]))


def reinserted(data: bytes, spans: tuple[tuple[int, bytes], ...]) -> bytes | None:
    """`data` with the spans of `Embedded` put back at their offsets; None where it is too short for them."""
    for offset, span in spans:
        if offset > len(data):
            return None
        data = data[:offset] + span + data[offset:]
    return _resized(data)


def png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int, int, bool]]:
    """(type, start, start of content, end, whole) of each chunk."""
    at = len(PNG_SIGNATURE)
    while at + 8 <= len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        end = at + 12 + length
        yield data[at + 4 : at + 8], at, at + 8, min(end, len(data)), end <= len(data)
        at = end


def riff_chunks(data: bytes) -> Iterator[tuple[bytes, int, int, int, bool]]:
    """(type, start, start of content, end, whole) of each chunk; the end includes the padding byte."""
    at = 12
    while at + 8 <= len(data):
        (length,) = struct.unpack("<I", data[at + 4 : at + 8])
        end = at + 8 + length + length % 2
        yield data[at : at + 4], at, at + 8, min(end, len(data)), at + 8 + length <= len(data)
        at = end


def jpeg_segments(data: bytes) -> Iterator[tuple[int, int, int, bool]]:
    """(marker, start, end, whole) of each segment up to the start of scan."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
            continue
        if marker == 0xDA or marker == 0xD9:
            return
        if 0xD0 <= marker <= 0xD8 or marker == 0x01:  # no length
            at += 2
            continue
        (length,) = struct.unpack(">H", data[at + 2 : at + 4])
        end = at + 2 + max(length, 2)
        yield marker, at, min(end, len(data)), end <= len(data)
        at = end


def _in_chunks(data: bytes, chunks: Iterator[tuple[bytes, int, int, int, bool]], name: bytes) -> Embedded | None:
    tail = 4 if name == b"caBX" else 0  # a PNG chunk ends with its checksum
    for kind, start, content, end, whole in chunks:
        if kind == name:
            store, box_whole = _box(data[content : end - tail if whole else end])
            return Embedded(store, ((start, data[start:end]),), whole and box_whole)
    return None


def _in_jpeg(data: bytes) -> Embedded | None:
    """APP11 segments: 'JP', box instance (2), packet sequence (4), then the box, whose header each packet repeats."""
    packets: dict[int, list[tuple[int, int, int, bool]]] = {}
    for marker, start, end, whole in jpeg_segments(data):
        if marker == 0xEB and data[start + 4 : start + 6] == b"JP" and end - start >= 20:
            instance, sequence = struct.unpack(">HI", data[start + 6 : start + 12])
            packets.setdefault(instance, []).append((sequence, start, end, whole))
    for parts in packets.values():
        first = min(parts)
        header = data[first[1] + 12 : first[2]]
        if header[4:8] != b"jumb" or C2PA_UUID not in header[:64]:
            continue
        skip = 16 if header[:4] == b"\0\0\0\1" else 8
        store = header + b"".join(data[start + 12 + skip : end] for _, start, end, _ in sorted(parts)[1:])
        spans: list[tuple[int, bytes]] = []
        for _, start, end, _ in sorted(parts, key=lambda part: part[1]):
            if spans and spans[-1][0] + len(spans[-1][1]) == start:
                spans[-1] = (spans[-1][0], spans[-1][1] + data[start:end])
            else:
                spans.append((start, data[start:end]))
        store, box_whole = _box(store)
        return Embedded(store, tuple(spans), all(part[3] for part in parts) and box_whole)
    return None


def _box(store: bytes) -> tuple[bytes, bool]:
    """The JUMBF box that `store` begins with, without padding behind it, and whether it is a whole one of C2PA's."""
    if len(store) < 8 or store[4:8] != b"jumb" or C2PA_UUID not in store[:64]:
        return store, False
    (length,) = struct.unpack(">I", store[:4])
    if length == 1 and len(store) >= 16:
        (length,) = struct.unpack(">Q", store[8:16])
    return store[:length] if length >= 8 else store, 8 <= length <= len(store)


def _resized(data: bytes) -> bytes:
    """Of RIFF the size in the header set to the file's; any other bytes as they are."""
    return data[:4] + struct.pack("<I", len(data) - 8) + data[8:] if data[:4] == b"RIFF" and len(data) >= 12 else data

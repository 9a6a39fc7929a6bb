"""Where XMP packets lie in PNG, JPEG and WebP files: read from there and put there, without touching a pixel.

PNG holds the packet in a text chunk with the keyword `XML:com.adobe.xmp`, JPEG in an APP1 segment (with an extension
over several where it is longer than 64 kB), WebP in a RIFF chunk `XMP ` that the VP8X header announces (XMP part 3;
WebP container specification). Only metadata is taken out or put in; every other byte is copied.
"""

from __future__ import annotations

import contextlib
import struct
import zlib
from collections.abc import Iterator

from auditkit.errors import ProvenanceError
from auditkit.provenance.containers import jpeg_segments, media_type, png_chunks, riff_chunks
from auditkit.provenance.xmp import LARGEST

FORMATS = {"image/png": "PNG", "image/jpeg": "JPEG", "image/webp": "WebP"}
KEYWORD = "XML:com.adobe.xmp"
JPEG_HEADER = b"http://ns.adobe.com/xap/1.0/\0"
JPEG_EXTENSION = b"http://ns.adobe.com/xmp/extension/\0"
_SEGMENT = 0xFFFF - 2
"""Most bytes in a JPEG segment after its length."""
_XMP_FLAG, _ALPHA_FLAG = 0x04, 0x10


def image_kind(data: bytes) -> str:
    """'PNG', 'JPEG' or 'WebP', by the first bytes.

    Raises:
        ProvenanceError: another format.
    """
    kind = media_type(data)
    if kind not in FORMATS:
        raise ProvenanceError(
            f"metadata is read and written in PNG, JPEG and WebP, not in {kind or 'this file'}",
            where="the file's first bytes", mend="convert the image to PNG",
        )  # fmt: skip
    return FORMATS[kind]


def packets(data: bytes) -> list[bytes]:
    """The XMP packets in a file, in order; a JPEG's extension is one of them. Damaged parts are passed over."""
    kind = image_kind(data)
    if kind == "PNG":
        return [text for keyword, text, _, _ in png_texts(data) if keyword == KEYWORD]
    if kind == "WebP":
        return [data[content:end] for _, _, content, end in _webp_packets(data)]
    plain = [data[start + 4 + len(JPEG_HEADER) : end] for start, end in _app1(data, JPEG_HEADER)]
    return plain + _extensions(data)


def embed(data: bytes, packet: bytes) -> bytes:
    """The file with this packet in place of its first one, or as its only one.

    Raises:
        ProvenanceError: the file is damaged or of another format, or the packet is too long for a JPEG segment.
    """
    kind = image_kind(data)
    return {"PNG": _into_png, "JPEG": _into_jpeg, "WebP": _into_webp}[kind](data, packet)


def png_texts(data: bytes) -> Iterator[tuple[str, bytes, int, int]]:
    """(keyword, text, start, end) of each text chunk of a PNG: iTXt, tEXt and zTXt."""
    for kind, start, content, end, whole in png_chunks(data):
        if kind not in (b"iTXt", b"tEXt", b"zTXt") or not whole:
            continue
        keyword, _, rest = data[content : end - 4].partition(b"\0")
        if kind == b"iTXt" and len(rest) >= 4:
            packed, rest = rest[0], rest[2:].split(b"\0", 2)[-1]
        else:
            packed, rest = int(kind == b"zTXt"), rest[1:] if kind == b"zTXt" else rest
        with contextlib.suppress(zlib.error):
            text = zlib.decompressobj().decompress(rest, LARGEST + 1) if packed else rest
            yield keyword.decode("latin-1"), text, start, end


def _app1(data: bytes, header: bytes) -> Iterator[tuple[int, int]]:
    for marker, start, end, whole in jpeg_segments(data):
        if marker == 0xE1 and whole and data[start + 4 : start + 4 + len(header)] == header:
            yield start, end


def _extensions(data: bytes) -> list[bytes]:
    """Extended XMP: each segment has the packet's digest (32), its full length (4) and an offset (4)."""
    parts: dict[bytes, list[tuple[int, bytes]]] = {}
    for start, end in _app1(data, JPEG_EXTENSION):
        body = data[start + 4 + len(JPEG_EXTENSION) : end]
        if len(body) >= 40:
            (offset,) = struct.unpack(">I", body[36:40])
            parts.setdefault(body[:32], []).append((offset, body[40:]))
    return [b"".join(part for _, part in sorted(found)) for found in parts.values()]


def _webp_packets(data: bytes) -> Iterator[tuple[int, int, int, int]]:
    """(start, end of the chunk, start, end of its content)."""
    for kind, start, content, end, whole in riff_chunks(data):
        if kind == b"XMP " and whole:
            (length,) = struct.unpack("<I", data[start + 4 : start + 8])
            yield start, end, content, content + length


def _into_png(data: bytes, packet: bytes) -> bytes:
    chunks = list(png_chunks(data))
    kinds = [chunk[0] for chunk in chunks]
    if not kinds or kinds[0] != b"IHDR" or b"IEND" not in kinds or not all(chunk[4] for chunk in chunks):
        raise _damaged("PNG")
    body = b"iTXt" + KEYWORD.encode() + b"\0\0\0\0\0" + packet
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    old = next(((start, end) for keyword, _, start, end in png_texts(data) if keyword == KEYWORD), None)
    start, end = old or (chunks[0][3], chunks[0][3])
    return data[:start] + chunk + data[end:]


def _into_jpeg(data: bytes, packet: bytes) -> bytes:
    segments = list(jpeg_segments(data))
    end_of_header = segments[-1][2] if segments else 0
    # The scan must follow: without it the file was cut off, and where the header ends is not known.
    if not segments or not segments[-1][3] or b"\xff\xda" not in data[end_of_header : end_of_header + 16]:
        raise _damaged("JPEG")
    body = JPEG_HEADER + packet
    if len(body) > _SEGMENT:
        raise ProvenanceError(
            f"the XMP packet has {len(packet):,} bytes, and one JPEG segment holds {_SEGMENT - len(JPEG_HEADER):,}",
            where="XMP packet", mend="save the image as PNG or WebP, or take properties out of its XMP packet first",
        )  # fmt: skip
    segment = b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body
    old = next(_app1(data, JPEG_HEADER), None)
    if old is None:
        at = 2
        for marker, start, end, _ in segments:  # JFIF and Exif have to come first
            if start != at or not (marker == 0xE0 or data[start + 4 : start + 10] == b"Exif\0\0"):
                break
            at = end
        old = (at, at)
    return data[: old[0]] + segment + data[old[1] :]


def _into_webp(data: bytes, packet: bytes) -> bytes:
    size = struct.unpack("<I", data[4:8])[0] + 8 if len(data) >= 12 else len(data) + 1
    chunks = list(riff_chunks(data[:size]))
    if size > len(data) or not chunks or not all(chunk[4] for chunk in chunks):
        raise _damaged("WebP")
    kind, start, content, end, _ = chunks[0]
    header = bytearray(data[content : content + 10]) if kind == b"VP8X" else _canvas(kind, data[content:end])
    if len(header) < 10:
        raise _damaged("WebP")
    header[0] |= _XMP_FLAG
    new = _chunk(b"XMP ", packet)
    parts, placed = [_chunk(b"VP8X", bytes(header))], False
    for kind, start, _, end, _ in chunks:
        if kind == b"VP8X":
            continue
        if kind == b"XMP " and not placed:
            parts.append(new)
            placed = True
        else:
            parts.append(data[start:end] + b"\0" * ((end - start) % 2))
    body = b"WEBP" + b"".join(parts if placed else [*parts, new])
    return b"RIFF" + struct.pack("<I", len(body)) + body + data[size:]


def _canvas(kind: bytes, body: bytes) -> bytearray:
    """A VP8X header for a file that has none: its canvas is that of the one frame."""
    if kind == b"VP8 " and len(body) >= 10 and body[3:6] == b"\x9d\x01\x2a":
        width, height = (side & 0x3FFF for side in struct.unpack("<HH", body[6:10]))
        flags = 0
    elif kind == b"VP8L" and len(body) >= 5 and body[0] == 0x2F:
        (bits,) = struct.unpack("<I", body[1:5])
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        flags = _ALPHA_FLAG if bits >> 28 & 1 else 0
    else:
        raise _damaged("WebP")
    return bytearray(bytes([flags, 0, 0, 0]) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little"))


def _chunk(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)


def _damaged(kind: str) -> ProvenanceError:
    return ProvenanceError(
        f"the {kind} file is damaged or cut off; nothing was written into it",
        where="the file's structure", mend="replace the file with a whole copy",
    )  # fmt: skip

"""The bytes of a manifest store that no signature covers, held against what the standard wants to stand there.

A claim's signature covers the claim, and the claim's hashes its assertions. Around them lie box headers, the labels of
C2PA's own boxes and padding, which a reader passes over: a changed bit in more than a fifth of a small store's bytes
leaves the reference library's answer as it was. Nothing that people are shown hides there, but a store that was changed
since it was signed should not be called unchanged. (C2PA specification 2.x, C2PA Box details; Padding.)
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

from auditkit.provenance.containers import PNG_SIGNATURE, png_chunks
from auditkit.provenance.jumbf import children

BOXES = {
    b"c2as": ("c2pa.assertions",), b"c2cl": ("c2pa.claim", "c2pa.claim.v2"), b"c2cs": ("c2pa.signature",),
    b"c2vc": ("c2pa.credentials",), b"c2db": ("c2pa.databoxes",),
}  # fmt: skip
"""C2PA's own boxes inside a manifest, by the first four bytes of their type, and how they are called."""
MANIFESTS = (b"c2ma", b"c2um", b"c2cm")
UUID_END = bytes.fromhex("00110010800000aa00389b71")
TOGGLES = (0x03, 0x13)
"""Requestable, with a label; and with a private box, which holds a salt (ISO 19566-5)."""
UNPROTECTED = ("sigTst", "sigTst2", "rVals", "x5chain", 33)
"""What C2PA puts into the header of a signature that is not itself signed, besides padding."""


def faults(store: bytes) -> list[str]:
    """What is not as the standard wants it, in words; [] where all is well. Never raises."""
    try:
        return list(dict.fromkeys(_store_faults(store)))
    except Exception as error:  # a stranger's bytes
        return [f"the store cannot be walked ({type(error).__name__})"]


def carrier_faults(data: bytes) -> list[str]:
    """Of a PNG: the checksum of the chunk that holds the manifest."""
    import zlib

    if not data.startswith(PNG_SIGNATURE):
        return []
    for kind, start, _, end, whole in png_chunks(data):
        if kind == b"caBX" and whole:
            (told,) = struct.unpack(">I", data[end - 4 : end])
            return [] if told == zlib.crc32(data[start + 4 : end - 4]) else ["the checksum of its PNG chunk is wrong"]
    return []


def _store_faults(store: bytes) -> Iterator[str]:
    if len(store) < 8 or struct.unpack(">I", store[:4])[0] not in (len(store), 0):
        yield "the store's length is not what its header says"
    inside = list(children(store[8:]))
    if not inside or inside[0] is None or inside[0][0] != b"jumd":
        yield "the store has no description"
        return
    yield from _description(inside[0][1], (b"c2pa",), ("c2pa",))
    for child in inside[1:]:
        if child is None or child[0] != b"jumb":
            yield "a box between the manifests"
        else:
            yield from _manifest_faults(child[1])


def _manifest_faults(content: bytes) -> Iterator[str]:
    inside = list(children(content))
    if not inside or inside[0] is None or inside[0][0] != b"jumd":
        yield "a manifest has no description"
        return
    yield from _description(inside[0][1], MANIFESTS, None)
    for child in inside[1:]:
        if child is None:
            yield "boxes do not fill their manifest"
        elif child[0] == b"jumb":
            yield from _part_faults(child[1])
        elif child[0] == b"free" and any(child[1]):
            yield "padding is not empty"
        elif child[0] != b"free" and child[0] != b"brob":
            yield "a box that no manifest has"


def _part_faults(content: bytes) -> Iterator[str]:
    """Of an assertion store, a claim, a signature."""
    inside = list(children(content))
    if not inside or None in inside or inside[0] is None or inside[0][0] != b"jumd":
        yield "boxes do not fill their box"
        return
    kind = inside[0][1][:4]
    yield from _description(inside[0][1], tuple(BOXES), BOXES.get(kind))
    for child in inside[1:]:
        assert child is not None
        if kind == b"c2cs" and child[0] == b"cbor":
            yield from _signature_faults(child[1])
        if kind == b"c2as" and child[0] == b"jumb":
            inner = list(children(child[1]))
            if None in inner:
                yield "boxes do not fill their assertion"
            elif inner and inner[0] is not None and inner[0][0] == b"jumd":
                yield from _toggles(inner[0][1])


def _signature_faults(cose: bytes) -> Iterator[str]:
    import cbor2

    loaded: Any = cbor2.loads(cose)
    _, unprotected, payload, _ = loaded.value if hasattr(loaded, "value") else loaded
    if payload is not None:
        yield "the signature carries a payload"
    for name, value in unprotected.items():
        if str(name) in ("pad", "pad2"):
            if not isinstance(value, bytes) or any(value):
                yield "padding is not empty"
        elif name not in UNPROTECTED and isinstance(value, bytes) and not any(value):
            yield "padding under another name"  # other makers' headers are their affair


def _description(body: bytes, kinds: tuple[bytes, ...], labels: tuple[str, ...] | None) -> Iterator[str]:
    if body[:4] in kinds and body[4:16] != UUID_END:
        yield "a box of a kind that no manifest has"
    yield from _toggles(body)
    label = body[17:].split(b"\0")[0].decode("utf-8", "replace")
    if labels is not None and label not in labels:
        yield "a box with another name than its kind"
    if b"\0" not in body[17:]:
        yield "a label that does not end"


def _toggles(body: bytes) -> Iterator[str]:
    if len(body) < 18 or body[16] not in TOGGLES:
        yield "a description with flags that no manifest has"

"""The signer's certificates, out of a manifest store's bytes.

The reader tells names and dates, not the certificates themselves, which verification 'as of' a date needs. A store is
nested JUMBF boxes (ISO 19566-5); a manifest's box `c2pa.signature` holds a COSE_Sign1 structure (RFC 9052) whose header
33, x5chain (RFC 9360), is the chain.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cryptography import x509

X5CHAIN = (33, "x5chain")
DEPTH = 4


def signing_chain(store: bytes, label: str) -> list[x509.Certificate]:
    """The certificates of the manifest `label`, end entity first; [] where they cannot be read."""
    from cryptography import x509

    try:
        found = _chain(_cose(store, label))
        return [x509.load_der_x509_certificate(each) for each in ([found] if isinstance(found, bytes) else found)]
    except Exception:  # a stranger's bytes: whatever the decoder raises, there is no chain
        return []


def boxes(data: bytes, depth: int = DEPTH) -> Iterator[tuple[list[str], bytes, bytes]]:
    """(labels from the outside in, type, content) of each content box of a JUMBF box's bytes."""
    for kind, content in _flat(data):
        if kind != b"jumb" or depth == 0:
            continue
        label, inside = "", []
        for inner, body in _flat(content):
            if inner == b"jumd" and not label:
                label = _label(body)
            else:
                inside.append((inner, body))
        for inner, body in inside:
            if inner == b"jumb":
                nested = struct.pack(">I", len(body) + 8) + inner + body
                yield from (([label, *path], name, deep) for path, name, deep in boxes(nested, depth - 1))
            else:
                yield [label], inner, body


def children(content: bytes) -> Iterator[tuple[bytes, bytes] | None]:
    """(type, content) of the boxes that fill `content`, one after the other; None, once, for what is left over."""
    at = 0
    while at < len(content):
        head, end = 8, -1
        if at + 8 <= len(content):
            (length,) = struct.unpack(">I", content[at : at + 4])
            if length == 1 and at + 16 <= len(content):
                (length,), head = struct.unpack(">Q", content[at + 8 : at + 16]), 16
            end = len(content) if length == 0 else at + length
        if end < at + head or end > len(content):
            yield None
            return
        yield content[at + 4 : at + 8], content[at + head : end]
        at = end


def _flat(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    return (box for box in children(data) if box is not None)


def _label(description: bytes) -> str:
    """The label of a description box: 16 bytes of type, a byte of toggles, then the label up to a zero byte."""
    if len(description) < 18 or not description[16] & 2:
        return ""
    return description[17:].split(b"\0")[0].decode("utf-8", "replace")


def _cose(store: bytes, label: str) -> bytes:
    return next(
        content for path, kind, content in boxes(store) if kind == b"cbor" and path[-2:] == [label, "c2pa.signature"]
    )


def _chain(cose: bytes) -> Any:
    import cbor2

    loaded = cbor2.loads(cose)
    protected, unprotected = (loaded.value if hasattr(loaded, "value") else loaded)[:2]
    for header in (cbor2.loads(protected) if protected else {}, unprotected):
        for name in X5CHAIN:
            if name in header:
                return header[name]
    return []

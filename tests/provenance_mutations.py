"""Ways to damage, cut and forge signed files, drawn by a seed: shared by the tests of provenance."""

from __future__ import annotations

import io
import json
import os
import random
from functools import cache
from pathlib import Path
from typing import Any

import c2pa
from provenance_helpers import credentials, root_pem, signed

from auditkit.provenance.containers import Embedded, find
from auditkit.provenance.credentials import Credentials
from auditkit.provenance.reading import context, read

PUBLIC = Path(os.environ.get("AUDITKIT_C2PA_FILES") or Path(__file__).parents[2] / "shared/data/c2pa-testfiles")
"""C2PA's public test files, which are not ours to ship."""
NO_PUBLIC = f"C2PA's public test files are not in {PUBLIC} ($AUDITKIT_C2PA_FILES names another folder)"

WAYS = ("bit", "bit of manifest", "bits", "cut off", "zeroed", "zeroed manifest", "doubled", "swapped", "inserted",
        "cut out", "moved")  # fmt: skip


@cache
def original(fmt: str) -> bytes:
    """A signed file, the same all session."""
    return signed(fmt).data


@cache
def stranger(fmt: str) -> bytes:
    """Another picture, signed by the same signer."""
    return signed(fmt, seed=7).data


def held(data: bytes) -> Embedded:
    """The manifest in a file that has one."""
    found = find(data)
    assert found is not None
    return found


def manifest_span(data: bytes) -> tuple[int, int]:
    """Where the manifest of a file begins and ends."""
    offset, span = held(data).spans[0]
    return offset, offset + len(span)


def swapped(data: bytes, other: bytes) -> bytes:
    """`data` with the manifest of `other` in the place of its own."""
    (a, b), (c, d) = manifest_span(data), manifest_span(other)
    return data[:a] + other[c:d] + data[b:]


def doubled(data: bytes) -> bytes:
    """`data` with its manifest twice, one behind the other."""
    a, b = manifest_span(data)
    return data[:b] + data[a:b] + data[b:]


def repainted(data: bytes) -> bytes:
    """One bit of the image changed, outside of the manifest."""
    changed = bytearray(data)
    a, b = manifest_span(data)
    changed[b + 20 if b + 200 < len(data) else a - 20] ^= 1
    return bytes(changed)


def zeroed_half(data: bytes) -> bytes:
    """`data` with the second half of its manifest set to zero."""
    a, b = manifest_span(data)
    middle = (a + b) // 2
    return data[:middle] + bytes(b - middle) + data[b:]


def mutated(fmt: str, seed: int) -> tuple[str, bytes]:
    """One of the `WAYS`, and what it makes of `original(fmt)`."""
    rng = random.Random(seed)
    data = bytearray(original(fmt))
    a, b = manifest_span(bytes(data))
    how = rng.choice(WAYS)
    anywhere, within = rng.randrange(len(data)), rng.randrange(a, b)
    if how == "cut off":
        return how, bytes(data[:anywhere])
    if how == "doubled":
        return how, doubled(bytes(data))
    if how == "swapped":
        return how, swapped(bytes(data), stranger(fmt))
    if how == "inserted":
        return how, bytes(data[:anywhere]) + rng.randbytes(rng.randrange(1, 60)) + bytes(data[anywhere:])
    if how == "cut out":
        return how, bytes(data[:anywhere] + data[anywhere + rng.randrange(1, 60) :])
    if how == "moved":
        rest, place = bytes(data[:a] + data[b:]), rng.randrange(len(data) - (b - a))
        return how, rest[:place] + bytes(data[a:b]) + rest[place:]
    if how.startswith("zeroed"):
        start = within if how == "zeroed manifest" else anywhere
        end = min(len(data), start + rng.randrange(1, 300))
        data[start:end] = bytes(end - start)
        return how, bytes(data)
    for _ in range(rng.randrange(2, 20) if how == "bits" else 1):
        at = within if how == "bit of manifest" else rng.randrange(len(data))
        data[at] ^= 1 << rng.randrange(8)
    return how, bytes(data)


def manifests(data: bytes) -> str:
    """What the manifests of a file say, as text to compare."""
    return json.dumps(read(data, anchors=root_pem()).store.get("manifests"), sort_keys=True)


def raw_signed(
    data: bytes,
    kind: str = "image/png",
    *,
    title: str = "picture",
    assertions: tuple[dict[str, Any], ...] = (),
    ingredients: tuple[tuple[dict[str, Any], str, bytes], ...] = (),
    remote: str | None = None,
    embed: bool = True,
    by: Credentials | None = None,
) -> bytes:
    """A file signed by the library itself, past the checks of `sign_bytes`: what others, and forgers, can make."""
    by = by or credentials()
    source = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
    first = {"label": "c2pa.actions.v2", "data": {"actions": [{"action": "c2pa.created", "digitalSourceType": source}]}}
    told = {"claim_version": 2, "claim_generator_info": [{"name": "tests", "version": "1"}], "title": title,
            "assertions": [first, *assertions]}  # fmt: skip
    info = c2pa.C2paSignerInfo(
        alg=b"es256", sign_cert=by.chain.encode(), private_key=by.private, ta_url=None
    )
    out = io.BytesIO()
    with c2pa.Signer.from_info(info) as signer, c2pa.Builder(json.dumps(told), context=context("")) as builder:
        for told_of, its_kind, content in ingredients:
            builder.add_ingredient(json.dumps(told_of), its_kind, io.BytesIO(content))
        if remote is not None:
            builder.set_remote_url(remote)
        if not embed:
            builder.set_no_embed()
        builder.sign(signer, kind, io.BytesIO(data), out)
    return out.getvalue()

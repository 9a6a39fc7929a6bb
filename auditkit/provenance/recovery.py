"""Is an image without a manifest one that was signed here? By its bytes, its pixels, its watermark or its hash.

Exact: the file, without a manifest, is byte for byte the signed one without its own; putting the stored manifest back
at its place makes a file that verifies, which proves that nothing but the manifest is missing (it was taken off, or the
file is from before the signing: bytes cannot tell these apart). Or it shows the very same pixels. Soft: a watermark or
a perceptual hash points at a signed image, and a thumbnail kept at signing shows the same picture or a part of it.
Without that, a hit is told and recovers nothing: marks can be copied.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from auditkit.files import sha256
from auditkit.provenance.containers import reinserted, strip
from auditkit.provenance.fingerprint import Comparison, compare
from auditkit.provenance.manifest import SoftBinding, watermark_algorithm
from auditkit.provenance.pdq import Pdq
from auditkit.provenance.reading import Report, read
from auditkit.provenance.store import Entry, Store, pixels_sha256
from auditkit.provenance.verdict import judge

if TYPE_CHECKING:
    from PIL.Image import Image

HOLDS = ("trusted", "valid-untrusted", "expired")
MOST = 8
"""Candidates of a watermark or hash that are compared."""


@dataclass(frozen=True)
class Recovered:
    """What the store knows of an image.

    Attributes:
        verdict: 'recovered-exact', 'recovered-soft', or '' where nothing is claimed.
        how: 'bytes', 'pixels', 'watermark' or 'hash'.
        entry: the signed image.
        report: what the reader says of the manifest: with the signed file rebuilt, where that could be done.
        lossless: whether putting the stored manifest back made a file that verifies: nothing else is missing.
        evidence: for people and machines: distances, correlations.
        warnings: hits that recover nothing, and why.
    """

    verdict: str = ""
    how: str = ""
    entry: Entry | None = None
    report: Report | None = None
    lossless: bool = False
    evidence: dict[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


def binding_value(key_id: str, payload: str) -> bytes:
    """The value of a watermark's soft binding: the key's id and the payload, both public."""
    return f"{key_id}:{payload}".encode()


def watermark_binding(scheme: str, key_id: str, payload: str) -> SoftBinding:
    """The soft binding of one of our watermarks."""
    return SoftBinding(watermark_algorithm(scheme), binding_value(key_id, payload), "watermark")


def recover(
    data: bytes,
    store: Store,
    *,
    image: Callable[[], Image] | None = None,
    forms: Sequence[Pdq] = (),
    marks: Sequence[tuple[str, str, str]] = (),
    anchors: str = "",
) -> Recovered:
    """What the store knows of a file.

    Args:
        image: gives the file's picture, upright RGB, and is called where a candidate is to be held against it; without
            it only the bytes are looked up.
        forms: its perceptual hashes, turned and mirrored (`pdq.hash_forms`).
        marks: (scheme, key id, payload) of verified watermarks.
        anchors: trust anchors, PEM.
    """
    bare = strip(data)
    for entry in store.by_stripped(sha256(bare)):
        rebuilt = reinserted(bare, entry.spans) if entry.spans else bare
        if rebuilt is None:
            continue
        report = read(rebuilt, anchors=anchors, sidecar=None if entry.spans else entry.manifest)
        if judge(report).verdict in HOLDS:
            embedded = bool(entry.spans)
            return Recovered(
                "recovered-exact", "bytes", entry, report, lossless=embedded and bare == data,
                evidence={"reinsertion": embedded, "sha256": entry.asset_sha256 if embedded else entry.stripped_sha256},
            )  # fmt: skip
    if image is None:
        return Recovered()
    near = {entry.label: (entry, apart) for entry, apart in (store.by_pdq(forms) if forms else [])}
    pointed: dict[str, tuple[Entry, str]] = {}
    for scheme, key_id, payload in marks:
        for entry in store.by_binding(watermark_algorithm(scheme), binding_value(key_id, payload)):
            pointed.setdefault(entry.label, (entry, f"{scheme}, key {key_id}, payload {payload}"))
    flat = bool(forms) and not forms[0].usable  # its hash finds nothing, not even itself
    if not (near or pointed or flat):
        return Recovered()
    picture = image()
    for entry in store.by_pixels(pixels_sha256(picture)):
        report = _stored_report(entry, anchors)
        return Recovered("recovered-exact", "pixels", entry, report, evidence={"pixels_sha256": entry.pixels_sha256})
    return _soft(picture, near, pointed, anchors)


def _soft(
    image: Image, near: dict[str, tuple[Entry, int]], pointed: dict[str, tuple[Entry, str]], anchors: str
) -> Recovered:
    # Where both point at one image, that one first; then what the hash is nearest to.
    def order(label: str) -> tuple[bool, int]:
        return label not in pointed, near[label][1] if label in near else 256

    labels = sorted({*near, *pointed}, key=order)
    found: list[tuple[Comparison, str]] = []
    for label in labels[:MOST]:
        entry = (pointed.get(label) or near[label])[0]
        found.append((compare(image, entry.thumbnail, parts=label in pointed), label))
    fitting = [each for each in found if each[0].consistent]
    if not fitting:
        return Recovered(warnings=tuple(_warnings(found, pointed, len(labels))))
    seen, label = max(fitting, key=lambda each: (each[0].outcome == "same", each[0].correlation))
    chosen = (pointed.get(label) or near[label])[0]
    mark = pointed[label][1] if label in pointed else None
    evidence: dict[str, Any] = {
        "watermark": mark,
        "pdq_distance": near[label][1] if label in near else None,
        "picture": seen.outcome,
        "form": seen.form,
        "share_shown": round(seen.share, 2),
        "correlation": round(seen.correlation, 3),
        "candidates": len(labels),
    }
    how = "watermark" if mark else "hash"
    return Recovered("recovered-soft", how, chosen, _stored_report(chosen, anchors), evidence=evidence)


def _warnings(found: list[tuple[Comparison, str]], pointed: dict[str, tuple[Entry, str]], candidates: int) -> list[str]:
    told = []
    marked = [each for each in found if each[1] in pointed]
    if marked and all(each[0].outcome == "different" for each in marked):
        told.append(
            "A watermark points at an image signed here, and this is another picture: the mark may have been copied, "
            "or the image changed beyond recognition."
        )
    elif marked:
        one = marked[0][1]
        told.append(
            f"A watermark points at an image signed here ({pointed[one][0].title}, {pointed[one][1]}), and whether "
            "this is that picture could not be told."
        )
    if candidates > MOST and marked:
        told.append(f"{candidates} signed images carry that mark; {MOST} of them were compared.")
    return told


def _stored_report(entry: Entry, anchors: str) -> Report:
    """What the reader says of a stored manifest by itself: who signed it. Its image is not there to be compared."""
    return read(_blank(entry.media_type), anchors=anchors, sidecar=entry.manifest)


@lru_cache(maxsize=4)
def _blank(media_type: str) -> bytes:
    """The smallest file of a format, for reading a manifest without its image."""
    from PIL import Image

    out = io.BytesIO()
    Image.new("RGB", (1, 1)).save(out, format=media_type.removeprefix("image/"))
    return out.getvalue()

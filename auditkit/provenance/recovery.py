"""Is an image without a manifest one that was signed here? By its bytes, its pixels, its watermark or its hash.

Exact: the file, without a manifest, is byte for byte the signed one without its own; putting the stored manifest back
at its place makes a file that verifies, which proves that nothing but the manifest is missing (it was taken off, or the
file is from before the signing: bytes cannot tell these apart). Or it shows the very same pixels. Soft: a watermark or
a perceptual hash points at a signed image, and a thumbnail kept at signing shows the same picture or a part of it.
Without that, a hit is told and recovers nothing: marks can be copied.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from auditkit.errors import AuditkitError
from auditkit.files import sha256
from auditkit.provenance.containers import reinserted, strip
from auditkit.provenance.fingerprint import Comparison, compare
from auditkit.provenance.manifest import SoftBinding, watermark_algorithm
from auditkit.provenance.pdq import Pdq
from auditkit.provenance.reading import Report, read
from auditkit.provenance.store import Entry, Store, pixels_sha256
from auditkit.provenance.verdict import UNCHANGED, judge

if TYPE_CHECKING:
    from PIL.Image import Image

    from auditkit.watermark.payload import Payload

MOST = 8
"""Candidates of watermarks that are compared, and of the hash."""
KNOWN_PAYLOADS = 10_000
"""Payloads of a store that are looked for by name; where it has more, marks are found by decoding alone."""


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


@dataclass(frozen=True)
class Candidate:
    """A signed image that a picture may be.

    Attributes:
        how: what led to it: 'pixels' (the very same), 'watermark' or 'hash'.
        mark: the watermark that points at it, in words; None where none does.
        distance: bits of 256 in which its perceptual hash differs; None where it is not near.
        seen: the picture held against its thumbnail; None where that was not done.
    """

    entry: Entry
    how: str
    mark: str | None = None
    distance: int | None = None
    seen: Comparison | None = None

    @property
    def fits(self) -> bool:
        """Whether it shows the same picture, or one of the two a part of the other."""
        return self.how == "pixels" or (self.seen is not None and self.seen.consistent)

    def rank(self) -> tuple[bool, bool, float]:
        """Greater where it is surer."""
        return (self.fits, self.seen.outcome == "same", self.seen.correlation) if self.seen else (self.fits, False, -1)


def binding_value(key_id: str, payload: str) -> bytes:
    """The value of a watermark's soft binding: the key's id and the payload, both public."""
    return f"{key_id}:{payload}".encode()


def watermark_binding(scheme: str, key_id: str, payload: str) -> SoftBinding:
    """The soft binding of one of our watermarks."""
    return SoftBinding(watermark_algorithm(scheme), binding_value(key_id, payload), "watermark")


def known_payloads(store: Store) -> list[Payload]:
    """Payloads of the watermarks that a store knows, for detection to look for; none where there are too many."""
    from auditkit.watermark.payload import Payload

    texts = {
        value.decode(errors="replace").partition(":")[2]
        for algorithm in store.algorithms()
        if algorithm.startswith("auditkit.watermark.")
        for value in store.watermark_values(algorithm)
    }
    found = []
    for text in sorted(texts) if len(texts) <= KNOWN_PAYLOADS else ():
        with contextlib.suppress(AuditkitError):  # of another tool's making
            found.append(Payload.parse(text))
    return found


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
        if judge(report).verdict in UNCHANGED:
            embedded = bool(entry.spans)
            return Recovered(
                "recovered-exact", "bytes", entry, report, lossless=embedded and bare == data,
                evidence={"reinsertion": embedded, "sha256": entry.asset_sha256 if embedded else entry.stripped_sha256},
            )  # fmt: skip
    if image is None:
        return Recovered()
    ranked = candidates(image, store, forms=forms, marks=marks)
    best = next(ranked, None)
    if best is None:
        return Recovered()
    if best.how == "pixels":
        evidence: dict[str, Any] = {"pixels_sha256": best.entry.pixels_sha256}
        return Recovered(
            "recovered-exact", "pixels", best.entry, _stored_report(best.entry, anchors), evidence=evidence
        )
    every = [best, *ranked]
    if best.seen is None or not best.fits:
        return Recovered(warnings=tuple(_warnings(every)))
    evidence = {
        "watermark": best.mark,
        "pdq_distance": best.distance,
        "picture": best.seen.outcome,
        "form": best.seen.form,
        "share_shown": round(best.seen.share, 2),
        "correlation": round(best.seen.correlation, 3),
        "candidates": len(every),
    }
    return Recovered("recovered-soft", best.how, best.entry, _stored_report(best.entry, anchors), evidence=evidence)


def candidates(
    image: Callable[[], Image],
    store: Store,
    *,
    forms: Sequence[Pdq] = (),
    marks: Sequence[tuple[str, str, str]] = (),
    most: int = MOST,
) -> Iterator[Candidate]:
    """Signed images that a picture may be, the surest first: what has the very same pixels, then what fits best.

    Args:
        image, forms, marks: as in `recover`.
        most: of those that the hash alone points at.
    """
    near = {entry.label: (entry, apart) for entry, apart in (store.by_pdq(forms, limit=most) if forms else [])}
    pointed: dict[str, tuple[Entry, str]] = {}
    for scheme, key_id, payload in marks:
        for entry in store.by_binding(watermark_algorithm(scheme), binding_value(key_id, payload)):
            pointed.setdefault(entry.label, (entry, f"{scheme}, key {key_id}, payload {payload}"))
    flat = bool(forms) and not forms[0].usable  # its hash finds nothing, not even itself
    if not (near or pointed or flat):
        return
    picture = image()
    for entry in store.by_pixels(pixels_sha256(picture)):
        near.pop(entry.label, None)
        pointed.pop(entry.label, None)
        yield Candidate(entry, "pixels")
    distances = {label: apart for label, (_, apart) in near.items()}
    found = []
    for number, label in enumerate(sorted(pointed, key=lambda label: distances.get(label, 256))):
        entry, mark = pointed[label]
        seen = compare(picture, entry.thumbnail) if number < MOST else None
        found.append(Candidate(entry, "watermark", mark, distances.get(label), seen))
    for label, (entry, apart) in near.items():
        if label not in pointed:
            found.append(Candidate(entry, "hash", None, apart, compare(picture, entry.thumbnail, parts=False)))
    yield from sorted(found, key=Candidate.rank, reverse=True)


def _warnings(found: Sequence[Candidate]) -> list[str]:
    """Of candidates none of which fits."""
    told = []
    marked = [each for each in found if each.mark]
    compared = [each.seen for each in marked if each.seen is not None]
    if compared and all(each.outcome == "different" for each in compared):
        told.append(
            "A watermark points at an image signed here, and this is another picture: the mark may have been copied, "
            "or the image changed beyond recognition."
        )
    elif compared:
        told.append(
            f"A watermark points at an image signed here ({marked[0].entry.title}, {marked[0].mark}), and whether "
            "this is that picture could not be told."
        )
    if len(marked) > len(compared):
        told.append(f"{len(marked)} signed images carry that mark; {len(compared)} of them were compared.")
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

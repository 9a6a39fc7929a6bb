"""GB 45438-2025: the implicit label of AI-generated content, in a file's metadata.

The standard's annex E names the fields of `AIGC`; TC260's practice guide (TC260-PG-20258A, August 2025) puts them into
images as one JSON string in the XMP property `TC260:AIGC`. The guide itself could not be read here: namespace, prefix
and property are those that its published example and the files of services in use agree on. Some writers use a PNG text
chunk `AIGC` instead, which is read, not written.

The label is in the metadata alone: whoever saves the image anew may lose it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from auditkit.errors import ProvenanceError
from auditkit.provenance import containers, xmp, xmp_files

if TYPE_CHECKING:
    from auditkit.runs import Run

NAMESPACE = "http://www.tc260.org.cn/ns/AIGC/1.0/"
PREFIX = "TC260"
NAME = "AIGC"
FIELDS = (
    "Label", "ContentProducer", "ProduceID", "ReservedCode1", "ContentPropagator", "PropagateID", "ReservedCode2",
)  # fmt: skip
LABELS = {"1": "is AI-generated", "2": "may be AI-generated", "3": "is suspected to be AI-generated"}
DAMAGED = "damaged"
"""Key of `read_label`'s answer where a label is there and cannot be read."""


@dataclass(frozen=True)
class Labelled:
    """What `label_run` did: files written anew, and files that were there already with the same label."""

    folder: Path
    written: int
    kept: int


def make_label(
    *,
    producer: str = "",
    produce_id: str = "",
    label: str = "1",
    propagator: str = "",
    propagate_id: str = "",
    reserved1: str = "",
    reserved2: str = "",
) -> dict[str, str]:
    """The fields of a label.

    Args:
        producer: the generating service's name or code; `produce_id` is its number for this content.
        label: '1' is AI-generated, '2' may be, '3' is suspected to be.
        propagator: the distributing platform's name or code; `propagate_id` is its number for this content.
        reserved1: for the producer's own protection of the label, such as a signature; `reserved2` the propagator's.

    Raises:
        ProvenanceError: `label` is none of the three, or neither producer nor propagator is named with its number.
    """
    values = (label, producer, produce_id, reserved1, propagator, propagate_id, reserved2)
    return _checked(dict(zip(FIELDS, values, strict=True)))


def embed_label(data: bytes, label: dict[str, str]) -> bytes:
    """The file's bytes with the label in its XMP packet, in place of an earlier one. No pixel changes.

    Raises:
        ProvenanceError: the label does not hold, the file is damaged or no PNG, JPEG or WebP, or it is signed: its
            C2PA signature covers the metadata and would break.
    """
    label = _checked(label)
    xmp_files.image_kind(data)
    if containers.find(data) is not None:
        raise ProvenanceError(
            "the file holds a C2PA manifest, whose signature a change of the metadata would break",
            where="C2PA manifest", mend="embed the label before signing, then sign the labelled file",
        )  # fmt: skip
    before = next(iter(xmp_files.packets(data)), None)
    text = json.dumps(label, ensure_ascii=False, separators=(",", ":"))
    return xmp_files.embed(data, xmp.set_property(before, NAMESPACE, NAME, prefix=PREFIX, text=text))


def read_label(data: bytes) -> dict[str, str] | None:
    """The label in a file, as it stands there, unchecked; None where there is none.

    A label that is there and is no JSON is {'damaged': its text}. Never raises on what a PNG, JPEG or WebP holds;
    of other formats the answer is None.
    """
    if containers.media_type(data) not in xmp_files.FORMATS:
        return None
    for packet in xmp_files.packets(data):
        try:
            found = xmp.properties(packet).get(f"{{{NAMESPACE}}}{NAME}", [])
        except ProvenanceError:
            continue
        if found:
            return _parsed(found[0])
    if data.startswith(containers.PNG_SIGNATURE):
        for keyword, text, _, _ in xmp_files.png_texts(data):
            if keyword == NAME:
                return _parsed(text.decode("utf-8", errors="replace"))
    return None


def label_run(
    run: Run,
    folder: str | Path,
    *,
    producer: str,
    propagator: str = "",
    progress: Callable[[int, int], None] | None = None,
) -> Labelled:
    """Write a labelled copy `<image id>.png` of each image of a run; the content number is the image's id.

    What is there with the same label stays, so that the same call goes on where it was cut off. The run's own images
    are never changed: their names are the hash of their bytes.

    Args:
        producer: the generating service's name or code.
        propagator: the platform that spreads the images, where it is known already; its number is the image's id too.

    Raises:
        ProvenanceError: as for `embed_label`, or the folder lies in the run's images.
        RunError: the run is not complete, or a copy cannot be written.
    """
    from auditkit.files import write_atomic

    folder = Path(folder)
    if folder.resolve().is_relative_to((run.path / "images").resolve()):
        raise ProvenanceError(
            "the run's images are kept as they are, by the hash of their bytes",
            where=folder, mend="name a folder elsewhere",
        )  # fmt: skip
    ids = list(dict.fromkeys(run.images()["id"]))
    written = kept = 0
    for done, id in enumerate(ids, start=1):
        spread = {"propagator": propagator, "propagate_id": id} if propagator else {}
        label, target = make_label(producer=producer, produce_id=id, **spread), folder / f"{id}.png"
        if target.is_file() and read_label(target.read_bytes()) == label:
            kept += 1
        else:
            write_atomic(target, embed_label(_image(run, id), label), sync=False)
            written += 1
        if progress is not None:
            progress(done, len(ids))
    return Labelled(folder, written, kept)


def _image(run: Run, id: str) -> bytes:
    path = run.image_path(id)
    try:
        return path.read_bytes()
    except OSError as error:
        raise ProvenanceError(
            f"an image of the run cannot be read: {error.strerror}", where=path, mend=f"auditkit verify-run {run.path}"
        ) from None


def _checked(label: dict[str, str]) -> dict[str, str]:
    where = "the label's fields"
    if strangers := set(label) - set(FIELDS):
        raise ProvenanceError(
            f"GB 45438-2025 has no field '{min(strangers)}'", where=where, mend=f"fields: {', '.join(FIELDS)}"
        )
    whole = {name: str(label.get(name, "")) for name in FIELDS}
    if whole["Label"] not in LABELS:
        what = f"Label is '1', '2' or '3', not '{whole['Label']}'"
        raise ProvenanceError(what, where=where, mend="; ".join(f"'{k}' {v}" for k, v in LABELS.items()))
    pairs = (("ContentProducer", "ProduceID"), ("ContentPropagator", "PropagateID"))
    if not any(whole[who] and whole[number] for who, number in pairs):
        raise ProvenanceError(
            "a label names who made or who spread the content, and the content's number there",
            where=where, mend="give ContentProducer and ProduceID, or ContentPropagator and PropagateID",
        )  # fmt: skip
    return whole


def _parsed(text: str) -> dict[str, str]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {DAMAGED: text}
    if isinstance(found, dict) and isinstance(found.get(NAME), dict):  # some writers keep the outer name
        found = found[NAME]
    if not isinstance(found, dict):
        return {DAMAGED: text}
    return {str(key): value if isinstance(value, str) else json.dumps(value) for key, value in found.items()}

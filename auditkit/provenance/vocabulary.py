"""The words of C2PA manifests that are fixed by a vocabulary: where media come from, and what was done to them."""

from __future__ import annotations

import difflib

from auditkit.errors import ProvenanceError

IPTC = "http://cv.iptc.org/newscodes/digitalsourcetype/"
C2PA = "http://c2pa.org/digitalsourcetype/"

SOURCE_TYPES: dict[str, str] = {
    **{
        name: IPTC + name
        for name in (
            "digitalCapture", "computationalCapture", "negativeFilm", "positiveFilm", "print", "humanEdits",
            "compositeWithTrainedAlgorithmicMedia", "algorithmicallyEnhanced", "digitalCreation", "dataDrivenMedia",
            "trainedAlgorithmicMedia", "algorithmicMedia", "screenCapture", "virtualRecording", "composite",
            "compositeCapture", "compositeSynthetic",
        )
    },
    "trainedAlgorithmicData": C2PA + "trainedAlgorithmicData",
    "empty": C2PA + "empty",
}  # fmt: skip
"""IPTC's NewsCodes 'Digital Source Type' (terms in use, not the retired ones) and C2PA's two additions."""

RETIRED = {"minorHumanEdits": "humanEdits", "softwareImage": "digitalCreation", "digitalArt": "digitalCreation"}
GENERATED = frozenset({"trainedAlgorithmicMedia", "compositeWithTrainedAlgorithmicMedia", "compositeSynthetic"})
"""Source types that say that a trained model made the image, or a part of it."""

ACTIONS = frozenset(
    f"c2pa.{name}"
    for name in (
        "addedText", "adjustedColor", "changedSpeed", "color_adjustments", "converted", "created", "cropped", "deleted",
        "drawing", "dubbed", "edited", "edited.metadata", "enhanced", "filtered", "opened", "orientation", "placed",
        "published", "redacted", "removed", "repackaged", "resized", "resized.proportional", "transcoded", "translated",
        "trimmed", "unknown", "watermarked", "watermarked.bound", "watermarked.unbound",
    )
)  # fmt: skip
"""Actions of C2PA's specification 2.x; others must carry a prefix of their maker's."""

INCOMPLETE = {
    "c2pa.created": "name the source type instead (--source-type)",
    "c2pa.opened": "leave the source type out: the first action is then 'opened'",
    "c2pa.placed": "name the image that was placed (--ingredient)",
    "c2pa.removed": "it needs the image that was removed, which is not supported here",
    "c2pa.translated": "it needs the two languages, which is not supported here",
    "c2pa.watermarked": "have the watermark embedded (--watermark)",
    "c2pa.watermarked.bound": "have the watermark embedded (--watermark)",
}
"""Actions that a name alone does not describe, and what to do: a manifest with them would not verify."""


def source_type(name: str) -> str:
    """The URI of a digital source type, given as the URI or as its last part.

    >>> source_type("trainedAlgorithmicMedia")
    'http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia'

    Raises:
        ProvenanceError: the vocabulary has no such term. Signing libraries take any address for one.
    """
    secure = name.replace("https://", "http://", 1)
    short = secure.removeprefix(IPTC).removeprefix(C2PA)
    uri = SOURCE_TYPES.get(short)
    if uri is not None and secure in (short, uri):
        return uri
    near = difflib.get_close_matches(short, SOURCE_TYPES, n=2, cutoff=0.6)
    instead = [RETIRED[short]] if short in RETIRED else near
    hint = f"; did you mean {' or '.join(instead)}?" if instead else ""
    raise ProvenanceError(
        f"'{name}' is {'retired from' if short in RETIRED else 'not in'} the vocabulary of digital source types{hint}",
        where=f"digitalSourceType={name}",
        mend=f"use one of: {', '.join(SOURCE_TYPES)}",
    )


def short_source_type(uri: str) -> str:
    """The last part of a source type's URI; the URI as it is where it is in no vocabulary."""
    return next((name for name, known in SOURCE_TYPES.items() if known == uri.replace("https://", "http://")), uri)


def action(name: str) -> str:
    """An action's name in full: 'cropped' -> 'c2pa.cropped'; one with another maker's prefix as it is.

    Raises:
        ProvenanceError: C2PA has no such action, or it is one that needs more than its name (`INCOMPLETE`).
    """
    if "." in name and not name.startswith("c2pa."):
        return action(f"c2pa.{name}") if f"c2pa.{name}" in ACTIONS else name
    full = name if name.startswith("c2pa.") else f"c2pa.{name}"
    if full in INCOMPLETE:
        raise ProvenanceError(
            f"the action '{name}' needs more than its name", where=f"action={name}", mend=INCOMPLETE[full]
        )
    if full in ACTIONS:
        return full
    near = difflib.get_close_matches(full, sorted(ACTIONS), n=2, cutoff=0.6)
    raise ProvenanceError(
        f"C2PA has no action '{name}'" + (f"; did you mean {' or '.join(near)}?" if near else ""),
        where=f"action={name}",
        mend="use one of: " + ", ".join(sorted(ACTIONS)),
    )

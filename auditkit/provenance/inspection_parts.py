"""The parts of an inspection as plain data, each with the words that people read."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from auditkit.errors import ImageError, ProvenanceError
from auditkit.provenance import consent
from auditkit.provenance.codes import TAMPERING, kind
from auditkit.provenance.recovery import Recovered
from auditkit.provenance.verdict import DEVELOPMENT, Verdict

if TYPE_CHECKING:
    from auditkit.provenance.pdq import Pdq
    from auditkit.provenance.reading import Report


def c2pa_part(verdict: Verdict) -> dict[str, Any]:
    """A verdict as plain data."""
    return {
        "verdict": verdict.verdict,
        "sentence": verdict.sentence,
        "codes": list(verdict.codes),
        "signer": None if verdict.signer is None else dataclasses.asdict(verdict.signer),
        "notes": list(verdict.notes),
        "generated": verdict.generated,
        "container": verdict.container,
        "manifest": verdict.label or None,
        "remote": verdict.remote or None,
        "graph": verdict.graph,
        "recovery": None,
        "error": verdict.error or None,
    }


def recovered_part(before: Verdict, known: Recovered, judged: Callable[[Report, bytes], Verdict]) -> dict[str, Any]:
    """A verdict after the store was asked; what was said before stands in its `recovery`.

    Args:
        judged: the verdict on what the reader says of a manifest, and on the manifest's bytes.
    """
    part = c2pa_part(before)
    if known.entry is None or known.report is None:
        part["notes"] += known.warnings
        return part
    from auditkit.provenance.sentences import recovered_sentence

    held = judged(known.report, known.entry.manifest)
    part |= {
        key: value for key, value in c2pa_part(held).items() if key in ("signer", "generated", "manifest", "graph")
    }
    exact = known.how == "bytes"
    part["verdict"] = known.verdict
    part["codes"] = list(held.codes) if exact else [f"auditkit.recovered.{known.how}"]
    part["sentence"] = recovered_sentence(known.verdict, known.how, known.entry, lossless=known.lossless)
    part["notes"] = [*(held.notes if exact else _stored_notes(held)), *known.warnings]
    part["recovery"] = {
        "how": known.how,
        "lossless": known.lossless,
        "before": before.verdict,
        "stored": known.entry.row(),
        "manifest_verdict": held.verdict if exact else None,
        "evidence": known.evidence,
    }
    return part


def _stored_notes(held: Verdict) -> list[str]:
    """What must be said of a stored manifest that is not judged with its own image."""
    notes = []
    if held.signer is not None and held.signer.development:
        notes.append(DEVELOPMENT)
    if any(kind(code) in TAMPERING for edge in held.graph.get("edges", []) for code in edge["codes"]):
        notes.append(
            "The stored manifest records that an image it was made from had been changed after its own signing."
        )
    return notes


def consent_part(data: bytes, stated: list[dict[str, Any]]) -> dict[str, Any]:
    """Opt-out signals in the file and in its manifest, side by side; no verdict is drawn from them."""
    try:
        signals = consent.read_file_signals(data, assertions=stated)
    except ProvenanceError as error:
        return {"signals": [], "uses": [], "sentence": f"No opt-out signal was looked for: {error.what}."}
    uses = consent.summary(signals)
    told = [f"{row['name']}: {row['state']}" for row in uses if row["says"]]
    text = (
        "The file says, on " + "; on ".join(told) + "."
        if told
        else "The file carries no opt-out signal. That is not consent."
    )
    return {"signals": [dataclasses.asdict(each) for each in signals], "uses": uses, "sentence": text}


def mark_sentence(name: str, present: Sequence[dict[str, Any]], tried: int) -> str:
    if name == "present":
        row = present[0]
        whose = f" ({row['payload_name']})" if row["payload_name"] else ""
        says = f", which says {row['payload']}{whose}" if row["payload"] else ""
        suspect = " It may have been copied or put on twice." if row["forgery"] == "suspect" else ""
        return (
            f"A watermark of key {row['key_id']} ({row['scheme']}) was found{says}: p = {row['p_value']:.1g} at a "
            f"false positive rate of {row['fpr']:g}. That the mark is there does not prove who published the image."
            f"{suspect}"
        )
    if name == "abstain":
        return "There is too little to tell whether a watermark of your keys is there: no verdict."
    return (
        f"No watermark of your keys was found ({tried} tries). That does not say that there never was one, nor that "
        "the image was not generated."
    )


def hash_sentence(part: dict[str, Any], banks: int, error: ImageError | None, forms: Sequence[Pdq]) -> str:
    if part["matches"]:
        best = part["matches"][0]
        how = "is byte for byte" if best["hash_type"] == "sha256" else f"is {best['distance']} of 256 bits away from"
        label = f" ({best['label']})" if best["label"] else ""
        return (
            f"The image {how} an entry of the bank “{best['bank']}”{label}. Near hashes can come from other pictures."
        )
    if error is not None:
        return f"Only the file's own hash was taken: {error.what}."
    if forms and not forms[0].usable:
        return "The image is too flat for a perceptual hash to mean anything; only its exact hash was compared."
    if not banks:
        return "The hashes were taken and compared with nothing: there is no hash bank."
    return f"The image is in none of {banks} hash bank{'s' if banks != 1 else ''}."


def plain(value: Any) -> Any:
    """`value` with None in place of NaN, which JSON does not have."""
    if isinstance(value, float) and value != value:
        return None
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    return [plain(each) for each in value] if isinstance(value, list | tuple) else value

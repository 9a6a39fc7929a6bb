"""A verdict as of a date: what the trust lists said then, and whether the certificate was valid then."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from auditkit.provenance.codes import CREDENTIAL_REVOKED
from auditkit.provenance.jumbf import signing_chain
from auditkit.provenance.sentences import sentence
from auditkit.provenance.trust import chains_to
from auditkit.provenance.verdict import UNCHANGED, Verdict


def as_of(verdict: Verdict, store: bytes, anchors: str, when: datetime) -> Verdict:
    """The verdict that the credentials had on a date.

    A timestamp that was trusted when the verdict was made keeps the certificate's validity at signing; without one,
    the certificate must be valid on the date itself. One that was revoked stays so on any date. Verdicts about what was
    signed, not who signed, are the same on every date.

    Args:
        store: the manifest store's bytes.
        anchors: PEM of the trust lists that were in force on that date.
    """
    if verdict.verdict not in UNCHANGED or verdict.signer is None:
        return verdict
    note = f"Judged as of {when:%Y-%m-%d}."
    if any(code in CREDENTIAL_REVOKED for code in verdict.codes):  # when it was, and why, is not known here
        return replace(verdict, notes=(*verdict.notes, note))
    signer = verdict.signer
    signed = _parsed(signer.signed_at)
    starts, ends = _parsed(signer.valid_from), _parsed(signer.valid_to)
    moment = signed if signed is not None and verdict.verdict != "expired" else when
    if starts is not None and moment < starts:
        name, codes = "expired", ("auditkit.credential.early",)
    elif starts is None or ends is None or moment > ends:
        name, codes = "expired", ("signingCredential.expired",)
    elif chains_to(signing_chain(store, verdict.label), anchors, moment):
        name, codes = "trusted", ("signingCredential.trusted",)
    else:
        name, codes = "valid-untrusted", ("signingCredential.untrusted",)
    notes = [*verdict.notes, note]
    if signed is not None and signed > when:
        notes.append("Its timestamp says that it was signed after that date.")
    return replace(
        verdict, verdict=name, codes=codes, sentence=sentence(name, signer=signer, codes=codes), notes=tuple(notes)
    )


def _parsed(text: str) -> datetime | None:
    """ISO 8601 with a time zone, or None."""
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None

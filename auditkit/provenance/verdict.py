"""One verdict for a file's C2PA manifest, with the codes, the signer, the ingredients and a sentence for people.

The reader's own state is not enough: 'Valid' is what a self-made authority gets too, and an ancestor that was tampered
with leaves a 'Trusted' file behind. So the failures of the active manifest, the deltas of its ingredients and what each
ingredient's own record says are all walked.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from auditkit.provenance.codes import CREDENTIAL_REVOKED, TAMPERING, kind
from auditkit.provenance.pki import MARK
from auditkit.provenance.reading import Report
from auditkit.provenance.sentences import sentence
from auditkit.provenance.vocabulary import GENERATED, short_source_type

VERDICTS = (
    "trusted", "valid-untrusted", "expired", "tampered-content", "tampered-manifest", "tampered-ancestor", "malformed",
    "unsupported", "remote-only", "no-manifest", "recovered-exact", "recovered-soft",
)  # fmt: skip
DEVELOPMENT = "The certificate is marked as not for production: anybody can make one."
UNCHANGED = ("trusted", "valid-untrusted", "expired")
"""Verdicts that say that nothing was changed since the signing."""
ABSENT = ("no-manifest", "malformed", "remote-only", "unsupported")
"""Verdicts under which a manifest store is asked whether it knows the image."""


@dataclass(frozen=True)
class Signer:
    """Who signed the active manifest, as its certificate says."""

    name: str
    organization: str
    issuer: str
    serial: str
    valid_from: str
    valid_to: str
    algorithm: str
    signed_at: str
    """Time of a timestamp by a trusted authority, ISO 8601; '' where there is none: the time of signing is then at most
    claimed."""
    timestamp_authority: str
    development: bool
    """Whether the certificate says that it is not for production."""


@dataclass(frozen=True)
class Verdict:
    """What is said of one file's manifest.

    Attributes:
        verdict: one of `VERDICTS`.
        codes: validation codes that led to it: failures first; where there are none, what succeeded about the signer.
        signer: None where no signature could be read.
        sentence: for a moderator.
        notes: further sentences.
        graph: the manifests and their ingredients (`ingredient_graph`).
        generated: True where a signed source type says that a trained model made it or a part of it, False where
            another source type is stated, None where none is.
        label: the active manifest's name.
        error: what the reader raised, word for word.
    """

    verdict: str
    codes: tuple[str, ...] = ()
    signer: Signer | None = None
    sentence: str = ""
    notes: tuple[str, ...] = ()
    graph: dict[str, Any] = field(default_factory=dict)
    generated: bool | None = None
    label: str = ""
    container: str = "none"
    remote: str = ""
    error: str = ""


def judge(report: Report) -> Verdict:
    """The verdict on what the reader said."""
    common: dict[str, Any] = {"container": report.container, "remote": report.remote, "error": report.error}
    name, codes = _unread(report)
    if name:
        return Verdict(name, codes, sentence=sentence(name, media_type=report.media_type, whole=report.whole), **common)
    results = report.store.get("validation_results") or {}
    label = str(report.store.get("active_manifest") or "")
    own = _failures(results.get("activeManifest"))
    ancestors = [code for delta in results.get("ingredientDeltas") or [] for code in
                 _failures(delta.get("validationDeltas"))]  # fmt: skip
    graph = ingredient_graph(report)
    recorded = [code for edge in graph["edges"] for code in edge["codes"]]
    succeeded = [str(entry.get("code")) for entry in (results.get("activeManifest") or {}).get("success") or []]
    name, codes = _classified(own, [*ancestors, *recorded], "signingCredential.trusted" in succeeded, report.state)
    if name == "trusted" and not report.fit:
        name, codes = "valid-untrusted", ("signingCredential.invalid",)
        own = [*own, *codes]
    if report.slack and name in UNCHANGED:
        # What people are shown holds; but bytes differ from what was signed, and nobody may call it unchanged.
        name, codes = "malformed", ("auditkit.manifest.slack", *codes)
    signer = _signer(report, label, stamped="timeStamp.trusted" in succeeded)
    node: dict[str, Any] = next((each for each in graph["nodes"] if each["label"] == label), {})
    stamp = str(((report.store.get("manifests") or {}).get(label, {}).get("signature_info") or {}).get("time") or "")
    kinds = node.get("source_types") or []
    generated = None if not kinds else any(short_source_type(each) in GENERATED for each in kinds)
    return Verdict(
        name,
        codes or tuple(code for code in succeeded if code.startswith("signingCredential")),
        signer,
        sentence(name, signer=signer, codes=codes),
        tuple(
            _notes(name, signer, [*ancestors, *recorded], own, generated, node, stamp)
            + [f"In the manifest: {each}." for each in report.slack]
        ),
        graph,
        generated,
        label,
        **common,
    )


def ingredient_graph(report: Report) -> dict[str, Any]:
    """Manifests as nodes, the active one last, ingredients as edges from the manifest that used them; plain data.

    A node has label, title, format, generator, source_types, actions, signer, signed_at, active. An edge has from, to
    (None where the ingredient has no manifest), title, relationship, and codes: failures that were recorded about it,
    less that its signer is unknown where he is known here (whoever recorded it had other trust lists).
    """
    nodes, edges = [], []
    known = [
        str(entry.get("url"))
        for delta in (report.store.get("validation_results") or {}).get("ingredientDeltas") or []
        for entry in (delta.get("validationDeltas") or {}).get("success") or []
        if entry.get("code") == "signingCredential.trusted"
    ]
    active = report.store.get("active_manifest")
    # The reader gives them in another order each time.
    manifests = sorted((report.store.get("manifests") or {}).items(), key=lambda one: (one[0] == active, one[0]))
    for label, manifest in manifests:
        actions = _actions(manifest)
        nodes.append(
            {
                "label": label,
                "title": str(manifest.get("title") or ""),
                "format": str(manifest.get("format") or ""),
                "generator": _generator(manifest),
                "source_types": [str(a["digitalSourceType"]) for a in actions if a.get("digitalSourceType")],
                "actions": [str(a.get("action") or "") for a in actions],
                "signer": str((manifest.get("signature_info") or {}).get("common_name") or ""),
                "signed_at": str((manifest.get("signature_info") or {}).get("time") or ""),
                "active": label == active,
            }
        )
        for ingredient in manifest.get("ingredients") or []:
            recorded = [str(status.get("code")) for status in ingredient.get("validation_status") or []]
            seen = ingredient.get("validation_results") or {}
            recorded += _failures(seen.get("activeManifest"))
            its_own = ingredient.get("active_manifest")
            if its_own and any(str(its_own) in url for url in known):
                recorded = [code for code in recorded if code != "signingCredential.untrusted"]
            edges.append(
                {
                    "from": label,
                    "to": its_own,
                    "title": str(ingredient.get("title") or ""),
                    "relationship": str(ingredient.get("relationship") or ""),
                    "codes": list(dict.fromkeys(recorded)),
                }
            )
    return {"nodes": nodes, "edges": edges}


def assertions(report: Report) -> list[dict[str, Any]]:
    """The assertions of the active manifest: dicts with label and data."""
    active = (report.store.get("manifests") or {}).get(report.store.get("active_manifest")) or {}
    return [each for each in active.get("assertions") or [] if isinstance(each, dict)]


def _unread(report: Report) -> tuple[str, tuple[str, ...]]:
    """The verdict where no manifest could be read; '' where one was."""
    if report.remote:
        return "remote-only", ("manifest.inaccessible",)
    if report.store:
        return "", ()
    if report.media_type is None or (report.container == "none" and not report.error and not _readable(report)):
        return "unsupported", ()
    if report.container == "none":
        return ("malformed", ("auditkit.asset.damaged",)) if report.error else ("no-manifest", ())
    if report.whole and "asset could not be parsed" in report.error:
        # The manifest is all there, and the image around it is cut off or damaged: it is not what was signed.
        return "tampered-content", ("auditkit.asset.damaged",)
    return "malformed", ("auditkit.manifest.unreadable",)


def _readable(report: Report) -> bool:
    from auditkit.provenance.reading import supported

    return report.media_type in supported()


def _classified(own: list[str], ancestors: list[str], trusted: bool, state: str) -> tuple[str, tuple[str, ...]]:
    """The verdict, and the codes that it rests on."""
    by_kind: dict[str, list[str]] = {}
    for code in own:
        by_kind.setdefault(kind(code), []).append(code)
    # Broken first, then changed, then who signed: each makes what comes after it meaningless.
    for group, name in (("malformed", "malformed"), ("manifest", "tampered-manifest"), ("content", "tampered-content")):
        if group in by_kind:
            return name, tuple(dict.fromkeys(own))
    changed = [code for code in [*by_kind.get("ancestor", []), *ancestors] if kind(code) in TAMPERING]
    if changed:
        return "tampered-ancestor", tuple(dict.fromkeys([*changed, *own]))
    if "unsupported" in by_kind:
        return "unsupported", tuple(dict.fromkeys(own))
    if "expired" in by_kind:
        return "expired", tuple(dict.fromkeys(own))
    if trusted and "credential" not in by_kind:
        return "trusted", tuple(dict.fromkeys(own))
    if state == "Invalid" and not own and not ancestors:  # the reader says no and does not say why
        return "malformed", ("auditkit.manifest.unreadable",)
    return "valid-untrusted", tuple(dict.fromkeys(own))


def _failures(results: Any) -> list[str]:
    return [str(entry.get("code")) for entry in (results or {}).get("failure") or []]


def _actions(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    found = []
    for assertion in manifest.get("assertions") or []:
        if str(assertion.get("label", "")).startswith("c2pa.actions") and isinstance(assertion.get("data"), dict):
            found += [each for each in assertion["data"].get("actions") or [] if isinstance(each, dict)]
    return found


def _generator(manifest: dict[str, Any]) -> str:
    info = manifest.get("claim_generator_info") or []
    if info and isinstance(info[0], dict):
        return " ".join(str(info[0].get(key)) for key in ("name", "version") if info[0].get(key))
    return str(manifest.get("claim_generator") or "")


def _signer(report: Report, label: str, *, stamped: bool) -> Signer | None:
    """`stamped`: whether the timestamp is of a trusted authority; anybody can run an authority and date anything."""
    info = ((report.store.get("manifests") or {}).get(label) or {}).get("signature_info") or {}
    detail: dict[str, Any] = next((m for m in report.details.get("manifests") or [] if m.get("label") == label), {})
    signature = detail.get("signature") or {}
    certificate = signature.get("certificateInfo") or {}
    if not info and not certificate:
        return None
    subject, issuer = certificate.get("subject") or {}, certificate.get("issuer") or {}
    stamp = (signature.get("timeStampInfo") or {}) if stamped else {}
    authority = (stamp.get("certificateInfo") or {}).get("subject") or {}
    name = str(info.get("common_name") or subject.get("CN") or "")
    organization = str(info.get("issuer") or subject.get("O") or "")
    by = str(issuer.get("CN") or issuer.get("O") or "")
    validity = certificate.get("validity") or {}
    return Signer(
        name or organization or "(no name)", organization, by, str(certificate.get("serialNumber") or ""),
        str(validity.get("notBefore") or ""), str(validity.get("notAfter") or ""),
        str(info.get("alg") or signature.get("algorithm") or "").lower(),
        str(info.get("time") or "") if stamped else "",
        str(authority.get("CN") or authority.get("O") or ""), any(MARK in each for each in (name, organization, by)),
    )  # fmt: skip


def _notes(
    name: str,
    signer: Signer | None,
    ancestors: list[str],
    own: list[str],
    generated: bool | None,
    node: dict[str, Any],
    stamp: str,
) -> list[str]:
    notes = []
    if generated:
        made = next((short_source_type(each) for each in node["source_types"]), "")
        told = "says" if name == "trusted" else "says, as far as it can be believed,"
        notes.append(f"The manifest {told} that a trained model made the image or a part of it ({made}).")
    if signer is not None and signer.development:
        notes.append(DEVELOPMENT)
    if signer is not None and not signer.signed_at and name in ("trusted", "valid-untrusted"):
        why = "Its timestamp is of an authority in none of your trust lists" if stamp else "There is no timestamp"
        notes.append(f"{why}: the signature stops being valid when the certificate expires.")
    if any(code in CREDENTIAL_REVOKED for code in own):
        notes.append("The certificate was revoked.")
    elif "signingCredential.invalid" in own:
        notes.append("The certificate is not of a kind that may sign manifests.")
    if any(kind(code) in ("credential", "expired") for code in ancestors) and name in ("trusted", "valid-untrusted"):
        notes.append("An ingredient was signed by somebody who is in no trust list, or whose certificate expired.")
    return notes

"""What the validation status codes of C2PA mean for a verdict (specification 2.x, Validation status codes)."""

from __future__ import annotations

CONTENT = (
    "assertion.dataHash.mismatch", "assertion.bmffHash.mismatch", "assertion.boxesHash.mismatch",
    "assertion.boxesHash.unknownBox", "assertion.collectionHash.mismatch",
    "assertion.collectionHash.incorrectFileCount",
    "assertion.multiAssetHash.mismatch", "assertion.hardBinding.mismatch", "auditkit.asset.damaged",
)  # fmt: skip
"""The image is not the one that was signed."""

CREDENTIAL_EXPIRED = ("signingCredential.expired", "claimSignature.outsideValidity")
CREDENTIAL_REVOKED = ("signingCredential.revoked", "signingCredential.ocsp.revoked")
CREDENTIAL = (
    "signingCredential.untrusted", "signingCredential.invalid", "signingCredential.ocsp.unknown",
    "signingCredential.ocsp.inaccessible", *CREDENTIAL_REVOKED,
)  # fmt: skip
"""About the signer, not about what was signed."""

TIMESTAMP = ("timeStamp.untrusted", "timeStamp.outsideValidity", "timeStamp.credentialInvalid")
"""A timestamp that proves nothing here; the signature may still hold."""

MALFORMED = (
    "claim.cbor.invalid", "claim.malformed", "claim.missing", "claim.multiple", "assertion.cbor.invalid",
    "assertion.json.invalid", "assertion.dataHash.malformed", "assertion.bmffHash.malformed",
    "assertion.boxesHash.malformed", "assertion.collectionHash.malformed", "manifest.compressed.invalid",
)  # fmt: skip
"""It cannot be read as the standard wants it."""

UNSUPPORTED = ("algorithm.unsupported",)

_IDENTITY = ("cawg.", "com.", "org.")
"""Beginnings of codes that other validators' extensions add: about identities, not about the manifest."""


def kind(code: str) -> str:
    """'content', 'credential', 'expired', 'timestamp', 'malformed', 'unsupported', 'ancestor', 'extension', or, for
    everything else, 'manifest': a failure that is not known here counts as tampering."""
    for name, codes in (
        ("content", CONTENT), ("expired", CREDENTIAL_EXPIRED), ("credential", CREDENTIAL), ("timestamp", TIMESTAMP),
        ("malformed", MALFORMED), ("unsupported", UNSUPPORTED),
    ):  # fmt: skip
        if code in codes:
            return name
    if code.startswith("ingredient."):
        return "ancestor"
    return "extension" if code.startswith(_IDENTITY) else "manifest"


TAMPERING = frozenset({"content", "manifest", "malformed", "ancestor"})
"""Kinds that, found in an ingredient, say that it was changed before it was used."""

"""What a moderator reads: one sentence for each verdict, saying no more than the evidence does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from auditkit.provenance.containers import SIDECAR

if TYPE_CHECKING:
    from auditkit.provenance.store import Entry
    from auditkit.provenance.verdict import Signer

NAMES = {
    "trusted": "Signed, trusted, unchanged",
    "valid-untrusted": "Signed and unchanged, by somebody unknown",
    "expired": "Signed, but the certificate has expired",
    "tampered-content": "Changed after it was signed",
    "tampered-manifest": "The manifest was changed",
    "tampered-ancestor": "Made from something that was changed",
    "malformed": "Damaged",
    "unsupported": "A kind of file that cannot carry it",
    "remote-only": "Its manifest is kept elsewhere",
    "no-manifest": "No manifest",
    "recovered-exact": "Known: the very same image",
    "recovered-soft": "Known: a version of it",
}
"""A short name for each verdict, for headings and tables."""


def sentence(
    verdict: str,
    *,
    signer: Signer | None = None,
    codes: Sequence[str] = (),
    media_type: str | None = None,
    whole: bool = True,
) -> str:
    """The sentence for a verdict."""
    who = f"“{signer.name}”" if signer is not None else "an unknown signer"
    when = f" on {signer.signed_at[:10]}" if signer is not None and signer.signed_at else ""
    if verdict == "trusted":
        return (
            f"The file was signed by {who}{when}, who is in your trust lists, and neither the image nor the manifest "
            "was changed since."
        )
    if verdict == "valid-untrusted":
        return (
            f"The file was not changed since it was signed, but who signed is in none of your trust lists: the "
            f"certificate says {who}, which anybody could write."
        )
    if verdict == "expired" and "auditkit.credential.early" in codes:
        since = f" before {signer.valid_from[:10]}" if signer is not None and signer.valid_from else ""
        return (
            f"The signature fits the file, but the certificate of {who} was not valid yet on that date: it is "
            f"not{since}."
        )
    if verdict == "expired":
        until = f" on {signer.valid_to[:10]}" if signer is not None and signer.valid_to else ""
        return (
            f"The signature fits the file, but the certificate of {who} expired{until}, and no trusted timestamp shows "
            "that it was used before: who signed it, and when, is not proven."
        )
    if verdict == "tampered-content":
        if "auditkit.asset.damaged" in codes:
            return (
                "The file carries a manifest, and the image around it is cut off or damaged: it is not what was signed."
            )
        return (
            f"The image is not the one that {who} signed: it was changed after signing, or the manifest was carried "
            "over from another file."
        )
    if verdict == "tampered-manifest":
        return (
            "The manifest was changed after signing, or put together from parts: nothing that it says can be believed."
        )
    if verdict == "tampered-ancestor":
        return (
            f"The last manifest (by {who}) holds, but an image that this one was made from had been changed after its "
            "own signing: what is said of its history is not proven."
        )
    if verdict == "malformed" and "auditkit.manifest.slack" in codes:
        return (
            "Bytes of the manifest that no signature covers are not as they must be: it was damaged, or somebody was "
            "at it. What it says fits its signature; that nothing was changed is not confirmed."
        )
    if verdict == "malformed":
        return (
            "The file or its manifest is damaged or cut off, and cannot be read. Damage happens by accident too; it is "
            "no proof of tampering."
        )
    if verdict == "unsupported":
        if "algorithm.unsupported" in codes:
            return "The manifest uses an algorithm that this tool does not know: nothing is said about it."
        if media_type == SIDECAR:
            return (
                "This is a manifest without its image, and nothing is said about it: inspect the image, with this file "
                "beside it."
            )
        kind = f"The file ({media_type})" if media_type else "The file is of a kind that is not known here, and"
        return f"{kind} cannot be read for a manifest. Nothing is said about where it came from."
    if verdict == "remote-only":
        return (
            "The file names an address where its manifest is said to be. It was not fetched: looking there would tell "
            "a stranger that you did."
        )
    if verdict == "no-manifest":
        return (
            "The file carries no manifest. Most files never had one: this says nothing about where it came from, nor "
            "whether it was generated."
        )
    raise ValueError(f"no sentence for '{verdict}'")


def recovered_sentence(verdict: str, how: str, entry: Entry, *, lossless: bool) -> str:
    """The sentence for an image that a manifest store knows."""
    signed = f"was signed here by “{entry.signer}” on {entry.signed[:10]}"
    if verdict == "recovered-exact" and how == "bytes":
        if lossless:
            return (
                f"This is, byte for byte, the image that {signed}, without its manifest: with the stored manifest put "
                "back at its place it verifies. The manifest was taken off, or this is a copy from before the signing."
            )
        return f"This is, byte for byte, the image that {signed}: with the stored manifest it verifies."
    if verdict == "recovered-exact":
        return (
            f"This shows exactly the pixels of an image that {signed}. The file was written anew; its manifest was "
            "lost or removed on the way, and nothing shows by whom."
        )
    by = "its watermark" if how == "watermark" else "its perceptual hash"
    return (
        f"This is very probably a version of an image that {signed}: {by} led to it, and it shows the same picture or "
        "a part of it. In what it differs is not known."
    )

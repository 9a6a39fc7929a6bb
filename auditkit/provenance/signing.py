"""Signing images: a manifest is made, put into the file or beside it, read back, and only then kept."""

from __future__ import annotations

import io
import json
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from auditkit.errors import ProvenanceError
from auditkit.files import sha256, write_atomic
from auditkit.images import open_image
from auditkit.provenance.certificates import read_certificates, to_pem
from auditkit.provenance.containers import find, media_type
from auditkit.provenance.credentials import Credentials
from auditkit.provenance.manifest import PARENT, Claim, Definition, SoftBinding, define
from auditkit.provenance.reading import Report, context, read

if TYPE_CHECKING:
    from PIL.Image import Image

WRITES = {"image/png": (".png",), "image/jpeg": (".jpg", ".jpeg"), "image/webp": (".webp",)}
"""Formats that are signed, and how their names may end."""
ENDINGS = frozenset(ending for endings in WRITES.values() for ending in endings)


@dataclass(frozen=True)
class Signature:
    """A signed image, in memory.

    Attributes:
        data: the image's bytes: with the manifest in them, or as they were where it is kept beside them.
        manifest: the manifest store, as it is kept in a sidecar or in a manifest store.
        label: the active manifest's name, `urn:c2pa:...`.
        bindings: the soft bindings that the manifest names.
        salt: opens the prompt's hash; keep it. '' where no prompt was given.
        picture: the image, opened: upright RGB.
        report: what the reader said of it before it was let go.
    """

    data: bytes = field(repr=False)
    manifest: bytes = field(repr=False)
    media_type: str
    label: str
    bindings: tuple[SoftBinding, ...]
    salt: str
    picture: Image = field(repr=False)
    report: Report = field(repr=False)
    embedded: bool = True
    timestamp: str = ""

    @cached_property
    def sha256(self) -> str:
        """Of `data`, 64 hex digits."""
        return sha256(self.data)

    @cached_property
    def manifest_sha256(self) -> str:
        """Of `manifest`, 64 hex digits."""
        return sha256(self.manifest)


def sign_bytes(
    data: bytes,
    claim: Claim,
    credentials: Credentials,
    *,
    parent: tuple[str, bytes] | None = None,
    components: Sequence[tuple[str, bytes]] = (),
    embed: bool = True,
    timestamp: str | None = None,
    picture: Image | None = None,
    where: str | Path = "bytes",
) -> Signature:
    """Sign an image.

    Args:
        data: a PNG, JPEG or WebP file. A manifest in it is replaced, and lives on in the parent where one is given.
        parent: title and bytes of the image that this one was made from (the first action is then 'opened'); the image
            itself where `claim.source_type` is None and nothing else is given.
        components: title and bytes of images that were placed into it.
        embed: False keeps the image as it is, and the manifest for a sidecar; not for an image that has one in it.
        timestamp: URL of an RFC 3161 time-stamping authority; the only thing here that uses the network.
        picture: what `open_image` gives for `data`, where the caller has opened it already.

    Raises:
        ProvenanceError: not an image that can be signed, a word that C2PA does not know, the authority does not answer,
            or the signed image does not verify.
        ImageError: the image is damaged or too large.
    """
    kind = media_type(data)
    if kind not in WRITES:
        raise ProvenanceError(
            "only PNG, JPEG and WebP images are signed", where=where, mend="convert the image to one of them"
        )
    if timestamp is not None:
        _check_address(timestamp)
    picture = picture or open_image(data)  # nobody should vouch for a file that does not open
    if not embed and find(data) is not None:
        raise ProvenanceError(
            "the image has a manifest in it already, and a sidecar would contradict it", where=where,
            mend="sign it without --sidecar: the manifest that is there becomes its history",
        )  # fmt: skip
    check_history(data, claim, where)
    if claim.source_type is not None and parent is not None:
        raise ProvenanceError(
            "an image is either created or made from a parent, not both", where=where,
            mend="leave out the source type or the parent",
        )  # fmt: skip
    if claim.source_type is None and parent is None:
        parent = (claim.title, data)
    labels = [f"component{n}" for n in range(len(components))]
    definition = define(claim, components=labels)
    signed, manifest = _build(
        data, kind, definition, credentials, parent, list(zip(labels, components, strict=True)), embed, timestamp, where
    )
    report = read(signed, anchors=_anchor(credentials), sidecar=None if embed else manifest)
    failures = [entry["code"] for entry in report.store.get("validation_results", {})
                .get("activeManifest", {}).get("failure", [])]  # fmt: skip
    if report.error or report.state not in ("Valid", "Trusted") or set(failures) - {"signingCredential.untrusted"}:
        raise ProvenanceError(
            f"the signed image does not verify: {report.error or ', '.join(failures) or 'no manifest'}", where=where,
            mend="check the certificate's key usage (C2PA claim signing, document signing or email protection)",
        )  # fmt: skip
    label = str(report.store["active_manifest"])
    info = report.store["manifests"][label].get("signature_info", {})
    stamped = str(info.get("time") or "")
    if timestamp and not stamped:
        raise ProvenanceError("the signature carries no timestamp", where=timestamp, mend="check the authority")
    return Signature(
        signed, manifest, kind, label, tuple(claim.bindings), definition.salt, picture, report, embed, stamped
    )


def check_history(data: bytes, claim: Claim, where: str | Path) -> None:
    """Raise ProvenanceError where a claim that an image was created would drop the manifest that it carries."""
    if claim.source_type is not None and find(data) is not None:
        raise ProvenanceError(
            "the image carries a manifest already, and a claim that it was created here would drop its history",
            where=where, mend="leave out the source type: the image becomes its own parent, and its history is kept",
        )  # fmt: skip


def check_target(data: bytes, out: Path, *, sidecar: bool = False, overwrite: bool = False) -> None:
    """Whether a signed image may be written to `out`.

    Raises:
        ProvenanceError: it would have another format's ending, there is a file already, or the sidecar would take the
            place of another image's.
    """
    kind = media_type(data)
    if kind in WRITES and out.suffix.lower() not in WRITES[kind]:
        raise ProvenanceError(
            f"the image is {kind}, and would be called '{out.name}'", where=out,
            mend=f"end its name in {' or '.join(WRITES[kind])}; signing does not convert",
        )  # fmt: skip
    for path in (out, sidecar_path(out)) if sidecar else (out,):
        if path.exists() and not overwrite:
            raise ProvenanceError("there is a file already", where=path, mend="name another file, or use --overwrite")
    if sidecar and sidecar_path(out).exists():  # picture.png and picture.jpg would share one
        same = [each for each in out.parent.iterdir() if each.stem == out.stem and each.suffix.lower() in ENDINGS]
        if any(each.name != out.name for each in same):
            raise ProvenanceError("another image has a sidecar of that name", where=sidecar_path(out),
                                  mend="name another file (--out), or embed the manifest")  # fmt: skip


def write(made: Signature, out: Path) -> Path | None:
    """Write a signed image, and then its sidecar where the manifest is not in it; the sidecar's path, or None.

    A file that is replaced keeps its permissions.

    Raises:
        RunError: a file cannot be written; what was there before is still there.
    """
    beside = None if made.embedded else sidecar_path(out)
    if made.embedded or not out.exists() or out.read_bytes() != made.data:
        permissions = stat.S_IMODE(out.stat().st_mode) if out.exists() else None
        write_atomic(out, made.data)
        if permissions is not None:
            out.chmod(permissions)
    if beside is not None:
        write_atomic(beside, made.manifest)
    return beside


def sidecar_path(image: Path) -> Path:
    """Where the sidecar of an image lies: `picture.png` -> `picture.c2pa`."""
    return image.with_suffix(".c2pa")


def _build(
    data: bytes,
    kind: str,
    definition: Definition,
    credentials: Credentials,
    parent: tuple[str, bytes] | None,
    components: list[tuple[str, tuple[str, bytes]]],
    embed: bool,
    timestamp: str | None,
    where: str | Path,
) -> tuple[bytes, bytes]:
    """The signed bytes and the manifest store."""
    import c2pa

    failed: list[Exception] = []

    def sign(payload: bytes) -> bytes:
        try:
            return credentials.sign(payload)
        except Exception as error:  # the library would swallow it, and tell its own
            failed.append(error)
            raise

    out = io.BytesIO()
    try:
        with (
            _signer(credentials, sign, timestamp) as signer,
            c2pa.Builder(json.dumps(definition.data), context=context("")) as builder,
        ):
            if parent is not None:
                _ingredient(builder, PARENT, parent, "parentOf")
            for label, component in components:
                _ingredient(builder, label, component, "componentOf")
            if not embed:
                builder.set_no_embed()
            manifest = bytes(builder.sign(signer, kind, io.BytesIO(data), out))
    except c2pa.C2paError as error:
        if failed:
            raise failed[0] from None
        raise _explained(str(error), timestamp, where) from None
    return (out.getvalue() if embed else data), manifest


def _signer(credentials: Credentials, sign: Callable[[bytes], bytes], timestamp: str | None) -> Any:
    import c2pa

    if credentials.private is None:
        algorithm = getattr(c2pa.C2paSigningAlg, credentials.algorithm.upper())
        return c2pa.Signer.from_callback(sign, algorithm, credentials.chain, timestamp)
    info = c2pa.C2paSignerInfo(
        alg=credentials.algorithm.encode(), sign_cert=credentials.chain.encode(), private_key=credentials.private,
        ta_url=timestamp.encode() if timestamp else None,
    )  # fmt: skip
    return c2pa.Signer.from_info(info)


def _check_address(url: str) -> None:
    try:
        parts = urlsplit(url)
        known = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        known = False
    if not known:
        raise ProvenanceError(
            "this is no address of a time-stamping authority", where=url, mend="give its URL: http:// or https://"
        )


def _ingredient(builder: Any, label: str, image: tuple[str, bytes], relationship: str) -> None:
    import c2pa

    title, data = image
    kind = media_type(data)
    if kind is None:
        raise ProvenanceError("an ingredient is not a media file", where=title, mend="give an image")
    told = {"title": title, "relationship": relationship, "label": label}
    try:
        builder.add_ingredient(json.dumps(told), kind, io.BytesIO(data))
    except c2pa.C2paError as error:
        what = f"an ingredient cannot be read: {error}"
        raise ProvenanceError(what, where=title, mend="give a whole image") from None


def _explained(message: str, timestamp: str | None, where: str | Path) -> ProvenanceError:
    # The library tells of a timestamp for several faults of a manifest; only where one was asked for can it be one.
    if timestamp and ("internal error" in message or "time" in message.lower()):
        return ProvenanceError(
            f"the time-stamping authority gave no timestamp: {message}", where=timestamp,
            mend="check the address and that it answers, or sign without a timestamp",
        )  # fmt: skip
    return ProvenanceError(
        f"the image cannot be signed: {message}", where=where, mend="check the image and certificate"
    )


def _anchor(credentials: Credentials) -> str:
    """The last certificate of the chain, so that the check of a fresh signature is not about trust."""
    return to_pem(read_certificates(credentials.chain.encode())[-1:])


def read_file(path: Path) -> bytes:
    """The bytes of an image to be signed.

    Raises:
        ProvenanceError: it is missing or cannot be read.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise ProvenanceError("the image does not exist", where=path, mend="check the path") from None
    except OSError as error:
        raise ProvenanceError(f"the file cannot be read: {error.strerror}", where=path, mend="check it") from None

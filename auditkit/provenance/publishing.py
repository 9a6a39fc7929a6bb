"""Signing for publication: mark, fingerprint, sign, verify, write, and remember in the store and in the log.

A `Publisher` holds who signs and where it is remembered, and does files, folders and runs. The order is what makes it
safe to stop: store and log know an image before its signed file appears, so that no signed file is unknown to them.
"""

from __future__ import annotations

import contextlib
import secrets
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auditkit.errors import AuditkitError, ProvenanceError, WatermarkError
from auditkit.images import open_image
from auditkit.provenance import manifest, signing
from auditkit.provenance import store as stores
from auditkit.provenance.containers import find, media_type
from auditkit.provenance.credentials import Credentials
from auditkit.provenance.log import Log
from auditkit.provenance.log_entry import Entry
from auditkit.provenance.manifest import Claim, SoftBinding
from auditkit.provenance.pdq import hash_image
from auditkit.provenance.recovery import watermark_binding
from auditkit.watermark.folders import image_files

if TYPE_CHECKING:
    import pandas as pd

    from auditkit.runs import Run
    from auditkit.watermark.keys import Key

Progress = Callable[[int, int], None]

SINGLE = 0
"""The model number in the payloads of images that are marked one by one; the user number is drawn for each."""


@dataclass(frozen=True)
class Marker:
    """Marks each image with a payload of its own, so that the mark leads to that image's manifest."""

    scheme: str
    key: Key
    psnr: float = 42.0

    @classmethod
    def load(cls, scheme: str, *, key: str | None = None, keys: str | Path | None = None) -> Marker:
        """
        Raises:
            KeyFileError, PluginError: no such key or scheme.
            WatermarkError: a scheme that marks no finished image.
        """
        from auditkit.watermark import keys as rings
        from auditkit.watermark.schemes import scheme as named

        if named(scheme).family != "word" or not getattr(named(scheme), "embeds", True):
            raise WatermarkError(
                f"'{scheme}' marks no finished image", where=f"watermark={scheme}", mend="use spread or codec"
            )
        ring = rings.load(keys)
        return cls(scheme, (ring.get(key) if key else ring.active).key)

    def mark(self, data: bytes, suffix: str, where: str | Path) -> tuple[bytes, SoftBinding, str]:
        """The marked file's bytes, its soft binding and its payload."""
        from auditkit.watermark.embedding import embed_file
        from auditkit.watermark.payload import USER_BITS, Payload

        payload = Payload(SINGLE, secrets.randbits(USER_BITS))
        with tempfile.TemporaryDirectory() as folder:
            source, out = Path(folder) / f"source{suffix}", Path(folder) / f"marked{suffix}"
            source.write_bytes(data)
            try:
                embed_file(source, out, scheme=self.scheme, key=self.key, payload=payload, psnr=self.psnr)
            except AuditkitError as error:
                raise type(error)(error.what, where=where, mend=error.mend) from None
            marked = out.read_bytes()
        return marked, watermark_binding(self.scheme, self.key.id, str(payload)), str(payload)


@dataclass(frozen=True)
class Published:
    """A signed image.

    Attributes:
        out: the file; `sidecar` its manifest where that is kept beside it.
        label: the manifest's name; `salt` opens its prompt hash.
        timestamp: the authority's time, '' without one.
        payload: of the watermark that was put on it.
        remembered: folder of the store that knows it, '' where none does; `log_index` its place in the log.
    """

    out: Path
    sidecar: Path | None
    label: str
    media_type: str
    signer: dict[str, Any]
    timestamp: str
    salt: str
    payload: str | None
    bindings: tuple[str, ...]
    remembered: str
    log_index: int | None


class Publisher:
    """Who signs, and where it is remembered. Made by `open`."""

    def __init__(self, credentials: Credentials, timestamp: str | None, store: stores.Store | None, log: Log | None):
        self.credentials, self.timestamp, self.store, self.log = credentials, timestamp, store, log

    @classmethod
    @contextlib.contextmanager
    def open(
        cls,
        credentials: Credentials,
        *,
        timestamp: str | None = None,
        store: str | Path | None = None,
        log: str | Path | None = None,
    ) -> Iterator[Publisher]:
        """
        Args:
            store, log: folders, made where they are missing; None is the default place, "" keeps none.
        """
        kept = None if store == "" else stores.open_store(store, create=True)
        written = None if log == "" else Log.ensure(log)
        with kept or contextlib.nullcontext():
            yield cls(credentials, timestamp, kept, written)

    def sign(
        self,
        data: bytes,
        claim: Claim,
        *,
        parent: tuple[str, bytes] | None = None,
        components: Sequence[tuple[str, bytes]] = (),
        embed: bool = True,
        run: str | None = None,
        image: str | None = None,
        key_id: str | None = None,
        where: str | Path = "bytes",
    ) -> tuple[signing.Signature, Entry]:
        """Sign an image, its perceptual hash bound too, and keep it in the store; see `signing.sign_bytes`.

        Args:
            run, image: the run that it belongs to, and its id there.
            key_id: of the watermark that is in it.

        Returns:
            The signed image, and what the log is to be told before the image is written anywhere.
        """
        picture = open_image(data)
        hashed = hash_image(picture)
        if hashed.usable:
            bound = SoftBinding(manifest.PDQ_ALGORITHM, hashed.bits, "fingerprint")
            claim = replace(claim, bindings=[*claim.bindings, bound])
        made = signing.sign_bytes(
            data, claim, self.credentials, parent=parent, components=components, embed=embed,
            timestamp=self.timestamp, picture=picture, where=where,
        )  # fmt: skip
        if self.store is not None:
            self.store.add(made, title=claim.title, signer=self.credentials.name, run=run, image=image, hashed=hashed)
        keys = (f"cert-{self.credentials.fingerprint[:16]}", *([key_id] if key_id else []))
        return made, Entry("signed", made.sha256, manifest=made.manifest_sha256, run=run, keys=keys)

    def publish_file(
        self,
        source: Path,
        out: Path,
        claim: Claim,
        *,
        parent: str | Path | None = None,
        components: Sequence[str | Path] = (),
        marker: Marker | None = None,
        sidecar: bool = False,
        overwrite: bool = False,
    ) -> Published:
        """Sign one file; see `auditkit.sign` for the arguments.

        Raises:
            ProvenanceError: it cannot be read or signed, or `out` is not to be written; see `signing.check_target`.
            ImageError: it is damaged or too large.
            WatermarkError: the marker cannot mark it.
            RunError: `out` cannot be written.
        """
        data = signing.read_file(source)
        signing.check_target(data, out, sidecar=sidecar, overwrite=overwrite)
        signing.check_history(data, claim, source)
        original, claim, payload = data, replace(claim, title=out.name), None
        if marker is not None:
            data, binding, payload = marker.mark(data, source.suffix.lower() or ".png", source)
            claim = replace(claim, bindings=[*claim.bindings, binding], watermarked=True)
        if claim.source_type is None and parent is None:
            # Marking is an edit of what we were given, whose own manifest, if it has one, is kept as its history.
            parent_image: tuple[str, bytes] | None = (source.name, original)
        else:
            parent_image = None if parent is None else (Path(parent).name, signing.read_file(Path(parent)))
        made, entry = self.sign(
            data, claim, parent=parent_image,
            components=[(Path(each).name, signing.read_file(Path(each))) for each in components],
            embed=not sidecar, key_id=None if marker is None else marker.key.id, where=source,
        )  # fmt: skip
        place = None if self.log is None else self.log.append(entry).start
        beside = signing.write(made, out)
        return Published(
            out, beside, made.label, made.media_type, self.credentials.record(), made.timestamp, made.salt, payload,
            tuple(binding.algorithm for binding in made.bindings),
            str(self.store.folder) if self.store is not None else "", place,
        )  # fmt: skip

    def publish_folder(
        self,
        folder: str | Path,
        out: str | Path,
        claim: Claim,
        *,
        marker: Marker | None = None,
        sidecar: bool = False,
        progress: Progress | None = None,
    ) -> pd.DataFrame:
        """Sign every image below `folder` into the same place below `out`; what is there and signed already stays.

        Returns:
            A row an image: file, out, status ('signed', 'kept', 'failed'), manifest, note. No file stops the rest.

        Raises:
            ProvenanceError: `folder` is no folder, or the same as `out`.
        """
        import pandas as pd

        folder, out = Path(folder), Path(out)
        if folder.resolve() == out.resolve():
            raise ProvenanceError("signed images would replace their sources", where=out, mend="name another folder")
        try:
            listed = list(image_files(folder, but=out))
        except WatermarkError as error:
            raise ProvenanceError(error.what, where=error.where, mend=error.mend) from None
        rows = []
        for count, (path, problem) in enumerate(listed, start=1):
            row = {"file": str(path), "out": "", "status": "failed", "manifest": "", "note": problem}
            if not problem:
                row |= self._one_of_folder(folder, out, path, claim, marker, sidecar)
            rows.append(row)
            if progress is not None:
                progress(count, len(listed))
        return pd.DataFrame(rows, columns=["file", "out", "status", "manifest", "note"])

    def _one_of_folder(
        self, folder: Path, out: Path, path: Path, claim: Claim, marker: Marker | None, sidecar: bool
    ) -> dict[str, str]:
        target = out / path
        try:
            if target.is_symlink() or not target.parent.resolve().is_relative_to(out.resolve()):
                raise ProvenanceError("a link leads out of the folder to write to", where=target)
            if target.exists():
                held = signing.sidecar_path(target) if sidecar else target
                label = _signed_label(held, target)
                if label is None and held != target and not held.exists() and _same_bytes(folder / path, target):
                    # Stopped between an image and its sidecar.
                    made = self.publish_file(folder / path, target, claim, marker=marker, sidecar=True, overwrite=True)
                    return {"out": str(path), "status": "signed", "manifest": made.label}
                if label is None:
                    raise ProvenanceError(
                        "a file of that name is there and is not signed, or was changed", where=target, mend="remove it"
                    )
                return {"out": str(path), "status": "kept", "manifest": label}
            made = self.publish_file(folder / path, target, claim, marker=marker, sidecar=sidecar)
        except AuditkitError as error:
            return {"note": error.what}
        return {"out": str(path), "status": "signed", "manifest": made.label}

    def publish_run(
        self, run: Run, *, training: str | None = None, training_terms: str = "", progress: Progress | None = None
    ) -> pd.DataFrame:
        """Sign the images of a run; see `auditkit.provenance.run_signing`."""
        from auditkit.provenance.run_signing import sign_run

        return sign_run(self, run, training=training, training_terms=training_terms, progress=progress)


def _same_bytes(first: Path, second: Path) -> bool:
    return first.stat().st_size == second.stat().st_size and first.read_bytes() == second.read_bytes()


def _signed_label(manifest_file: Path, image: Path) -> str | None:
    """The name of the manifest in or beside a file, or None where there is none or it does not fit the file."""
    from auditkit.provenance.reading import read
    from auditkit.provenance.verdict import UNCHANGED, judge

    data = image.read_bytes()
    held = None
    if manifest_file != image:
        if not manifest_file.is_file():
            return None
        held = manifest_file.read_bytes()
    elif media_type(data) is None or find(data) is None:
        return None
    found = judge(read(data, sidecar=held))
    return found.label if found.verdict in UNCHANGED else None

"""One image asked where it came from: its manifest, watermarks, hashes, detector and opt-out signals, kept apart.

An `Inspector` holds what is needed for many images (trust anchors, keys, store, banks) and looks at one after the
other. What it finds is never merged into one score: each part has its own evidence and its own words.
"""

from __future__ import annotations

import dataclasses
import stat
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auditkit.errors import ImageError, KeyFileError, ProvenanceError
from auditkit.files import sha256
from auditkit.images import open_image
from auditkit.provenance import dating, trust
from auditkit.provenance.banks import Bank
from auditkit.provenance.containers import SIDECAR, find, media_type
from auditkit.provenance.detecting import Detectors
from auditkit.provenance.inspection_parts import (
    c2pa_part,
    consent_part,
    hash_sentence,
    mark_sentence,
    plain,
    recovered_part,
)
from auditkit.provenance.recovery import known_payloads, recover
from auditkit.provenance.signing import sidecar_path
from auditkit.provenance.store import Store, default_folder, open_store
from auditkit.provenance.verdict import ABSENT, Verdict, assertions, judge

if TYPE_CHECKING:
    from PIL.Image import Image

    from auditkit.provenance.pdq import Pdq
    from auditkit.provenance.reading import Report
    from auditkit.watermark.keys import KeyRing
    from auditkit.watermark.payload import Payload

MAX_BYTES = 1 << 30
"""Larger files are refused: they are read whole."""


@dataclass(frozen=True)
class Settings:
    """What to look with; see `Inspector`. Plain values, so that worker processes can be given them.

    Attributes:
        trust: PEM files whose certificates are trust anchors for this call, besides the lists that are kept.
        as_of: the day to judge credentials on; None is now.
        store: folder of the manifest store; None is the default one, if it is there; '' asks none.
        keys: watermark key file; None is the default one, if it is there; '' reads no watermark.
        schemes: watermark schemes; () is every scheme in the pixels.
        search: look for rotated, scaled and cropped marks too.
        banks: names or files of hash banks; None is all that are kept.
        detectors: names of detectors, or path:FOLDER; None is every one that is installed, () asks none.
        fpr: false positive rate of an image for watermarks, over all schemes and keys.
    """

    trust: tuple[str, ...] = ()
    as_of: date | None = None
    store: str | None = None
    keys: str | None = None
    schemes: tuple[str, ...] = ()
    search: bool = True
    banks: tuple[str, ...] | None = None
    detectors: tuple[str, ...] | None = None
    fpr: float = 1e-6


@dataclass(frozen=True)
class Inspection:
    """What was found; every part is plain data, as `--json` gives it."""

    file: str
    sha256: str
    media_type: str | None
    bytes: int
    c2pa: dict[str, Any]
    watermark: dict[str, Any]
    hash: dict[str, Any]
    detector: dict[str, Any]
    consent: dict[str, Any]
    label: dict[str, Any] | None = field(default=None)
    """The GB 45438 label in the file's metadata, or None."""

    def as_dict(self) -> dict[str, Any]:
        """Plain data, with null where a number is not told."""
        found: dict[str, Any] = plain(dataclasses.asdict(self))
        return found


class Inspector:
    """Looks at images one after the other. Not for several threads: make one in each worker process."""

    def __init__(self, settings: Settings | None = None):
        """
        Raises:
            TrustError, KeyFileError, ProvenanceError, DetectorError, PluginError: something that was named is missing
                or damaged.
        """
        self.settings = settings or Settings()
        self.anchors = trust.anchors(as_of=self.settings.as_of, files=self.settings.trust)
        self.store = _store(self.settings.store)
        self.ring = _ring(self.settings.keys)
        self.banks = _banks(self.settings.banks)
        self.detectors = Detectors(self.settings.detectors)

    def inspect(self, path: str | Path) -> Inspection:
        """Everything that is said of a file.

        Raises:
            ImageError: the file is missing, empty, unreadable, no plain file, or larger than `MAX_BYTES`. What it holds
                never raises: it is told in the parts.
        """
        path = Path(path)
        data = read_file(path)
        return self.inspect_bytes(data, name=printable(path), sidecar=_sidecar(path))

    def inspect_bytes(self, data: bytes, *, name: str = "bytes", sidecar: bytes | None = None) -> Inspection:
        """`inspect` for a file's bytes.

        Args:
            sidecar: a manifest that lies beside the file; used where the file holds none itself.
        """
        from auditkit.provenance import reading

        if (found := find(data)) is not None:
            sidecar = None
        report = reading.read(data, anchors=self.anchors, sidecar=sidecar)
        verdict = self._judged(report, found.store if found is not None else sidecar or b"")
        picture = _Picture(data)
        marks, watermark = self._watermarks(picture)
        hashes, hash_part = self._hashes(data, picture)
        part = c2pa_part(verdict)
        stated = assertions(report)
        if self.store is not None and verdict.verdict in ABSENT:
            known = recover(
                data, self.store, image=picture.open if hashes or marks else None, forms=hashes, marks=marks,
                anchors=self.anchors,
            )  # fmt: skip
            part = recovered_part(verdict, known, self._judged)
            if known.report is not None:
                stated = assertions(known.report)
        return Inspection(
            name,
            hash_part["sha256"],
            media_type(data),
            len(data),
            part,
            watermark,
            hash_part,
            self.detectors.part(picture.open),
            consent_part(data, stated),
            _label(data),
        )

    def _judged(self, report: Report, manifest: bytes) -> Verdict:
        """The verdict, of the day asked for."""
        verdict = judge(report)
        if self.settings.as_of is None:
            return verdict
        return dating.as_of(verdict, manifest, self.anchors, trust.end_of(self.settings.as_of))

    def _watermarks(self, picture: _Picture) -> tuple[list[tuple[str, str, str]], dict[str, Any]]:
        """Verified (scheme, key id, payload), and the part of the answer."""
        if self.ring is None:
            return [], {
                "verdict": "not looked for",
                "sentence": "No watermark was looked for: no key is at hand.",
                "detections": [],
            }
        import numpy as np

        from auditkit.watermark import verdict as reader

        try:
            pixels = np.asarray(picture.open())
        except ImageError as error:
            return [], {"verdict": "not readable", "sentence": f"No watermark was looked for: {error.what}.",
                        "detections": []}  # fmt: skip
        schemes = list(self.settings.schemes) or None
        found = reader.detect(
            pixels, ring=self.ring, schemes=schemes, fpr=self.settings.fpr, payloads=self._payloads,
            search=self.settings.search,
        )  # fmt: skip
        rows = [{name: value for name, value in reader.row(each).items() if name != "ms"} for each in found]
        present = [row for row in rows if row["verdict"] == "present"]
        name = "present" if present else "abstain" if any(r["verdict"] == "abstain" for r in rows) else "absent"
        marks = [(row["scheme"], row["key_id"], row["payload"]) for row in present if row["payload"]]
        return marks, {"verdict": name, "sentence": mark_sentence(name, present, len(rows)), "detections": rows}

    def marks(self, image: Image) -> list[tuple[str, str, str]]:
        """(scheme, key id, payload) of the watermarks that are verified in a picture, upright RGB."""
        picture = _Picture(b"")
        picture.image = image
        return self._watermarks(picture)[0]

    @cached_property
    def _payloads(self) -> list[Payload]:
        return [] if self.store is None else known_payloads(self.store)

    def _hashes(self, data: bytes, picture: _Picture) -> tuple[tuple[Pdq, ...], dict[str, Any]]:
        from auditkit.provenance.bank_matching import Hashes, match
        from auditkit.provenance.pdq import hash_forms

        part: dict[str, Any] = {"sha256": sha256(data), "pdq": None, "pdq_quality": None}
        forms: tuple[Pdq, ...] = ()
        try:
            forms = hash_forms(data)
            part |= {"pdq": forms[0].hex, "pdq_quality": forms[0].quality}
        except ImageError as error:
            picture.error = error
        found = match(Hashes(forms, part["sha256"]), self.banks) if self.banks else []
        part["matches"] = [
            {"bank": each.bank, "kind": each.kind, "hash_type": each.entry.type, "value": each.entry.value,
             "label": each.entry.label, "distance": each.distance, "form": each.form, "exact": each.exact}
            for each in found
        ]  # fmt: skip
        part["verdict"] = "match" if found else "no match" if self.banks else "not compared"
        part["sentence"] = hash_sentence(part, len(self.banks), picture.error, forms)
        return forms, part


class _Picture:
    """A file's picture, decoded once and only if somebody asks."""

    def __init__(self, data: bytes):
        self._data = data
        self.image: Image | None = None
        self.error: ImageError | None = None

    def open(self) -> Image:
        if self.error is not None:
            raise self.error
        if self.image is None:
            try:
                self.image = open_image(self._data)
            except ImageError as error:
                self.error = error
                raise
        return self.image


def printable(path: str | Path) -> str:
    """A path as text that can be written anywhere; bytes of a name that are no UTF-8 stand as \\udcff."""
    return str(path).encode("utf-8", "backslashreplace").decode()


def read_file(path: Path) -> bytes:
    """A plain file's bytes.

    Raises:
        ImageError: it is missing, empty, unreadable, not a plain file, or larger than `MAX_BYTES`.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            what = "this is a folder" if stat.S_ISDIR(status.st_mode) else "this is not a plain file"
            raise ImageError(what, where=path, mend="name an image; for a folder: auditkit scan FOLDER")
        if status.st_size > MAX_BYTES:
            raise ImageError("the file is larger than a gibibyte", where=path, mend="inspect a smaller copy")
        data = path.read_bytes()
    except FileNotFoundError:
        raise ImageError("the file does not exist", where=path, mend="check the path") from None
    except OSError as error:
        raise ImageError(
            f"the file cannot be read: {error.strerror}", where=path, mend="check its permissions"
        ) from None
    if not data:
        raise ImageError("the file is empty", where=path, mend="ask for it again")
    return data


def sidecar_paths(path: Path) -> tuple[Path, Path]:
    """Where the manifest beside a file may lie, the first choice first."""
    return sidecar_path(path), path.with_name(path.name + ".c2pa")


def _sidecar(path: Path) -> bytes | None:
    """The manifest beside a file: `picture.c2pa` or `picture.png.c2pa`. Links are not followed.

    Raises:
        ImageError: there is one and it cannot be read: nobody may say then that there is no manifest.
    """
    for beside in sidecar_paths(path):
        if beside != path and beside.is_file() and not beside.is_symlink() and 0 < beside.stat().st_size <= MAX_BYTES:
            held = read_file(beside)
            if media_type(held) == SIDECAR:
                return held
    return None


def _store(folder: str | None) -> Store | None:
    if folder == "":
        return None
    if folder is None:
        try:
            return open_store(default_folder())
        except ProvenanceError:
            if any(default_folder().glob("*")):
                raise
            return None
    return open_store(folder)


def _ring(path: str | None) -> KeyRing | None:
    from auditkit.watermark import keys

    if path == "" or (path is None and not keys.default_path().exists()):
        return None
    ring = keys.load(path)
    if not ring.entries:
        if path is not None:
            raise KeyFileError("the key file holds no key", where=ring.path, mend="auditkit watermark keys new")
        return None
    return ring


def _banks(named: tuple[str, ...] | None) -> list[Bank]:
    from auditkit.provenance import banks

    return [banks.load(each) for each in (banks.paths() if named is None else named)]


def _label(data: bytes) -> dict[str, Any] | None:
    from auditkit.provenance import gb45438

    return gb45438.read_label(data)

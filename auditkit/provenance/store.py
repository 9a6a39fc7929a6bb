"""The manifest store: what was signed, kept so that an image is known again when its manifest was taken off.

One SQLite file. It holds public things alone (manifests, hashes, a thumbnail), and the salts of prompt hashes, which
open them: keep the store where the keys are kept. Readers open it read-only, so that workers may share it.
"""

from __future__ import annotations

import base64
import json
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from auditkit.errors import ProvenanceError
from auditkit.files import sha256
from auditkit.places import home
from auditkit.provenance.containers import find, strip
from auditkit.provenance.fingerprint import thumbnail
from auditkit.provenance.manifest import PDQ_ALGORITHM
from auditkit.provenance.pdq import Pdq, hash_image

if TYPE_CHECKING:
    from PIL.Image import Image

    from auditkit.provenance.signing import Signature

FILE = "manifests.sqlite"
VERSION = 1
RADIUS = 31
"""PDQ distance up to which two images are held against each other: the usual threshold of platforms."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS manifests (
    label TEXT PRIMARY KEY, media_type TEXT NOT NULL, asset_sha256 TEXT NOT NULL, stripped_sha256 TEXT NOT NULL,
    pixels_sha256 TEXT NOT NULL, pdq BLOB NOT NULL, pdq_quality INTEGER NOT NULL, thumbnail BLOB NOT NULL,
    manifest BLOB NOT NULL, spans TEXT NOT NULL, title TEXT NOT NULL, signer TEXT NOT NULL, signed TEXT NOT NULL,
    run TEXT, image TEXT, salt TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS bindings (
    alg TEXT NOT NULL, value BLOB NOT NULL, label TEXT NOT NULL REFERENCES manifests(label),
    PRIMARY KEY (alg, value, label)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS by_stripped ON manifests(stripped_sha256);
CREATE INDEX IF NOT EXISTS by_pixels ON manifests(pixels_sha256);
CREATE INDEX IF NOT EXISTS by_run ON manifests(run, image);
"""


@dataclass(frozen=True)
class Entry:
    """One signed image. Hashes are sha256 in hex: of the signed file, of it without its manifest, of its pixels."""

    label: str
    media_type: str
    asset_sha256: str
    stripped_sha256: str
    pixels_sha256: str
    pdq: Pdq
    thumbnail: bytes = field(repr=False)
    manifest: bytes = field(repr=False)
    spans: tuple[tuple[int, bytes], ...] = field(repr=False)
    """Where in the file the manifest lay; () for one that was kept beside it."""
    title: str
    signer: str
    signed: str
    run: str | None
    image: str | None

    def row(self) -> dict[str, Any]:
        """For tables and answers."""
        return {
            "label": self.label,
            "title": self.title,
            "media_type": self.media_type,
            "signer": self.signer,
            "signed": self.signed,
            "run": self.run,
            "image": self.image,
            "asset_sha256": self.asset_sha256,
            "pdq": self.pdq.hex,
        }


class Store:
    """A manifest store in a folder. Use `open_store`."""

    def __init__(self, folder: Path, connection: sqlite3.Connection):
        self.folder = folder
        self._db = connection

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()

    def __len__(self) -> int:
        return int(self._read("SELECT count(*) FROM manifests")[0][0])

    def add(
        self,
        signature: Signature,
        *,
        title: str,
        signer: str,
        run: str | None = None,
        image: str | None = None,
        hashed: Pdq | None = None,
    ) -> Entry:
        """Keep a signed image's manifest and what finds it again; all of it or nothing.

        Args:
            hashed: the image's perceptual hash, where the caller has taken it already.

        Raises:
            ProvenanceError: the store cannot be written, or has that manifest already.
        """
        found = find(signature.data) if signature.embedded else None
        picture = signature.picture
        entry = Entry(
            signature.label, signature.media_type, signature.sha256, sha256(strip(signature.data)),
            pixels_sha256(picture), hashed or hash_image(picture), thumbnail(picture), signature.manifest,
            found.spans if found is not None else (), title, signer, datetime.now(UTC).isoformat(timespec="seconds"),
            run, image,
        )  # fmt: skip
        spans = json.dumps([[offset, base64.b64encode(span).decode()] for offset, span in entry.spans])
        values = (
            entry.label, entry.media_type, entry.asset_sha256, entry.stripped_sha256, entry.pixels_sha256,
            entry.pdq.bits, entry.pdq.quality, entry.thumbnail, entry.manifest, spans, title, signer, entry.signed, run,
            image, signature.salt,
        )  # fmt: skip
        try:
            with self._db:
                self._db.execute(f"INSERT INTO manifests VALUES ({', '.join('?' * len(values))})", values)
                self._db.executemany(
                    "INSERT INTO bindings VALUES (?, ?, ?)",
                    [(each.algorithm, each.value, entry.label) for each in signature.bindings],
                )
        except sqlite3.IntegrityError:
            raise ProvenanceError(
                "the manifest store has this manifest already", where=entry.label, mend="sign the image anew"
            ) from None
        except sqlite3.Error as error:
            raise self._damaged(error) from None
        self.__dict__.pop("_hashes", None)
        return entry

    def get(self, label: str) -> Entry | None:
        """The entry of that manifest name."""
        return next(self._entries("label = ?", label), None)

    def salt(self, label: str) -> str:
        """What opens the prompt's hash in that manifest, hex; '' where there is none. Not public."""
        rows = self._read("SELECT salt FROM manifests WHERE label = ?", label)
        return str(rows[0][0]) if rows else ""

    def by_stripped(self, sha256: str) -> list[Entry]:
        """Entries whose file, without its manifest, has that hash."""
        return list(self._entries("stripped_sha256 = ?", sha256))

    def by_pixels(self, sha256: str) -> list[Entry]:
        """Entries that show the very same pixels (`pixels_sha256`)."""
        return list(self._entries("pixels_sha256 = ?", sha256))

    def by_binding(self, algorithm: str, value: bytes, *, limit: int = 1000) -> list[Entry]:
        """Entries with that soft binding; of PDQ those within 31 bits, the nearest first."""
        if algorithm == PDQ_ALGORITHM:
            return [entry for entry, _ in self.by_pdq([Pdq(value)])][:limit] if len(value) == 32 else []
        labels = "label IN (SELECT label FROM bindings WHERE alg = ? AND value = ? LIMIT ?)"
        return list(self._entries(labels, algorithm, value, limit))

    def by_pdq(self, forms: Sequence[Pdq], *, radius: int = RADIUS, limit: int = 20) -> list[tuple[Entry, int]]:
        """Entries whose hash is within `radius` bits of one of `forms`, with the distance, the nearest first."""
        if not len(self) or not forms[0].usable:
            return []
        labels, index = self._hashes
        queries = np.stack([np.frombuffer(form.bits, np.uint8) for form in forms])
        nearest: dict[str, int] = {}
        for positions, distances in index.search(queries, radius=radius):
            for position, apart in zip(positions, distances, strict=True):
                label = labels[int(position)]
                nearest[label] = min(nearest.get(label, 256), int(apart))
        chosen = sorted(nearest, key=lambda label: nearest[label])[:limit]
        return [(entry, nearest[label]) for label in chosen for entry in self._entries("label = ?", label)]

    def rows(self, *, limit: int = 100) -> list[dict[str, Any]]:
        """The newest entries, for tables."""
        return [entry.row() for entry in self._entries("1 ORDER BY signed DESC, rowid DESC LIMIT ?", limit)]

    def algorithms(self) -> list[str]:
        """Soft-binding algorithms that the store can look up by."""
        found = [str(row[0]) for row in self._read("SELECT DISTINCT alg FROM bindings ORDER BY alg")]
        return sorted({*found, PDQ_ALGORITHM})

    def watermark_values(self, algorithm: str) -> list[bytes]:
        """Values given out under an algorithm."""
        rows = self._read("SELECT DISTINCT value FROM bindings WHERE alg = ?", algorithm)
        return [bytes(row[0]) for row in rows]

    @cached_property
    def _hashes(self) -> tuple[list[str], Any]:
        """Labels and an index of their usable hashes."""
        from auditkit.provenance.hamming import HammingIndex

        rows = self._read("SELECT label, pdq FROM manifests WHERE pdq_quality >= 50 ORDER BY rowid")
        array = np.frombuffer(b"".join(row[1] for row in rows), np.uint8).reshape(-1, 32)
        return [str(row[0]) for row in rows], HammingIndex(array)

    def _read(self, query: str, *values: Any) -> list[Any]:
        try:
            return self._db.execute(query, values).fetchall()
        except sqlite3.Error as error:  # damage shows when the damaged page is read
            raise self._damaged(error) from None

    def _damaged(self, error: sqlite3.Error) -> ProvenanceError:
        return ProvenanceError(
            f"the manifest store cannot be used: {error}", where=self.folder / FILE, mend="restore it from a copy"
        )

    def _entries(self, where: str, *values: Any) -> Iterator[Entry]:
        columns = (
            "label, media_type, asset_sha256, stripped_sha256, pixels_sha256, pdq, pdq_quality, thumbnail, manifest, "
            "spans, title, signer, signed, run, image"
        )
        for row in self._read(f"SELECT {columns} FROM manifests WHERE {where}", *values):
            spans = tuple((int(offset), base64.b64decode(span)) for offset, span in json.loads(row[9]))
            hashed = Pdq(bytes(row[5]), int(row[6]))
            label, kind, asset, stripped, pixels = row[:5]
            title, signer, signed, run, image = row[10:]
            yield Entry(
                label, kind, asset, stripped, pixels, hashed, bytes(row[7]), bytes(row[8]), spans, title, signer,
                signed, run, image,
            )  # fmt: skip


def default_folder() -> Path:
    """Where the store lies where nothing else is said."""
    return home() / "store"


def open_store(folder: str | Path | None = None, *, create: bool = False) -> Store:
    """Open a manifest store: to read, or with `create` to write, made where it is missing.

    Raises:
        ProvenanceError: there is none, or it is damaged or of a newer version.
    """
    folder = default_folder() if folder is None else Path(folder)
    path = folder / FILE
    if not path.is_file() and not create:
        raise ProvenanceError(
            "there is no manifest store here", where=folder, mend="signing makes it: auditkit sign FILE --store FOLDER"
        )
    try:
        if create:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        # Read-only connections never lock out a writer, and can be many.
        mode = "rwc" if create else "ro"
        connection = sqlite3.connect(
            f"{path.resolve().as_uri()}?mode={mode}", uri=True, timeout=60, check_same_thread=False
        )
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if create and version <= VERSION:
            path.chmod(0o600)
            with connection:
                connection.executescript(_SCHEMA)
                connection.execute(f"PRAGMA user_version = {VERSION}")
        if version <= VERSION:
            for table in ("manifests", "bindings"):
                connection.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchone()
    except (sqlite3.Error, OSError) as error:
        raise ProvenanceError(
            f"the manifest store cannot be opened: {error}", where=path, mend="restore it from a copy, or name another"
        ) from None
    if version > VERSION:
        connection.close()
        raise ProvenanceError(
            f"the store has version {version}, and this auditkit reads up to {VERSION}",
            where=path,
            mend="upgrade auditkit",
        )
    return Store(folder, connection)


def pixels_sha256(image: Image) -> str:
    """sha256 over width, height and the upright 8-bit RGB values: the same for every lossless copy."""
    rgb = image.convert("RGB")
    return sha256(f"{rgb.width}x{rgb.height} RGB\0".encode() + rgb.tobytes())

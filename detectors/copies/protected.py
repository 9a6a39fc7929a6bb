"""A registry of protected works: is a picture made from one of mine?

One SQLite file in `auditkit.places.home()`, which only its owner can read. Of a work it keeps prints (whole-image
embedding, PDQ, the hash of its pixels) with title, owner, licence and a note, never the picture. How near unrelated
pictures come is known from prints of such pictures, kept beside the works, so that every verdict is for the works that
are registered at the time. No face is found, cut out or compared; portraits are works like others, and a face cut out
of a picture is no work: do not add one.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from auditkit import places
from auditkit.errors import DetectorError
from auditkit.provenance.bank_entries import now
from detectors.copies.calibration import RATE, Calibration, Copies
from detectors.copies.finding import Found, judge
from detectors.copies.prints import Picture, Prints, take_all
from detectors.copies.search import Block, search

if TYPE_CHECKING:
    from auditkit.clip.encoders import Encoder

_APPLICATION = 0x61756B70  # 'aukp', in the file's header
_TABLES = """
    CREATE TABLE about (encoder TEXT NOT NULL, encoder_sha256 TEXT NOT NULL, dim INTEGER NOT NULL);
    CREATE TABLE work (id INTEGER PRIMARY KEY AUTOINCREMENT, title TEXT NOT NULL, owner TEXT NOT NULL,
                       licence TEXT NOT NULL, note TEXT NOT NULL, added TEXT NOT NULL, pixels BLOB NOT NULL UNIQUE,
                       pdq BLOB NOT NULL, usable INTEGER NOT NULL, embedding BLOB NOT NULL);
    CREATE TABLE unrelated (pixels BLOB PRIMARY KEY, pdq BLOB NOT NULL, usable INTEGER NOT NULL,
                            embedding BLOB NOT NULL);
"""
WORDS = {"copy": "near match", "possible": "possible match"}
"""A verdict on a protected work, where it is another than that on a training picture."""


@dataclass(frozen=True)
class Work:
    """A registered work; `id` is what it is removed by."""

    id: int
    title: str
    owner: str
    licence: str
    note: str
    added: str


@dataclass
class Added:
    """What became of the pictures given."""

    added: list[int] = field(default_factory=list)
    known: list[str] = field(default_factory=list)
    """Pictures whose very pixels were there already."""


def path() -> Path:
    """The user's own registry: 'protected.sqlite' in `auditkit.places.home()`."""
    return places.home() / "protected.sqlite"


class Registry:
    """A registry in a file; made with the first work or unrelated picture that is added.

    Args:
        file: `path()` by default.
    """

    def __init__(self, file: str | Path | None = None):
        self.path = path() if file is None else Path(file)

    def add(
        self,
        pictures: Iterable[Picture],
        *,
        encoder: Encoder,
        owner: str,
        title: str = "",
        licence: str = "",
        note: str = "",
        progress: Callable[[int], None] | None = None,
    ) -> Added:
        """Register works, all or none; the title is each picture's name unless given.

        Raises:
            DetectorError: no owner, no pictures, or another encoder than the registry's. ImageError.
        """
        if not owner.strip():
            raise DetectorError("a protected work has an owner", where="owner", mend="say whose it is: --owner NAME")
        prints = Prints.together(take_all(pictures, encoder, mirrored=False, progress=progress), encoder.dim)
        if not len(prints):
            raise DetectorError("there are no images to add", mend="name images, or folders of images")
        done = Added()
        with self._open(encoder) as connection:
            for row, values in enumerate(_rows(prints)):
                facts = (title or prints.names[row], owner, licence, note, now())
                made = connection.execute(
                    "INSERT OR IGNORE INTO work (title, owner, licence, note, added, pixels, pdq, usable, embedding) "
                    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    (*facts, *values),
                )
                if made.rowcount:
                    done.added.append(int(made.lastrowid or 0))
                else:
                    done.known.append(prints.names[row])
        return done

    def add_unrelated(
        self, pictures: Iterable[Picture], *, encoder: Encoder, progress: Callable[[int], None] | None = None
    ) -> int:
        """Learn how near unrelated pictures come, of the kind that will be checked; how many are known now.

        Args:
            pictures: made from none of the works, and independent of one another.

        Raises:
            DetectorError: one is a registered work, or another encoder than the registry's. ImageError.
        """
        prints = Prints.together(take_all(pictures, encoder, progress=progress), encoder.dim)
        if not len(prints):
            raise DetectorError("there are no unrelated images", mend="name a folder of images")
        with self._open(encoder) as connection:
            works = {bytes(row[0]) for row in connection.execute("SELECT pixels FROM work")}
            for name, pixels in zip(prints.names, prints.pixels, strict=True):
                if pixels.tobytes() in works:
                    raise DetectorError(
                        "an image that was called unrelated is a registered work, pixel for pixel",
                        where=name,
                        mend="leave it out",
                    )
            connection.executemany("INSERT OR IGNORE INTO unrelated VALUES (?, ?, ?, ?)", _rows(prints, whole=True))
            return int(connection.execute("SELECT count(*) FROM unrelated").fetchone()[0])

    def works(self) -> list[Work]:
        """All works, in the order in which they were added; none where there is no registry."""
        if not self.path.is_file():
            return []
        with self._open() as connection:
            rows = connection.execute("SELECT id, title, owner, licence, note, added FROM work ORDER BY id").fetchall()
        return [Work(*row) for row in rows]

    def unrelated(self) -> int:
        """How many unrelated pictures are known."""
        if not self.path.is_file():
            return 0
        with self._open() as connection:
            return int(connection.execute("SELECT count(*) FROM unrelated").fetchone()[0])

    def remove(self, ids: Sequence[int]) -> int:
        """Forget works, prints and all; how many there were.

        Raises:
            DetectorError: a number that no work has; then none is removed.
        """
        missing = sorted(set(ids) - {work.id for work in self.works()})
        if missing or not ids:
            raise DetectorError(
                f"there is no work {missing[0]}" if missing else "it was not said which work to remove",
                where=self.path,
                mend="see auditkit protected list",
            )
        with self._open() as connection:
            connection.execute("PRAGMA secure_delete = ON")  # what was forgotten is not to be found in the file
            connection.executemany("DELETE FROM work WHERE id = ?", [(each,) for each in set(ids)])
        return len(set(ids))

    def encoder(self) -> str | None:
        """The name of the encoder that made its prints; None while there is nothing in it."""
        if not self.path.is_file():
            return None
        with self._open() as connection:
            row = connection.execute("SELECT encoder FROM about").fetchone()
        return None if row is None else str(row[0])

    def check(
        self,
        pictures: Iterable[Picture],
        *,
        encoder: Encoder,
        rate: float = RATE,
        progress: Callable[[int], None] | None = None,
    ) -> Found:
        """Hold pictures against all works. Verdicts are 'near match', 'possible match', 'no match' or the status.

        A match says that two pictures look alike as wholes. It does not say that one was made from the other, nor that
        a right is infringed; no match does not say that none was used.

        Raises:
            DetectorError: no works, no pictures, another encoder, a rate outside (0, 0.5]. ImageError.
        """
        works = self.works()
        if not works:
            mend = "add some: auditkit protected add FOLDER --owner NAME"
            raise DetectorError("no works are registered", where=self.path, mend=mend)
        with self._open(encoder) as connection:
            block = _block(connection.execute("SELECT pixels, pdq, usable, embedding FROM work ORDER BY id").fetchall())
            others = _prints(connection.execute("SELECT * FROM unrelated").fetchall(), encoder.dim)
        prints = Prints.together(take_all(pictures, encoder, progress=progress), encoder.dim)
        if not len(prints):
            raise DetectorError("there are no images to look at", mend="name images, a folder of images, or a run")
        calibration = None
        if len(others):
            apart = search(others, [block])
            nothing = np.zeros((0, 0))
            calibration = Calibration(
                "protected", encoder.sha256, len(works), apart.cosine[:, 0].astype(np.float64), apart.bits,
                Copies([], nothing, nothing.astype(np.int64), nothing.astype(bool)),
            )  # fmt: skip
        names = {at: work.title for at, work in enumerate(works)}
        nearest = search(prints, [block])
        found = judge(prints.names, nearest, names, calibration, rate=rate)
        at = np.where(nearest.same >= 0, nearest.same, nearest.position[:, 0])
        table = found.table.assign(
            verdict=[WORDS.get(each, each) for each in found.table["verdict"]],
            work=[works[int(each)].id for each in at],
            owner=[works[int(each)].owner for each in at],
            licence=[works[int(each)].licence for each in at],
        )
        return Found(table, rate, found.size, found.thresholds, found.status, {"registry": str(self.path)})

    @contextlib.contextmanager
    def _open(self, encoder: Encoder | None = None) -> Iterator[sqlite3.Connection]:
        """A connection that commits when nothing was raised. With an encoder the file is made, or must be of it."""
        try:
            if encoder is not None and not self.path.exists():
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self.path.touch(mode=0o600, exist_ok=True)
            uri = f"{self.path.resolve().as_uri()}?mode=rw"
            with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=30)) as connection:
                connection.execute("PRAGMA trusted_schema = OFF")
                if encoder is not None and not connection.execute("PRAGMA schema_version").fetchone()[0]:
                    connection.executescript(f"BEGIN; {_TABLES} PRAGMA application_id = {_APPLICATION}; COMMIT;")
                if connection.execute("PRAGMA application_id").fetchone()[0] != _APPLICATION:
                    raise self._damaged()
                with connection:
                    if encoder is not None:
                        self._check(connection, encoder)
                    yield connection
        except (sqlite3.OperationalError, OSError) as error:
            what = f"the registry cannot be opened: {error}"
            raise DetectorError(what, where=self.path, mend="check its permissions") from None
        except (sqlite3.DatabaseError, ValueError):
            raise self._damaged() from None

    def _check(self, connection: sqlite3.Connection, encoder: Encoder) -> None:
        row = connection.execute("SELECT encoder, encoder_sha256 FROM about").fetchone()
        if row is None:
            values = (encoder.source, encoder.sha256, encoder.dim)
            connection.execute("INSERT INTO about VALUES (?, ?, ?)", values)
        elif row[1] != encoder.sha256:
            raise DetectorError(
                f"the registry was made with another encoder than {encoder.source}",
                where=self.path,
                mend=f"use --encoder {row[0]}, or another --registry",
            )

    def _damaged(self) -> DetectorError:
        what = "the file is no registry of protected works, or a damaged one"
        return DetectorError(what, where=self.path, mend="restore it from a copy")


def as_rows(works: Iterable[Work]) -> list[dict[str, Any]]:
    """For JSON and tables."""
    return [asdict(work) for work in works]


def _rows(prints: Prints, *, whole: bool = False) -> Iterator[tuple[bytes, bytes, int, bytes]]:
    """pixels, pdq, usable, embedding; `whole` keeps all forms of the hash and both views."""
    half = prints.embeddings.astype("<f2")
    for row in range(len(prints)):
        pdq, views = (prints.pdq[row], half[row]) if whole else (prints.pdq[row, 0], half[row, 0])
        yield prints.pixels[row].tobytes(), pdq.tobytes(), int(prints.usable[row]), views.tobytes()


def _block(rows: list[tuple[bytes, bytes, int, bytes]]) -> Block:
    pixels, pdq, usable, embedding = zip(*rows, strict=True)
    raw = np.frombuffer(b"".join(embedding), "<f2").astype(np.float32).reshape(len(rows), -1)
    return Block(
        0,
        raw / np.linalg.norm(raw, axis=1, keepdims=True),
        np.frombuffer(b"".join(pdq), np.uint8).reshape(len(rows), 32),
        np.array(usable, bool),
        np.frombuffer(b"".join(pixels), np.uint8).reshape(len(rows), 32),
    )


def _prints(rows: list[tuple[bytes, bytes, int, bytes]], dim: int) -> Prints:
    if not rows:
        return Prints.together([], dim)
    pixels, pdq, usable, embedding = zip(*rows, strict=True)
    raw = np.frombuffer(b"".join(embedding), "<f2").astype(np.float32).reshape(len(rows), 2, dim)
    return Prints(
        [f"unrelated {number}" for number in range(len(rows))],
        np.frombuffer(b"".join(pixels), np.uint8).reshape(len(rows), 32),
        raw / np.linalg.norm(raw, axis=2, keepdims=True),
        np.frombuffer(b"".join(pdq), np.uint8).reshape(len(rows), 8, 32),
        np.array(usable, bool),
    )

"""An append-only transparency log of what was generated and signed: a Merkle tree (RFC 6962) in a folder.

    log = Log.ensure()                                     # $AUDITKIT_HOME/log, made where it is missing
    log.append(Entry("signed", sha256, manifest=manifest_sha256, run=run_id, keys=(key_id,)))
    log.checkpoint(load_signer("log.key", log.origin))     # publish its text: it pins everything up to here
    log.prove(log.find(sha256)[0]).save("proof.json")      # verified offline, without the log

Whoever can write the folder can write it anew, so that only a checkpoint that somebody else keeps binds its keeper.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from secrets import token_hex
from typing import Any

from auditkit.errors import ProvenanceError, TrustError
from auditkit.files import write_atomic, write_json
from auditkit.places import home
from auditkit.provenance import merkle
from auditkit.provenance.log_entry import Entry
from auditkit.provenance.log_index import Index
from auditkit.provenance.log_proof import ConsistencyProof, InclusionProof
from auditkit.provenance.log_store import CHUNK, Store
from auditkit.provenance.log_verify import Verification, verify_store
from auditkit.provenance.notes import (
    Checkpoint,
    PublicKey,
    Signer,
    check_name,
    read_checkpoint,
    verify_note,
    write_checkpoint,
)

RECORD = "log.json"
CHECKPOINT = "checkpoint"
"""The last checkpoint, beside the log: no later one may contradict it."""
VERSION = 1


def default_folder() -> Path:
    """Where the log lies unless another place is named."""
    return home() / "log"


class Log:
    """A log. Get one with `Log.create`, `Log.open` or `Log.ensure`. Several processes may use it at once."""

    def __init__(self, folder: Path, origin: str, key: PublicKey | None):
        self.folder = folder
        self.origin = origin
        """The log's name, unique among logs; the first line of its checkpoints."""
        self.key = key
        """Who signs its checkpoints, if that was said when it was made."""
        self._store = Store(folder)
        self._index = Index(folder / "index.sqlite")

    @classmethod
    def create(
        cls, folder: str | Path | None = None, *, origin: str | None = None, key: PublicKey | None = None
    ) -> Log:
        """Make an empty log.

        Args:
            origin: its name, best a URL without scheme that is yours (example.com/images); random by default.
            key: who alone may sign its checkpoints.

        Raises:
            ProvenanceError: there is a log already, the folder is not empty or cannot be written.
            TrustError: the origin has spaces or a plus.
        """
        folder = default_folder() if folder is None else Path(folder)
        origin = origin or (key.name if key else f"auditkit-log/{token_hex(8)}")
        check_name(origin)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            made = cls(folder, origin, key)
            with made._store.locked():
                files = (made._store.entries, made._store.nodes, made._store.ends)
                # What a killed `create` left may stay: these files, empty.
                if any(file not in files or file.stat().st_size for file in folder.iterdir()):
                    raise ProvenanceError(
                        "the folder is not empty, and a log never replaces anything", where=folder,
                        mend="name another folder (--log)",
                    )  # fmt: skip
                for file in files:
                    file.touch()
                record = {"version": VERSION, "origin": origin, "key": None if key is None else str(key)}
                write_json(folder / RECORD, record)  # last: with it the log is whole
        except OSError as error:
            raise ProvenanceError(
                f"the log cannot be made: {error.strerror}",
                where=folder,
                mend="name a folder that can be written (--log)",
            ) from error
        return made

    @classmethod
    def open(cls, folder: str | Path | None = None) -> Log:
        """Open a log, and take in what a killed process left of it.

        A log that has lost entries opens too, so that `verify` can say which.

        Raises:
            ProvenanceError: there is none, or its record is damaged.
        """
        folder = default_folder() if folder is None else Path(folder)
        try:
            record: Any = json.loads((folder / RECORD).read_bytes())
            if record["version"] != VERSION:
                raise ValueError(f"version {record['version']}")
            key = record["key"]
            log = cls(folder, str(record["origin"]), None if key is None else PublicKey.parse(key))
        except FileNotFoundError:
            raise ProvenanceError("there is no log", where=folder, mend="auditkit log new") from None
        except (OSError, ValueError, KeyError, TypeError, TrustError) as error:
            raise ProvenanceError(
                f"the log's record is damaged: {error}", where=folder / RECORD, mend="restore it from a copy"
            ) from error
        with suppress(ProvenanceError):  # lost entries, or a folder that is not ours to write
            if not log._store.whole():
                log._settle()
        return log

    @classmethod
    def ensure(cls, folder: str | Path | None = None) -> Log:
        """Open the log; make it first, without a key, where there is none."""
        folder = default_folder() if folder is None else Path(folder)
        if not (folder / RECORD).exists():
            with suppress(ProvenanceError):  # another process was quicker; if not, opening says what is wrong
                return cls.create(folder)
        return cls.open(folder)

    def __len__(self) -> int:
        return self._store.size()

    def append(self, entries: Entry | Iterable[Entry], *, progress: Callable[[int], None] | None = None) -> range:
        """Add an entry, or many, which is much quicker than one by one; their positions.

        What was appended is on the disk. A batch reaches it in parts, in order: a killed process leaves its beginning.

        Args:
            progress: called with the number of entries added so far.

        Raises:
            ProvenanceError: the disk is full, the folder cannot be written, or the log has lost entries.
        """
        batch = [entries] if isinstance(entries, Entry) else entries
        with self._store.locked():
            if not self._store.whole():
                self._store.repair()
            before = after = len(self)
            for after in self._store.append(entry.line() for entry in batch):
                if progress:
                    progress(after - before)
        return range(before, after)

    def entries(self, start: int = 0, stop: int | None = None) -> Iterator[Entry]:
        """The entries from `start` on, up to but not including `stop`."""
        size = len(self)
        for line in self._store.lines(max(start, 0), size if stop is None else min(stop, size)):
            yield Entry.parse(line)

    def entry(self, index: int) -> Entry:
        """The entry at a position.

        Raises:
            ProvenanceError: the log has no such entry, or has lost it.
        """
        self._check(index < len(self) and index >= 0, f"the log has no entry {index}")
        return next(self.entries(index, index + 1))

    def find(self, sha256: str) -> list[int]:
        """Positions of the entries about an asset, in order. The first call after many appends brings the index up."""
        self._check(bool(re.fullmatch(r"[0-9a-f]{64}", sha256)), f"{sha256!r:.80} is not a sha256 of 64 hex digits")
        size = len(self)
        try:
            while (start := self._index.count()) < size:
                part = self.entries(start, min(start + 64 * CHUNK, size))
                self._index.extend([entry.sha256 for entry in part], start=start)
            places = self._index.look_up(sha256)
        except ProvenanceError:  # an index that cannot be used or written makes the search slow, not wrong
            return [i for i, entry in enumerate(self.entries()) if entry.sha256 == sha256]
        return [i for i in places if i < size and self.entry(i).sha256 == sha256]

    def root(self, size: int | None = None) -> bytes:
        """The root hash, bytes [32], of the log as it is, or was when it had `size` entries."""
        size = self._size(size)
        with self._store.node() as node:
            return merkle.root(node, size)

    def inclusion(self, index: int, *, size: int | None = None) -> list[bytes]:
        """The hashes that lead from an entry to the root, in the log as it is or was; O(log size) reads."""
        size = self._size(size)
        self._check(0 <= index < size, f"the log of {size} entries has no entry {index}")
        with self._store.node() as node:
            return merkle.inclusion_proof(node, index=index, size=size)

    def consistency(self, old_size: int, new_size: int | None = None) -> list[bytes]:
        """The hashes that show that the log only grew between two sizes; O(log size) reads."""
        new_size = self._size(new_size)
        self._check(0 <= old_size <= new_size, f"a log of {new_size} entries cannot go on from one of {old_size}")
        with self._store.node() as node:
            return merkle.consistency_proof(node, old_size=old_size, new_size=new_size)

    def checkpoint(self, signer: Signer | None = None) -> Checkpoint:
        """What the log is now, as a note to publish; it is kept beside the log too, unless a signed one is there.

        Raises:
            TrustError: the log was made for another key.
            ProvenanceError: the log contradicts its last checkpoint, and signing this would be equivocation.
        """
        if signer and self.key and signer.key != self.key:
            raise TrustError(
                f"the log's checkpoints are signed by {self.key}, not by {signer.key}", where=self.folder,
                mend="give the key that the log was made with (--key)",
            )  # fmt: skip
        with self._store.locked():
            last, size = self.last_checkpoint(), len(self)
            if last and (last.size > size or self.root(last.size) != last.root):
                raise ProvenanceError(
                    "the log does not go on from its last checkpoint, and must not sign another history",
                    where=self.folder, mend="find what was changed: auditkit log verify; then restore a copy",
                )  # fmt: skip
            made = write_checkpoint(self.origin, signer, size=size, root=self.root(size))
            if signer or not (last and last.signed):
                write_atomic(self.folder / CHECKPOINT, made.text.encode())
        return made

    def last_checkpoint(self) -> Checkpoint | None:
        """The checkpoint kept beside the log, or None. Its signature is held against the log's key, if that is known.

        Raises:
            ProvenanceError: it is damaged, or of another log.
            TrustError: the key did not sign it.
        """
        path = self.folder / CHECKPOINT
        try:
            found = read_checkpoint(path.read_bytes().decode(), where=path)
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            raise ProvenanceError(
                f"the last checkpoint cannot be read: {error}", where=path, mend="restore a copy"
            ) from None
        if found.origin != self.origin:
            raise ProvenanceError(
                f"the last checkpoint is of another log, {found.origin}", where=path, mend="restore a copy"
            )
        if found.signed and self.key:
            verify_note(found.text, self.key)
        return found

    def prove(self, index: int, *, checkpoint: Checkpoint | None = None) -> InclusionProof:
        """A proof that the entry is in the log, for a file of its own.

        Args:
            checkpoint: what to prove it against; the log as it is, unsigned, by default.

        Raises:
            ProvenanceError: the checkpoint is older than the entry, or not of this log.
        """
        against = self._against(checkpoint)
        entry, hashes = self.entry(index), self.inclusion(index, size=against.size)
        return InclusionProof(entry, index, against.size, against.root, tuple(hashes), against.text)

    def prove_consistency(self, old: Checkpoint, *, new: Checkpoint | None = None) -> ConsistencyProof:
        """A proof that the log only grew since an earlier checkpoint, for a file of its own.

        Where the log was rewritten, the proof is made all the same, and does not verify.

        Raises:
            ProvenanceError: the earlier checkpoint is of another log, or of more entries than the log has.
        """
        self._check(old.origin == self.origin, f"the earlier checkpoint is of another log, {old.origin}")
        against = self._against(new)
        hashes = self.consistency(old.size, against.size)
        return ConsistencyProof(old.size, old.root, against.size, against.root, tuple(hashes), against.text)

    def verify(
        self, checkpoint: Checkpoint | None = None, *, progress: Callable[[int, int], None] | None = None
    ) -> Verification:
        """Recompute everything from the entries; what differs, with the first entry that does.

        Args:
            checkpoint: an earlier one, from elsewhere, which the log must go on from.
        """
        self._check(checkpoint is None or checkpoint.origin == self.origin, "the checkpoint is of another log")
        return verify_store(self._store, self._index, [*self._kept(), *([checkpoint] if checkpoint else [])], progress)

    def _kept(self) -> list[Checkpoint | ProvenanceError | TrustError]:
        try:
            last = self.last_checkpoint()
        except (ProvenanceError, TrustError) as error:
            return [error]
        return [last] if last else []

    def _against(self, checkpoint: Checkpoint | None) -> Checkpoint:
        if checkpoint is None:
            size = len(self)
            return write_checkpoint(self.origin, None, size=size, root=self.root(size))
        same = checkpoint.origin == self.origin and self.root(checkpoint.size) == checkpoint.root
        self._check(same, "the checkpoint is not of this log, or the log was changed since")
        return checkpoint

    def _size(self, size: int | None) -> int:
        here = len(self)
        self._check(size is None or 0 <= size <= here, f"the log has {here} entries, and never had {size}")
        return here if size is None else size

    def _settle(self) -> None:
        with self._store.locked():
            if not self._store.whole():
                self._store.repair()

    def _check(self, holds: bool, what: str) -> None:
        if not holds:
            raise ProvenanceError(what, where=self.folder, mend="auditkit log show tells what the log holds")

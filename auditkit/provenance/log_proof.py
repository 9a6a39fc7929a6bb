"""Proofs in files of their own: JSON that is verified offline, from its bytes, a checkpoint and a public key.

A proof holds against a root. Whether that root is the log's is for a checkpoint to say that the reader has from the log
directly or whose signature is the log's; a proof that is held against neither vouches for itself alone.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from auditkit.errors import AuditkitError, ProvenanceError
from auditkit.files import write_json
from auditkit.provenance import merkle
from auditkit.provenance.log_entry import Entry
from auditkit.provenance.notes import Checkpoint, PublicKey, read_checkpoint, verify_note

INCLUSION = "auditkit.log.inclusion.1"
CONSISTENCY = "auditkit.log.consistency.1"
MOST_BYTES = 4 << 20


@dataclass(frozen=True)
class Check:
    """One thing that was looked at: `holds` is None where there was nothing to hold it against."""

    name: str
    holds: bool | None
    detail: str


@dataclass(frozen=True)
class InclusionProof:
    """That the tree of `size` entries under `root` (bytes [32]) holds `entry` at `index`."""

    entry: Entry
    index: int
    size: int
    root: bytes
    hashes: tuple[bytes, ...]
    checkpoint: str
    """The text of the log's checkpoint of that size."""

    def as_dict(self) -> dict[str, Any]:
        return {
            "type": INCLUSION,
            "entry": self.entry.as_dict(),
            "index": self.index,
            "size": self.size,
            "root": self.root.hex(),
            "hashes": [each.hex() for each in self.hashes],
            "checkpoint": self.checkpoint,
        }

    def save(self, path: str | Path) -> None:
        """Write the proof as JSON."""
        write_json(Path(path), self.as_dict())

    def verify(
        self, *, checkpoint: Checkpoint | None = None, key: PublicKey | None = None, sha256: str | None = None
    ) -> list[Check]:
        """What the proof is worth; it holds where no check fails.

        Args:
            checkpoint: the log's, from elsewhere; the proof must be for that one.
            key: the log's public key, which must have signed the checkpoint given, or else the proof's own.
            sha256: the asset's, whose entry it must be.
        """
        leaf = merkle.leaf_hash(self.entry.line())
        holds = merkle.verify_inclusion(leaf, self.hashes, index=self.index, size=self.size, root=self.root)
        what = f"the entry is number {self.index} of {self.size}" if holds else "the entry does not lead to the root"
        checks = [Check("inclusion", holds, what)]
        if sha256 is not None:
            same = sha256 == self.entry.sha256
            checks.append(Check("asset", same, f"the entry is {'' if same else 'not '}about this file"))
        return checks + _vouched(_own(self.checkpoint), self.size, self.root, given=checkpoint, key=key)


@dataclass(frozen=True)
class ConsistencyProof:
    """That the tree of `size` entries under `root` begins with the one of `old_size` under `old_root`, unchanged."""

    old_size: int
    old_root: bytes
    size: int
    root: bytes
    hashes: tuple[bytes, ...]
    checkpoint: str
    """The text of the log's later checkpoint."""

    def as_dict(self) -> dict[str, Any]:
        return {
            "type": CONSISTENCY,
            "old_size": self.old_size,
            "old_root": self.old_root.hex(),
            "size": self.size,
            "root": self.root.hex(),
            "hashes": [each.hex() for each in self.hashes],
            "checkpoint": self.checkpoint,
        }

    def save(self, path: str | Path) -> None:
        """Write the proof as JSON."""
        write_json(Path(path), self.as_dict())

    def verify(self, *, checkpoint: Checkpoint | None = None, key: PublicKey | None = None) -> list[Check]:
        """What the proof is worth; it holds where no check fails.

        Args:
            checkpoint: the earlier one, as its reader kept it.
            key: the log's public key, which must have signed the proof's later checkpoint.
        """
        holds = merkle.verify_consistency(
            self.hashes, old_size=self.old_size, old_root=self.old_root, new_size=self.size, new_root=self.root
        )
        what = f"the log only grew, from {self.old_size} to {self.size} entries"
        checks = [Check("consistency", holds, what if holds else "the log was changed between the two checkpoints")]
        if checkpoint is None:
            checks.append(Check("earlier checkpoint", None, "not given: only the proof says what the log was"))
        else:
            same = (checkpoint.size, checkpoint.root) == (self.old_size, self.old_root)
            what = f"the proof begins with {'the checkpoint given' if same else 'another checkpoint'}"
            checks.append(Check("earlier checkpoint", same, what))
        return checks + _vouched(_own(self.checkpoint), self.size, self.root, given=None, key=key)


def read_proof(path: str | Path) -> InclusionProof | ConsistencyProof:
    """The proof that a file holds.

    Raises:
        ProvenanceError: the file cannot be read, or is no proof.
    """
    path = Path(path)
    try:
        with path.open("rb") as stream:
            data = stream.read(MOST_BYTES + 1)
        if len(data) > MOST_BYTES:
            raise ValueError("it is too large")
        value = json.loads(data)
        hashes = tuple(bytes.fromhex(each) for each in value["hashes"])
        later = (_number(value["size"]), bytes.fromhex(value["root"]), hashes, str(value["checkpoint"]))
        if value["type"] == INCLUSION:
            return InclusionProof(Entry.from_dict(value["entry"]), _number(value["index"]), *later)
        if value["type"] == CONSISTENCY:
            return ConsistencyProof(_number(value["old_size"]), bytes.fromhex(value["old_root"]), *later)
        raise ValueError("its type is unknown")
    except OSError as error:
        raise ProvenanceError(
            f"the proof cannot be read: {error.strerror}", where=path, mend="check the path"
        ) from None
    except (ValueError, KeyError, TypeError, RecursionError, AuditkitError) as error:
        raise ProvenanceError(
            f"this is not a proof of a log: {error.what if isinstance(error, AuditkitError) else error!r}", where=path,
            mend="make one: auditkit log prove, or auditkit log consistency",
        ) from None  # fmt: skip


def _number(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 1 << 63:
        raise ValueError(f"{value!r:.40} is no number of entries")
    return value


def _own(text: str) -> Checkpoint | None:
    try:
        return read_checkpoint(text)
    except ProvenanceError:
        return None


def _vouched(
    own: Checkpoint | None, size: int, root: bytes, *, given: Checkpoint | None, key: PublicKey | None
) -> list[Check]:
    """Who vouches for the root: the checkpoint given, else the proof's own, and the log's signature on it."""
    against = given or own
    holds = against is not None and (against.size, against.root) == (size, root)
    if against is None:
        what = "the proof's checkpoint is damaged"
    elif holds:
        whose = "checkpoint given" if given else "proof's own checkpoint"
        what = f"the root is that of the {whose}: {against.origin}, {size} entries"
    elif against.size != size:
        what = f"the proof is for {size} entries, the checkpoint for {against.size}: ask for a proof for that one"
    else:
        what = "the checkpoint has another root: this is not the log that it was made of"
    checks = [Check("checkpoint", holds, what)]
    if key is None:
        what = "not checked" + (
            "" if given else ": nobody but the proof itself vouches for its root (--checkpoint, --key)"
        )
        return [*checks, Check("signature", None, what)]
    try:
        verify_note("" if against is None else against.text, key)
    except AuditkitError as error:
        return [*checks, Check("signature", False, error.what)]
    return [*checks, Check("signature", True, f"signed by {key.name} ({key.id.hex()})")]

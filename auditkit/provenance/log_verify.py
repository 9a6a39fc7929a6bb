"""Holding a log against itself: everything recomputed from its entries, and the first that differs by name."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import BinaryIO

from auditkit.errors import AuditkitError, ProvenanceError
from auditkit.provenance import merkle
from auditkit.provenance.log_entry import Entry
from auditkit.provenance.log_index import Index, key_of
from auditkit.provenance.log_store import CHUNK, END, MOST_LINE, Store, opened
from auditkit.provenance.notes import Checkpoint

_ENTRIES = {
    "changed": "entry {n} is not the one that was appended",
    "removed": "entry {n} was removed",
    "inserted": "an entry was put in before entry {n}",
    "reordered": "entries {n} and {next} changed places",
}


@dataclass(frozen=True)
class LogProblem:
    """One thing that is not as it should be.

    `kind` is one of: changed, removed, inserted, reordered, gone (the entry at `index`); damaged, node, end (what is
    stored for it); unfinished, index, checkpoint.
    """

    kind: str
    index: int | None
    detail: str


@dataclass(frozen=True)
class Verification:
    """What recomputing a log found; no problems: all is well."""

    size: int
    root: bytes
    """Of the entries as they are now, bytes [32]."""
    problems: tuple[LogProblem, ...]

    @property
    def ok(self) -> bool:
        return not self.problems


def verify_store(
    store: Store,
    index: Index,
    checkpoints: Sequence[Checkpoint | AuditkitError],
    progress: Callable[[int, int], None] | None = None,
) -> Verification:
    """Read every entry once, and hold what is stored beside them against it. Memory does not grow with the log.

    Args:
        checkpoints: what the log must go on from; an error stands for one that could not be read.
    """
    size, n, at = store.size(), 0, 0
    wanted = {each.size for each in checkpoints if isinstance(each, Checkpoint)}
    roots = {0: merkle.EMPTY_ROOT}
    edge: list[bytes] = []
    first: LogProblem | None = None
    keys = _Keys(index, size)
    with ExitStack() as stack:
        entries, nodes, ends = (stack.enter_context(opened(file)) for file in (store.entries, store.nodes, store.ends))
        while n < size and (line := entries.readline(MOST_LINE)):
            made = merkle.grow(edge, merkle.leaf_hash(line.removesuffix(b"\n")), size=n)
            at += len(line)
            if first is None:  # what comes after it would differ for its sake alone
                first = _differs(n, at, made, entries, nodes, ends) or keys.hold(n, line)
            n += 1
            if n in wanted:
                roots[n] = merkle.root_of(edge)
            if progress and (n % CHUNK == 0 or n == size):
                progress(n, size)
    if first is None and n < size:
        first = LogProblem("gone", n, f"entry {n} and what came after it are gone: {size} were appended")
    # After the first entry that differs, the lengths say nothing more.
    found = [first or _unfinished(store, size), keys.problem, *(_contradicts(each, n, roots) for each in checkpoints)]
    return Verification(n, merkle.root_of(edge), tuple(each for each in found if each))


def _differs(
    n: int, at: int, made: list[bytes], entries: BinaryIO, nodes: BinaryIO, ends: BinaryIO
) -> LogProblem | None:
    """What is stored for entry n, held against the nodes that it makes and against where it ends."""
    stored, end = nodes.read(merkle.HASH_BYTES * len(made)), ends.read(END.size)
    leaf = stored[: merkle.HASH_BYTES]
    if leaf != made[0]:
        here = entries.tell()
        following = merkle.leaf_hash(entries.readline(MOST_LINE).removesuffix(b"\n"))
        entries.seek(here)
        place = merkle.HASH_BYTES * merkle.stored_position(0, n + 1)
        next_leaf = os.pread(nodes.fileno(), merkle.HASH_BYTES, place)
        kind = {(True, True): "reordered", (True, False): "removed", (False, True): "inserted"}.get(
            (next_leaf == made[0], following == leaf), "changed"
        )
        return LogProblem(kind, n, _ENTRIES[kind].format(n=n, next=n + 1))
    if stored != b"".join(made):
        return LogProblem("node", n, f"the entries are whole up to {n}, but not the tree's nodes stored over them")
    if end != END.pack(at):
        return LogProblem("end", n, f"entry {n} does not end where it did when it was appended")
    return None


class _Keys:
    """Holds the index against the entries, as they come by."""

    def __init__(self, index: Index, size: int):
        self.problem: LogProblem | None = None
        self._rows, self._count = index.rows(), 0
        if not index.path.exists():  # it is made by the first search
            return
        try:
            self._count = index.count()
        except ProvenanceError as error:
            self.problem = LogProblem("index", None, error.what)
        if self._count > size:
            self.problem = LogProblem("index", size, "the index holds entries that the log does not")

    def hold(self, n: int, line: bytes) -> LogProblem | None:
        """Look at entry n; the problem of the entry itself, where it is none."""
        try:
            entry = Entry.parse(line.removesuffix(b"\n"))
        except ProvenanceError as error:
            return LogProblem("damaged", n, error.what)
        if n < self._count and self.problem is None:
            try:
                same = next(self._rows, None) == (n, key_of(entry.sha256))
            except ProvenanceError:
                same = False
            if not same:
                what = f"the index has entry {n} otherwise, so that searches may miss it; remove index.sqlite"
                self.problem = LogProblem("index", n, what)
        return None


def _unfinished(store: Store, size: int) -> LogProblem | None:
    with store.locked():  # else an append that is under way would look like one that was killed
        if store.size() != size or store.whole():
            return None
    what = "the files differ in length: an append was killed, and could not be taken in, or something was lost"
    return LogProblem("unfinished", size, what)


def _contradicts(checkpoint: Checkpoint | AuditkitError, size: int, roots: dict[int, bytes]) -> LogProblem | None:
    if isinstance(checkpoint, AuditkitError):
        return LogProblem("checkpoint", None, checkpoint.what)
    if checkpoint.size > size:
        what = f"a checkpoint was made of {checkpoint.size} entries, and the log has {size}"
        return LogProblem("checkpoint", size, what)
    if roots[checkpoint.size] != checkpoint.root:
        what = f"the first {checkpoint.size} entries are not those that a checkpoint was made of"
        return LogProblem("checkpoint", None, what)
    return None

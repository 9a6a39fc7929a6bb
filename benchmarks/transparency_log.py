"""The transparency log at size: appends, bytes, proofs beside a naive recomputation, and verification.

    python -m benchmarks.transparency_log [--entries 1000000] [--proofs 1000] [--folder FOLDER]

A cold proof opens the log anew, after its files were dropped from the system's cache; a warm one does neither. The
naive way hashes every entry again for each proof, as a log without stored nodes must.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from auditkit.provenance import merkle
from auditkit.provenance.log import Log
from auditkit.provenance.log_entry import Entry

SINGLE = 200
"""Entries appended one by one."""
NAIVE = 3


def entry(n: int) -> Entry:
    """An entry as a signed image of a run has it."""
    sha256, manifest = (hashlib.sha256(f"{what} {n}".encode()).hexdigest() for what in ("asset", "manifest"))
    return Entry(
        "signed", sha256, manifest, "occupations-personas-0123456789ab", "2026-01-31T12:00:00Z", ("k-0123456789ab",)
    )


def drop_cache(folder: Path) -> None:
    """Ask the system to forget the log's files, so that the next read is from the disk."""
    for file in folder.iterdir():
        descriptor = os.open(file, os.O_RDONLY)
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def naive_proof(folder: Path, index: int) -> tuple[bytes, list[bytes]]:
    """Root and inclusion proof with nothing but the entries."""
    with (folder / "entries.jsonl").open("rb") as stream:
        leaves = [merkle.leaf_hash(line[:-1]) for line in stream]
    node = merkle.nodes_of(leaves)
    return merkle.root(node, len(leaves)), merkle.inclusion_proof(node, index=index, size=len(leaves))


def milliseconds(work: Callable[[], object]) -> float:
    """How long it takes."""
    started = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - started)


def told(name: str, times: list[float]) -> None:
    """Print median, 99th percentile and the worst."""
    ordered = sorted(times)
    high = ordered[min(len(ordered) - 1, round(0.99 * len(ordered)))]
    print(f"{name:<34} median {statistics.median(ordered):.3f} ms, p99 {high:.3f}, worst {ordered[-1]:.3f}")


def run(folder: Path, n: int, proofs: int) -> None:
    """Fill a log and time what is asked of it."""
    log, rng = Log.create(folder), random.Random(0)
    made = [entry(i) for i in range(n)]  # so that the rate is the log's own
    taken = milliseconds(lambda: log.append(made)) / 1000
    print(f"append in one batch: {n:,} entries in {taken:.1f} s, {n / taken:,.0f}/s, each chunk flushed to the disk")
    single = [milliseconds(lambda i=i: log.append(entry(n + i))) for i in range(SINGLE)]  # type: ignore[misc]
    told("append one by one, flushed", single)
    size = len(log)
    for file in sorted(folder.iterdir()):
        print(f"  {file.name}: {file.stat().st_size:,} bytes, {file.stat().st_size / size:.0f} an entry")
    print(f"index, made by the first search: {milliseconds(lambda: log.find(made[0].sha256)) / 1000:.1f} s")
    print(f"  index.sqlite: {(folder / 'index.sqlite').stat().st_size:,} bytes")
    places = [rng.randrange(size) for _ in range(proofs)]
    checkpoint = log.checkpoint()

    def cold(index: int) -> None:
        Log.open(folder).prove(index, checkpoint=checkpoint)

    times = []
    for index in places[: max(proofs // 5, 1)]:
        drop_cache(folder)
        times.append(milliseconds(lambda i=index: cold(i)))  # type: ignore[misc]
    told("inclusion proof, cold, with opening", times)
    told("inclusion proof, warm, with opening", [milliseconds(lambda i=i: cold(i)) for i in places])  # type: ignore[misc]
    told("inclusion proof, warm", [milliseconds(lambda i=i: log.inclusion(i)) for i in places])  # type: ignore[misc]
    told("consistency proof, warm", [milliseconds(lambda i=i: log.consistency(i)) for i in places])  # type: ignore[misc]
    found = [milliseconds(lambda i=i: log.find(made[i % n].sha256)) for i in places]  # type: ignore[misc]
    told("find by hash, warm", found)
    proof = log.prove(places[0], checkpoint=checkpoint)
    told("verify a proof from its bytes", [milliseconds(proof.verify) for _ in range(proofs)])
    naive = [milliseconds(lambda i=i: naive_proof(folder, i)) for i in places[:NAIVE]]  # type: ignore[misc]
    told("naive recomputation", naive)
    assert naive_proof(folder, places[0]) == (log.root(), log.inclusion(places[0]))
    taken = milliseconds(lambda: log.verify(checkpoint)) / 1000
    print(f"verify the whole log: {taken:.1f} s, {size / taken:,.0f} entries/s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--proofs", type=int, default=1000)
    parser.add_argument("--folder", type=Path, help="Where to make the log; a temporary folder by default.")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
        run(Path(folder) / "log", asked.entries, asked.proofs)


if __name__ == "__main__":
    main()

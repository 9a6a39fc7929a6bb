"""What the verbs of the transparency log share: which key signs, what a name stands for, and what a run has to log."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from app.api import RUNS, find_run
from app.output import progress_bar
from auditkit.errors import ProvenanceError, RunError, TrustError

if TYPE_CHECKING:
    from auditkit.provenance.log import Log
    from auditkit.provenance.log_entry import Entry
    from auditkit.provenance.notes import Checkpoint, PublicKey, Signer
    from auditkit.runs import Run


def key_path(folder: Path) -> Path:
    """Where the private key of a log lies unless another file is named: beside the log's folder."""
    return folder.with_name(f"{folder.name}.key")


def find_signer(log: Log, key: Path | None = None) -> Signer | None:
    """The signer of a log's checkpoints; None where the log was made without a key and none lies beside it.

    Raises:
        TrustError: the log was made for a key, and its file is not there or is another's.
    """
    from auditkit.provenance.notes import load_signer

    path = key or key_path(log.folder)
    if key is None and log.key is None and not path.exists():
        return None
    if not path.exists():
        raise TrustError("the log's key is not there", where=path, mend="name its file (--key), or --unsigned")
    return load_signer(path, log.key.name if log.key else log.origin)


def current_checkpoint(log: Log, *, key: Path | None = None, unsigned: bool = False) -> Checkpoint:
    """The checkpoint of the log as it is: the one beside it where nothing was added since, else a new one."""
    signer = None if unsigned else find_signer(log, key)
    last = log.last_checkpoint()
    if last and last.size == len(log) and last.root == log.root() and (last.signed or signer is None):
        return last
    return log.checkpoint(signer)


def read_checkpoint_file(path: Path) -> Checkpoint:
    """The checkpoint in a file.

    Raises:
        ProvenanceError: the file cannot be read, or is no checkpoint.
    """
    from auditkit.provenance.notes import read_checkpoint

    try:
        return read_checkpoint(path.read_bytes().decode(), where=path)
    except (OSError, UnicodeDecodeError) as error:
        raise ProvenanceError(f"the checkpoint cannot be read: {error}", where=path, mend="check the path") from None


def read_public_key(text: str) -> PublicKey:
    """The public key that a line, or a file with that line, holds.

    Raises:
        TrustError: it holds none.
    """
    from auditkit.provenance.notes import PublicKey

    try:
        if "+" not in text and Path(text).is_file():
            text = Path(text).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise TrustError(f"the public key cannot be read: {error}", where=text, mend="check the path") from None
    return PublicKey.parse(text)


def sha256_of(path: Path) -> str:
    """The sha256 of a file.

    Raises:
        ProvenanceError: it cannot be read.
    """
    from auditkit.files import sha256_file

    try:
        return sha256_file(path)
    except OSError as error:
        raise ProvenanceError(f"the file cannot be read: {error.strerror}", where=path, mend="check the path") from None


def positions(log: Log, target: str) -> list[int]:
    """The entries meant by a file, a sha256, or an entry's number.

    Raises:
        ProvenanceError: the log has no such entry.
    """
    if Path(target).is_file():
        found = log.find(sha256_of(Path(target)))
    elif re.fullmatch(r"[0-9a-f]{64}", target):
        found = log.find(target)
    elif re.fullmatch(r"[0-9]{1,18}", target):
        found = [int(target)] if int(target) < len(log) else []
    else:
        raise ProvenanceError(
            "this is no file, no sha256 and no entry's number",
            where=target,
            mend="check the path",
        )
    if not found:
        raise ProvenanceError("the log has no entry about it", where=target, mend=f"auditkit log add {target}")
    return found


def add_to_log(
    log: Log,
    targets: Sequence[str],
    *,
    kind: str = "generated",
    keys: Sequence[str] = (),
    runs: str | Path = RUNS,
    progress: bool = False,
) -> tuple[range, int]:
    """Log files, and the images of runs; the positions of the new entries, and how many were there already.

    Args:
        targets: files; folders and ids of runs, or 'latest'.
        keys: ids of the keys that marked or signed them; of a run, the key of its watermark by default.

    Raises:
        ProvenanceError, RunError: a target is missing or damaged; nothing is logged then.
    """
    new: list[Entry] = []
    known = 0
    for target in targets:
        for entry in _entries(target, kind, tuple(keys), runs, progress):
            before = [log.entry(i) for i in log.find(entry.sha256)]
            if any((each.kind, each.run) == (entry.kind, entry.run) for each in before):
                known += 1
            else:
                new.append(entry)
    return log.append(dict.fromkeys(new)), known


def _entries(target: str, kind: str, keys: tuple[str, ...], runs: str | Path, progress: bool) -> Iterator[Entry]:
    from auditkit.provenance.log_entry import Entry, now

    path, time = Path(target), now()
    if path.is_file():
        yield Entry(kind, sha256_of(path), keys=keys, time=time)
        return
    run = find_run(target, folder=runs)
    marked = (run.record.get("watermark") or {}).get("key_id")
    keys = keys or ((str(marked),) if marked else ())
    for sha256 in _images(run, progress):
        yield Entry(kind, sha256, run=run.id, keys=keys, time=time)


def _images(run: Run, progress: bool) -> Iterator[str]:
    """The images of a run, each held against its id: a log must not vouch for bytes that nobody looked at."""
    ids = list(dict.fromkeys(run.images()["id"]))
    with progress_bar("log", progress) as told:
        for done, id in enumerate(ids, 1):
            path = run.image_path(id)
            if not path.is_file() or sha256_of(path) != id:
                raise RunError(
                    "an image of the run is missing or was changed", where=path,
                    mend=f"see what differs: auditkit verify-run {run.path}",
                )  # fmt: skip
            yield id
            if told:
                told(done, len(ids))

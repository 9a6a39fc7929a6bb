"""Sealing a run: the sha256 of each of its files, and what differs from them later."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from auditkit.errors import AuditkitError, RunError
from auditkit.files import sha256_file, write_json
from auditkit.runs.run import Run, open_run
from auditkit.schemas import SCHEMA_VERSION

SEAL = "SEAL"
_OUTSIDE = (SEAL, ".lock")
_PICTURES = ("images/", "signed/")
"""Not sealed, beside the folder `report`: the seal itself, and the lock of a writer."""


@dataclass(frozen=True)
class Problem:
    """One file that is not as it should be.

    `kind` is one of: missing, changed, extra, link, unsealed.
    """

    kind: str
    path: str
    detail: str


def seal(run: Run) -> Path:
    """Write SEAL, with the sha256 of each file but the report; the path of SEAL.

    Sealing again takes in new scores and measurements, but no change to images, images.parquet or run.json.

    Raises:
        RunError: the run is not complete; an image is missing or is not what its name says; or
            something that an earlier seal holds about the images has changed.
    """
    if not run.complete:
        raise RunError("a run that is not complete cannot be sealed", where=run.path, mend="finish it first")
    before = _read_seal(run) if (run.path / SEAL).is_file() else None
    hashes = _hash_files(run.path)
    for problem in _problems(run, hashes, before):
        if problem.kind == "link" or problem.path.startswith("images") or problem.path == "run.json":
            raise RunError(
                f"the run cannot be sealed: {problem.path}: {problem.detail}",
                where=run.path,
                mend="restore the file from a copy, or generate the run anew",
            )
    sealed = {
        "schema_version": SCHEMA_VERSION,
        "run_id": run.id,
        "sealed": datetime.now(UTC).isoformat(timespec="seconds"),
        "files": hashes,
    }
    write_json(run.path / SEAL, sealed)
    return run.path / SEAL


def verify(run: Run) -> list[Problem]:
    """What differs from the seal, and images whose bytes do not hash to their id; empty: all is well.

    Raises:
        RunError: SEAL itself is damaged.
    """
    before = _read_seal(run) if (run.path / SEAL).is_file() else None
    hashes = _hash_files(run.path)
    return list(_problems(run, hashes, before, unsealed=True))


def changed_since(run: Run) -> list[str]:
    """Tables and records of a sealed run that were changed, added or lost since; quick, since pictures are left to
    `verify`.

    Raises:
        RunError: the run has no seal, SEAL is damaged, or a file cannot be read.
    """
    before = {name: digest for name, digest in _read_seal(run).items() if not name.startswith(_PICTURES)}
    now = _hash_files(run.path, but=_PICTURES)
    return sorted(name for name in {*before, *now} if before.get(name) != now.get(name))


def _problems(
    run: Run, hashes: dict[str, str], sealed: dict[str, str] | None, *, unsealed: bool = False
) -> Iterator[Problem]:
    if sealed is None and unsealed:
        yield Problem("unsealed", SEAL, f"the run has no seal; 'auditkit seal {run.path}' writes it")
    expected = sealed or {}
    listed: set[str] = set()
    # A damaged table is told as a changed file, and must not keep us from telling the rest.
    if hashes.get("images.parquet") and (
        not sealed or hashes["images.parquet"] == sealed.get("images.parquet")
    ):
        try:
            listed = set(open_run(run.path).images()["path"])
        except AuditkitError as error:
            yield Problem("changed", "images.parquet", error.what)
    for name in sorted({*expected, *hashes, *listed}):
        found = hashes.get(name)
        if found is None:
            yield Problem(
                "missing", name, "the file is gone" if name in expected else "listed, but not there"
            )
        elif not found:
            yield Problem("link", name, "a link or device, not a file of the run")
        elif name.startswith("images/") and found != Path(name).stem:
            yield Problem(
                "changed", name, f"its bytes hash to {found[:12]}, not to its name (sealed hash mismatch)"
            )
        elif name in expected and found != expected[name]:
            yield Problem(
                "changed", name, f"sealed hash mismatch: {expected[name][:12]} sealed, {found[:12]} found"
            )
        elif sealed is not None and name not in expected:
            yield Problem("extra", name, "not there when the run was sealed")


def _files(root: Path) -> Iterator[tuple[str, Path]]:
    """Every file of a run that a seal holds, with its path relative to the run."""
    for folder, folders, names in os.walk(root):
        if Path(folder) == root and "report" in folders:
            folders.remove("report")
        folders.sort()
        links = [name for name in folders if (Path(folder) / name).is_symlink()]
        for name in sorted([*names, *links]):
            file = Path(folder) / name
            relative = file.relative_to(root).as_posix()
            if relative not in _OUTSIDE:
                yield relative, file


def _hash_files(root: Path, *, but: tuple[str, ...] = ()) -> dict[str, str]:
    """The sha256 of each file but those in these folders; '' for a link or anything else that is no plain file, which
    is not opened."""
    try:
        return {
            name: sha256_file(file) if file.is_file() and not file.is_symlink() else ""
            for name, file in _files(root)
            if not name.startswith(but)
        }
    except OSError as error:
        raise RunError(
            f"a file of the run cannot be read: {error.strerror}",
            where=error.filename,
            mend="make it readable",
        ) from error


def _read_seal(run: Run) -> dict[str, str]:
    path = run.path / SEAL
    try:
        content: Any = json.loads(path.read_bytes())
        return {str(name): str(digest) for name, digest in content["files"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunError(f"SEAL is damaged: {error}", where=path, mend="restore it from a copy") from error

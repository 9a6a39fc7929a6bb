"""Signed runs whose copies are sound, changed, swapped, lost or signed by others, as a test says."""

from __future__ import annotations

import atexit
import functools
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as arrow
import pyarrow.parquet as parquet
import synthetic_run
from provenance_helpers import credentials, pki

from auditkit.provenance import scan_table, scanning, trust
from auditkit.provenance.containers import find, reinserted, strip
from auditkit.provenance.inspection import Inspector, Settings
from auditkit.provenance.publishing import Publisher
from auditkit.provenance.run_signing import sign_run
from auditkit.runs import Run, open_run


def signed_run(
    out: Path,
    *,
    images_per_prompt: int = 4,
    measured: bool = False,
    training: str | None = None,
    timestamp: str | None = None,
) -> Run:
    """The synthetic run of five occupations, with a signed copy of every image that is remembered nowhere."""
    if timestamp is not None:
        return _make(out, images_per_prompt, measured, training, timestamp)
    made = _template(images_per_prompt, measured, training)
    return open_run(shutil.copytree(made, out / made.name))


@functools.cache
def _template(images_per_prompt: int, measured: bool, training: str | None) -> Path:
    """Made once a session, and copied."""
    folder = Path(tempfile.mkdtemp(prefix="auditkit-signed-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return _make(folder, images_per_prompt, measured, training, None).path


def _make(out: Path, images_per_prompt: int, measured: bool, training: str | None, timestamp: str | None) -> Run:
    run = synthetic_run.make_run(out, images_per_prompt=images_per_prompt, measured=measured)
    return sign(run, training=training, timestamp=timestamp)


def sign(run: Run, *, training: str | None = None, timestamp: str | None = None) -> Run:
    """Sign a run's images, and remember them nowhere."""
    with Publisher.open(credentials(), timestamp=timestamp, store="", log="") as publisher:
        sign_run(publisher, run, training=training)
    return run


def trusted(where: Path | None = None) -> None:
    """A trust list with the root of the tests' PKI, in $AUDITKIT_HOME or another folder of lists."""
    trust.import_list("tests", pki().root, where=where)


def ids(run: Run) -> list[str]:
    """The ids of a run's images, in the order in which they were signed."""
    table = run.provenance()
    assert table is not None
    return list(table["id"])


def copy_of(run: Run, place: int) -> Path:
    """The signed copy of an image, by its place."""
    table = run.provenance()
    assert table is not None
    return Path(run.path / table["path"].iloc[place])


def change_pixels(run: Run, *places: int) -> None:
    """Put the manifests of copies onto other images."""
    for place in places:
        path = copy_of(run, place)
        held = find(path.read_bytes())
        assert held is not None
        other = strip(copy_of(run, place + 1).read_bytes())
        made = reinserted(other, held.spans)
        assert made is not None
        path.write_bytes(made)


def swap(run: Run, one: int, other: int) -> None:
    """Put a sound copy of one image in another's place."""
    copy_of(run, one).write_bytes(copy_of(run, other).read_bytes())


def write_scan(path: Path, rows: list[dict[str, Any]]) -> Path:
    """A table of `auditkit scan`, without its worker processes."""
    made = arrow.Table.from_pandas(scan_table.table_of(rows), preserve_index=False)
    parquet.write_table(made.replace_schema_metadata({b"auditkit_scan": b"0"}), path)
    return path


def scan_row(folder: Path, name: str, data: bytes) -> dict[str, Any]:
    """Write a file and inspect it, as a worker of a scan does."""
    (folder / name).write_bytes(data)
    found = Inspector(Settings(store="", keys="", banks=())).inspect(folder / name).as_dict()
    return scanning._stat_row(folder, Path(name)) | scanning._row(found)


def lose(run: Run, place: int) -> None:
    """Delete a copy."""
    copy_of(run, place).unlink()

"""Makes the example that `auditkit example` unpacks: two audits of app/example/example.toml, as one archive.

    OMP_NUM_THREADS=1 python -m benchmarks.example

Takes a minute. Another machine or library version may draw other bits; the names in app/example/__init__.py stay, as
they follow from the spec and the weights.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import zipfile
from pathlib import Path

from app import api
from app.example import ARCHIVE, RUNS, SPEC
from auditkit.runs import open_run, seal

GENERATORS = ("personas", "personas-balanced")
DAY = (2026, 1, 1, 0, 0, 0)
"""Of every entry, so that the same runs make the same archive."""


def pack(folder: Path, archive: Path) -> None:
    """The runs in a folder without their reports and their cache of embedded sentences, sealed anew."""
    for name in RUNS:
        run = open_run(folder / name)
        shutil.rmtree(run.path / "report", ignore_errors=True)
        for file in (run.path / "embeddings").glob("*.texts.parquet"):
            file.unlink()
        (run.path / "SEAL").unlink(missing_ok=True)
        seal(run)
    with zipfile.ZipFile(archive, "w") as out:
        for file in sorted(path for name in RUNS for path in (folder / name).rglob("*") if path.is_file()):
            entry = zipfile.ZipInfo(file.relative_to(folder).as_posix(), DAY)
            # PNG does not shrink again.
            entry.compress_type = zipfile.ZIP_STORED if file.suffix == ".png" else zipfile.ZIP_DEFLATED
            out.writestr(entry, file.read_bytes())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, help="A folder that holds the two audits already.")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        if asked.runs:
            for name in RUNS:
                shutil.copytree(asked.runs / name, folder / name)
        else:
            for generator in GENERATORS:
                api.audit(SPEC, generator=generator, out=folder)
        pack(folder, ARCHIVE)
    print(f"{ARCHIVE}: {ARCHIVE.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()

"""Makes the example that `auditkit example` unpacks, as one archive: two audits of app/example/example.toml, what
three mitigations do to nine images of each of its prompts, and the test of a detector, made as
docs/detectors_bundled.md says.

    OMP_NUM_THREADS=1 python -m benchmarks.example --evaluation evaluation

Takes three minutes. Another machine or library version may draw other bits; the names in app/example/__init__.py
stay, as they follow from the spec and the weights.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import zipfile
from pathlib import Path

from app import api
from app.example import ARCHIVE, RESULTS, RUNS, SPEC
from app.mitigating import mitigate
from auditkit.runs import open_run, seal

GENERATORS = ("personas", "personas-balanced")
METHODS = ("prompt-diversification", "concept-slider", "weak-guidance")
DAY = (2026, 1, 1, 0, 0, 0)
"""Of every entry, so that the same runs make the same archive."""


def pack(folder: Path, archive: Path) -> None:
    """The runs in a folder without their reports and their cache of embedded sentences, sealed anew; results without
    pages, images and second forms of their tables."""
    for name in RUNS:
        run = open_run(folder / name)
        shutil.rmtree(run.path / "report", ignore_errors=True)
        for file in (run.path / "embeddings").glob("*.texts.parquet"):
            file.unlink()
        (run.path / "SEAL").unlink(missing_ok=True)
        seal(run)
    files = [path for name in RUNS for path in (folder / name).rglob("*") if path.is_file()]
    files += [path for name in RESULTS for path in (folder / name).iterdir() if _needed(path)]
    with zipfile.ZipFile(archive, "w") as out:
        for file in sorted(files):
            entry = zipfile.ZipInfo(file.relative_to(folder).as_posix(), DAY)
            # PNG does not shrink again.
            entry.compress_type = zipfile.ZIP_STORED if file.suffix == ".png" else zipfile.ZIP_DEFLATED
            out.writestr(entry, file.read_bytes())


def _needed(path: Path) -> bool:
    """A result's record and tables, each once."""
    twin = path.with_suffix(".parquet")
    return path.is_file() and path.suffix in (".json", ".parquet", ".csv") and (path == twin or not twin.exists())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, help="A folder that holds the two audits already.")
    parser.add_argument("--evaluation", type=Path, required=True, help="What `auditkit detector evaluate` wrote.")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        if asked.runs:
            for name in RUNS:
                shutil.copytree(asked.runs / name, folder / name)
        else:
            for generator in GENERATORS:
                api.audit(SPEC, generator=generator, out=folder)
        mitigate(
            SPEC, generator="personas", methods=METHODS, target="gender=uniform", images_per_prompt=9,
            out=folder / "mitigation",
        )  # fmt: skip
        shutil.copytree(asked.evaluation, folder / "detector-evaluation")
        record = folder / "detector-evaluation" / "evaluation.json"
        told = json.loads(record.read_text("utf-8"))
        folders = [Path(each).parts[-2:] for each in told["data"]]
        told["data"] = ["/".join(("data", *(part[part[0] != "runs" :]))) for part in folders]
        record.write_text(json.dumps(told, indent=1) + "\n", "utf-8")  # no path of the machine that made it
        pack(folder, ARCHIVE)
    print(f"{ARCHIVE}: {ARCHIVE.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()

"""Signing a run: a copy of each image that carries its manifest, in the run's folder `signed`.

The images themselves stay as they are: their ids are hashes of their bytes, and a signature differs each time.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auditkit.errors import ProvenanceError
from auditkit.files import sha256_file, write_atomic, write_json
from auditkit.images import image_id
from auditkit.provenance import signing
from auditkit.provenance.manifest import Claim, Generation, check_training, weights_hash
from auditkit.provenance.recovery import watermark_binding
from auditkit.provenance.verdict import judge
from auditkit.provenance.vocabulary import source_type

if TYPE_CHECKING:
    import pandas as pd

    from auditkit.provenance.log_entry import Entry
    from auditkit.provenance.publishing import Progress, Publisher
    from auditkit.runs import Run

FOLDER = "signed"
SOURCE = "trainedAlgorithmicMedia"
BATCH = 50
"""Images whose rows are written together; a process that is killed signs no more than these again."""


def sign_run(
    publisher: Publisher,
    run: Run,
    *,
    training: str | None = None,
    training_terms: str = "",
    progress: Progress | None = None,
) -> pd.DataFrame:
    """Sign the images of a run that are not signed yet by this signer; the run's table `provenance`.

    Each manifest says which generator, version, weights and seed made the image, holds a salted hash of its prompt,
    names the run, and binds the watermark that the run was marked with, if it was, and a perceptual hash.

    Raises:
        ProvenanceError: the run's images were imported (who made them is not known here), or the run is sealed.
        RunError: the run is not complete, or cannot be written.
    """
    import pandas as pd

    check_training(training, training_terms)
    if run.spec is None:
        raise ProvenanceError(
            "the images of this run were imported: the run does not know what made them", where=run.path,
            mend="sign the files themselves, with what you know: auditkit sign FOLDER --out FOLDER",
        )  # fmt: skip
    images = run.images().drop_duplicates("id")
    before = run.provenance()
    rows = [] if before is None else [{str(k): v for k, v in row.items()} for row in before.to_dict("records")]
    own = publisher.credentials.fingerprint
    done = {row["id"] for row in rows if row["certificate_sha256"] == own and _there(run, row)}
    todo = images[~images["id"].isin(done)]
    if len(todo) and (run.path / "SEAL").is_file():
        raise ProvenanceError(
            "the run is sealed, and signing adds to it", where=run.path, mend="delete its SEAL, sign, and seal it again"
        )
    logged = {row["id"] for row in rows}  # by an earlier signer, perhaps
    rows = [row for row in rows if row["id"] in done]
    total, count = len(images), len(done)
    if progress is not None:
        progress(count, total)
    columns = [str(name) for name in todo.columns]
    fresh: list[dict[str, Any]] = []
    entries = []
    for values in todo.itertuples(index=False):
        row, entry = _sign(publisher, run, dict(zip(columns, values, strict=True)), training, training_terms)
        fresh.append(row)
        if row["id"] not in logged:
            entries.append(replace(entry, kind="generated", sha256=row["id"], manifest=None))
        entries.append(entry)
        count += 1
        if len(fresh) == BATCH or count == total:
            rows += fresh
            if publisher.log is not None:  # before the table: what is in the table is never signed, or logged, again
                publisher.log.append(entries)
            run.write_provenance(pd.DataFrame(rows))
            fresh, entries = [], []
        if progress is not None:
            progress(count, total)
    if len(todo) or ("signing" not in run.record and not (run.path / "SEAL").is_file()):  # killed just before this
        _record(publisher, run, rows, training, training_terms)
    table = run.provenance()
    assert table is not None
    return table


def _sign(
    publisher: Publisher, run: Run, image: dict[str, Any], training: str | None, training_terms: str
) -> tuple[dict[str, Any], Entry]:
    """The row of an image and its entry for the log."""
    source, mark = run.image_path(image["id"]), run.record.get("watermark") or {}
    data = signing.read_file(source)
    if image_id(data) != image["id"]:  # its manifest would say that the generator made what it did not
        raise ProvenanceError(
            "the image is not the one that was made: its bytes have changed", where=source,
            mend=f"restore it from a copy, or make the run again; look: auditkit verify-run '{run.path}'",
        )  # fmt: skip
    marks = []
    if mark.get("key_id"):
        marks.append(watermark_binding(str(mark["scheme"]), str(mark["key_id"]), str(mark["payload"])))
    claim = Claim(
        f"{image['id'][:16]}.png",
        source_type=SOURCE,
        generation=_generation(run, image),
        bindings=marks,
        watermarked=bool(marks),
        training=training,
        training_terms=training_terms,
    )
    made, entry = publisher.sign(data, claim, run=run.id, image=image["id"], key_id=mark.get("key_id"), where=source)
    path = f"{FOLDER}/{image['id'][:2]}/{image['id']}.png"
    write_atomic(run.path / path, made.data, sync=False)
    row = {
        "id": image["id"],
        "path": path,
        "sha256": made.sha256,
        "manifest": made.label,
        "manifest_sha256": made.manifest_sha256,
        "verdict": judge(made.report).verdict,
        "signer": publisher.credentials.name,
        "certificate_sha256": publisher.credentials.fingerprint,
        "source_type": SOURCE,
        "signed": datetime.now(UTC).isoformat(timespec="seconds"),
        "timestamp": made.timestamp,
        "bindings": " ".join(binding.algorithm for binding in made.bindings),
        "prompt_salt": made.salt,
    }
    return row, entry


def _generation(run: Run, image: dict[str, Any]) -> Generation:
    generator = run.record["generator"]

    def known(name: str) -> Any:
        value = image.get(name)
        return None if value is None or value != value or str(value) == "<NA>" else value

    seed, steps, guidance = known("seed"), known("steps"), known("guidance")
    return Generation(
        generator=str(generator["name"]),
        version=None if generator.get("version") is None else str(generator["version"]),
        weights_sha256=weights_hash(generator.get("weights") or {}),
        seed=None if seed is None else int(seed),
        sampler=known("sampler"),
        steps=None if steps is None else int(steps),
        guidance=None if guidance is None else float(guidance),
        prompt=str(image["prompt"]),
        run=run.id,
        image=image["id"],
    )


def _there(run: Run, row: dict[str, Any]) -> bool:
    file = run.path / row["path"]
    return file.is_file() and not file.is_symlink() and sha256_file(file) == row["sha256"]


def _record(
    publisher: Publisher, run: Run, rows: list[dict[str, Any]], training: str | None, training_terms: str
) -> None:
    """What run.json says of it: who signed, never with what."""
    run.record["signing"] = publisher.credentials.record() | {
        "timestamped": all(row["timestamp"] for row in rows),
        "tsa": publisher.timestamp,
        "digital_source_type": source_type(SOURCE),
        "training": training,
        "training_terms": training_terms,
        "images": len(rows),
    }
    write_json(Path(run.path) / "run.json", run.record)

"""Drawing a random sample of a run and handing it to raters: folders that need no server and tell no scores."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from auditkit.annotations.records import NOBODY, SAMPLES, UNKNOWN, Sample, checked_samples
from auditkit.errors import RunError, TableError
from auditkit.files import write_atomic
from auditkit.plan import looks, planned
from auditkit.runs.journal import writing

if TYPE_CHECKING:
    from auditkit.runs import Run

COLUMNS = ["sample", "rater", "position", "id", "image", "label"]
"""Of a rater's CSV; `label` is to be filled in."""

ALL = "all"
MOST_RATERS = 26


@dataclass(frozen=True)
class Export:
    """What was handed out: the sample as recorded, and each rater's folder."""

    sample: Sample
    folders: dict[str, Path]


def export(
    run: Run,
    attribute: str,
    *,
    n: int,
    out: str | Path,
    raters: int = 2,
    seed: int = 0,
    stratify: str | None = None,
) -> Export:
    """Draw n images at random and write a folder for each rater: labels.csv, sheet.html, INSTRUCTIONS.txt, images/.

    Images that share their bytes count once. A further sample of an attribute is drawn from the images not
    drawn yet, so that the two together are one random sample. Each rater has an order of their own, and sees neither
    scores nor prompts.

    Args:
        attribute: a single one, `gender`.
        n: images.
        out: the folder to make; it must not exist.
        raters: 1 to 26, named A, B, ...
        seed: of the draw; the same seed draws the same images.
        stratify: an axis; about as many images are drawn of each of its groups. Without it the sample is simple.

    Raises:
        TableError: more images than there are left, an unknown axis, or an earlier sample drawn otherwise.
        PluginError: there is no such attribute.
        RunError: `out` exists or cannot be written, or the run will still grow.
    """
    from auditkit.clip.attributes import attribute as find

    about = find(attribute)
    out = Path(out)
    if out.exists():
        raise RunError("the folder exists already", where=out, mend="name a new one with --out")
    if not 1 <= raters <= MOST_RATERS or n < 1:
        raise TableError(
            f"{n} images and {raters} raters cannot be", where="export", mend="ask for 1 image or more, 1 to 26 raters"
        )
    _check_grown(run)
    names = [chr(ord("A") + i) for i in range(raters)]
    partial = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    with writing(run.path / SAMPLES) as journal:
        before = [s for s in checked_samples(run, journal.lines) if s.attribute == attribute]
        sample = _draw(run, attribute, list(about.classes), n, names, seed, stratify, before)
        try:
            for i, rater in enumerate(names):
                order = np.random.default_rng([seed, i, zlib.crc32(sample.sample.encode())]).permutation(n)
                _write(partial / rater, run, sample, about.about, rater, [sample.ids[j] for j in order])
            os.replace(partial, out)
        except OSError as error:
            raise RunError(
                f"the folder cannot be written: {error.strerror} ({error.filename})", where=out, mend="choose another"
            ) from error
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        try:
            journal.append([sample.model_dump(mode="json")])
        except RunError:
            shutil.rmtree(out, ignore_errors=True)  # labels of a sample that nobody recorded could not be taken in
            raise
    return Export(sample, {rater: out / rater for rater in names})


def draw(run: Run, attribute: str, *, n: int, seed: int = 0, stratify: str | None = None) -> Sample:
    """Draw n images at random and record the sample, for raters who label them in the dashboard.

    Arguments and errors as of `export`.
    """
    from auditkit.clip.attributes import attribute as find

    about = find(attribute)
    if n < 1:
        raise TableError(f"{n} images cannot be drawn", where=run.path, mend="ask for 1 image or more")
    _check_grown(run)
    with writing(run.path / SAMPLES) as journal:
        before = [s for s in checked_samples(run, journal.lines) if s.attribute == attribute]
        sample = _draw(run, attribute, list(about.classes), n, [], seed, stratify, before)
        journal.append([sample.model_dump(mode="json")])
    return sample


def order(sample: Sample, rater: str) -> list[str]:
    """The sample's ids in the random order in which a rater of that name sees them; each rater's is their own."""
    rng = np.random.default_rng([sample.seed, zlib.crc32(rater.encode()), zlib.crc32(sample.sample.encode())])
    return [sample.ids[i] for i in rng.permutation(len(sample.ids))]


def _check_grown(run: Run) -> None:
    plan = planned(run)
    if plan and plan.sequential:
        done = looks(run)
        at = int(run.images()["replicate"].max()) + 1
        if at < plan.sequential.looks[-1] and not (done and done[-1].decision == "stop"):
            raise RunError(
                "the run may still grow, and a sample of now would be none of the images to come",
                where=run.path,
                mend=f"draw the sample after the last look: auditkit plan look {run.path}",
            )


def _draw(
    run: Run,
    attribute: str,
    classes: list[str],
    n: int,
    raters: list[str],
    seed: int,
    stratify: str | None,
    before: Sequence[Sample],
) -> Sample:
    strata = _strata(run, stratify)
    method = "stratified random" if stratify else "simple random"
    for earlier in before:
        if (earlier.method, earlier.by) != (method, stratify):
            how = f"by {earlier.by}" if earlier.by else "without strata"
            raise TableError(
                f"{attribute} has a {earlier.method} sample {how} already; two kinds do not make one sample",
                where=run.path / SAMPLES,
                mend=f"draw this one {how} too",
            )
        if earlier.frame != len(strata):
            raise TableError(
                f"the run had {earlier.frame} images when {earlier.sample} was drawn, and has {len(strata)} now",
                where=run.path / SAMPLES,
                mend="draw samples of a run that is whole",
            )
    gone = {id for earlier in before for id in earlier.ids}
    left = strata[~strata.index.isin(gone)]
    if n > len(left):
        raise TableError(
            f"{n} images are wanted, and {len(left)} are left to be drawn", where=run.path, mend=f"--n {len(left)}"
        )
    rng = np.random.default_rng([seed, zlib.crc32(attribute.encode()), len(before)])
    chosen: list[str] = []
    for name, count in _allocation({str(k): int(v) for k, v in left.value_counts().sort_index().items()}, n).items():
        ids = left.index[left == name].to_numpy()
        chosen += [str(id) for id in rng.choice(ids, size=count, replace=False)]
    drawn = strata[strata.index.isin(gone | set(chosen))].value_counts()
    sizes = strata.value_counts()
    return Sample(
        sample=f"{attribute}-{len(before) + 1}",
        attribute=attribute,
        classes=classes,
        method=method,
        by=stratify,
        seed=seed,
        raters=raters,
        time=datetime.now(UTC).isoformat(timespec="seconds"),
        frame=len(strata),
        ids=chosen,
        strata=[str(strata[id]) for id in chosen],
        inclusion={str(name): int(drawn[name]) / int(sizes[name]) for name in sorted(drawn.index)},
    )


def _strata(run: Run, by: str | None) -> pd.Series:
    """The stratum of each distinct image, by id, sorted: the draw does not hang on the order of the table."""
    images = run.images()
    if by is None:
        column = pd.Series(ALL, index=images.index)
    elif by in run.axes:
        column = images[f"axis_{by}"].fillna("")
    else:
        raise TableError(
            f"the run has no axis '{by}'", where=f"run {run.id}", mend=f"stratify by one of: {', '.join(run.axes)}"
        )
    # An image of several groups (the same bytes) is drawn with the first.
    found = pd.Series(column.to_numpy(str), index=images["id"].to_numpy(str))
    return found[~found.index.duplicated()].sort_index()


def _allocation(sizes: dict[str, int], n: int) -> dict[str, int]:
    """As many of each stratum as its size allows, to within one."""
    counts = dict.fromkeys(sizes, 0)
    while n > 0:
        open_strata = [name for name in sizes if counts[name] < sizes[name]]
        share = max(n // len(open_strata), 1)
        for name in open_strata:
            add = min(share, sizes[name] - counts[name], n)
            counts[name] += add
            n -= add
    return {name: count for name, count in counts.items() if count}


def _write(folder: Path, run: Run, sample: Sample, about: str, rater: str, ids: Sequence[str]) -> None:
    (folder / "images").mkdir(parents=True)
    for id in ids:
        shutil.copyfile(run.image_path(id), folder / "images" / f"{id}.png")
    rows = [
        {
            "sample": sample.sample,
            "rater": rater,
            "position": str(position),
            "id": id,
            "image": f"images/{id}.png",
            "label": "",
        }
        for position, id in enumerate(ids, 1)
    ]
    write_atomic(folder / "labels.csv", to_csv(rows).encode())
    labels = [*sample.classes, UNKNOWN, NOBODY]
    write_atomic(folder / "INSTRUCTIONS.txt", _instructions(sample, about, rater, labels).encode())
    write_atomic(folder / "sheet.html", _sheet(sample, about, rater, labels, rows).encode())


def to_csv(rows: Sequence[dict[str, str]]) -> str:
    """Rows as CSV; a cell that a spreadsheet would take for a formula gets an apostrophe before it."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\r\n")
    writer.writeheader()
    writer.writerows({key: harmless(value) for key, value in row.items()} for row in rows)
    return text.getvalue()


def harmless(cell: str) -> str:
    """A cell that no spreadsheet runs: '=1+1' -> "'=1+1" (OWASP, CSV injection)."""
    return f"'{cell}" if cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n")) else cell


def _instructions(sample: Sample, about: str, rater: str, labels: Sequence[str]) -> str:
    listed = "\n".join(f"  {label}" for label in sample.classes)
    return f"""Labelling {sample.attribute.replace("_", " ")}, sample {sample.sample}, rater {rater}

{about}

You label what the picture shows, as you see it. It was generated: nobody in it has an identity that you could get
right or wrong. Give each image one of these labels:

{listed}
  {UNKNOWN}   you cannot tell
  {NOBODY}   nothing of the kind is shown: where people are asked about, no person

Use '{UNKNOWN}' freely: a guess is worth less than a plain 'cannot tell'.
Work alone: do not discuss the images with other raters before all of you have finished.

Either open sheet.html in a browser (it works without a network, and keeps your labels while you work), choose a label
for each image and press 'Save the labels'; or fill in the column 'label' of labels.csv, and keep all other columns.
Send back the one CSV file. It is read with:

  auditkit annotate import RUN labels.csv --rater {rater}
"""


def _sheet(sample: Sample, about: str, rater: str, labels: Sequence[str], rows: Sequence[dict[str, str]]) -> str:
    data = {
        "sample": sample.sample,
        "attribute": sample.attribute,
        "about": about,
        "rater": rater,
        "labels": list(labels),
        "columns": COLUMNS,
        "rows": list(rows),
    }
    template = files("auditkit.annotations").joinpath("templates/sheet.html").read_text(encoding="utf-8")
    # Within a script element only '<' could end it.
    return template.replace("{{data}}", json.dumps(data, ensure_ascii=False).replace("<", "\\u003c"))

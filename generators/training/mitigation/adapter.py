"""Train a contrastive adapter on labelled images, calibrate it on others, and say what it did on the rest."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from auditkit.clip.adapter import Adapter, adapted, fit_adapter, worst_group
from auditkit.clip.attributes import Attribute, attributes
from auditkit.clip.attributes import attribute as find_attribute
from auditkit.clip.calibration import Domain, fit_calibration
from auditkit.clip.folder import CONFIG
from auditkit.clip.posteriors import class_embeddings
from auditkit.errors import CalibrationError, EncoderError, SpecError, TableError
from generators.training.own.metadata import TABLES, find_table, read_table

if TYPE_CHECKING:
    from PIL.Image import Image

    from auditkit.clip.encoders import Encoder

SPLITS = ("train", "calibration", "test")
FEWEST = 5
"""Test images that a class must have in a group, for the group to be called the worst."""
PAPER = 128
"""Pixels a side of the paper that drawings of the corpus are put on."""


@dataclass(frozen=True)
class Labelled:
    """Images of known class and spurious group."""

    images: Sequence[Image | Path]
    table: pd.DataFrame
    """A row an image: class, group, source (images of one source are copies), split (train, calibration, test)."""
    about: str
    """Which images, in words."""


@dataclass(frozen=True)
class Trained:
    """What `train` made."""

    folder: Path
    results: pd.DataFrame
    """Of the test images, a row without the adapter and one with it: average, worst, worst_group, n."""
    uncalibrated: str
    """Why there is no calibration; '' where there is one."""

    @property
    def better(self) -> bool | None:
        """Whether the worst group of the test images gained at all; None where no group has FEWEST of them."""
        before, after = self.results["worst"]
        return None if np.isnan(before) else bool(after > before)


def in_folder(folder: Path, attribute: str, group: str, source: str = "") -> Labelled:
    """Images named in FOLDER/metadata.csv (file_name, a column of classes, one of groups; others as you like).

    A column `split` says what each is for, if there is one and `source` is not named. Otherwise half of the sources
    are trained on, a quarter calibrates and a quarter tests, by a hash of the source.

    Args:
        source: the column whose equal values are copies of one source; by default each image is its own.

    Raises:
        TableError: no table, a column that is not there or is empty, a file outside the folder or missing.
        SpecError: a class that is not the attribute's.
    """
    path = find_table(folder) if folder.is_dir() else None
    if path is None:
        mend = f"Write {TABLES[0]} there, with the columns file_name,{attribute},{group}."
        raise TableError("There is no table of the images' classes and groups.", where=folder, mend=mend)
    rows: list[dict[str, str]] = []
    images: list[Image | Path] = []
    for entry in read_table(path, captions=False):
        image = folder / entry.name
        if not image.resolve().is_relative_to(folder.resolve()):
            raise TableError("The file lies outside the folder.", where=entry.where, mend="Name files inside it.")
        if not image.is_file():
            raise TableError(f"The file '{entry.name}' is not there.", where=entry.where, mend="Check its name.")
        row = {}
        for name, column in (("class", attribute), ("group", group), ("source", source)):
            value = entry.attributes.get(column, "") if column else entry.name
            if not value:
                raise TableError(f"There is no '{column}' of the image.", where=entry.where, mend="Fill in the column.")
            row[name] = value
        rows.append(row | {"split": "" if source else entry.attributes.get("split", "")})
        images.append(image)
    return Labelled(images, _split(pd.DataFrame(rows), attribute, path), f"{len(rows)} images of {folder.name}")


def in_corpus(
    corpus: pd.DataFrame, attribute: str, group: str, styles: Sequence[str] = (), source: str = ""
) -> Labelled:
    """Drawings of the persona corpus on plain paper, of people whose class and group it states.

    The corpus's own split is kept where the styles have one (those of the bundled encoder); else as in `in_folder`.

    Raises:
        SpecError: a style, or a column, that the corpus does not have.
    """
    for name, known in [(each, sorted(set(corpus["style"]))) for each in styles] + [
        (each, [c for c in corpus.columns if c != "png"]) for each in (attribute, group, source) if each
    ]:
        if name not in known:
            raise SpecError(f"The corpus has no '{name}'.", where="--corpus", mend=f"It has {', '.join(known)}.")
    classes = find_attribute(attribute).classes
    rows = corpus[(corpus["kind"] == "person") & corpus[attribute].isin(list(classes)) & (corpus[group] != "")]
    rows = rows[rows["style"].isin(styles)] if styles else rows[rows["split"].isin(SPLITS)]
    rows = rows.reset_index(drop=True)
    drawing = rows["style"] + "/" + rows["name"]
    own = rows["split"].where(rows["split"].isin(SPLITS), "") if not source else ""
    table = pd.DataFrame(
        {
            "class": rows[attribute], "group": rows[group], "split": own,
            "source": drawing if not source else rows["style"] + "/" + rows[source],
        }
    )  # fmt: skip
    about = f"{len(rows)} drawings of the persona corpus ({', '.join(styles) or 'the styles of its own split'})"
    return Labelled(_drawn(rows), _split(table, attribute, "the corpus"), about)


def train(
    labelled: Labelled,
    encoder: Encoder,
    out: Path,
    *,
    attribute: str,
    group: str,
    made_by: str = "auditkit train adapter",
    progress: Callable[[float, int, str], None] | None = None,
    **settings: Any,
) -> Trained:
    """Fit the adapter on the images for training, write it, calibrate it on others, and test it on the rest.

    An earlier adapter and its calibration in `out` are replaced. Where the images for calibration are too few, or the
    classes are told apart too poorly, none is written, and what is scored with the adapter is uncalibrated.

    Args:
        settings: of `fit_adapter`.

    Raises:
        EncoderError: classes and groups that cannot be told apart, or `out` is an encoder's folder.
        ImageError: a file that is no image.
    """
    if (out / CONFIG).is_file():
        what = "The folder holds an encoder; an adapter has a folder of its own."
        raise EncoderError(what, where=out, mend="Choose another --out.")
    wanted, table = find_attribute(attribute), labelled.table
    names, words = list(wanted.classes), class_embeddings(encoder, wanted)

    def looking(done: int, total: int) -> None:
        if progress is not None:
            progress(done / total, done, "images embedded")

    plain = encoder.embed_images(labelled.images, progress=looking)
    part = {split: (table["split"] == split).to_numpy() for split in SPLITS}
    learn = table[part["train"]]
    adapter = fit_adapter(
        plain[part["train"]], learn["class"].tolist(), learn["group"].tolist(), words, names,
        logit_scale=encoder.logit_scale, attribute=attribute, encoder=encoder.source, encoder_sha256=encoder.sha256,
        group=group, source=labelled.about, progress=progress, **settings,
    )  # fmt: skip
    made = adapted(encoder, adapter, out.resolve())
    test = table[part["test"]]
    results = pd.DataFrame(
        [
            {"adapter": name, "n": len(test), "average": average, "worst": worst, "worst_group": which}
            for name, embeddings in (("without", plain), ("with", made.move(plain)))
            for average, worst, which in [
                worst_group(
                    embeddings[part["test"]] @ words.T,
                    test["class"].tolist(),
                    test["group"].tolist(),
                    names,
                    fewest=FEWEST,
                )
            ]
        ]
    )
    adapter = _with_results(adapter, results)
    for attr in attributes():
        for suffix in (".json", ".safetensors"):
            (out / "calibration" / f"{attr}{suffix}").unlink(missing_ok=True)
    (out / "calibration" / "reference.safetensors").unlink(missing_ok=True)
    adapter.save(out)
    why = _calibrate(made, plain, table[part["calibration"]], part["calibration"], wanted, labelled, made_by)
    return Trained(out, results, why)


def _calibrate(
    made: Encoder, plain: np.ndarray, rows: pd.DataFrame, chosen: np.ndarray, wanted: Attribute, labelled: Labelled,
    made_by: str,
) -> str:  # fmt: skip
    """Write the calibration, of moved embeddings, and the domain, of plain ones; why not, where it cannot be."""
    source = f"held-out images of {labelled.about}"
    try:
        fitted = fit_calibration(
            made.move(plain[chosen]) @ class_embeddings(made, wanted).T, rows["class"].tolist(),
            rows["source"].tolist(), encoder=made, attribute=wanted, source=source, made_by=made_by,
        )  # fmt: skip
        domain = Domain.fit(plain[chosen], rows["source"].tolist(), encoder=made, source=source)
    except CalibrationError as error:
        return error.what
    fitted.save(made.folder or Path())
    domain.save(made.folder or Path())
    return ""


def _with_results(adapter: Adapter, results: pd.DataFrame) -> Adapter:
    plain = results.astype(object).where(results.notna(), None)  # JSON has no NaN
    return replace(adapter, facts={**adapter.facts, "results": plain.to_dict("records")})


def _split(table: pd.DataFrame, attribute: str, where: Any) -> pd.DataFrame:
    """The table with a split for every row; refuses classes and splits that are none."""
    classes = list(find_attribute(attribute).classes)
    for column, known in (("class", classes), ("split", ["", *SPLITS])):
        strange = sorted(set(table[column]) - set(known))
        if strange:
            mend = f"Use {', '.join(each for each in known if each)}."
            raise SpecError(f"'{strange[0]}' is no {column} of {attribute}.", where=where, mend=mend)
    if (table["split"] == "").any():
        if (table["split"] != "").any():
            raise SpecError("Some images have a split and others none.", where=where, mend="Fill in all, or none.")
        place = table["source"].map(lambda name: hashlib.sha256(name.encode()).digest()[0] % 4)
        table = table.assign(split=place.map({0: "train", 1: "train", 2: "calibration", 3: "test"}))
    for split in SPLITS:
        if not (table["split"] == split).any():
            raise SpecError(f"There are no images for '{split}'.", where=where, mend="Add images, or a column split.")
    return table


def _drawn(rows: pd.DataFrame) -> list[Image]:
    import torch
    from PIL import Image

    from generators.training import pixels

    papers = pixels.on_paper(pixels.load(rows, "cpu"), PAPER, torch.Generator().manual_seed(0))
    arrays = ((papers / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    return [Image.fromarray(each) for each in arrays]

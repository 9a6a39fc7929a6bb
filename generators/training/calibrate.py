"""Calibrate an encoder on the corpus's held-out cells, and report on the cells held out for testing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from auditkit.clip.attributes import attribute
from auditkit.clip.calibration import MIN_SOURCES, Domain, fit_calibration
from auditkit.clip.encoders import load_encoder
from auditkit.clip.posteriors import class_embeddings
from generators.training import pixels
from generators.training.autoencoder import check_vae

if TYPE_CHECKING:
    from PIL import Image

    from auditkit.clip.encoders import Encoder

ATTRIBUTES = ("gender", "skin_tone", "occupation", "age", "disability")
BY_CONCEPT = {
    "age": {"child": "child", "older person": "older adult", "santa claus": "", "mage": "", "": "adult"},
    "disability": {
        "in manual wheelchair": "manual wheelchair",
        "in motorized wheelchair": "motorized wheelchair",
        "with white cane": "white cane",
        "deaf": "",
        "": "none visible",
    },
}
"""Attributes whose true class the concept states; '' stands for every other concept. Concepts of class '' are left
out: their names state no age, and they are drawn old or not; and a gesture at the ear is none of the classes."""
FEWEST = {"occupation": 3, "age": 7, "disability": 7}
"""Fewest sources of a class, where it is not the usual number. The corpus draws few children, old people, wheelchairs
and canes, and holds 7 to 13 of each out. How often such an image is recognised therefore rests on few, which the
intervals of `presence` know; how often another is mistaken for one, on which rare events hang, rests on 600."""
COPIES = 4
SOURCE = "held-out drawings of the persona corpus on plain papers, half of the copies through the bundled autoencoder"


def calibrate(folder: Path, table: pd.DataFrame, *, vae: Path, canvas: int = 128) -> pd.DataFrame:
    """Fit and save the calibrations and the domain reference of the encoder in `folder`.

    Each drawing of the calibration split is shown four times, on other papers; two of the copies have been through
    the autoencoder `vae`, since that is how a generator's images look. Copies of one drawing are one source.

    An attribute of `BY_CONCEPT` of which the split has a class too rarely stays without a calibration.

    Returns:
        The evaluation on the test split and on the style that no model trains on, one row for each split and
        attribute: n, accuracy, balanced (mean over classes of their accuracy), within_one (skin tone), unknown and
        in_domain shares. Also `evaluation.json` there.

    Raises:
        EncoderError, GeneratorError: there is no such encoder or autoencoder. CalibrationError: the drawings are
        too few, or the encoder tells the classes too poorly apart.
    """
    check_vae(vae)
    encoder = load_encoder(str(folder))
    people = table[table["kind"] == "person"]
    held = people[people["split"] == "calibration"].reset_index(drop=True)
    embeddings, rows = _embed(encoder, held, vae, canvas, COPIES)
    names = (held["style"] + "/" + held["name"]).to_numpy()[rows]
    for name in ATTRIBUTES:
        classes = list(attribute(name).classes)
        truth = true_classes(held, name)[rows]
        known = np.isin(truth, classes)
        if name in BY_CONCEPT and any(len(set(names[truth == c])) < FEWEST[name] for c in classes):
            continue
        cosines = embeddings[known] @ class_embeddings(encoder, attribute(name)).T
        fitted = fit_calibration(
            cosines,
            list(truth[known]),
            list(names[known]),
            encoder=encoder,
            attribute=name,
            source=SOURCE,
            made_by="auditkit train calibrate",
            min_sources=FEWEST.get(name, MIN_SOURCES),
        )
        fitted.save(folder)
    domain = Domain.fit(embeddings, list(names), encoder=encoder, source=SOURCE)
    domain.save(folder)
    result = evaluate(encoder, table, vae=vae, canvas=canvas)
    (folder / "evaluation.json").write_text(result.to_json(orient="records", indent=2, double_precision=4) + "\n")
    return result


def true_classes(table: pd.DataFrame, name: str) -> np.ndarray:
    """The true class of each row, str [n]; one that is no class of the attribute, or '', where none is certain."""
    if name not in BY_CONCEPT:
        return table[name].to_numpy(str)
    classes = BY_CONCEPT[name]
    return np.array([classes.get(concept, classes[""]) for concept in table["concept"]], dtype=str)


def evaluate(encoder: Encoder, table: pd.DataFrame, *, vae: Path, canvas: int = 128) -> pd.DataFrame:
    """Zero-shot accuracy by split and attribute with the saved calibrations; see `calibrate`."""
    from auditkit.clip.calibration import load_calibration, load_domain
    from auditkit.clip.posteriors import decide, posteriors

    domain = load_domain(encoder)
    assert domain is not None, "calibrate() saves one first"
    out = []
    people = table[table["kind"] == "person"]
    splits = {"test": people["split"] == "test", "unseen style": people["split"] == "unseen"}
    for split, chosen in splits.items():
        shown = people[chosen].reset_index(drop=True)
        embeddings, rows = _embed(encoder, shown, vae, canvas, 1)
        inside = domain.assess(embeddings)[1]
        for name in ATTRIBUTES:
            classes = list(attribute(name).classes)
            calibration = load_calibration(encoder, name)
            truth = true_classes(shown, name)[rows]
            known = np.isin(truth, classes)
            if calibration is None or not known.any():
                continue
            cosines = embeddings[known] @ class_embeddings(encoder, attribute(name)).T
            posterior = posteriors(cosines, encoder.logit_scale, calibration.temperature)
            steps = np.abs(posterior.argmax(1) - [classes.index(t) for t in truth[known]])
            unknown = decide(posterior, calibration.threshold) == len(classes)
            out.append(
                {
                    "split": split,
                    "attribute": name,
                    "n": int(known.sum()),
                    "accuracy": float((steps == 0).mean()),
                    "balanced": float(np.mean([(steps == 0)[truth[known] == c].mean() for c in set(truth[known])])),
                    "within_one": float((steps <= 1).mean()) if name == "skin_tone" else None,
                    "unknown": float(unknown.mean()),
                    "accuracy_of_labelled": float((steps == 0)[~unknown].mean()) if (~unknown).any() else None,
                    "in_domain": float(inside[known].mean()),
                }
            )
    return pd.DataFrame(out)


def _embed(
    encoder: Encoder, table: pd.DataFrame, vae: Path, canvas: int, copies: int
) -> tuple[np.ndarray, np.ndarray]:
    """(embeddings [n * copies, dim], row of the table each belongs to); odd copies go through the autoencoder."""
    images: list[Image.Image] = []
    for batch in _copies(table, vae, canvas, copies):
        images.extend(batch)
    return encoder.embed_images(images), np.tile(np.arange(len(table)), copies)


def _copies(table: pd.DataFrame, vae: Path, canvas: int, copies: int) -> Iterator[list[Image.Image]]:
    import torch
    from diffusers import AutoencoderKL
    from PIL import Image

    autoencoder = AutoencoderKL.from_pretrained(vae, torch_dtype=torch.float32, low_cpu_mem_usage=False).eval()
    drawings = pixels.load(table, "cpu")
    for copy in range(copies):
        random = torch.Generator().manual_seed(copy)
        shown: list[Image.Image] = []
        with torch.no_grad():
            for chunk in drawings.split(32):
                batch = pixels.on_paper(chunk, canvas, random)
                if copy % 2:
                    batch = autoencoder.decode(autoencoder.encode(batch).latent_dist.mode()).sample.clamp(-1, 1)
                pictures = ((batch + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()
                shown.extend(Image.fromarray(picture) for picture in pictures)
        yield shown

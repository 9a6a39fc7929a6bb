"""The bundled generators' training drawings as an encoder sees them, to find pictures that are those come again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from auditkit.clip.encoders import load_encoder
from auditkit.clip.training import TrainingReference, as_stored, threshold, threshold_of_copies
from auditkit.stats.features import nearest
from generators.training.autoencoder import check_vae
from generators.training.calibrate import _embed

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from auditkit.clip.encoders import Encoder

GENERATORS = ("personas", "personas-balanced")
SOURCE = (
    "{n:,} training drawings of the persona corpus, each the mean of a copy on plain paper and one through the bundled "
    "autoencoder"
)
EVERY = 8
"""Of so many training drawings one is shown anew, to tell how many copies the threshold finds."""


def memorise(folder: Path, table: pd.DataFrame, *, vae: Path, canvas: int = 128) -> TrainingReference:
    """Embed the generators' training drawings and save them with their thresholds beside the encoder in `folder`.

    A drawing counts as a training drawing come again where it is nearer to one than 99% of the drawings of the
    calibration split are, which no generator was trained on: of the same sets, so that many differ from a training
    drawing in the skin tone or the hair alone. The test split counts how often that is wrong.

    Two pictures count as near-duplicates where they are as near as 95% of the calibration split's copies of one
    drawing on other papers are; pairs of different drawings of one subject and style count how often that is wrong.

    All pictures that are compared have been through the autoencoder, since that is how a generator's images look.

    Raises:
        EncoderError, GeneratorError: there is no such encoder or autoencoder. CalibrationError: the corpus has no
        drawings of a split.
    """
    check_vae(vae)
    encoder = load_encoder(str(folder))
    trained = table[(table["split"] == "train") & _drawn(table)].reset_index(drop=True)
    again = trained[::EVERY].reset_index(drop=True)
    people = table[table["kind"] == "person"]
    splits = [people[people["split"] == name].reset_index(drop=True) for name in ("calibration", "test")]

    embeddings = as_stored(_shown(encoder, trained, vae, canvas, 2).mean(axis=0))
    held = [_shown(encoder, part, vae, canvas, 4) for part in splits]
    fresh = _shown(encoder, again, vae, canvas, 4)[3]
    new = [nearest(copies[1][_drawn(part)], embeddings) for part, copies in zip(splits, held, strict=True)]
    same = [(copies[1] * copies[3]).sum(axis=1) for copies in held]
    pairs = [_strangers(part, copies[1]) for part, copies in zip(splits, held, strict=True)]
    reference = TrainingReference(
        embeddings,
        memorised=threshold(new[0], new[1], nearest(fresh, embeddings)),
        copies=threshold_of_copies(same[0], same[1], np.concatenate(pairs)),
        generators=GENERATORS,
        encoder_sha256=encoder.sha256,
        source=SOURCE.format(n=len(trained)),
    )
    reference.save(folder)
    return reference


def _drawn(table: pd.DataFrame) -> NDArray[np.bool_]:
    """What generators draw: GeneratorDraws leaves out people of neutral gender form."""
    return (table["gender"] != "neutral").to_numpy(bool)


def _shown(encoder: Encoder, table: pd.DataFrame, vae: Path, canvas: int, copies: int) -> NDArray[np.float32]:
    """Embeddings of copies of each drawing on other papers, float32 [copies, n, dim]; odd ones through `vae`."""
    embeddings, _ = _embed(encoder, table, vae, canvas, copies)
    return embeddings.reshape(copies, len(table), -1)


def _strangers(table: pd.DataFrame, embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
    """Cosines of the pairs of different drawings of one concept and style."""
    key = (table["concept"] + "/" + table["style"]).to_numpy()
    upper = np.triu(key[:, None] == key, 1)
    return np.asarray((embeddings @ embeddings.T)[upper])

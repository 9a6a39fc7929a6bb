"""Runs that consist of embeddings: tables on disk and no pictures, with sentences embedded without an encoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from auditkit.bias.vocabulary import sentences, vocabulary
from auditkit.clip.embedded import _write
from auditkit.files import write_json
from auditkit.runs import Run, open_run
from auditkit.runs.record import make_record
from auditkit.schemas import IMAGES, write_table

ENCODER, FINGERPRINT = "personas-clip", "f" * 64


def images_table(
    groups: Sequence[str], *, templates: int, replicates: int, axis: str = "job", seed: int = 0
) -> pd.DataFrame:
    """Images of every group under every template, with ids that follow no order."""
    rng = np.random.default_rng(seed)
    p = [(t, g) for t in range(templates) for g in range(len(groups))]
    prompt = np.repeat(np.arange(len(p)), replicates)
    template = np.array([f"picture {t} of {{a {axis}}}" for t, _ in p], object)[prompt]
    group = np.array([groups[g] for _, g in p], object)[prompt]
    ids = [value.tobytes().hex() for value in rng.integers(0, 256, (len(prompt), 32), dtype=np.uint8)]
    return pd.DataFrame(
        {
            "id": ids,
            "path": [f"images/{i[:2]}/{i}.png" for i in ids],
            "prompt_id": prompt,
            "prompt": [t.replace(f"{{a {axis}}}", f"a {g}") for t, g in zip(template, group, strict=True)],
            "template": template,
            "replicate": np.tile(np.arange(replicates), len(p)),
            "seed": pd.array(np.arange(len(prompt)), dtype="Int64"),
            "sampler": "none",
            "steps": pd.array(np.ones(len(prompt), int), dtype="Int64"),
            "guidance": 1.0,
            "width": 8,
            "height": 8,
            "shard": 0,
            "ms": 1.0,
            f"axis_{axis}": group,
        }
    )


def embedded_run(
    folder: Path, images: pd.DataFrame, embeddings: np.ndarray, texts: Mapping[str, np.ndarray] | None = None
) -> Run:
    """A complete run on disk with these embeddings of its images (made unit) and of sentences."""
    record = make_record(folder.name, None, {"name": "numbers", "kind": "test"}, shard_size=50)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "run.json", record)
    write_table(images, folder / "images.parquet", IMAGES)
    run = open_run(folder)
    put_embeddings(run, images, embeddings)
    if texts is not None:
        _write(folder / "embeddings" / f"{ENCODER}.texts.parquet", dict(texts), FINGERPRINT)
    return run


def put_embeddings(run: Run, images: pd.DataFrame, embeddings: np.ndarray) -> None:
    """Give the run's images these embeddings, made unit, in place of those that they had."""
    unit = np.asarray(embeddings, np.float32)
    unit = unit / np.linalg.norm(unit, axis=1, keepdims=True)
    run.write_embeddings(ENCODER, images["id"].tolist(), unit, fingerprint=FINGERPRINT)


DIM = 256
OPEN = ("beard", "smile", "dog")
"""Concepts in which images of one prompt differ, in `Pictures`: as much in each, so that all three directions count."""


class Pictures:
    """Embeddings of images that differ within prompts by three concepts, and between groups by what was asked for.

    Every concept has a direction of its own, which both its wordings mean, so that each is understood.
    """

    def __init__(self, seed: int = 0):
        rng = np.random.default_rng(seed)
        self.concepts = vocabulary()
        self.directions = rng.normal(size=(len(self.concepts), DIM))
        self.directions /= np.linalg.norm(self.directions, axis=1, keepdims=True)

    def direction(self, concept: str) -> np.ndarray:
        return self.directions[[each.name for each in self.concepts].index(concept)]

    def texts(self, prompts: Mapping[str, Sequence[str]], *, garbled: Sequence[str] = (), seed: int = 1) -> dict:
        """Every sentence of the vocabulary, and prompts that lie near the concepts they are given; of the concepts
        `garbled` each wording means something else."""
        rng = np.random.default_rng(seed)
        said = sentences(self.concepts)
        each = len(said) // len(self.concepts)
        vectors = np.repeat(self.directions, each, axis=0) + 0.02 * rng.normal(size=(len(said), DIM))
        for i, concept in enumerate(self.concepts):
            if concept.name in garbled:
                vectors[i * each : (i + 1) * each] = rng.normal(size=(each, DIM)) / 16
        named = {
            prompt: 0.02 * rng.normal(size=DIM) + sum((self.direction(c) for c in concepts), np.zeros(DIM))
            for prompt, concepts in prompts.items()
        }
        every = dict(zip(said, vectors, strict=True)) | named
        return {text: (v / np.linalg.norm(v)).astype(np.float32) for text, v in every.items()}

    def embed(
        self,
        images: pd.DataFrame,
        rng: np.random.Generator,
        *,
        shifts: Mapping[tuple[str, str], float] | None = None,
        alike: float = 0.5,
        axis: str = "job",
    ) -> np.ndarray:
        """Embeddings [n, DIM] before they are made unit.

        Args:
            shifts: by group and concept, in standard deviations between images of one prompt.
            alike: standard deviation between prompts over that within.
        """
        prompt = images["prompt_id"].to_numpy()
        axes = np.stack([self.direction(c) for c in OPEN])
        amounts = (
            rng.normal(size=(len(images), len(OPEN))) + alike * rng.normal(size=(prompt.max() + 1, len(OPEN)))[prompt]
        )
        for (group, concept), shift in (shifts or {}).items():
            amounts[(images[f"axis_{axis}"] == group).to_numpy(), OPEN.index(concept)] += shift
        # What a group's prompts ask for: the same in all of its images, large, and nothing that is left open.
        groups, code = np.unique(images[f"axis_{axis}"], return_inverse=True)
        asked = np.random.default_rng(7).normal(size=(len(groups), DIM)) / 4
        asked -= asked @ np.linalg.pinv(axes) @ axes
        return 20 * np.eye(DIM)[0] + amounts @ axes + asked[code] + 0.02 * rng.normal(size=(len(images), DIM))

"""A run of made-up embeddings, whose groups lean to the poles by known amounts."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd

from auditkit.bias.poles import all_poles, sentences_of_groups
from auditkit.clip.embedded import _write

DIM = 32
ENCODER = "made-up"


class VectorRun:
    """The part of a run that `association` uses: made-up embeddings of images, and sentences in the same space.

    Poles differ along a direction each; the images of a group lean along it by `leans[poles][group]`. Poles without an
    entry in `known` have sentences at random: the encoder does not know them.
    """

    planted = None

    def __init__(
        self,
        folder: Path,
        leans: dict[str, dict[str, float]],
        *,
        known: tuple[str, ...] = ("gender", "skin_tone"),
        stated: bool = False,
        prompts: int = 6,
        images: int = 5,
        seed: int = 0,
        by: str = "occupation",
    ):
        self.path, self.id = folder, "vector-run"
        rng = np.random.default_rng(seed)
        groups = list(next(iter(leans.values())))
        templates = [f"{how} of {{a {by}}}" for how in ("a portrait", "a picture", "a drawing", "an icon")]
        self.spec = SimpleNamespace(templates=templates)
        kinds = ["", "female", "male"] if stated else [""]
        rows = [
            {"axis_" + by: group, "axis_gender": kind or None, "replicate": r, "prompt_id": p}
            for p, (group, kind, _) in enumerate((g, k, i) for g in groups for k in kinds for i in range(prompts))
            for r in range(images)
        ]
        self.table = pd.DataFrame(rows)
        if not stated:
            self.table = self.table.drop(columns="axis_gender")
        self.table.insert(0, "id", [f"{i:064x}" for i in range(len(self.table))])
        axes = {poles.name: np.eye(DIM)[1 + i] for i, poles in enumerate(all_poles())}
        lean = np.zeros((len(self.table), DIM))
        for name, by_group in leans.items():
            share = 0.5 + self.table["axis_" + by].map(by_group).to_numpy(float) / 2
            if stated and name == "gender":
                kind = self.table["axis_gender"]
                share = np.where(kind == "female", 1.0, np.where(kind == "male", 0.0, share))
            lean += np.where(rng.random(len(share)) < share, 0.4, -0.4)[:, None] * axes[name]
        wobble = rng.normal(0, 0.03, (int(self.table["prompt_id"].max()) + 1, DIM))[self.table["prompt_id"]]
        self.vectors = _unit(np.eye(DIM)[0] + lean + wobble + rng.normal(0, 0.05, (len(self.table), DIM)))
        texts: dict[str, np.ndarray] = {}
        for poles in all_poles():
            for sign, pole in zip((1, -1), poles.poles, strict=True):
                said = [*poles.words[pole], *(s for w in poles.wordings.values() for s in w[pole])]
                for sentence in said:
                    way = sign * 0.4 * axes[poles.name] if poles.name in known else rng.normal(0, 0.1, DIM)
                    texts[sentence] = _unit(np.eye(DIM)[0] + way + rng.normal(0, 0.03, DIM))
        for sentence in [*groups, *(s for row in sentences_of_groups(self, by, groups) for s in row)]:
            texts[sentence] = _unit(np.eye(DIM)[0] + rng.normal(0, 0.05, DIM))
        (folder / "embeddings").mkdir(parents=True, exist_ok=True)
        for encoder in (ENCODER, "second"):
            _write(folder / "embeddings" / f"{encoder}.texts.parquet", texts, "print")

    def images(self) -> pd.DataFrame:
        return self.table.copy()

    def embeddings_fingerprint(self, encoder: str) -> str | None:
        return "print" if encoder in (ENCODER, "second") else None

    def embeddings(self, encoder: str, *, fingerprint: str = "") -> tuple[list[str], np.ndarray]:
        return list(self.table["id"]), self.vectors


def _unit(e: np.ndarray) -> np.ndarray:
    return (e / np.linalg.norm(e, axis=-1, keepdims=True)).astype(np.float32)

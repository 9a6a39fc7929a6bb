"""A run that lives in memory: an images table and scores of known truth, for measures that read no pictures."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from auditkit.prompts import fields, fill


class ScoredRun:
    """The part of a Run that measures of scores use."""

    def __init__(self, images: pd.DataFrame, scores: Mapping[str, pd.DataFrame]):
        self.id, self.path = "scored-0", Path("memory")
        self._images, self._scores = images, dict(scores)

    def images(self) -> pd.DataFrame:
        return self._images

    def scores(self, scorer: str | None = None) -> dict[str, pd.DataFrame]:
        return {key: table for key, table in self._scores.items() if scorer in (None, key.split("@")[0])}


def images_table(templates: Sequence[str], axes: Mapping[str, Sequence[str]], per_prompt: int) -> pd.DataFrame:
    """Rows as a writer would make them; an axis that a template does not name is null."""
    rows: list[dict] = []
    number = itertools.count()
    for template in templates:
        named = fields(template)
        for values in itertools.product(*(axes[axis] for axis in named)):
            chosen = dict(zip(named, values, strict=True))
            prompt = {"prompt_id": next(number), "prompt": fill(template, chosen)}
            about = prompt | {"template": template} | {f"axis_{axis}": chosen.get(axis) for axis in axes}
            rows += [about | {"replicate": i} for i in range(per_prompt)]
    table = pd.DataFrame(rows)
    table["id"] = [f"{i:064x}" for i in range(len(table))]
    return table


def scores_table(
    images: pd.DataFrame,
    name: str,
    classes: Sequence[str],
    label: Sequence[str],
    *,
    posterior: NDArray[np.float64] | None = None,
    inside: bool | None = True,
) -> pd.DataFrame:
    """Scores with these labels; posteriors .9 for the label's class where none are given."""
    if posterior is None:
        hit = np.array(label)[:, None] == np.array(classes)[None, :]
        posterior = np.where(hit, 0.9, 0.1 / (len(classes) - 1))
        posterior[~hit.any(axis=1)] = 1 / len(classes)
    table = pd.DataFrame({"id": images["id"], "scorer": name, "scorer_version": 1, "encoder": "tiny"})
    table["label"], table["confidence"] = list(label), posterior.max(axis=1)
    table["in_domain"] = pd.array([inside] * len(images), dtype="boolean")
    table["domain_distance"] = 0.1
    for i, each in enumerate(classes):
        table[f"p_{each}"] = posterior[:, i]
    return table


def calibration(classes: Sequence[str], counts: Sequence[Sequence[int]]) -> SimpleNamespace:
    """Of images each from a source of its own: counts [classes and unknown][true class]."""
    table = np.array(counts, float)
    return SimpleNamespace(
        classes=list(classes),
        outcomes=[*classes, "unknown"],
        weights=(table / table.sum(axis=0)).tolist(),
        n_effective=table.sum(axis=0).tolist(),
    )

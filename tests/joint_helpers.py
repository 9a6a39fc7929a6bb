"""Runs whose two attributes have a joint truth, prompt by prompt."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from stats_helpers import CLASSES, FakeRun, scorer, scores

EVEN = np.full((2, 5), 0.1)
PLANTED = np.array([[0.16, 0.13, 0.1, 0.07, 0.04], [0.04, 0.07, 0.1, 0.13, 0.16]])
"""Both marginals even, while women are drawn light and men dark: `scientist` of the planted table of `personas`."""


def independent(female: float, tones: list[float]) -> np.ndarray:
    """Cells without interaction."""
    return np.outer([female, 1 - female], tones)


def joint_run(
    cells: Mapping[str, np.ndarray],
    rng: np.random.Generator,
    *,
    prompts: int = 10,
    images: int = 20,
    right: float = 0.95,
    unknown: float = 0.05,
    in_domain: bool | None = True,
    extra: Mapping[str, float] | None = None,
) -> FakeRun:
    """Images of gender and skin tone drawn from joint shares [2, 5], or one such table a prompt [prompts, 2, 5].

    Args:
        extra: by occupation, share of the images that are unknown whatever they show.
    """
    names = list(cells)
    table = pd.DataFrame(
        [
            {"prompt_id": g * prompts + p, "replicate": r, "axis_occupation": name}
            for g, name in enumerate(names)
            for p in range(prompts)
            for r in range(images)
        ]
    )
    table.insert(0, "id", [f"{i:064x}" for i in range(len(table))])
    truth = []
    for name in names:
        for one in np.broadcast_to(cells[name], (prompts, 2, 5)):
            truth.append(rng.choice(10, size=images, p=one.ravel() / one.sum()))
    cell = np.concatenate(truth)
    hidden = rng.random(len(table)) < table["axis_occupation"].map(dict(extra or {})).fillna(0).to_numpy(float)
    tables = {}
    for attribute, index in (("gender", cell // 5), ("skin_tone", cell % 5)):
        classes = CLASSES[attribute]
        c = scorer(len(classes), right=right, unknown=unknown)
        seen = np.array([rng.choice(len(classes) + 1, p=c[:, j]) for j in index])
        label = np.array([*classes, "unknown"])[np.where(hidden, len(classes), seen)]
        tables[f"{attribute}@personas-clip"] = scores(table["id"], list(label), attribute, in_domain=in_domain)
    return FakeRun(table, tables)

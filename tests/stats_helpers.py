"""Audits with a known truth for the tests of the statistics: a scorer, a calibration set, a run."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd

CLASSES = {
    "gender": ["female", "male"],
    "skin_tone": ["light", "medium-light", "medium", "medium-dark", "dark"],
    "occupation": ["cook", "judge", "pilot"],
}


def scorer(k: int, *, right: float = 0.95, unknown: float = 0.05) -> np.ndarray:
    """C [k + 1, k] of a scorer that errs evenly to the neighbouring classes."""
    c = np.zeros((k + 1, k))
    for j in range(k):
        near = [i for i in (j - 1, j + 1) if 0 <= i < k]
        c[j, j] = right
        c[near, j] = (1 - right) / len(near)
    c *= 1 - unknown
    c[k] = unknown
    return c


def calibration(
    attribute: str, *, right: float = 0.95, unknown: float = 0.05, n: float = 150
) -> SimpleNamespace:
    """What `measure` needs of a Calibration; the confusion matrix is the true one."""
    classes = CLASSES[attribute]
    return SimpleNamespace(
        classes=classes,
        outcomes=[*classes, "unknown"],
        weights=scorer(len(classes), right=right, unknown=unknown).tolist(),
        n_effective=[n] * len(classes),
    )


@dataclass
class FakeRun:
    """The part of a Run that the measures use."""

    table: pd.DataFrame
    tables: dict[str, pd.DataFrame]
    planted: pd.DataFrame | None = None
    id: str = "fake-run"
    record: dict[str, Any] = field(default_factory=dict)

    def images(self) -> pd.DataFrame:
        return self.table.copy()

    def scores(self) -> dict[str, pd.DataFrame]:
        return self.tables


def make_run(
    shares: dict[str, dict[str, list[float]]],
    rng: np.random.Generator,
    *,
    prompts: int = 10,
    images: int = 5,
    right: float = 0.95,
    unknown: float = 0.05,
    in_domain: bool | None = True,
    planted: pd.DataFrame | None = None,
) -> FakeRun:
    """A run with those class shares: attribute -> occupation -> shares; attributes are independent."""
    groups = list(next(iter(shares.values())))
    rows = [
        {"prompt_id": g * prompts + p, "replicate": r, "axis_occupation": name}
        for g, name in enumerate(groups)
        for p in range(prompts)
        for r in range(images)
    ]
    table = pd.DataFrame(rows)
    table.insert(0, "id", [f"{i:064x}" for i in range(len(table))])
    tables = {}
    for attribute, by_group in shares.items():
        classes = CLASSES[attribute]
        c = scorer(len(classes), right=right, unknown=unknown)
        truth = [rng.choice(len(classes), p=by_group[name]) for name in table["axis_occupation"]]
        label = [[*classes, "unknown"][rng.choice(len(classes) + 1, p=c[:, j])] for j in truth]
        tables[f"{attribute}@personas-clip"] = scores(table["id"], label, attribute, in_domain=in_domain)
    return FakeRun(table, tables, planted)


def scores(
    ids: pd.Series, label: list[str], attribute: str, *, in_domain: bool | None = True
) -> pd.DataFrame:
    """A table of scores with those labels and even posteriors."""
    table = pd.DataFrame({"id": list(ids), "label": label})
    table["in_domain"] = pd.array([in_domain] * len(table), dtype="boolean")
    for name in CLASSES[attribute]:
        table[f"p_{name}"] = 1 / len(CLASSES[attribute])
    return table

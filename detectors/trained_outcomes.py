"""A trained detector on images that it was not trained on: the same tables as for what was left out."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from auditkit.errors import DetectorError
from auditkit.watermark.attacks import Step
from detectors.base import Family, Images, Progress
from detectors.calibration import Calibration
from detectors.examples import Examples
from detectors.familiarity import Familiarity
from detectors.leave_one_out import Outcome
from detectors.robustness import Look, scores_under
from detectors.trained import looked_at


class Threshold(Protocol):
    """Where images begin to be called generated, and the false positive rate that was asked for."""

    @property
    def score(self) -> float: ...
    @property
    def fpr(self) -> float: ...


class Trained(Protocol):
    """What is needed of `trained.Detector`."""

    @property
    def name(self) -> str: ...
    @property
    def family(self) -> Family: ...
    @property
    def calibration(self) -> Calibration: ...
    @property
    def familiarity(self) -> Familiarity: ...
    @property
    def limit(self) -> float: ...

    def scores(self, images: Images) -> NDArray[np.float64]: ...
    def threshold(self, fpr: float | None = None) -> Threshold: ...


def look_of(detector: Trained) -> Look:
    """Its scores, and how unfamiliar each image is."""

    def look(images: Images) -> tuple[np.ndarray, np.ndarray]:
        scores, features = looked_at(detector.family, images)
        unfamiliar, seen = np.full(len(images), np.nan), np.isfinite(features).all(axis=1)
        if seen.any():
            unfamiliar[seen] = detector.familiarity.unfamiliar(features[seen])
        return scores, unfamiliar

    return look


def outcomes_of(
    detector: Trained,
    examples: Examples,
    *,
    steps: Sequence[Step],
    seed: int = 0,
    progress: Progress | None = None,
) -> list[Outcome]:
    """An outcome for each generator (with all real images) and for each origin (with all generated ones).

    Raises:
        DetectorError: one class only.
    """
    began, table = time.monotonic(), examples.table
    if len(set(table["label"])) < 2:
        raise DetectorError(
            "a detector is tested on real and on generated images, and there is one kind only",
            where=", ".join(sorted(set(table["label"]))) or "no image",
            mend="give data/real/<origin>/ and data/generated/<generator>/, or a folder with both and a run",
        )
    scored = scores_under(look_of(detector), examples, steps, seed=seed, progress=progress)
    scored["probability"] = detector.calibration.probability(scored["score"].to_numpy())
    nothing = pd.DataFrame({"label": np.zeros(0, int), "source": np.zeros(0, str), "score": np.zeros(0)})
    seconds, found = round(time.monotonic() - began, 2), []
    for left, column, label in (("generator", "generator", 1), ("origin", "origin", 0)):
        for name in sorted(set(table[column][examples.labels == label])):
            part = scored[(scored["label"] != label) | (scored[column] == name)].reset_index(drop=True)
            clean = part[part["degradation"] == "none"]
            counts = {f"test_{kind}": int((clean["label"] == y).sum()) for kind, y in (("real", 0), ("generated", 1))}
            found.append(
                Outcome(detector.name, left, name, part, nothing, detector.threshold().score, seconds, counts)  # type: ignore[arg-type]
            )
    return found

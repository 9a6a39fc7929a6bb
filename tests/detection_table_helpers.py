"""The table `detections` of a run, drawn from a known truth; no detector is needed."""

from __future__ import annotations

import numpy as np
import pandas as pd

from auditkit.runs import Run


def judged(run: Run, generated: float, abstain: float = 0.0, detector: str = "mine") -> pd.DataFrame:
    """The first images by their order shuffled are called generated, the next abstained from, the rest show no sign."""
    ids = list(np.random.default_rng(0).permutation(run.images()["id"].drop_duplicates()))
    called, unsure = round(generated * len(ids)), round(abstain * len(ids))
    verdicts = ["generated"] * called + ["abstain"] * unsure + ["no sign"] * (len(ids) - called - unsure)
    common = {"detector": detector, "score": 0.5, "probability": 0.5, "threshold": 0.4, "fpr": 0.01, "unfamiliar": 0.2}
    return pd.DataFrame({"id": ids, "verdict": verdicts}).assign(**common, why="a test")

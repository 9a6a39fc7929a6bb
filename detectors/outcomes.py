"""Tables of an evaluation: what the scores of folds, or of one detector, come to, a row an estimate.

Every table has the columns `KEYS` (what the row is about) and `ESTIMATE` (estimate, ci_low, ci_high, n_images,
n_sources, status). `held_out` is '(mean)' for the mean over what was left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import numpy as np
import pandas as pd

from detectors import metrics
from detectors.accusations import realised
from detectors.alarms import expected
from detectors.calibration import ece, holds, reliability
from detectors.leave_one_out import FPR, LIMIT, Outcome
from detectors.metrics import Estimate

KEYS = ("detector", "left", "held_out", "degradation", "metric")
ESTIMATE = ("estimate", "ci_low", "ci_high", "n_images", "n_sources", "status")
MEAN = "(mean)"
CURVE_POINTS = 400


def results(outcomes: Sequence[Outcome], *, fpr: float = FPR, limit: float = LIMIT, seed: int = 0) -> pd.DataFrame:
    """Every metric of every detector on everything left out, after every degradation, and the means.

    Metrics: those of `metrics.evaluate`; of images that are not degraded also `ece` (status `uncalibrated` where
    probabilities may not be given), `accused` (real images called generated), `abstained_real`,
    `abstained_generated`, and `auroc_seen`, on held-back images of what a fold was trained on. Rows `(mean)` hold the
    mean AUROC over all that was left out.
    """
    rows: list[dict[str, object]] = []
    for outcome in outcomes:
        for degradation, part in outcome.scored.groupby("degradation", sort=False):
            about = {"detector": outcome.contender, "left": outcome.left, "held_out": outcome.name,
                     "degradation": degradation}  # fmt: skip
            arrays = [part[name].to_numpy() for name in ("score", "label", "source")]
            clean = degradation == "none"
            table = metrics.evaluate(
                *arrays, threshold=outcome.threshold, fprs=metrics.FPRS if clean else (), seed=seed
            )
            rows += [{**about, **{str(name): value for name, value in row.items()}} for row in table.to_dict("records")]
            if clean:
                rows += [{**about, **row} for row in _clean(outcome, part, fpr=fpr, limit=limit, seed=seed)]
    for (contender, left), group in _grouped(outcomes).items():
        rows += _means(contender, left, group, seed)
    return pd.DataFrame(rows, columns=[*KEYS, *ESTIMATE])


def curves(outcomes: Sequence[Outcome], *, highest: float = 0.1) -> pd.DataFrame:
    """ROC curves of undegraded images up to a false positive rate of `highest`: detector, left, held_out, fpr, tpr."""
    found = []
    for outcome in outcomes:
        part = _undegraded(outcome)
        false, true = metrics.roc(part["score"], part["label"])
        kept = false <= highest
        if kept.any():
            places = np.unique(np.linspace(0, kept.sum() - 1, CURVE_POINTS).astype(int))
            about = {"detector": outcome.contender, "left": outcome.left, "held_out": outcome.name}
            found.append(pd.DataFrame({"fpr": false[kept][places], "tpr": true[kept][places]}).assign(**about))
    columns = ["detector", "left", "held_out", "fpr", "tpr"]
    return pd.concat(found, ignore_index=True)[columns] if found else pd.DataFrame(columns=columns)


def reliabilities(outcomes: Sequence[Outcome]) -> pd.DataFrame:
    """Reliability curves of undegraded images; see `calibration.reliability`."""
    found = []
    for outcome in outcomes:
        part = _undegraded(outcome)
        curve = reliability(part["probability"], part["label"], part["source"])
        found.append(curve.assign(detector=outcome.contender, left=outcome.left, held_out=outcome.name))
    return pd.concat(found, ignore_index=True)


def alarms(table: pd.DataFrame, *, base_rate: float, volume: int) -> pd.DataFrame:
    """Expected alarms by detector and what was left out, from the rates in `results`; see `alarms.expected`."""
    found = []
    rates = table[(table["degradation"] == "none") & table["metric"].isin(["tpr", "fpr"])]
    for (detector, left, held_out), part in rates.groupby(["detector", "left", "held_out"], sort=False):
        by = part.set_index("metric")
        tpr, fpr = (Estimate(*by.loc[name, list(ESTIMATE)]) for name in ("tpr", "fpr"))
        made = expected(tpr, fpr, base_rate=base_rate, volume=volume)
        found.append(made.assign(detector=str(detector), left=str(left), held_out=str(held_out)))
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame()


def accusations(outcomes: Sequence[Outcome], *, fpr: float = FPR, limit: float = LIMIT) -> pd.DataFrame:
    """The realised false positive rate on real images of each origin left out: detector, held_out, estimate and so on
    (share called generated), times (what was asked for), reached, abstained, status, sentence."""
    rows = []
    for outcome in outcomes:
        if outcome.left == "origin":
            part = _undegraded(outcome)
            reals = part[(part["label"] == 0) & (part["origin"] == outcome.name)]
            found = realised(
                reals["score"], _known(reals), reals["source"], threshold=outcome.threshold, fpr=fpr, limit=limit
            )
            row = {"detector": outcome.contender, "held_out": outcome.name, "asked": fpr, **asdict(found.accused),
                   "status": found.status, "times": found.times, "reached": found.reached.estimate,
                   "abstained": found.abstained.estimate, "sentence": found.sentence}  # fmt: skip
            if found.status == "insufficient":  # too few images for that rate, whatever their share is
                row |= dict.fromkeys(("estimate", "ci_low", "ci_high", "times", "reached"), float("nan"))
            rows.append(row)
    columns = ["detector", "held_out", "asked", *ESTIMATE, "times", "reached", "abstained", "sentence"]
    return pd.DataFrame(rows, columns=columns)


def worst(table: pd.DataFrame, *, metric: str = "auroc", degradation: str = "none") -> pd.DataFrame:
    """Of each detector the row of the generator or origin where `metric` is lowest; NaN rows are left out."""
    own = table[(table["metric"] == metric) & (table["degradation"] == degradation) & table["estimate"].notna()]
    own = own[own["held_out"] != MEAN].sort_values("estimate", kind="stable")
    return own.drop_duplicates(["detector", "left"])


def _clean(outcome: Outcome, part: pd.DataFrame, *, fpr: float, limit: float, seed: int) -> list[dict[str, object]]:
    error = ece(part["probability"], part["label"], part["source"], seed=seed)
    found = [{"metric": "ece", **asdict(error), "status": holds(error)}]
    real = part["label"] == 0
    unfamiliar = _known(part)
    accused = realised(
        part["score"][real], unfamiliar[real], part["source"][real], threshold=outcome.threshold, fpr=fpr, limit=limit
    )
    found.append({"metric": "accused", **asdict(accused.accused)})
    for name, rows in (("abstained_real", real), ("abstained_generated", ~real)):
        scored = rows & np.isfinite(part["score"])
        found.append({"metric": name, **asdict(metrics.share(unfamiliar[scored] > limit, part["source"][scored]))})
    if len(outcome.development):
        arrays = [outcome.development[name].to_numpy() for name in ("score", "label", "source")]
        found.append({"metric": "auroc_seen", **asdict(metrics.area(*arrays, seed=seed))})
    return found


def _known(part: pd.DataFrame) -> pd.Series:
    """How unfamiliar, 0 where there were too few images to tell."""
    return part["unfamiliar"].fillna(0.0)


def _undegraded(outcome: Outcome) -> pd.DataFrame:
    return outcome.scored[outcome.scored["degradation"] == "none"]


def _grouped(outcomes: Sequence[Outcome]) -> dict[tuple[str, str], list[Outcome]]:
    found: dict[tuple[str, str], list[Outcome]] = {}
    for outcome in outcomes:
        found.setdefault((outcome.contender, outcome.left), []).append(outcome)
    return found


def _means(contender: str, left: str, group: Sequence[Outcome], seed: int) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for degradation in group[0].scored["degradation"].unique():
        parts = []
        for outcome in group:
            part = outcome.scored[outcome.scored["degradation"] == degradation]
            parts.append(tuple(part[name].to_numpy() for name in ("score", "label", "source")))
        mean = metrics.mean_area(parts, seed=seed)
        rows.append({"detector": contender, "left": left, "held_out": MEAN, "degradation": degradation,
                     "metric": "auroc", **asdict(mean)})  # fmt: skip
    return rows

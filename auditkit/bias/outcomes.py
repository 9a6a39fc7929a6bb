"""What the scorers said of each image of a run, as outcomes that can be counted and corrected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from auditkit.clip.domain import Domain
from auditkit.errors import CalibrationError, TableError
from auditkit.stats.confusion import Confusion
from auditkit.stats.estimators.base import CalibrationSample

if TYPE_CHECKING:
    from auditkit.runs import Run

UNKNOWN = "unknown"
Indices = NDArray[np.intp]


class CalibrationTable(Protocol):
    """What is needed of an `auditkit.clip.calibration.Calibration`."""

    @property
    def classes(self) -> Sequence[str]: ...
    @property
    def outcomes(self) -> Sequence[str]: ...
    @property
    def weights(self) -> Sequence[Sequence[float]]: ...
    @property
    def n_effective(self) -> Sequence[float]: ...


@dataclass(frozen=True)
class Outcomes:
    """One attribute's outcomes, a value an image.

    Attributes:
        attribute: `gender`, or joint `gender+skin_tone`.
        classes: its K classes; of a joint attribute the pairs, `female+dark`.
        label: [n_images] index of the class, K for unknown. A pair is unknown where either is.
        outcome: [n_images] index into the rows of the confusion matrix: as `label`, but for a joint
            attribute into all pairs of outcomes, so that an image of unknown tone still counts for gender.
        n_outcomes: how many rows that is.
        in_domain: [n_images] bool, or None where the scores carry no domain check.
        posterior: float64 [n_images, K], rows sum to 1; None for a joint attribute, or where some are missing.
    """

    attribute: str
    classes: list[str]
    label: Indices
    outcome: Indices
    n_outcomes: int
    in_domain: NDArray[np.bool_] | None
    posterior: NDArray[np.float64] | None = None

    def counts(self, prompts: Indices, chosen: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Images by prompt and outcome, float64 [n_prompts, n_outcomes], of the chosen images."""
        _, row = np.unique(prompts[chosen], return_inverse=True)
        table = np.zeros((int(row.max()) + 1 if len(row) else 0, self.n_outcomes))
        np.add.at(table, (row, self.outcome[chosen]), 1)
        return table


def read_outcomes(run: Run, images: pd.DataFrame, attribute: str, encoder: str) -> Outcomes:
    """Outcomes of an attribute for each row of the images table.

    Raises:
        TableError: there are no such scores, or some images have none; names the command that makes them.
    """
    tables = run.scores()
    parts = [_one(run, tables, images, name, encoder) for name in attribute.split("+")]
    whole = parts[0]
    for part in parts[1:]:
        whole = _pair(whole, part)
    return whole


def _one(
    run: Run, tables: Mapping[str, pd.DataFrame], images: pd.DataFrame, name: str, encoder: str
) -> Outcomes:
    key = f"{name}@{encoder}"
    command = f"auditkit score {run.id}" + ("" if encoder == "personas-clip" else f" --encoder {encoder}")
    if key not in tables:
        raise TableError(
            f"The run has no scores of {name} by {encoder}; it has: {', '.join(tables) or 'none'}.",
            where=f"run {run.id}",
            mend=command,
        )
    scores = tables[key].set_index("id")
    rows = scores.reindex(images["id"])
    if rows["label"].isna().any():
        raise TableError(
            f"{int(rows['label'].isna().sum())} of {len(rows)} images have no score of {name}.",
            where=f"run {run.id}, scores {key}",
            mend=command,
        )
    classes = [column[2:] for column in scores.columns if column.startswith("p_")]
    label = pd.Index([*classes, UNKNOWN]).get_indexer(pd.Index(rows["label"]))
    if (label < 0).any():
        raise TableError(
            f"The scores have a label that is no class: {rows['label'].iloc[int(np.argmin(label))]!r}.",
            where=f"run {run.id}, scores {key}",
            mend=f"use one of: {', '.join([*classes, UNKNOWN])}",
        )
    flags = rows["in_domain"] if "in_domain" in rows else pd.Series(pd.NA, index=rows.index)
    # An image without the check cannot vouch for itself; a table without any has not been checked.
    inside = None if flags.isna().all() else flags.astype("boolean").fillna(False).to_numpy(bool)
    posterior = rows[[f"p_{c}" for c in classes]].to_numpy(float)
    whole = len(classes) > 0 and bool(np.all(np.isfinite(posterior)))
    return Outcomes(name, classes, label, label, len(classes) + 1, inside, posterior if whole else None)


def _pair(a: Outcomes, b: Outcomes) -> Outcomes:
    known = (a.label < len(a.classes)) & (b.label < len(b.classes))
    label = np.where(known, a.label * len(b.classes) + b.label, len(a.classes) * len(b.classes))
    inside = None if a.in_domain is None or b.in_domain is None else a.in_domain & b.in_domain
    return Outcomes(
        f"{a.attribute}+{b.attribute}",
        [f"{x}+{y}" for x in a.classes for y in b.classes],
        label,
        a.outcome * b.n_outcomes + b.outcome,
        a.n_outcomes * b.n_outcomes,
        inside,
    )


def standing(
    outcomes: Outcomes, chosen: NDArray[np.bool_], confusion: Confusion | None, uncalibrated: str, min_n: int
) -> tuple[str, str]:
    """Whether the shares of a group can be corrected: the one rule of all measures that correct.

    Args:
        chosen: bool [n_images]. confusion, uncalibrated: what `read_confusion` gave.
        min_n: fewest images with a label.

    Returns:
        A status of the schema MEASUREMENTS, and why it is not `ok`; empty where it is.
    """
    n, labelled = int(chosen.sum()), int((outcomes.label[chosen] < len(outcomes.classes)).sum())
    if labelled < max(min_n, 1):
        return "insufficient", f"{labelled} of {n} images have a label; {max(min_n, 1)} are needed"
    if confusion is None:
        return "uncalibrated", uncalibrated
    if outcomes.in_domain is None:
        return "uncalibrated", "the scores carry no check that the images are of the calibration's kind"
    inside = outcomes.in_domain[chosen]
    if not Domain.holds(inside):
        return "uncalibrated", f"{1 - inside.mean():.0%} of the images are unlike the calibration's"
    return "ok", ""


def read_confusion(
    outcomes: Outcomes, encoder: str, calibrations: Mapping[str, CalibrationTable] | None
) -> tuple[Confusion | None, str]:
    """The checked confusion matrix of an attribute, or None and the reason why there is none to be trusted.

    Joint attributes take the Kronecker product of their parts' matrices, as if the scorers' errors were
    independent given the truth.
    """
    whole: Confusion | None = None
    try:
        for name in outcomes.attribute.split("+"):
            found = _calibration(name, encoder, calibrations)
            if found is None:
                return None, f"{encoder} has no calibration of {name}"
            part = Confusion.from_counts(np.asarray(found.weights), n_effective=found.n_effective)
            if list(found.outcomes) != [*found.classes, UNKNOWN]:
                return None, f"the calibration of {name} does not end in unknown"
            part.check()
            whole = part if whole is None else Confusion.joint(whole, part)
    except CalibrationError as error:
        return None, f"{name}: {error.what}"
    if whole is None or whole.matrix.shape != (outcomes.n_outcomes, len(outcomes.classes)):
        return None, f"the calibration of {outcomes.attribute} has other classes than the scores"
    return whole, ""


def read_sample(
    outcomes: Outcomes, encoder: str, calibrations: Mapping[str, CalibrationTable] | None
) -> CalibrationSample | None:
    """The calibration's own images as the scorer saw them; None where they were not kept, or for a joint attribute."""
    if "+" in outcomes.attribute:
        return None
    try:
        found = _calibration(outcomes.attribute, encoder, calibrations)
    except CalibrationError:  # `read_confusion` says why
        return None
    sample: CalibrationSample | None = getattr(found, "sample", None)
    return sample if sample is not None and sample.posterior.shape[1] == len(outcomes.classes) else None


@dataclass(frozen=True)
class People:
    """What people saw in the images of a random sample.

    Attributes:
        label: int [n_images], index of the class, -1 where nobody said.
        inclusion: float64 [n_images], probability that an image was in the sample; 1 outside it.
        note: how many sampled images have no class by people; empty where all have.
    """

    label: Indices
    inclusion: NDArray[np.float64]
    note: str


def read_people(run: Run, images: pd.DataFrame, outcomes: Outcomes) -> People | None:
    """Labels by people of an attribute; None where there are none, or for a joint attribute.

    Raises:
        TableError: the run has grown since the sample was drawn, or a record is damaged.
    """
    if "+" in outcomes.attribute:
        return None
    from auditkit.annotations import adjudicate, adjudicated

    if not adjudicated(run, outcomes.attribute):
        return None
    found = adjudicate(run, outcomes.attribute)
    label = pd.Index(outcomes.classes).get_indexer(pd.Index(images["id"].map(found.labels)))
    inclusion = images["id"].map(found.inclusion).fillna(1.0).to_numpy(np.float64)
    left = len(found.left_out)
    note = f"of {len(found.inclusion)} sampled images {left} have no class by people, and are left out" if left else ""
    return People(label.astype(np.intp), np.asarray(inclusion, np.float64), note)


def _calibration(
    name: str, encoder: str, calibrations: Mapping[str, CalibrationTable] | None
) -> CalibrationTable | None:
    if calibrations is not None:
        return calibrations.get(name)
    from auditkit.clip.calibration import load_calibration

    found: CalibrationTable | None = load_calibration(encoder, name)
    return found

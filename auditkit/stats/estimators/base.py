"""What every estimator of class shares is given and gives back.

An estimator answers: of these n images, drawn by prompts, what share does the generator make of each class, when
only an imperfect classifier (and perhaps people, for some of the images) looked at them? Shares are those of the
generator under such prompts, not of these very images: intervals hold the sampling of prompts and images, and of
the calibration set.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from auditkit.errors import CalibrationError
from auditkit.stats.confusion import Confusion
from auditkit.stats.design import Clustering, clustering, design_effects, stratified_effect

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]


@dataclass(frozen=True)
class CalibrationSample:
    """Images of known truth as the scorer saw them; K classes.

    Attributes:
        posterior: float [m, K], in [0, 1], rows sum to 1; temperature applied, as in the scores.
        truth: int [m], 0..K-1.
        source: int [m]; copies of one drawing share a number, so that the sources count as independent.
    """

    posterior: Floats
    truth: Indices
    source: Indices


@dataclass(frozen=True)
class Evidence:
    """All that is known of one group of images; K classes, n images.

    Attributes:
        outcome: int [n]: 0..K-1 a class, K unknown; indices into the rows of the confusion matrix. (For a joint
            attribute, whose matrix has more rows, indices into those; see `auditkit.bias.outcomes`.)
        prompt: int [n]: which prompt made the image; prompts are the clusters.
        posterior: float [n, K], calibrated (temperature applied), rows sum to 1; or None.
        confusion: P(outcome | true class), or None.
        sample: the calibration images behind it, or None.
        human: int [n]: true class as people see it, -1 where nobody looked, or None. The labelled images must be
            a random sample of the n.
        stratum: int [n]: groups whose sizes the spec fixes, so that differences between them are no sampling
            noise; None for one group. A prompt lies in one stratum.
        inclusion: float [n], in (0, 1]: probability that people were asked about an image, read where `human` is not
            -1; None where it is the same for all (a simple random sample).
    """

    outcome: Indices
    prompt: Indices
    posterior: Floats | None = None
    confusion: Confusion | None = None
    sample: CalibrationSample | None = None
    human: Indices | None = None
    stratum: Indices | None = None
    inclusion: Floats | None = None

    @property
    def n(self) -> int:
        """Images."""
        return len(self.outcome)

    @property
    def n_classes(self) -> int:
        """K; 0 where neither a posterior nor a confusion matrix tells."""
        if self.posterior is not None:
            return int(self.posterior.shape[1])
        return 0 if self.confusion is None else int(self.confusion.matrix.shape[1])

    @property
    def n_outcomes(self) -> int:
        """Rows of the confusion matrix; K + 1 without one."""
        return self.n_classes + 1 if self.confusion is None else len(self.confusion.matrix)

    def by_prompt(self) -> list[Floats]:
        """For each stratum the images by prompt and outcome, float64 [n_prompts, n_outcomes]."""
        found = []
        strata = np.zeros(self.n, np.intp) if self.stratum is None else self.stratum
        for one in np.unique(strata):
            chosen = strata == one
            _, row = np.unique(self.prompt[chosen], return_inverse=True)
            width = self.n_outcomes
            flat = np.bincount(row * width + self.outcome[chosen], minlength=(int(row.max()) + 1) * width)
            found.append(flat.reshape(-1, width).astype(float))
        return found

    def outcomes(self) -> Floats:
        """Images by outcome, float64 [n_outcomes]."""
        return np.bincount(self.outcome, minlength=self.n_outcomes).astype(float)

    def effects(self, functionals: Floats, found: Clustering | None = None) -> Floats:
        """Design effects [n_estimates] of linear scores of the outcomes, by prompt and stratum.

        Args:
            functionals: [n_estimates, n_outcomes].
            found: clustering estimated elsewhere (pooled over groups); None estimates it here.
        """
        tables = self.by_prompt()
        found = clustering(tables) if found is None else found
        return _stratified(tables, functionals, found.correlations(functionals)[None])[0]

    def effect_draws(
        self, functionals: Floats, rng: np.random.Generator, replicates: int, found: Clustering | None = None
    ) -> Floats:
        """Design effects [replicates, n_estimates] that so many prompts leave plausible."""
        tables = self.by_prompt()
        found = clustering(tables) if found is None else found
        return _stratified(tables, functionals, found.draw(functionals, rng, replicates))


def _stratified(tables: list[Floats], functionals: Floats, correlations: Floats) -> Floats:
    """Design effects [..., n_estimates] of estimates pooled over strata, from correlations within prompts."""
    within = [design_effects(correlations, table.sum(axis=1)) for table in tables]
    if len(tables) == 1:
        return within[0]
    totals = np.array([table.sum(axis=0) for table in tables])
    return stratified_effect(totals, functionals, np.stack(within, axis=-2))


@dataclass(frozen=True)
class Estimate:
    """Class shares with intervals, or why there are none; arrays are float64 [K].

    Attributes:
        shares: in [0, 1], sum to 1.
        low, high: interval for each share, low <= share <= high.
        method: how the interval was made, in words; becomes `ci_method`.
        cautions: why not to trust it, each a phrase in plain words.
        refused: not empty: there is no estimate, and this says why; the arrays are NaN.
        p_values: of the null shares asked for; None where none were.
        free: the estimate before it is kept to [0, 1], where there is one: the one to average over many audits.
        covariance: [K, K] sampling covariance of the shares, prompts' and calibration's; None where not made.
        slack: share of images whose outcomes no mixture of classes explains, by which the interval was widened.
    """

    shares: Floats
    low: Floats
    high: Floats
    method: str
    cautions: tuple[str, ...] = ()
    refused: str = ""
    p_values: Floats | None = None
    free: Floats | None = None
    covariance: Floats | None = field(default=None, repr=False)
    slack: float = 0.0

    @classmethod
    def refuse(cls, n_classes: int, method: str, why: str, cautions: Sequence[str] = ()) -> Estimate:
        """No estimate, and why."""
        nan = np.full(n_classes, np.nan)
        return cls(nan, nan.copy(), nan.copy(), method, tuple(cautions), why)


class Estimator(Protocol):
    """One way to estimate shares; an instance is listed in `auditkit.stats.estimators` under its name."""

    name: str
    title: str
    """What it is, as a short phrase."""
    needs: tuple[str, ...]
    """Attributes of Evidence that must not be None."""

    def estimate(
        self,
        evidence: Evidence,
        *,
        rng: np.random.Generator,
        replicates: int = 2000,
        confidence: float = 0.95,
        clustering: Clustering | None = None,
        null: Floats | None = None,
    ) -> Estimate:
        """Shares of the K classes.

        Args:
            rng: the source of randomness; the same state gives the same numbers. Estimators with closed forms do
                not draw from it.
            replicates: of a bootstrap, or draws from a posterior.
            confidence: coverage aimed at, in (0, 1).
            clustering: estimated elsewhere, such as pooled over groups; None estimates it from this evidence.
            null: [K] shares to test, or None.
        """
        ...


def unfit(evidence: Evidence, needs: Sequence[str]) -> str:
    """Why there can be no estimate from this evidence at all; empty where there can."""
    lacking = [name for name in needs if getattr(evidence, name) is None]
    if lacking:
        return f"needs {' and '.join(_WORDS.get(name, name) for name in lacking)}"
    if evidence.n == 0:
        return "there are no images"
    if evidence.n_classes < 2:
        return "there is only one class, so there is no share to estimate"
    if (evidence.outcome >= evidence.n_classes).all() and evidence.n_outcomes == evidence.n_classes + 1:
        return "all images are unknown"
    return ""


def singular(evidence: Evidence) -> str:
    """Why the confusion matrix cannot be inverted with any trust; empty where it can, or where there is none."""
    try:
        if evidence.confusion is not None:
            evidence.confusion.check()
    except CalibrationError as error:
        return f"{error.what} ({error.where})"
    return ""


_WORDS = {
    "posterior": "posteriors",
    "confusion": "a calibration that holds",
    "sample": "the calibration's own images",
    "human": "labels by people",
}

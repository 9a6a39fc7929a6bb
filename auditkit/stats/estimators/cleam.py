"""CLEAM, as published, for comparison on the bench only: its interval does not cover."""

from __future__ import annotations

import numpy as np
from scipy import stats

from auditkit.stats.design import Clustering
from auditkit.stats.estimators.base import Estimate, Evidence, Floats, unfit

SAMPLES = 30
"""S: batches drawn of the images."""

BATCH = 400
"""N: images a batch."""


class Cleam:
    """Classifier Error-Aware Measurement (Teo, Abdollahzadeh and Cheung, NeurIPS 2023, arXiv 2310.19297).

    Draws S = 30 batches of N = 400 images with replacement, takes mean m and standard deviation s (ddof 0) of
    the batches' label shares, and inverts the accuracies: p = (m - (1 - a_1)) / (a_0 - (1 - a_1)), interval
    (m +- 1.96 s / sqrt(S) - (1 - a_1)) / (a_0 - (1 - a_1)), not clipped; so in its authors' code. For K classes the
    matrix of accuracies is inverted. It knows no `unknown`: such images are left out, accuracies are those among
    labelled images.

    Why not to use it: batches of the same n images repeat each other, so that s / sqrt(S) falls as 1 / sqrt(S N)
    whatever n is: of 1,000 images the interval speaks as if there were 12,000. Nor does it hold the
    calibration's uncertainty or the prompts.
    """

    name = "cleam"
    title = "CLEAM (NeurIPS 2023), for comparison on the bench"
    needs = ("confusion",)

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
        """As `Estimator.estimate`; shares and limits clipped to [0, 1] and shares scaled to sum to one."""
        k = evidence.n_classes
        why = unfit(evidence, self.needs)
        if why:
            return Estimate.refuse(k, self.name, why)
        assert evidence.confusion is not None
        matrix = evidence.confusion.matrix
        if len(matrix) != k + 1:
            return Estimate.refuse(k, self.name, "is not defined for joint attributes")
        accuracies = matrix[:k] / matrix[:k].sum(axis=0)
        if np.linalg.cond(accuracies) > 1e6:
            return Estimate.refuse(k, self.name, "the matrix of accuracies cannot be inverted")
        labels = np.bincount(evidence.outcome, minlength=k + 1)[:k].astype(float)
        batches = rng.multinomial(BATCH, labels / labels.sum(), size=SAMPLES) / BATCH
        inverse = np.linalg.inv(accuracies)
        found = inverse @ batches.mean(axis=0)
        z = stats.norm.ppf(0.5 + confidence / 2)
        half = z * (batches @ inverse.T).std(axis=0) / np.sqrt(SAMPLES)
        shares = np.clip(found, 0, 1)
        shares = shares / shares.sum()
        return Estimate(
            shares,
            np.minimum(np.clip(found - half, 0, 1), shares),
            np.maximum(np.clip(found + half, 0, 1), shares),
            "cleam, as published",
            ("for comparison only: the published interval is far too narrow",),
            free=found,
        )


estimator = Cleam()

"""Prediction-powered inference: people labelled a random part, the scorer looked at all."""

from __future__ import annotations

import numpy as np
from scipy import stats

from auditkit.stats.design import Clustering
from auditkit.stats.estimators.base import Estimate, Evidence, Floats, unfit
from auditkit.stats.intervals import wilson

MIN_LABELS = 30
"""Fewest images labelled by people; below it the rectifier's variance is guesswork."""


class PredictionPowered:
    """p = mean over all of lambda f + mean over the labelled of (Y - lambda f).

    f is the posterior (without one, the label; an unknown counts as each class equally), Y what people saw. Right on
    average whatever the scorer's errors are, so long as the labelled images are a random sample (Angelopoulos et al.
    2023, Science 382:669-674); images that were more likely to be asked about weigh less in the second mean.
    lambda = cov(Y, f)/var(f), cut to [0, 1], makes the interval no wider than that of the labels alone (power tuning:
    Angelopoulos, Duchi and Zrnic 2023, arXiv 2311.01453, eq. 6, where unlabelled images stand apart; the same
    estimate). Variance: between prompts, within strata, of each prompt's part in the estimate. Interval: Wilson's
    with the effective sample size p(1 - p)/variance, Student's t for few prompts.
    """

    name = "ppi"
    title = "Labels by people on a random part, and the scorer on all"
    needs = ("human",)

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
        """As `Estimator.estimate`; draws nothing. Refuses below MIN_LABELS labels."""
        k = evidence.n_classes
        why = unfit(evidence, self.needs)
        if why:
            return Estimate.refuse(k, self.name, why)
        assert evidence.human is not None
        seen = evidence.human >= 0
        labels = int(seen.sum())
        if labels < MIN_LABELS:
            return Estimate.refuse(k, self.name, f"{labels} images are labelled by people; {MIN_LABELS} are needed")
        f = evidence.posterior if evidence.posterior is not None else _one_hot(evidence.outcome, k)
        y = np.eye(k)[evidence.human[seen]]
        tuned = power(y, f[seen], f)
        weight = np.ones(labels) if evidence.inclusion is None else 1 / evidence.inclusion[seen]
        weight = weight / weight.sum()
        residual = y - tuned * f[seen]
        rectifier = weight @ residual
        free = tuned * f.mean(axis=0) + rectifier
        parts = tuned * (f - f.mean(axis=0)) / evidence.n
        parts[seen] += weight[:, None] * (residual - rectifier)
        covariance, df = _between_prompts(parts, evidence)
        shares = np.clip(free, 0, None) / np.clip(free, 0, None).sum()
        # No more is known than the labels and a perfect scorer on the rest would tell, and near 0 and 1 the
        # variance is taken a fraction of a label inside.
        inside = (labels * shares + 1 / k) / (labels + 1)
        variance = np.maximum(np.diag(covariance), inside * (1 - inside) / evidence.n)
        size = inside * (1 - inside) / variance
        low, high = wilson(shares * size, size, confidence, df=df)
        p_values = None
        if null is not None:
            error = np.sqrt(np.maximum(null * (1 - null) / size, 1e-300))
            p_values = 2 * stats.t.sf(np.abs(shares - null) / error, df)
        cautions = []
        if (np.bincount(evidence.human[seen], minlength=k) < 5).any():
            cautions.append("people found fewer than 5 images of some class: its interval is rough")
        return Estimate(
            shares,
            np.minimum(low, shares),
            np.maximum(high, shares),
            f"ppi, {labels} labels by people, lambda {tuned:.2f}",
            tuple(cautions),
            p_values=p_values,
            free=free,
            covariance=covariance,
        )


def power(y: Floats, f: Floats, everywhere: Floats) -> float:
    """lambda: cov(Y, f) on the labelled images over var(f) on all, pooled over the classes, cut to [0, 1].

    Args:
        y, f: [n_labels, K]. everywhere: f of all images, [n, K].
    """
    spread = float(everywhere.var(axis=0, ddof=1).sum())
    together = float(((y - y.mean(axis=0)) * (f - f.mean(axis=0))).sum() / len(y))
    return float(np.clip(together / spread, 0, 1)) if spread > 0 else 0.0


def _one_hot(outcome: np.ndarray, k: int) -> Floats:
    table = np.vstack([np.eye(k), np.full((1, k), 1 / k)])
    return np.asarray(table[np.minimum(outcome, k)], float)


def _between_prompts(parts: Floats, evidence: Evidence) -> tuple[Floats, float]:
    """Covariance [K, K] of the sum of the parts, prompts being independent, and its degrees of freedom.

    With one prompt a stratum, images take the place of prompts.
    """
    strata = np.zeros(evidence.n, np.intp) if evidence.stratum is None else evidence.stratum
    total, df = np.zeros((parts.shape[1], parts.shape[1])), 0
    for one in np.unique(strata):
        chosen = strata == one
        _, row = np.unique(evidence.prompt[chosen], return_inverse=True)
        units = int(row.max()) + 1
        if units < 2:
            row, units = np.arange(int(chosen.sum())), int(chosen.sum())
        sums = np.zeros((units, parts.shape[1]))
        np.add.at(sums, row, parts[chosen])
        apart = sums - sums.mean(axis=0)
        total += apart.T @ apart * (units / max(units - 1, 1))
        df += max(units - 1, 1)
    return total, float(df)


estimator = PredictionPowered()

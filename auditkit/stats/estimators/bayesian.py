"""A Bayesian model of outcome counts, with the confusion matrix uncertain."""

from __future__ import annotations

import numpy as np

from auditkit.stats.confusion import Confusion
from auditkit.stats.corrected import constrained_shares, fit_p_value, inverse
from auditkit.stats.design import Clustering
from auditkit.stats.estimators.base import Estimate, Evidence, Floats, Indices, singular, unfit
from auditkit.stats.estimators.cautions import few_prompts, shifted
from auditkit.stats.estimators.misfit import MATERIAL, unexplained, words

CHAINS = 200
"""Chains that run side by side, so that an audit takes milliseconds."""

BURN = 40
"""Sweeps thrown away; chains begin near where they end."""


class Bayesian:
    """k ~ multinomial(n, C p), columns of C ~ Dirichlet(calibration counts + 1/m), p ~ Dirichlet(1/2 each).

    The model of Ziegler and Czyz (2023, Bayesian Quantification with Black-Box Estimators, arXiv 2302.09159), with
    effective counts (divided by the design effect, rounded at random) and Gibbs sampling: given p and C the true
    classes of each outcome's images are multinomial; given those, p and the columns of C are Dirichlet (Tanner and
    Wong 1987, JASA 82:528-540). Estimate: posterior mean, pulled a little towards equal shares. Interval:
    equal-tailed credible.
    """

    name = "bayesian"
    title = "Bayesian model of outcome counts with an uncertain confusion matrix"
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
        """As `Estimator.estimate`; about `replicates` draws from the posterior."""
        k = evidence.n_classes
        why = unfit(evidence, self.needs) or singular(evidence)
        if why:
            return Estimate.refuse(k, self.name, why)
        assert evidence.confusion is not None
        confusion, counts = evidence.confusion, evidence.outcomes()
        if confusion.factors:
            return Estimate.refuse(k, self.name, "is not made for joint attributes")
        effect = evidence.effect_draws(inverse(confusion.matrix), rng, CHAINS, clustering).mean(axis=1)
        typical = float(np.median(effect))
        fitting = constrained_shares(counts / counts.sum(), confusion.matrix)
        fit_p = fit_p_value(counts / counts.sum(), fitting, confusion, counts.sum(), typical, rng)
        slack = unexplained(counts, confusion.matrix, fitting, fit_p)
        if slack > MATERIAL:
            return Estimate.refuse(k, self.name, words(slack))
        # Each chain has an effect of its own, so that what is not known of the clustering is in the draws.
        whole = np.floor(counts / effect[:, None] + rng.random((CHAINS, len(counts)))).astype(int)
        draws = posterior_draws(whole, confusion, rng, max(replicates, 2 * CHAINS))
        tail = (1 - confidence) / 2
        low, high = np.quantile(draws, [tail, 1 - tail], axis=0)
        shares = draws.mean(axis=0)
        p_values = None
        if null is not None:
            above = (draws >= null).mean(axis=0)
            p_values = np.clip(2 * np.minimum(above, 1 - above), 1 / len(draws), 1)
        return Estimate(
            shares / shares.sum(),
            np.minimum(low, shares),
            np.maximum(high, shares),
            f"bayesian, credible interval, design effect {typical:.2f}",
            (
                *([words(slack)] if slack else []),
                *shifted(evidence, rng, clustering),
                *few_prompts(evidence, clustering),
            ),
            p_values=p_values,
            covariance=np.cov(draws.T),
        )


def posterior_draws(
    counts: Indices,
    confusion: Confusion,
    rng: np.random.Generator,
    size: int,
    *,
    prior: float = 0.5,
    matrix_prior: float | None = None,
) -> Floats:
    """Draws [about size, K] of the shares, from CHAINS chains side by side.

    Args:
        counts: int [CHAINS, n_outcomes], each chain's own.
        prior: of each class in the shares' Dirichlet distribution.
        matrix_prior: of each outcome in the columns'; None: 1/m.
    """
    m, k = confusion.matrix.shape
    known = np.where(np.isfinite(confusion.n), confusion.n, 1e9)
    calibration = known * confusion.matrix + (1 / m if matrix_prior is None else matrix_prior)
    c = confusion.draw(rng, CHAINS)
    n = counts.sum(axis=1, keepdims=True)
    p = constrained_shares(_dirichlet(rng, counts + 1 / m), confusion.matrix)
    p = (p * n + prior) / (n + k * prior)
    kept = []
    for sweep in range(BURN + -(-size // CHAINS)):
        odds = c * p[:, None, :] + 1e-300
        classes = rng.multinomial(counts, odds / odds.sum(axis=-1, keepdims=True))  # chains, m, K
        p = _dirichlet(rng, classes.sum(axis=1) + prior)
        c = np.swapaxes(_dirichlet(rng, np.swapaxes(classes + calibration, 1, 2)), 1, 2)
        if sweep >= BURN:
            kept.append(p)
    return np.concatenate(kept)


def _dirichlet(rng: np.random.Generator, alpha: Floats) -> Floats:
    g = np.maximum(rng.standard_gamma(alpha), 1e-300)
    return np.asarray(g / g.sum(axis=-1, keepdims=True))


estimator = Bayesian()

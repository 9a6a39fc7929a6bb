"""Adjusted count: invert the scorer's confusion matrix on the shares of outcomes. The default."""

from __future__ import annotations

import numpy as np

from auditkit.stats.corrected import CorrectedShares, corrected_shares, inverse
from auditkit.stats.design import Clustering
from auditkit.stats.estimators.base import Estimate, Evidence, Floats, singular, unfit
from auditkit.stats.estimators.cautions import few_prompts, pulled_up, shifted
from auditkit.stats.estimators.misfit import MATERIAL, unexplained, words


class AdjustedCount:
    """p = argmin over the simplex of ||C p - q||^2; K classes, `unknown` an outcome like any other.

    Takes the scorer to err on these images as it did on the calibration's, given the true class; the mix of classes
    may differ. Formulas, interval and coverage: `auditkit.stats.corrected.corrected_shares`.
    """

    name = "adjusted-count"
    title = "Counted labels, corrected by the scorer's confusion matrix"
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
        """As `Estimator.estimate`; refuses where more than MATERIAL of the outcomes is explained by no mixture."""
        k = evidence.n_classes
        why = unfit(evidence, self.needs) or singular(evidence)
        if why:
            return Estimate.refuse(k, self.name, why)
        confusion, counts = evidence.confusion, evidence.outcomes()
        assert confusion is not None
        functionals = inverse(confusion.matrix)
        effect = evidence.effect_draws(functionals, rng, replicates, clustering)
        state = rng.bit_generator.state

        def corrected(goal: Floats | None) -> CorrectedShares:
            rng.bit_generator.state = state
            return corrected_shares(counts, confusion, effect=effect, confidence=confidence, null=goal, rng=rng)

        found = corrected(null)
        cautions = [
            *shifted(evidence, rng, clustering),
            *few_prompts(evidence, clustering),
            *pulled_up(found.shares, found.error),
        ]
        slack = unexplained(counts, confusion.matrix, found.shares, found.fit_p)
        if slack > MATERIAL:
            return Estimate.refuse(k, self.name, words(slack), cautions)
        p_values = None if null is None else found.p_values
        if slack:
            cautions.append(f"{words(slack)}, and the interval is wider by that much on each side")
        if slack and null is not None:
            # The unexplained images may belong to any class: the nearest share to the goal that they allow is tested.
            apart = found.shares - null
            p_values = corrected(null + np.clip(apart, -slack, slack)).p_values
        method = "adjusted-count, draws of audit and calibration"
        return Estimate(
            found.shares,
            np.maximum(found.low - slack, 0),
            np.minimum(found.high + slack, 1),
            method + (", widened by the unexplained share" if slack else ""),
            tuple(cautions),
            p_values=p_values,
            free=found.free,
            slack=slack,
        )


estimator = AdjustedCount()

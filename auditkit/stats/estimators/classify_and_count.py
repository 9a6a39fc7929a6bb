"""Classify and count: believe every label. What most published audits do; for comparison."""

from __future__ import annotations

import numpy as np
from scipy import stats

from auditkit.stats.corrected import constrained_shares
from auditkit.stats.design import Clustering, design_effects, stratified_effect
from auditkit.stats.design import clustering as find_clustering
from auditkit.stats.estimators.base import Estimate, Evidence, Floats, unfit
from auditkit.stats.estimators.cautions import FAR, SIGNIFICANT
from auditkit.stats.intervals import wilson
from auditkit.stats.shift import label_shift


class ClassifyAndCount:
    """p_j = k_j / N over the images with a label.

    Off wherever the scorer errs: with sensitivity Se and specificity Sp its mean is Se p + (1 - Sp)(1 - p), and no
    number of images mends that (Forman 2008, Data Min. Knowl. Discov. 17:164-206). Images without a label are left
    out, as if they were missing at random. Interval: Wilson's, of the images over their design effect; it holds the
    share of labels, not of classes.
    """

    name = "classify-and-count"
    title = "Counted labels, as if the scorer never erred"
    needs = ()

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
        """As `Estimator.estimate`; draws nothing. Always cautions."""
        k = evidence.n_classes
        why = unfit(evidence, self.needs)
        if why:
            return Estimate.refuse(k, self.name, why)
        tables = [table[:, :k] for table in evidence.by_prompt()]
        counts = np.sum([table.sum(axis=0) for table in tables], axis=0)
        found = find_clustering(tables)
        identity = np.eye(k)
        within = [design_effects(found.correlations(identity), table.sum(axis=1)) for table in tables]
        effect = within[0]
        if len(tables) > 1:
            effect = stratified_effect([table.sum(axis=0) for table in tables], identity, np.stack(within))
        n = counts.sum() / effect
        low, high = wilson(counts / effect, n, confidence, df=found.quantile_df)
        shares = counts / counts.sum()
        p_values = None
        if null is not None:
            error = np.sqrt(np.maximum(null * (1 - null) / n, 1e-300))
            p_values = 2 * stats.t.sf(np.abs(shares - null) / error, found.quantile_df)
        return Estimate(
            shares,
            np.minimum(low, shares),
            np.maximum(high, shares),
            "classify-and-count, wilson",
            (_ALWAYS, *_by_matrix(evidence, shares), *_by_mix(evidence)),
            p_values=p_values,
            covariance=(np.diag(shares) - np.outer(shares, shares)) / n.mean(),
        )


_ALWAYS = "counted labels, not corrected for the scorer's errors: the interval is not one for the classes"


def _by_matrix(evidence: Evidence, shares: Floats) -> list[str]:
    """How far the count is off by the scorer's own confusion matrix."""
    if evidence.confusion is None or evidence.confusion.factors:
        return []
    corrected = constrained_shares(evidence.outcomes() / evidence.n, evidence.confusion.matrix)
    apart = float(np.abs(corrected - shares).max())
    return [f"by the scorer's own confusion matrix some share is off by {apart:.2f}"] if apart >= 0.01 else []


def _by_mix(evidence: Evidence) -> list[str]:
    found = label_shift(evidence)
    if not (found.p_value < SIGNIFICANT and found.size >= FAR):
        return []
    return [
        f"the class mix is {found.size:.2f} from the calibration's, so that its error rate says nothing of this one"
    ]


estimator = ClassifyAndCount()

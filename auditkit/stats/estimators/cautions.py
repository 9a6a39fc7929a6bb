"""Cautions that several estimators share: when a number that could be made should be read with care."""

from __future__ import annotations

import numpy as np
from scipy import stats

from auditkit.stats import shift
from auditkit.stats.design import Clustering
from auditkit.stats.design import clustering as find_clustering
from auditkit.stats.estimators.base import Evidence, Floats

FEW_PROMPTS = 8
"""Below so many degrees of freedom between prompts an interval may hold the truth less often than it says."""

PULLED = 0.01
"""Average error, caused by the limits 0 and 1 alone, from which it is told."""

SIGNIFICANT = 0.01
"""p-value below which a shift is told."""

FAR = 0.3
"""Total variation between the class mixes from which a label shift is told."""


def few_prompts(evidence: Evidence, found: Clustering | None) -> list[str]:
    """Whether there are too few prompts to see how alike their images are."""
    found = find_clustering(evidence.by_prompt()) if found is None else found
    prompts = len(np.unique(evidence.prompt))
    if prompts == evidence.n:
        return []
    if found.df == 0:
        return ["no group has several prompts with several images: intervals speak of these prompts only"]
    if found.df < FEW_PROMPTS:
        return [f"only {prompts} prompts: how alike the images of a prompt are is hardly known"]
    return []


def pulled_up(shares: Floats, error: Floats) -> list[str]:
    """Whether shares near 0 or 1 are off on average, as an estimate cannot leave [0, 1].

    For an estimate of error s and true share p, cut at 0: s phi(p/s) - p Phi(-p/s), at most .4 s (the mean of
    a censored normal variable). Taken one error nearer to 0 than the estimate, which itself is pulled up; the same
    at 1.
    """
    s = np.maximum(error, 1e-12)

    def pull(p: Floats) -> Floats:
        return np.asarray(s * stats.norm.pdf(p / s) - p * stats.norm.sf(p / s))

    near = np.maximum(np.minimum(shares, 1 - shares) - s, 0)
    most = float(pull(near).max())
    if most < PULLED:
        return []
    return [f"shares near 0 or 1 are up to {most:.2f} off on average, towards the middle, for want of images"]


def shifted(evidence: Evidence, rng: np.random.Generator, found: Clustering | None) -> list[str]:
    """Conditional and label shift between the calibration's images and these, as `auditkit.stats.shift` tests them."""
    told = []
    conditional = shift.conditional_shift(evidence, np.random.default_rng(rng.integers(2**63)))
    if conditional.p_value < SIGNIFICANT:
        told.append(
            f"the scorer's posteriors are those of no mixture of the calibration's classes ({conditional.size:.0%} of "
            "the images left over): it errs differently here, and the correction may be off by more than the interval"
        )
    label = shift.label_shift(evidence, found)
    if label.p_value < SIGNIFICANT and label.size >= FAR:
        told.append(
            f"the class mix is {label.size:.2f} from the calibration's: the count alone would mislead, and the "
            "correction rests on the scorer erring alike within each class"
        )
    return told

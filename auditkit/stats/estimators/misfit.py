"""Outcomes that no mixture of the calibration's classes explains, and what is done about them."""

from __future__ import annotations

import numpy as np

from auditkit.stats.estimators.base import Floats

MISFIT = 0.001
"""Below this p-value the outcomes count as impossible under the calibration."""

MATERIAL = 0.15
"""Share of the images that no mixture of classes explains, above which there is no correction. Below it the
intervals are widened by that share, since those images may belong to any class."""


def unexplained(counts: Floats, matrix: Floats, shares: Floats, fit_p: float) -> float:
    """Share of the images whose outcomes no mixture of classes explains; 0 where chance would explain it.

    Args:
        counts: [n_outcomes]. matrix: C. shares: [n_classes] that fit best. fit_p: p-value of the misfit.
    """
    if fit_p >= MISFIT:
        return 0.0
    return float(np.abs(counts / counts.sum() - matrix @ shares).sum() / 2)


def words(slack: float) -> str:
    """The caution, or the reason for a refusal."""
    return f"the scorer errs differently here: no mixture of classes explains {slack:.0%} of the outcomes"

"""Projected gradient descent (Madry et al. 2018, arXiv 1706.06083), in Linf and L2.

A detector has one logit, so that the cross-entropy of the paper and the logit itself rise and fall together and have
gradients of one direction. The logit is followed: unlike the cross-entropy it never saturates in float32.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from detectors.attacks.base import Problem, ascent, column

if TYPE_CHECKING:
    from torch import Tensor


def pgd(problem: Problem, *, steps: int = 40, step_size: float | None = None, restarts: int = 1) -> Tensor:
    """The last iterate of the restart that gained most, float32 [n, 3, h, w] in [0, 1], within the budget.

    Args:
        steps: of each restart.
        step_size: as a share of the budget; 2.5 / steps by default, so that every corner can be reached from any
            start.
        restarts: from random starts.
    """
    best, most = problem.clean, problem.gain(problem.clean)
    rate = column(problem.eps) * (2.5 / steps if step_size is None else step_size)
    for restart in range(restarts):
        x = problem.random_start(restart)
        for _ in range(steps):
            _, gradient = problem.gain_and_gradient(x)
            x = problem.project(x + rate * ascent(gradient, problem.norm))
        gain = problem.gain(x)
        better = gain > most
        best, most = x.where(column(better), best), gain.where(better, most)
    return best

"""Auto-PGD and an ensemble after AutoAttack (Croce and Hein 2020, arXiv 2003.01690), for one logit.

What the single logit z of a detector leaves of the paper: cross-entropy is softplus of the margin, here both losses
can be asked for; the difference of logits ratio divides by the third largest logit, which does not exist, so that its
numerator, the margin, takes its place; a targeted attack has one class to aim at and is the untargeted one.
AutoAttack's FAB is not in the ensemble: it looks for the smallest change, which `evasion` bisects for.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

from detectors.attacks.base import Problem, ascent, column
from detectors.attacks.square import square

if TYPE_CHECKING:
    from torch import Tensor

Loss = Literal["margin", "ce"]

MOMENTUM = 0.75  # alpha of the paper: weight of the new step against the last move
IMPROVED = 0.75  # rho: share of steps that must have improved, else the step is halved


def apgd(problem: Problem, *, steps: int = 100, restarts: int = 1, loss: Loss = "margin") -> Tensor:
    """The best point met, float32 [n, 3, h, w] in [0, 1], within the budget (Algorithm 1).

    Args:
        steps: of each restart; the step starts at twice the budget and is halved for each image by its own progress.
        restarts: from random starts.
        loss: 'margin' follows the logit, 'ce' its cross-entropy, which is flat in float32 where the logit is beyond
            about 100 on the detector's side, and so finds nothing there.
    """
    best, most = problem.clean, problem.gain(problem.clean)
    for restart in range(restarts):
        x, gain = _ascend(problem, problem.random_start(restart), steps, loss)
        better = gain > most
        best, most = x.where(column(better), best), gain.where(better, most)
    return best


def autoattack(problem: Problem, *, steps: int = 100, restarts: int = 1, queries: int = 1000) -> Tensor:
    """APGD on both losses, then Square; each attacks the images that the ones before left standing.

    AutoAttack's own budget is 100 steps, 5 restarts of the targeted attacks, and 5,000 queries.
    """
    best = problem.clean.clone()
    for attack in (
        lambda part: apgd(part, steps=steps, restarts=restarts, loss="ce"),
        lambda part: apgd(part, steps=steps, restarts=restarts, loss="margin"),
        lambda part: square(part, queries=queries),
    ):
        gain = problem.gain(best)
        standing = ~problem.fooled(gain)
        if not standing.any():
            break
        part = problem.where(standing)
        found = attack(part)
        better = part.gain(found) > gain[standing]
        best[standing] = found.where(column(better), best[standing])
    return best


def checkpoints(steps: int) -> list[int]:
    """The iterations at which steps may be halved: at 22% and ever more often (section 3.1).

    >>> checkpoints(100)[:4]
    [22, 41, 57, 70]
    """
    shares = [0.0, 0.22]
    while (following := shares[-1] + max(shares[-1] - shares[-2] - 0.03, 0.06)) <= 1:
        shares.append(following)
    return [math.ceil(round(share * steps, 9)) for share in shares[1:]]


def _loss(problem: Problem, x: Tensor, loss: Loss) -> tuple[Tensor, Tensor]:
    """[n] and its gradient, to be raised."""
    from torch.nn.functional import softplus

    gain, gradient = problem.gain_and_gradient(x)
    if loss == "margin":
        return gain, gradient
    return softplus(gain), gradient * column(gain.sigmoid())


def _ascend(problem: Problem, x: Tensor, steps: int, loss: Loss) -> tuple[Tensor, Tensor]:
    """One restart: the best point and its gain."""
    rate = 2 * column(problem.eps)
    value, gradient = _loss(problem, x, loss)
    last, last_value = x, value
    best, most, best_gradient = x, value, gradient
    improved, halved = value.new_zeros(len(value)), value.new_ones(len(value)).bool()
    most_then, since = most, 0
    at = set(checkpoints(steps))
    for step in range(1, steps + 1):
        ahead = problem.project(x + rate * ascent(gradient, problem.norm))
        if step > 1:
            ahead = problem.project(x + MOMENTUM * (ahead - x) + (1 - MOMENTUM) * (x - last))
        last, x = x, ahead
        value, gradient = _loss(problem, x, loss)
        improved += value > last_value
        last_value = value
        better = value > most
        best, most = x.where(column(better), best), value.where(better, most)
        best_gradient = gradient.where(column(better), best_gradient)
        if step in at:
            slow = improved < IMPROVED * (step - since)
            stuck = ~halved & (most == most_then)
            halved = slow | stuck
            rate = (rate / 2).where(column(halved), rate)
            # Those that halve their step go on from their best point; the last move from there is forgotten.
            x, last = best.where(column(halved), x), best.where(column(halved), last)
            gradient = best_gradient.where(column(halved), gradient)
            last_value = most.where(halved, last_value)
            improved, most_then, since = improved * 0, most, step
    return best, problem.gain(best)

"""Adversarial training: the images that a family learns from are attacked as it learns.

A family calls `perturb(logits, x, y)` on each batch and learns from what comes back. Three steps after Madry et al.
2018; one step is the fast method of Wong et al. 2020 (arXiv 2001.03994), whose step of 1.25 budgets from a random
start keeps it from failing as plain FGSM does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from auditkit.errors import DetectorError
from detectors.attacks.base import Norm, Problem, Score, ascent, column

if TYPE_CHECKING:
    from torch import Tensor

Perturb = Callable[[Score, "Tensor", "Tensor"], "Tensor"]
"""(logits, float32 [n, 3, h, w] in [0, 1], labels [n] in {0, 1}) to attacked images of the same shape."""

FAST_STEP = 1.25


@dataclass
class Adversary:
    """`adversary(logits, x, y)`: each image pushed towards the other class. Draws go on from call to call.

    Attributes:
        eps: budget, of values in [0, 1].
        steps: gradients a batch; 1 for the fast method.
        share: of each batch that is attacked; the rest stays clean, so that accuracy on clean images is kept.
        seed: of random starts and of which images are attacked.
    """

    eps: float = 2 / 255
    steps: int = 3
    norm: Norm = "linf"
    share: float = 1.0
    seed: int = 0
    _generator: Any = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        if not self.eps > 0 or self.steps < 1 or not 0 < self.share <= 1 or self.norm not in ("linf", "l2"):
            raise DetectorError(
                "adversarial training needs a budget above 0, one step or more, and a share above 0 and up to 1",
                where=f"eps={self.eps:g}, steps={self.steps}, share={self.share:g}, norm={self.norm}",
                mend="for example eps=2/255, steps=3, norm=linf",
            )

    def __call__(self, logits: Score, x: Tensor, y: Tensor) -> Tensor:
        """Attacked images, float32 [n, 3, h, w] in [0, 1], without gradients; weights' gradients are left alone."""
        import torch

        if self._generator is None:
            self._generator = torch.Generator().manual_seed(self.seed)
        chosen = (torch.rand(len(x), generator=self._generator) < self.share).to(x.device)
        start = 2 * torch.rand(x.shape, generator=self._generator).to(x) - 1
        eps = torch.full((len(x),), self.eps, device=x.device)
        sign = 1 - 2 * y.to(x).flatten()  # real images are pushed up, generated ones down
        problem = Problem(lambda batch: logits(batch).flatten(), x.detach(), sign, 0.0, self.norm, eps)
        if self.norm == "l2":
            start = ascent(start, "l2")
        out = problem.project(problem.clean + column(eps) * start)
        rate = self.eps * (FAST_STEP if self.steps == 1 else 2.5 / self.steps)
        for _ in range(self.steps):
            _, gradient = problem.gain_and_gradient(out)
            out = problem.project(out + rate * ascent(gradient, self.norm))
        return out.where(column(chosen), problem.clean)

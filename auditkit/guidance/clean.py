"""Moving the clean image that a network's answer stands for, whatever the network was trained to answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from auditkit.guidance.loop import Step

LEAST = 1e-3
"""Where the clean image hardly depends on the answer, it is left."""


def answer_for(step: Step, change: torch.Tensor) -> torch.Tensor:
    """The guided answer [n, c, h, w] whose clean latents are those of `step.guided` plus `change`.

    Clean latents are linear in the answer, with one factor for all entries of a step.
    """
    import torch

    given, x = step.guided.clone(), step.x.clone()
    factor = step.clean(torch.ones_like(given), x) - step.clean(torch.zeros_like(given), x)
    steady = factor.abs() > LEAST
    turned = torch.where(steady, change / torch.where(steady, factor, torch.ones_like(factor)), torch.zeros_like(given))
    return given + turned.to(given.dtype)

"""Training in several processes started by `accelerate launch`; alone, everything here does nothing."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from torch import Tensor

Made = TypeVar("Made")


@dataclass(frozen=True)
class Together:
    """The processes that train one model, each on batches of its own.

    Gradients are averaged after the backward pass and not inside a wrapper of the module, so that a training step
    may use its modules in any way. Weights need no copying: each process starts from the same ones (seed or
    checkpoint) and applies the same mean gradient.
    """

    accelerator: Any = None
    """accelerate's Accelerator; None in a process alone."""

    @property
    def count(self) -> int:
        """How many processes there are."""
        return 1 if self.accelerator is None else int(self.accelerator.num_processes)

    @property
    def rank(self) -> int:
        """The number of this one, from 0."""
        return 0 if self.accelerator is None else int(self.accelerator.process_index)

    @property
    def main(self) -> bool:
        """Whether this process writes files and talks."""
        return self.rank == 0

    def wait(self) -> None:
        """Until every process has come here."""
        if self.count > 1:
            self.accelerator.wait_for_everyone()

    def average(self, parameters: list[Any]) -> None:
        """Make each parameter's gradient the mean over the processes; a missing gradient counts as 0."""
        if self.count == 1:
            return
        import torch

        grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        flat = self.accelerator.reduce(torch.cat([grad.reshape(-1) for grad in grads]), reduction="mean")
        parts = flat.split([grad.numel() for grad in grads])
        for parameter, part in zip(parameters, parts, strict=True):
            parameter.grad = part.view_as(parameter).clone()

    def mean(self, value: Tensor) -> float:
        """The mean over the processes of a scalar."""
        if self.count == 1:
            return float(value.detach())
        return float(self.accelerator.reduce(value.detach().float().clone(), reduction="mean"))

    def agree(self, value: float) -> float:
        """What process 0 says: its clock decides when to stop and to save, or the others would wait for ever."""
        if self.count == 1:
            return value
        import torch
        from accelerate.utils import broadcast

        told = torch.tensor([value], dtype=torch.float64, device=self.accelerator.device)
        return float(broadcast(told)[0])


ALONE = Together()


@dataclass(frozen=True)
class Turns(Generic[Made]):
    """Which batches of all are this process's: its own number 0, 1, 2, ... -> `make` of their index among all.

    A step has `count` x `each` batches: `each` for process 0, then `each` for process 1, and so on.
    """

    make: Callable[[int], Made]
    count: int = 1
    rank: int = 0
    each: int = 1

    def __call__(self, number: int) -> Made:
        step, within = divmod(number, self.each)
        return self.make((step * self.count + self.rank) * self.each + within)

    def number(self, index: int) -> int:
        """The number here of the batch `index` of all, which must be one of this process's."""
        return index // (self.count * self.each) * self.each + index % self.each


def launched(device: str) -> tuple[Together, str]:
    """(the processes, the device of this one), where `accelerate launch` started several; else ALONE and `device`.

    Args:
        device: as asked for; `auto` takes the GPU that accelerate gives this process, `cpu` stays there.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) < 2:
        return ALONE, device
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=device == "cpu")
    return Together(accelerator), str(accelerator.device) if device == "auto" else device

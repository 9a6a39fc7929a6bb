"""The denoising loop that mitigations hook into, over components of diffusers.

With no mitigation it gives what the pipeline gives, bit for bit on the same device (tests/test_guidance_loop.py).
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from auditkit.guidance.base import Batch, Mitigation, Model, Text

if TYPE_CHECKING:
    import torch


class Network(Protocol):
    """A denoiser as the loop calls it; see `networks` for a UNet and a flow-matching transformer."""

    wanted_first: bool
    """The order of the two halves of a guided batch; kernels may round by place."""

    def start(self, noise: torch.Tensor, scheduler: Any) -> torch.Tensor:
        """The latents to begin with, on the network's device, from unit noise [n, c, h, w]."""
        ...

    def answer(self, x: torch.Tensor, time: torch.Tensor, text: Text, scheduler: Any) -> torch.Tensor:
        """What the network says of latents [m, c, h, w] under texts [m, ...], before any guidance."""
        ...

    def output(self, given: torch.Tensor, x: torch.Tensor, time: torch.Tensor, scheduler: Any) -> torch.Tensor:
        """The answer as `scheduler.step` takes it."""
        ...

    def clean(self, given: torch.Tensor, x: torch.Tensor, time: torch.Tensor, scheduler: Any) -> torch.Tensor:
        """The clean latents that the answer stands for."""
        ...


@dataclass
class Step:
    """One step, as hooks see it. Tensors are [n, c, h, w].

    Answers of the network (noise, velocity or clean image, as it was trained) are linear in one another at one x and
    time: differences of two of them, and classifier-free guidance, are the same up to a factor of the step.
    """

    number: int
    """From 0."""
    of: int
    time: torch.Tensor
    """As the scheduler counts, a scalar."""
    x: torch.Tensor
    """Latents before the step, as the scheduler holds them."""
    text: Text
    conditional: torch.Tensor
    """The network's answer under the prompt."""
    unconditional: torch.Tensor | None
    """Under the negative prompt; None where there is no guidance."""
    guided: torch.Tensor
    """After classifier-free guidance."""
    guidance: float
    batch: Batch
    network: Network
    scheduler: Any

    @property
    def progress(self) -> float:
        """The share of steps that are done, in [0, 1)."""
        return self.number / self.of

    def predict(self, text: Text, x: torch.Tensor | None = None) -> torch.Tensor:
        """The network's answer under another text [n, ...], at this step's latents or at `x`; one more evaluation.

        Asked for all images of the batch alike, so that no image depends on how many of them are acted on.
        """
        return self.network.answer(self.x if x is None else x, self.time, text, self.scheduler)

    def clean(self, given: torch.Tensor, x: torch.Tensor | None = None) -> torch.Tensor:
        """The clean latents that an answer of the network stands for; differentiable in both."""
        return self.network.clean(given, self.x if x is None else x, self.time, self.scheduler)


def denoise(
    network: Network,
    scheduler: Any,
    noise: torch.Tensor,
    wanted: Text,
    unwanted: Text | None = None,
    *,
    steps: int,
    guidance: float = 1.0,
    draws: Sequence[torch.Generator] | None = None,
    mitigation: Mitigation | None = None,
    batch: Batch | None = None,
) -> torch.Tensor:
    """Clean latents [n, c, h, w] of unit noise [n, c, h, w].

    Args:
        scheduler: of diffusers; its timesteps are set here.
        wanted, unwanted: texts and negative texts, tensors [n, ...]; without the latter there is no guidance.
        steps: denoising steps, >= 1.
        guidance: classifier-free guidance scale (Ho & Salimans 2022).
        draws: a generator for each image, for schedulers that add noise on their way.
        mitigation, batch: whose hooks are called, and what is to be done with each image; both or neither.
    """
    import torch

    if mitigation is not None and batch is None:
        raise ValueError("a mitigation needs to be told what is to be done with each image: batch")
    method = mitigation or Mitigation()
    about = batch or Batch(Model("", guidance), ())
    options = _step_options(scheduler, draws)
    scheduler.set_timesteps(steps, device=wanted["prompt_embeds"].device)
    x = network.start(noise, scheduler)
    wanted = method.embed(about, wanted)
    times = scheduler.timesteps
    for number, time in enumerate(times):
        text = method.condition(about, wanted, number, len(times))
        without = None
        if unwanted is None:
            given = guided = network.answer(x, time, text, scheduler)
        else:
            first, second = (text, unwanted) if network.wanted_first else (unwanted, text)
            pair = {name: torch.cat([first[name], second[name]]) for name in text}
            halves = network.answer(torch.cat([x, x]), time, pair, scheduler).chunk(2)
            given, without = halves if network.wanted_first else halves[::-1]
            guided = without + guidance * (given - without)
        if mitigation is not None:
            step = Step(
                number, len(times), time, x, text, given, without, guided, guidance, about, network, scheduler
            )  # fmt: skip
            guided = method.predict(step)
        x = scheduler.step(network.output(guided, x, time, scheduler), time, x, **options, return_dict=False)[0]
        if mitigation is not None:
            x = method.move(step, x)
    return x


def _step_options(scheduler: Any, draws: Sequence[torch.Generator] | None) -> dict[str, Any]:
    """What the scheduler's step takes besides; as the pipelines give it."""
    takes = inspect.signature(scheduler.step).parameters
    options: dict[str, Any] = {}
    if draws is not None:
        options |= {"eta": 0.0} if "eta" in takes else {}
        options |= {"generator": list(draws)} if "generator" in takes else {}
    return options

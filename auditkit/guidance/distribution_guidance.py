"""Distribution guidance (Balancing Act, Parihar et al., CVPR 2024): a batch is moved toward the target as a whole."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pydantic import Field, model_validator

from auditkit.guidance.base import Aim, Batch, Mitigation, Model, Options, Text
from auditkit.guidance.parts import Part, parts_of
from auditkit.guidance.policy import Policy

if TYPE_CHECKING:
    import torch

SMOOTH = 0.02
"""Mixed into a batch's target, in which groups may have no image: KL to a share of 0 is infinite."""


class DistributionGuidance(Mitigation):
    """h <- h - gamma grad_h KL(mean over the images of p(. | h) || target), in the middle of the UNet, at each step.

    p is a small head's answer (`auditkit train mitigation-head`). The target is that of the groups drawn for the images
    of a batch which show the same subject; which of them shows whom is left to the model, so an image's own drawn group
    is only how it counts. A subject with one image in the batch is moved to its drawn group. As images of a subject
    are moved together, the same image in another batch comes out another one: keep the batch size (run.json has it).

    The gradient goes through the head alone, not through the UNet, and costs next to nothing.
    """

    name = "distribution-guidance"
    title = "The images of a subject are moved together, so that the shares of a batch near the target's"
    reference = "Parihar et al. 2024 (arXiv 2402.18206)"

    class Settings(Options):
        """Settings."""

        head: str = ""
        """Folder of the head; '' is the one that came with auditkit for the model."""
        scale: float = Field(default=8.0, ge=0, le=1e4)
        """gamma, in standard deviations of the features."""
        iterations: int = Field(default=4, ge=1, le=100)
        """Gradient steps in each denoising step, each of gamma / iterations."""
        since: float = Field(default=0.0, ge=0, lt=1)
        until: float = Field(default=0.7, gt=0, le=1)
        """The phase, as shares of the steps: [since, until)."""

        @model_validator(mode="after")
        def _in_order(self) -> DistributionGuidance.Settings:
            if self.since >= self.until:
                raise ValueError("the phase must begin before it ends: since < until")
            return self

    def takes(self, model: Model) -> str | None:
        middle = getattr(model.denoiser, "mid_block", None)
        if middle is None:
            return "it reads the middle of a UNet, and this model has none"
        found = parts_of([self.options.head] if self.options.head else [], model.name, "head")
        if not found:
            return (
                "no head came with auditkit for it (train one from a run of its images: "
                "auditkit train mitigation-head RUN, then head=FOLDER)"
            )
        self._part: Part = found[0]
        has = int(model.denoiser.config.block_out_channels[-1])
        if self._part.facts["channels"] != has:
            return f"the head reads {self._part.facts['channels']} channels, and the UNet's middle has {has}"
        return None

    def lacks(self, model: Model, policy: Policy) -> str | None:
        known: Mapping[str, list[str]] = self._part.facts["classes"]
        for name in policy.attributes:
            if known.get(name) != policy.words.classes(name):
                told = "; ".join(f"{each}: {', '.join(classes)}" for each, classes in known.items())
                return f"its head tells apart {told}"
        return None

    def parts(self) -> Mapping[str, str]:
        return {self._part.name: self._part.sha256}

    def prepare(self, model: Model, policy: Policy) -> None:
        self._classes = {name: policy.words.classes(name) for name in policy.attributes}
        self._head = {name: tensor.to(model.denoiser.device) for name, tensor in self._part.tensors.items()}
        self._batch: Batch | None = None
        self._level = 0.0

    @contextmanager
    def weights(self, model: Model) -> Iterator[None]:
        """No weight is changed: hooks read the time and change what leaves the mid-block."""
        most = model.pipeline.scheduler.config.num_train_timesteps

        def before(unet: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            time = args[1] if len(args) > 1 else kwargs["timestep"]
            self._level = float(time) / most

        def after(middle: Any, args: tuple[Any, ...], h: torch.Tensor) -> torch.Tensor:
            return h if self._batch is None else self._moved(h, self._batch)

        unet = model.denoiser
        hooks = [
            unet.register_forward_pre_hook(before, with_kwargs=True),
            unet.mid_block.register_forward_hook(after),
        ]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def condition(self, batch: Batch, text: Text, number: int, of: int) -> Text:
        acts = bool(batch.acting) and self.options.since <= number / of < self.options.until
        self._batch = batch if acts else None
        return text

    def _moved(self, h: torch.Tensor, batch: Batch) -> torch.Tensor:
        """The mid-block's output [k n, c, h, w] of n images, guided (k = 2) or not; both halves are moved alike."""
        import torch

        from auditkit.guidance.heads import features, spread

        n, acting = len(batch.aims), batch.acting
        with torch.inference_mode(False):
            moved = h.clone()
            for half in range(len(h) // n):
                rows = [half * n + place for place in acting]
                mean, std = self._head["mean"], self._head["std"]
                before = (features(moved[rows]) - mean) / std
                after = self._descended(before, [batch.aims[place] for place in acting])
                moved[rows] += spread((after - before) * std, moved)
        return moved

    def _descended(self, x: torch.Tensor, aims: Sequence[Aim]) -> torch.Tensor:
        """Features in standard units [n, d] after the gradient steps."""
        import torch

        options = self.options
        x = x.detach().clone()
        for _ in range(options.iterations):
            with torch.enable_grad():
                x.requires_grad_(True)
                loss = self._loss(x, aims)
                (gradient,) = torch.autograd.grad(loss, x)
            x = x.detach() - options.scale / options.iterations * gradient
        return x

    def _loss(self, x: torch.Tensor, aims: Sequence[Aim]) -> torch.Tensor:
        """The sum over subjects of n KL(mean p || target)."""
        import torch

        from auditkit.guidance.heads import logits

        level = torch.full((len(x),), self._level, device=x.device)
        posteriors = {name: each.softmax(1) for name, each in logits(self._head, x, level).items()}
        total = x.new_zeros(())
        together: dict[tuple[str, ...], list[int]] = {}
        for place, aim in enumerate(aims):
            together.setdefault((aim.subject, *aim.group), []).append(place)
        for (_, *attributes), places in together.items():
            joint = posteriors[attributes[0]][places]
            for name in attributes[1:]:  # given the features, attributes are taken to be independent
                joint = (joint[:, :, None] * posteriors[name][places][:, None, :]).flatten(1)
            wanted = torch.tensor(self._shares(attributes, [aims[place] for place in places]), device=x.device)
            total = total + len(places) * divergence(joint.mean(0), wanted)
        return total

    def _shares(self, attributes: Sequence[str], aims: Sequence[Aim]) -> list[float]:
        """The target of these images: how often each group was drawn for them."""
        drawn = [tuple(aim.group[name] for name in attributes) for aim in aims]
        groups = list(itertools.product(*(self._classes[name] for name in attributes)))
        return [(1 - SMOOTH) * drawn.count(group) / len(drawn) + SMOOTH / len(groups) for group in groups]


def divergence(p: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """KL(p || target) of shares [k], in nats; the target's are above 0.

    >>> import torch
    >>> even = torch.tensor([0.5, 0.5])
    >>> float(divergence(even, even)), round(float(divergence(torch.tensor([1.0, 0.0]), even)), 4)
    (0.0, 0.6931)
    """
    return (p * (p.clamp(min=math.exp(-30)).log() - target.log())).sum()

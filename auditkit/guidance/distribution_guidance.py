"""Distribution guidance (Balancing Act, Parihar et al., CVPR 2024): a batch is moved toward the target as a whole."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from auditkit.guidance.base import Aim, Batch, Mitigation, Model, Options, Text
from auditkit.guidance.clean import answer_for
from auditkit.guidance.parts import Part, parts_of
from auditkit.guidance.policy import Policy

if TYPE_CHECKING:
    import torch

    from auditkit.guidance.loop import Step

SMOOTH = 0.02
"""Mixed into a batch's target, in which groups may have no image: KL to a share of 0 is infinite."""


class DistributionGuidance(Mitigation):
    """x0 <- x0 - s d, with d along the gradient of KL(mean over the images of p(. | h(x_t)) || target), at each step.

    h is what the middle of the UNet makes of the latents, p a small head's answer (`auditkit train mitigation-head`).
    The target is that of the groups drawn for the images of a batch which show the same subject; which of them shows
    whom is left to the model, so an image's own drawn group is only how it counts. A subject with one image in the
    batch is moved to its drawn group. As images of a subject are moved together, the same image in another batch comes
    out another one: keep the batch size (run.json has it).

    The gradient goes through the head and the first half of the UNet. d has the root mean square sqrt(KL / 2), which
    bounds the total variation that is left, or 1 where that is more. With space=middle it is taken with respect to h
    itself, h <- h - s grad_h KL, as the paper does: that costs next to nothing, and did not move `personas`.
    """

    name = "distribution-guidance"
    title = "The images of a subject are moved together, so that the shares of a batch near the target's"
    reference = "Parihar et al. 2024 (arXiv 2402.18206)"

    class Settings(Options):
        """Settings."""

        head: str = ""
        """Folder of the head; '' is the one that came with auditkit for the model."""
        space: Literal["latents", "middle"] = "latents"
        """What is moved: the latents, or the features in the middle of the UNet."""
        scale: float = Field(default=2.0, ge=0, le=1e4)
        """s: a share of the latents' unit spread, or (middle) of the features' standard deviations."""
        iterations: int = Field(default=4, ge=1, le=100)
        """For space=middle: gradient steps in each denoising step, each of s / iterations."""
        since: float = Field(default=0.0, ge=0, lt=1)
        until: float = Field(default=0.6, gt=0, le=1)
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
        self._catch = False

    @contextmanager
    def weights(self, model: Model) -> Iterator[None]:
        """No weight is changed: hooks read the time and change what leaves the mid-block."""
        most = model.pipeline.scheduler.config.num_train_timesteps

        def before(unet: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            time = args[1] if len(args) > 1 else kwargs["timestep"]
            self._level = float(time) / most

        def after(middle: Any, args: tuple[Any, ...], h: torch.Tensor) -> torch.Tensor:
            if self._catch:
                raise _Caught(h)  # the rest of the UNet need not be computed
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
        self._batch = batch if acts and self.options.space == "middle" else None
        return text

    def predict(self, step: Step) -> torch.Tensor:
        import torch

        options, acting = self.options, step.batch.acting
        if options.space != "latents" or not acting or not options.since <= step.progress < options.until:
            return step.guided
        with torch.inference_mode(False):
            gradient, left = self._gradient(step)
            length = gradient.flatten(1).square().mean(1).sqrt()
            change = torch.zeros_like(gradient)
            for places in subjects(step.batch.aims, acting).values():
                # Together: an image of which the head is sure has a small gradient, and stays.
                mean = length[places].mean().clamp(min=1e-20)
                size = options.scale * (left[places[0]] / 2).sqrt().clamp(max=1.0)
                # And none goes further than the size: the gradient of one in doubt can be many times the mean.
                part = -size * gradient[places] / mean
                over = (length[places] / mean).clamp(min=1.0)[:, None, None, None]
                change[places] = part / over
            guided = step.guided.clone()
            guided[acting] = answer_for(step, change)[acting]
        return guided

    def _gradient(self, step: Step) -> tuple[torch.Tensor, torch.Tensor]:
        """The gradient at the latents [n, c, h, w], and the KL of each image's subject [n]; 0 where nothing is done."""
        import torch

        from auditkit.guidance.heads import features

        acting = step.batch.acting
        text = {name: tensor.clone() for name, tensor in step.text.items()}
        with torch.enable_grad():
            x = step.x.clone().requires_grad_(True)
            self._catch = True
            try:
                step.network.answer(x, step.time.clone(), text, step.scheduler)
            except _Caught as caught:
                h = caught.h
            finally:
                self._catch = False
            standard = (features(h[acting]) - self._head["mean"]) / self._head["std"]
            losses = self._losses(standard, [step.batch.aims[place] for place in acting])
            (gradient,) = torch.autograd.grad(losses.sum(), x)
        left = losses.new_zeros(len(x))
        left[acting] = losses.detach()
        return gradient, left

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
                (gradient,) = torch.autograd.grad(self._losses(x, aims).sum(), x)
            x = x.detach() - options.scale / options.iterations * gradient
        return x

    def _losses(self, x: torch.Tensor, aims: Sequence[Aim]) -> torch.Tensor:
        """KL(mean p || target) of each image's subject [n]; x are features in standard units [n, d]."""
        import torch

        from auditkit.guidance.heads import logits

        level = torch.full((len(x),), self._level, device=x.device)
        posteriors = {name: each.softmax(1) for name, each in logits(self._head, x, level).items()}
        losses = [x.new_zeros(())] * len(x)
        for (_, *attributes), places in subjects(aims, range(len(aims))).items():
            joint = posteriors[attributes[0]][places]
            for name in attributes[1:]:  # given the features, attributes are taken to be independent
                joint = (joint[:, :, None] * posteriors[name][places][:, None, :]).flatten(1)
            wanted = torch.tensor(self._shares(attributes, [aims[place] for place in places]), device=x.device)
            left = divergence(joint.mean(0), wanted)
            for place in places:
                losses[place] = left
        return torch.stack(losses)

    def _shares(self, attributes: Sequence[str], aims: Sequence[Aim]) -> list[float]:
        """The target of these images: how often each group was drawn for them."""
        drawn = [tuple(aim.group[name] for name in attributes) for aim in aims]
        groups = list(itertools.product(*(self._classes[name] for name in attributes)))
        return [(1 - SMOOTH) * drawn.count(group) / len(drawn) + SMOOTH / len(groups) for group in groups]


def subjects(aims: Sequence[Aim], places: Sequence[int]) -> dict[tuple[str, ...], list[int]]:
    """Those of the places that show one subject, with the same attributes left open: (subject, *attributes) to them."""
    together: dict[tuple[str, ...], list[int]] = {}
    for place in places:
        together.setdefault((aims[place].subject, *aims[place].group), []).append(place)
    return together


def divergence(p: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """KL(p || target) of shares [k], in nats; the target's are above 0.

    >>> import torch
    >>> even = torch.tensor([0.5, 0.5])
    >>> float(divergence(even, even)), round(float(divergence(torch.tensor([1.0, 0.0]), even)), 4)
    (0.0, 0.6931)
    """
    return (p * (p.clamp(min=math.exp(-30)).log() - target.log())).sum()


class _Caught(Exception):
    """Carries the middle's output out of the UNet."""

    def __init__(self, h: torch.Tensor):
        super().__init__()
        self.h = h

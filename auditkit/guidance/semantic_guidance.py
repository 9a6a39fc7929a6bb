"""Semantic guidance (SEGA, Brack et al. 2023) toward a drawn group (Fair Diffusion, Friedrich et al. 2023)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field

from auditkit.guidance.base import Mitigation, Model, Options, Text
from auditkit.guidance.policy import Policy
from auditkit.guidance.texts import Concepts

if TYPE_CHECKING:
    import torch

    from auditkit.guidance.loop import Step


class SemanticGuidance(Mitigation):
    """Each drawn class e adds s mu psi_e to the guided answer, where psi_e = eps_e - eps_u and mu keeps the entries of
    |psi_e| in the top 1 - lambda; the contrasting classes subtract theirs. Nothing is added during the warm-up, while
    the momentum builds up: g = sum of the terms + m nu, nu <- beta nu + (1 - beta) g.

    The paper's eps is here whatever the network answers: differences are the same up to a factor of the step.
    """

    name = "semantic-guidance"
    title = "The answer of the network is moved along the drawn group's direction, where that is strong"
    reference = "Brack et al. 2023 (arXiv 2301.12247), Friedrich et al. 2023 (arXiv 2302.10893)"

    class Settings(Options):
        """Settings; the letters are the paper's."""

        scale: float = Field(default=5.0, ge=0, le=100)
        """s_e, of each class."""
        threshold: float = Field(default=0.9, ge=0, lt=1)
        """lambda: the share of each channel's entries that is left alone."""
        warmup: float = Field(default=0.2, ge=0, lt=1)
        """delta: the share of steps at the beginning that nothing is added in."""
        until: float = Field(default=1.0, gt=0, le=1)
        """The share of steps after which nothing is added, nor evaluated, any more."""
        momentum: float = Field(default=0.3, ge=0, le=1)
        """s_m."""
        beta: float = Field(default=0.6, ge=0, lt=1)
        """beta_m."""
        contrast: bool = True
        """Also move away from the other classes (Fair Diffusion's pair of terms); their mean where there are several.
        Each attribute then takes a further evaluation for every other class."""

    def prepare(self, model: Model, policy: Policy) -> None:
        self._concepts = Concepts(model, policy.words)
        self._words = policy.words
        self._empty = self._concepts.encoded("")

    def predict(self, step: Step) -> torch.Tensor:
        import torch

        options, acting = self.options, step.batch.acting
        if not acting or step.progress >= options.until:
            return step.guided
        aims = [step.batch.aims[place] for place in acting]
        # Of two images of one batch each may have other attributes open.
        attributes = list(dict.fromkeys(attribute for aim in aims for attribute in aim.group))
        base = step.unconditional
        if base is None:
            base = step.predict(self._rows(step, [self._empty] * len(step.x)))
        total = torch.zeros_like(step.guided)
        for attribute in attributes:
            places = [place for place in acting if attribute in step.batch.aims[place].group]
            classes = self._words.classes(attribute)
            for turn in range(len(classes) if options.contrast else 1):
                texts = [self._empty] * len(step.x)
                for place in places:  # the drawn class first, then the others in turn
                    drawn = step.batch.aims[place].group[attribute]
                    name = [drawn, *(each for each in classes if each != drawn)][turn]
                    texts[place] = self._concepts.encoded(self._words.concept({attribute: name}))
                weight = 1.0 if turn == 0 else -1.0 / (len(classes) - 1)
                moved = strongest(step.predict(self._rows(step, texts)) - base, options.threshold)
                total[places] += options.scale * weight * moved[places]
        nu = step.batch.memory.get("momentum", torch.zeros_like(total))
        added = total + options.momentum * nu
        step.batch.memory["momentum"] = options.beta * nu + (1 - options.beta) * added
        if step.progress < options.warmup:
            return step.guided
        guided = step.guided.clone()
        guided[acting] = (step.guided + added)[acting]
        return guided

    def _rows(self, step: Step, texts: list[Text]) -> Any:
        return self._concepts.rows(texts)


def strongest(psi: torch.Tensor, threshold: float) -> torch.Tensor:
    """psi [n, c, h, w] with all but the largest entries of each channel set to 0.

    Args:
        threshold: quantile of |psi| over a channel's pixels from which on entries are kept, in [0, 1).
    """
    import torch

    size = psi.abs()
    bar = torch.quantile(size.flatten(2).float(), threshold, dim=2).to(psi.dtype)[:, :, None, None]
    return torch.where(size >= bar, psi, torch.zeros_like(psi))

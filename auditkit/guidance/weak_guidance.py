"""Weak guidance (Kim et al., CVPR 2025): the drawn group's direction on the part of the text that says least."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from auditkit.guidance.base import Batch, Mitigation, Model, Options, Text
from auditkit.guidance.policy import Policy
from auditkit.guidance.texts import EMBEDS, POOLED, Concepts


class WeakGuidance(Mitigation):
    """From the end-of-text token on, the prompt's embedding gets s (E(group) - E(neutral)), for a part of the steps.

    The words of the prompt keep their own embeddings, so that what is asked for stays. It costs no evaluation.
    """

    name = "weak-guidance"
    title = "The drawn group's direction is added to the text embedding from its end on"
    reference = "Kim et al. 2025 (arXiv 2408.12692)"

    class Settings(Options):
        """Settings."""

        scale: float = Field(default=1.0, ge=0, le=100)
        """s."""
        since: float = Field(default=0.0, ge=0, lt=1)
        until: float = Field(default=1.0, gt=0, le=1)
        """The phase, as shares of the steps: [since, until)."""
        direction: Literal["general", "prompt"] = "general"
        """`general`: 'a woman' less 'a person'; `prompt`: the prompt with the group said less the prompt."""

        @model_validator(mode="after")
        def _in_order(self) -> WeakGuidance.Settings:
            if self.since >= self.until:
                raise ValueError("the phase must begin before it ends: since < until")
            return self

    def prepare(self, model: Model, policy: Policy) -> None:
        self._concepts, self._words = Concepts(model, policy.words), policy.words

    def condition(self, batch: Batch, text: Text, number: int, of: int) -> Text:
        if not batch.acting or not self.options.since <= number / of < self.options.until:
            return text
        if "text" not in batch.memory:  # the same at every step of the phase
            batch.memory["text"] = self._moved(batch, text)
        moved: Text = batch.memory["text"]
        return moved

    def _moved(self, batch: Batch, text: Text) -> Text:
        embeds = text[EMBEDS].clone()
        pooled = text[POOLED].clone() if POOLED in text else None
        for place in batch.acting:
            aim = batch.aims[place]
            with_group, neutral = self._words.concept(aim.group), self._words.concept({})
            if self.options.direction == "prompt":
                with_group, neutral = self._words.say(aim.prompt, aim.subject, aim.group), aim.prompt
            added = self.options.scale * self._concepts.direction(with_group, neutral)
            end = self._concepts.end(aim.prompt)
            k = min(len(added), embeds.shape[1] - end)
            embeds[place, end : end + k] += added[:k]
            further = self._concepts.pooled_direction(with_group, neutral)
            if pooled is not None and further is not None:
                pooled[place] += self.options.scale * further[0]
        return {**text, EMBEDS: embeds, **({} if pooled is None else {POOLED: pooled})}

"""Encoded concepts, and their differences from the end of the text on: what several methods steer by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from auditkit.guidance.base import Model, Text
from auditkit.guidance.words import Words

if TYPE_CHECKING:
    import torch

EMBEDS, POOLED = "prompt_embeds", "pooled_prompt_embeds"


class Concepts:
    """Texts as a model encodes them. `model.encode` and `model.end` are there (see `steering.refusal`)."""

    def __init__(self, model: Model, words: Words):
        self.model, self.words = model, words

    def encoded(self, text: str) -> Text:
        """One text, each tensor [1, ...]."""
        assert self.model.encode is not None
        return self.model.encode(text)

    def end(self, text: str) -> int:
        """The position of its last token."""
        assert self.model.end is not None
        return self.model.end(text)

    def rows(self, texts: Sequence[Text]) -> Text:
        """Texts as a batch, each tensor [n, ...]."""
        import torch

        return {name: torch.cat([text[name] for text in texts]) for name in texts[0]}

    def from_end(self, text: str) -> torch.Tensor:
        """The embeddings of its last token and the padding, float [tokens - end, d]."""
        return self.encoded(text)[EMBEDS][0, self.end(text) :]

    def direction(self, text: str, neutral: str) -> torch.Tensor:
        """What `text` says more than `neutral`, token by token from the end of each on: [k, d]."""
        with_it, without = self.from_end(text), self.from_end(neutral)
        k = min(len(with_it), len(without))
        return with_it[:k] - without[:k]

    def pooled_direction(self, text: str, neutral: str) -> torch.Tensor | None:
        """The same of the pooled texts, [1, d]; None for models that have none."""
        with_it = self.encoded(text)
        return with_it[POOLED] - self.encoded(neutral)[POOLED] if POOLED in with_it else None

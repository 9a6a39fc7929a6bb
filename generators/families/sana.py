"""Sana (Xie et al. 2024): a linear-attention transformer with flow matching, in a deep autoencoder's latent."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, ClassVar

from generators.families.base import Family, Text

if TYPE_CHECKING:
    import torch


class Sana(Family):
    """Reads prompts by a language model (Gemma), after the pipeline's own instruction to it; negative ones without."""

    kind, steps, guidance = "latent-flow", 20, 4.5
    options: ClassVar[dict[str, Any]] = {"use_resolution_binning": False, "negative_prompt": None}

    def encode(self, text: str | None, *, negative: bool = False) -> Text:
        default = inspect.signature(type(self.pipeline).__call__).parameters["complex_human_instruction"].default
        embeds, mask, *_ = self.pipeline.encode_prompt(
            text or "",
            False,
            device=self.pipeline.device,
            complex_human_instruction=None if negative else default,
        )
        return {"prompt_embeds": embeds, "prompt_attention_mask": mask}

    def noise_dtype(self, text: Text) -> torch.dtype:
        import torch

        return torch.float32

    @property
    def multiple(self) -> int:
        return max(32, self.scale)

    @property
    def reads(self) -> tuple[Any, int]:
        return self.pipeline.tokenizer, 300

"""PixArt-alpha and -sigma (Chen et al. 2023, 2024): diffusion transformers on a beta schedule, which read T5."""

from __future__ import annotations

from typing import Any, ClassVar

from generators.families.base import Family, Text


class PixArtAlpha(Family):
    """Prompts are lower-cased by the pipeline, but not cleaned of what looks like HTML: a prompt is what was audited.

    Images are square, and not made in the nearest of the training's sizes and cut (resolution binning).
    """

    kind, steps, guidance = "latent-dit", 20, 4.5
    options: ClassVar[dict[str, Any]] = {"use_resolution_binning": False, "negative_prompt": None}
    tokens: ClassVar[int] = 120

    def encode(self, text: str | None, *, negative: bool = False) -> Text:
        embeds, mask, *_ = self.pipeline.encode_prompt(
            text or "", False, device=self.pipeline.device, clean_caption=False, max_sequence_length=self.tokens
        )
        return {"prompt_embeds": embeds, "prompt_attention_mask": mask}

    @property
    def reads(self) -> tuple[Any, int]:
        return self.pipeline.tokenizer, self.tokens


class PixArtSigma(PixArtAlpha):
    tokens = 300

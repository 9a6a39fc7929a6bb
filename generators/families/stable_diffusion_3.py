"""Stable Diffusion 3 (Esser et al. 2024): a flow-matching transformer that reads two CLIPs and, if there, T5."""

from __future__ import annotations

from typing import Any

from generators.families.base import Family, Text


class StableDiffusion3(Family):
    """Checkpoints without T5 (text_encoder_3) read 77 tokens of a prompt, others 256."""

    kind, steps, guidance = "latent-flow", 28, 7.0
    optional = ("text_encoder_3", "tokenizer_3")

    def encode(self, text: str | None, *, negative: bool = False) -> Text:
        embeds, _, pooled, _ = self.pipeline.encode_prompt(
            text or "", None, None, device=self.pipeline.device, do_classifier_free_guidance=False
        )
        return {"prompt_embeds": embeds, "pooled_prompt_embeds": pooled}

    @property
    def multiple(self) -> int:
        return self.scale * int(self.denoiser.config.patch_size)

    @property
    def reads(self) -> tuple[Any, int]:
        return super().reads if self.pipeline.text_encoder_3 is None else (self.pipeline.tokenizer_3, 256)

"""PRX (Photoroom 2025): flow-matching transformers in a latent or in the pixels; the family of two bundled models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from auditkit.guidance.loop import denoise
from auditkit.guidance.networks import FlowTransformer
from generators.base import Settings
from generators.families.base import Family, Text, stacked

if TYPE_CHECKING:
    import torch


class PRX(Family):
    """x_t = (1 - t) x + t eps, from eps at t = 1 to the image at t = 0.

    The denoising loop is our own (auditkit.guidance.loop), for diffusers' PRX pipelines fail where a
    guided batch holds more than one image (their times are [2], their images [2 n]). One image alone is the one that
    the pipeline itself gives.
    """

    kind, steps, guidance = "latent-flow", 28, 4.0
    noisy = False
    gives_clean: ClassVar[bool] = False
    """Whether the network gives the clean image itself."""

    def encode(self, text: str | None, *, negative: bool = False) -> Text:
        embeds, mask, *_ = self.pipeline.encode_prompt(text or "", self.pipeline.device, False)
        return {"prompt_embeds": embeds, "prompt_attention_mask": mask}

    def denoise(
        self,
        wanted: Sequence[Text],
        unwanted: Sequence[Text] | None,
        noise: torch.Tensor,
        settings: Settings,
        draws: list[torch.Generator],
    ) -> torch.Tensor:
        return denoise(
            self.network(noise.shape[-1] * self.scale), self.pipeline.scheduler, noise, stacked(wanted),
            stacked(unwanted) if unwanted else None, steps=settings.steps, guidance=settings.guidance,
        )  # fmt: skip

    def network(self, side: int) -> FlowTransformer:
        scale = self.pipeline.config.get("noise_scale", 1.0)
        return FlowTransformer(self.pipeline.transformer, noise_scale=scale, gives_clean=self.gives_clean)

    @property
    def side(self) -> int:
        return int(self.pipeline.config.default_sample_size)


class PRXPixel(PRX):
    """Without an autoencoder: the network gives the image itself."""

    kind, gives_clean = "pixel-flow", True

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        return latents

    @property
    def scale(self) -> int:
        return 1

"""FLUX.1 (Black Forest Labs 2024): a flow-matching transformer whose guidance is distilled into it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from generators.base import Settings
from generators.families.base import Family, Text, stacked

if TYPE_CHECKING:
    import torch


class Flux(Family):
    """The guidance scale is an input of the network (dev), or there is none (schnell).

    A job with a negative prompt is guided by it instead: classifier-free, at the scale that was asked for, while the
    network's own guidance is 1. Jobs without one are not, whatever stands beside them in the batch.
    """

    kind, guidance = "latent-flow", 3.5
    refused = ("flow-heun",)  # the pipeline gives its own noise levels, which Heun's scheduler does not take

    @property
    def steps(self) -> int:  # type: ignore[override]
        return 28 if self.denoiser.config.guidance_embeds else 4

    def encode(self, text: str | None, *, negative: bool = False) -> Text | None:
        if negative and text is None:
            return None
        embeds, pooled, _ = self.pipeline.encode_prompt(text or "", device=self.pipeline.device)
        return {"prompt_embeds": embeds, "pooled_prompt_embeds": pooled}

    def guided(self, wanted: Sequence[Text], unwanted: Sequence[Text] | None, settings: Settings) -> dict[str, Any]:
        if unwanted is None:
            return {**stacked(wanted), "guidance_scale": settings.guidance}
        guidance = {"guidance_scale": 1.0, "true_cfg_scale": settings.guidance}
        return {**stacked(wanted), **stacked(unwanted, "negative_"), **guidance}

    def packed(self, noise: torch.Tensor) -> torch.Tensor:
        tokens: torch.Tensor = self.pipeline._pack_latents(noise, *noise.shape)
        return tokens

    def unpacked(self, latents: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        height, width = (side * self.scale for side in noise.shape[-2:])
        found: torch.Tensor = self.pipeline._unpack_latents(latents, height, width, self.scale)
        return found

    @property
    def channels(self) -> int:
        return int(self.denoiser.config.in_channels) // 4

    @property
    def side(self) -> int:
        return int(self.pipeline.default_sample_size) * self.scale

    @property
    def multiple(self) -> int:
        return 2 * self.scale

    @property
    def reads(self) -> tuple[Any, int]:
        return self.pipeline.tokenizer_2, 512

"""PRX (Photoroom 2025): flow-matching transformers in a latent or in the pixels; the family of two bundled models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from generators.base import Settings
from generators.families.base import Family, Text, stacked

if TYPE_CHECKING:
    import torch

LEAST = 0.05
"""Where a network gives the clean image, its velocity is (x_t - x) / t; PRXPixelPipeline takes no smaller t."""


class PRX(Family):
    """x_t = (1 - t) x + t eps, from eps at t = 1 to the image at t = 0.

    The denoising loop is our own, for diffusers' PRX pipelines fail where a guided batch holds more than one image
    (their times are [2], their images [2 n]). One image alone is the one that the pipeline itself gives.
    """

    kind, steps, guidance = "latent-flow", 28, 4.0

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
        import torch

        scheduler = self.pipeline.scheduler
        texts = stacked([*wanted, *(unwanted or [])])
        embeds, mask = texts["prompt_embeds"], texts["prompt_attention_mask"]
        x = noise.to(embeds.device) * self.pipeline.config.get("noise_scale", 1.0)
        scheduler.set_timesteps(settings.steps, device=x.device)
        for time in scheduler.timesteps:
            t = (time.float() / scheduler.config.num_train_timesteps).expand(len(embeds)).to(x.device)
            both = torch.cat([x, x]) if unwanted else x
            given = self.pipeline.transformer(both.to(embeds.dtype), t, embeds, mask, return_dict=False)[0]
            if unwanted:
                with_prompt, without = given.chunk(2)
                given = without + settings.guidance * (with_prompt - without)
            x = scheduler.step(self._velocity(given, x, t), time, x, return_dict=False)[0]
        return x

    def _velocity(self, given: torch.Tensor, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """The velocity eps - x, as the network gives it."""
        return given

    @property
    def side(self) -> int:
        return int(self.pipeline.config.default_sample_size)


class PRXPixel(PRX):
    """Without an autoencoder: the network gives the image itself."""

    kind = "pixel-flow"

    def _velocity(self, given: torch.Tensor, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        velocity: torch.Tensor = (x - given) / t[: len(x), None, None, None].clamp(min=LEAST)
        return velocity

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        return latents

    @property
    def scale(self) -> int:
        return 1

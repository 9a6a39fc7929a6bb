"""Stable Diffusion 1 and 2 (Rombach et al. 2022) and XL (Podell et al. 2023): UNets on a beta schedule."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from auditkit.guidance.networks import UNet
from generators.checkpoint import quiet
from generators.families.base import Family, Text

if TYPE_CHECKING:
    import torch


class StableDiffusion(Family):
    """Epsilon- or v-prediction, as the checkpoint's scheduler says."""

    kind, steps, guidance = "latent-unet", 30, 7.5

    def encode(self, text: str | None, *, negative: bool = False) -> Text:
        return {"prompt_embeds": self.pipeline.encode_prompt(text or "", self.pipeline.device, 1, False)[0]}

    def flagged(self, images: torch.Tensor) -> list[bool]:
        checker = getattr(self.pipeline, "safety_checker", None)
        if checker is None:
            return super().flagged(images)
        with quiet():  # it paints what it flags black, and is given a copy for that
            _, found = self.pipeline.run_safety_checker(images.clone(), images.device, checker.dtype)
        return [bool(each) for each in found]

    def network(self, side: int) -> UNet | None:
        if self.pipeline.unet.config.get("time_cond_proj_dim") is not None:
            return None  # distilled to read the guidance scale as a condition: the pipeline does more than our loop
        return UNet(self.pipeline.unet, lambda text, n: self.conditions(text, n, side))

    def conditions(self, text: Text, n: int, side: int | None = None) -> dict[str, Any]:
        return {"encoder_hidden_states": text["prompt_embeds"].expand(n, -1, -1)}


class StableDiffusionXL(StableDiffusion):
    """Two text encoders, their pooled text, and the image's size as conditions of the network."""

    guidance = 5.0

    def encode(self, text: str | None, *, negative: bool = False) -> Text:
        import torch

        embeds, _, pooled, _ = self.pipeline.encode_prompt(
            text or "", device=self.pipeline.device, do_classifier_free_guidance=False
        )
        found = {"prompt_embeds": embeds, "pooled_prompt_embeds": pooled}
        if negative and text is None and self.pipeline.config.force_zeros_for_empty_prompt:
            return {name: torch.zeros_like(tensor) for name, tensor in found.items()}
        return found

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        import torch

        vae = self.pipeline.vae
        mean, std = vae.config.get("latents_mean"), vae.config.get("latents_std")
        if mean is None or std is None:
            return super().decode(latents)
        mean, std = (torch.tensor(each).view(1, -1, 1, 1).to(latents) for each in (mean, std))
        latents = latents * std / vae.config.scaling_factor + mean
        images: torch.Tensor = vae.decode(latents.to(vae.dtype), return_dict=False)[0]
        return images

    def conditions(self, text: Text, n: int, side: int | None = None) -> dict[str, Any]:
        size = (side or self.side,) * 2
        pooled = text["pooled_prompt_embeds"]
        times = self.pipeline._get_add_time_ids(
            size, (0, 0), size, dtype=pooled.dtype, text_encoder_projection_dim=pooled.shape[-1]
        ).to(pooled.device)
        added = {"text_embeds": pooled.expand(n, -1), "time_ids": times.expand(n, -1)}
        return {**super().conditions(text, n, side), "added_cond_kwargs": added}

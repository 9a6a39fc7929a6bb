"""Denoisers of diffusers as `loop.denoise` calls them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from auditkit.guidance.base import Text

if TYPE_CHECKING:
    import torch

LEAST = 0.05
"""Where a network gives the clean image, its velocity is (x_t - x) / t; PRXPixelPipeline takes no smaller t."""


class UNet:
    """A UNet on a beta schedule that predicts noise, v or the clean latents: Stable Diffusion's kind.

    Args:
        conditions: the arguments of the network's call for texts [m, ...]: (text, m) to a dict.
    """

    wanted_first = False

    def __init__(self, unet: Any, conditions: Callable[[Text, int], dict[str, Any]] | None = None):
        self.unet = unet
        self.conditions = conditions or (lambda text, n: {"encoder_hidden_states": text["prompt_embeds"]})

    def start(self, noise: torch.Tensor, scheduler: Any) -> torch.Tensor:
        started: torch.Tensor = noise.to(self.unet.device) * scheduler.init_noise_sigma
        return started

    def answer(self, x: torch.Tensor, time: torch.Tensor, text: Text, scheduler: Any) -> torch.Tensor:
        scaled = scheduler.scale_model_input(x, time)
        given: torch.Tensor = self.unet(scaled, time, **self.conditions(text, len(x)), return_dict=False)[0]
        return given

    def output(self, given: torch.Tensor, x: torch.Tensor, time: torch.Tensor, scheduler: Any) -> torch.Tensor:
        return given

    def clean(self, given: torch.Tensor, x: torch.Tensor, time: torch.Tensor, scheduler: Any) -> torch.Tensor:
        """With the signal a of the time: sqrt(a) x0 + sqrt(1 - a) eps is what the network saw."""
        a = scheduler.alphas_cumprod[round(float(time))].to(x.device, x.dtype).clamp(min=1e-4)
        seen, kind = scheduler.scale_model_input(x, time), scheduler.config.prediction_type
        if kind == "v_prediction":
            return a.sqrt() * seen - (1 - a).sqrt() * given
        return given if kind == "sample" else (seen - (1 - a).sqrt() * given) / a.sqrt()


class FlowTransformer:
    """A transformer on the straight path x_t = (1 - t) x + t eps, called as PRX is (Photoroom 2025).

    Args:
        noise_scale: the spread of the noise that the model was trained with.
        gives_clean: the network gives the clean image; otherwise the velocity eps - x.
    """

    wanted_first = True

    def __init__(self, transformer: Any, *, noise_scale: float = 1.0, gives_clean: bool = False):
        self.transformer, self.noise_scale, self.gives_clean = transformer, noise_scale, gives_clean

    def start(self, noise: torch.Tensor, scheduler: Any) -> torch.Tensor:
        return noise.to(self.transformer.device) * self.noise_scale

    def answer(self, x: torch.Tensor, time: torch.Tensor, text: Text, scheduler: Any) -> torch.Tensor:
        embeds, mask = text["prompt_embeds"], text["prompt_attention_mask"]
        t = self._level(x, time, scheduler)
        given: torch.Tensor = self.transformer(x.to(embeds.dtype), t, embeds, mask, return_dict=False)[0]
        return given

    def output(self, given: torch.Tensor, x: torch.Tensor, time: torch.Tensor, scheduler: Any) -> torch.Tensor:
        if not self.gives_clean:
            return given
        t = self._level(x, time, scheduler)
        velocity: torch.Tensor = (x - given) / t[:, None, None, None].clamp(min=LEAST)
        return velocity

    def clean(self, given: torch.Tensor, x: torch.Tensor, time: torch.Tensor, scheduler: Any) -> torch.Tensor:
        if self.gives_clean:
            return given
        return x - self._level(x, time, scheduler)[:, None, None, None] * given

    def _level(self, x: torch.Tensor, time: torch.Tensor, scheduler: Any) -> torch.Tensor:
        """t in 0..1 for each image."""
        return (time.float() / scheduler.config.num_train_timesteps).expand(len(x)).to(x.device)

"""One training step: noise on latents of one bucket, and the error of what the UNet makes of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from generators.training import loop
from generators.training.own.latents import Latents
from generators.training.own.objective import min_snr_weights, target
from generators.training.own.start import Start

if TYPE_CHECKING:
    from torch import Tensor, nn

GAMMA = 5.0
"""Of min-SNR for epsilon, where none is asked for, as Hang et al. 2023 have it."""


@dataclass
class Denoising:
    """Index of a batch -> its loss; all that is random in it depends on the index and the seed alone.

    Args:
        batch: index -> bucket [1], rows [n] and token ids [n, context], int64 each.
        min_snr: see `Choices`. train_text_encoder: whether gradients flow into it.
    """

    start: Start
    latents: Latents
    batch: Callable[[int], tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]]
    schedule: loop.Schedule
    device: str
    min_snr: float | None
    train_text_encoder: bool
    modules: dict[str, nn.Module] = field(init=False)
    """What is trained, by its name in the pipeline."""
    _abar: Any = field(init=False, repr=False)
    _weights: Any = field(init=False, repr=False)
    _denoise: Any = field(init=False, repr=False)

    def __post_init__(self) -> None:
        from diffusers import DDPMScheduler

        pipeline = self.start.pipeline
        unet, text_encoder = pipeline.unet.to(self.device), pipeline.text_encoder.to(self.device).eval()
        self.modules = {"unet": unet.requires_grad_(True)}
        text_encoder.requires_grad_(self.train_text_encoder)
        if self.train_text_encoder:
            self.modules["text_encoder"] = text_encoder
        levels: Any = DDPMScheduler.from_config(pipeline.scheduler.config)
        self._abar = levels.alphas_cumprod.to(self.device)
        kind = self.start.prediction
        gamma = GAMMA if self.min_snr is None and kind == "epsilon" else self.min_snr or None
        self._weights = min_snr_weights(self._abar, gamma, kind)
        # Compiling anew for each shape takes longer than it saves.
        self._denoise = loop.compiled(unet) if len(self.latents.buckets) == 1 else unet

    def __call__(self, index: int) -> dict[str, Tensor]:
        import torch

        random = torch.Generator(self.device).manual_seed(self.schedule.seed * 1_000_003 + index)
        bucket, rows, ids = self.batch(index)
        clean = self.latents.take(int(bucket[0]), rows, random, self.device)
        noise = torch.randn(clean.shape, generator=random, device=self.device)
        t = torch.randint(len(self._abar), (len(clean),), generator=random, device=self.device)
        power = self._abar[t][:, None, None, None]
        signal, sigma = power.sqrt(), (1 - power).sqrt()
        with loop.autocast(self.device, self.schedule):
            with torch.set_grad_enabled(self.train_text_encoder):
                hidden = self.start.pipeline.text_encoder(torch.from_numpy(ids).to(self.device)).last_hidden_state
            given = self._denoise(signal * clean + sigma * noise, t, encoder_hidden_states=hidden).sample.float()
        error = given - target(self.start.prediction, clean, noise, signal, sigma)
        return {"loss": (self._weights[t] * error.square().mean((1, 2, 3))).mean()}

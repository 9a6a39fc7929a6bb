"""Flow matching: diffusion transformers in a latent or in the pixels, batched across prompts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from PIL import Image

from generators.base import Job, Settings
from generators.checkpoint import quiet
from generators.latent import LatentGenerator

if TYPE_CHECKING:
    import torch

KINDS = {"PRXPipeline": "latent-flow", "PRXPixelPipeline": "pixel-flow"}
LEAST = 0.05
"""Where a network gives the clean image, its velocity is (x_t - x) / t; PRXPixelPipeline takes no smaller t."""


class FlowGenerator(LatentGenerator):
    """A checkpoint of a flow-matching transformer: x_t = (1 - t) x + t eps, from eps at t = 1 to the image at t = 0.

    The denoising loop is our own, for diffusers' PRX pipelines fail where a guided batch holds more than one image
    (their times are [2], their images [2 n]). One image alone is the one that the pipeline itself gives for that
    prompt and `torch.Generator().manual_seed(seed)`, up to the rounding of floats.

    `info.details["latent_shape"]` is the shape of the noise; in the pixels that is the image's own.
    """

    kinds: ClassVar[dict[str, str]] = KINDS

    def _make(self, jobs: list[Job], settings: Settings, scheduler: Any) -> list[Image.Image]:
        import torch

        guided = settings.guidance > 1
        with torch.inference_mode():
            texts = [job.prompt for job in jobs] + ([job.negative or "" for job in jobs] if guided else [])
            embeds, masks = (torch.cat(parts) for parts in zip(*map(self._encode, texts), strict=True))
            draws = [torch.Generator().manual_seed(job.seed) for job in jobs]
            x = self._start(jobs, draws, embeds.dtype)
            scheduler.set_timesteps(settings.steps, device=self._device)
            for time in scheduler.timesteps:
                t = (time.float() / scheduler.config.num_train_timesteps).expand(len(texts)).to(self._device)
                both = torch.cat([x, x]) if guided else x
                given = self.pipeline.transformer(both.to(embeds.dtype), t, embeds, masks, return_dict=False)[0]
                if guided:
                    with_prompt, without = given.chunk(2)
                    given = without + settings.guidance * (with_prompt - without)
                x = scheduler.step(self._velocity(given, x, t), time, x, return_dict=False)[0]
            pixels = (self._decoded(x).float() / 2 + 0.5).clamp(0, 1)
            arrays = (pixels * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
        return [Image.fromarray(each) for each in arrays]

    def _start(self, jobs: list[Job], draws: list[torch.Generator], dtype: torch.dtype) -> torch.Tensor:
        """Initial noise [n, c, h, w] on the device: the jobs' own, or drawn on the CPU as the pipeline would."""
        import torch

        noise = self._noise(jobs, draws, dtype)
        if noise is None:
            shape = self.info.details["latent_shape"]
            noise = torch.cat([torch.randn([1, *shape], generator=draw, dtype=dtype) for draw in draws])
        return noise.to(self._device) * self.pipeline.config.get("noise_scale", 1.0)

    def _velocity(self, given: torch.Tensor, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """The velocity eps - x that the network gives, or that follows from the image which it gives."""
        if self._in_latent:
            return given
        velocity: torch.Tensor = (x - given) / t[: len(x), None, None, None].clamp(min=LEAST)
        return velocity

    def _decoded(self, x: torch.Tensor) -> torch.Tensor:
        """Images [n, 3, h, w] in -1..1, or a little beyond."""
        if not self._in_latent:
            return x
        vae = self.pipeline.vae
        scale, shift = vae.config.scaling_factor, vae.config.get("shift_factor") or 0.0
        images: torch.Tensor = vae.decode(x.to(vae.dtype) / scale + shift, return_dict=False)[0]
        return images

    @property
    def _in_latent(self) -> bool:
        return getattr(self.pipeline, "vae", None) is not None

    def _encode_once(self, text: str) -> Any:
        """(embedding [1, tokens, d], bool [1, tokens]: is it no padding). One text at a time, without batch-mates."""
        with quiet():
            embeds, mask, *_ = self.pipeline.encode_prompt(text, self._device, False)
        self._check_length(text)
        return embeds, mask

    def _noise_shape(self) -> tuple[int, list[int]]:
        side = int(self.pipeline.config.default_sample_size)
        small = side // self.pipeline.vae_scale_factor
        return side, [self.pipeline.transformer.config.in_channels, small, small]

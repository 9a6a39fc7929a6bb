"""What a family is: how one kind of pipeline is given texts and noise, and what it gives back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from auditkit.guidance.base import Batch, Mitigation
from auditkit.guidance.loop import Network, denoise
from generators.base import Settings

if TYPE_CHECKING:
    import torch

Text = dict[str, "torch.Tensor"]
"""One encoded text: tensors [1, ...] under the names that the pipeline's call gives to a prompt's; a negative prompt's
are the same with `negative_` before them."""


class Family(ABC):
    """The pipeline denoises; a family says what it is called with. One instance a loaded pipeline.

    Texts are padded to one length by every pipeline here, with masks where the network reads them: so a batch of
    different prompts is their concatenation, and no image depends on its batch-mates.
    """

    kind: ClassVar[str]
    """For reports, such as `latent-unet`."""
    steps: ClassVar[int]
    guidance: ClassVar[float]
    """What the pipeline's makers use, where the checkpoint's auditkit.toml says nothing."""
    refused: ClassVar[tuple[str, ...]] = ()
    """Samplers that fit the checkpoint's scheduler but that the pipeline cannot call."""
    options: ClassVar[dict[str, Any]] = {}
    """More arguments of the pipeline's call, whatever the image."""
    optional: ClassVar[tuple[str, ...]] = ()
    """Components that a checkpoint may lack."""
    noisy: ClassVar[bool] = True
    """Whether samplers are given the images' generators, to add noise from."""
    conditions: Any = None
    """Of the UNet kind alone: (Text, n) to the arguments of the network for n images."""

    def __init__(self, pipeline: Any):
        self.pipeline = pipeline

    @classmethod
    def absent(cls, components: Collection[str]) -> dict[str, None]:
        """What the pipeline is to be loaded without, of a checkpoint that has these components."""
        return dict.fromkeys(name for name in cls.optional if name not in components)

    @abstractmethod
    def encode(self, text: str | None, *, negative: bool = False) -> Text | None:
        """One text, without batch-mates.

        Args:
            text: None is no negative prompt, which the pipelines take for the empty one.
            negative: encode it as a negative prompt.

        Returns:
            None where images without a negative prompt are not guided by one.
        """

    def denoise(
        self,
        wanted: Sequence[Text],
        unwanted: Sequence[Text] | None,
        noise: torch.Tensor,
        settings: Settings,
        draws: list[torch.Generator],
    ) -> torch.Tensor:
        """Clean latents [n, c, h, w] of `noise` [n, c, h, w], by the scheduler that the pipeline holds.

        Args:
            unwanted: negative prompts; None is no guidance by them.
            draws: for samplers that add noise on their way.
        """
        clean = self.pipeline(
            **self.guided(wanted, unwanted, settings), **self.options, latents=self.packed(noise),
            height=noise.shape[-2] * self.scale, width=noise.shape[-1] * self.scale,
            num_inference_steps=settings.steps, generator=draws, output_type="latent",
        ).images  # fmt: skip
        return self.unpacked(clean, noise)

    def network(self, side: int) -> Network | None:
        """The denoiser for the loop that mitigations hook into; None where that does not run this kind of pipeline.

        Args:
            side: of the images to be made, pixels.
        """
        return None

    def steered(
        self,
        wanted: Sequence[Text],
        unwanted: Sequence[Text] | None,
        noise: torch.Tensor,
        settings: Settings,
        draws: list[torch.Generator],
        mitigation: Mitigation,
        batch: Batch,
    ) -> torch.Tensor:
        """As `denoise`, with a mitigation's hooks; images that it does not act on are those of `denoise`, to the bit.

        A pipeline that our loop does not run is given the text that the mitigation makes of the prompts.
        """
        network = self.network(noise.shape[-1] * self.scale)
        if network is None:
            text = mitigation.embed(batch, stacked(wanted))
            wanted = [{name: tensor[i : i + 1] for name, tensor in text.items()} for i in range(len(noise))]
            return self.denoise(wanted, unwanted, noise, settings, draws)
        return denoise(
            network, self.pipeline.scheduler, noise, stacked(wanted), None if unwanted is None else stacked(unwanted),
            steps=settings.steps, guidance=settings.guidance, draws=draws if self.noisy else None,
            mitigation=mitigation, batch=batch,
        )  # fmt: skip

    def guided(self, wanted: Sequence[Text], unwanted: Sequence[Text] | None, settings: Settings) -> dict[str, Any]:
        """Texts and guidance as arguments of the call."""
        if unwanted is None:
            return {**stacked(wanted), "guidance_scale": 1.0}
        return {**stacked(wanted), **stacked(unwanted, "negative_"), "guidance_scale": settings.guidance}

    def packed(self, noise: torch.Tensor) -> torch.Tensor:
        """Noise [n, c, h, w] as the pipeline takes it."""
        return noise

    def unpacked(self, latents: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """What the pipeline gives, as latents [n, c, h, w] of the shape of `noise`."""
        return latents

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Images [n, 3, h, w] of clean latents, in -1..1 or a little beyond."""
        vae = self.pipeline.vae
        shift = vae.config.get("shift_factor") or 0.0
        images: torch.Tensor = vae.decode(latents.to(vae.dtype) / vae.config.scaling_factor + shift, return_dict=False)[
            0
        ]
        return images

    def flagged(self, images: torch.Tensor) -> list[bool]:
        """Which of the images [n, 3, h, w] the checkpoint's safety checker would make black."""
        return [False] * len(images)

    def noise_dtype(self, text: Text) -> torch.dtype:
        """What the pipeline draws its noise in, for this encoded text."""
        return text["prompt_embeds"].dtype

    @property
    def denoiser(self) -> Any:
        """The network that is called at every step."""
        return getattr(self.pipeline, "unet", None) or self.pipeline.transformer

    @property
    def channels(self) -> int:
        """Of the noise."""
        return int(self.denoiser.config.in_channels)

    @property
    def side(self) -> int:
        """Of the images that the checkpoint was trained on, pixels."""
        size = self.denoiser.config.sample_size
        return int(size if isinstance(size, int) else max(size)) * self.scale

    @property
    def scale(self) -> int:
        """Pixels along the side of one latent pixel."""
        return int(self.pipeline.vae_scale_factor)

    @property
    def multiple(self) -> int:
        """What the side of an image must be a multiple of, pixels."""
        return max(8, self.scale)

    @property
    def reads(self) -> tuple[Any, int]:
        """The tokenizer that reads most of a prompt, and how many tokens of it are seen."""
        tokenizer = self.pipeline.tokenizer
        return tokenizer, int(tokenizer.model_max_length)


def stacked(texts: Sequence[Text], prefix: str = "") -> Text:
    """Texts of one kind as a batch, each tensor [n, ...]."""
    import torch

    return {prefix + name: torch.cat([text[name] for text in texts]) for name in texts[0]}

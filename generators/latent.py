"""Latent diffusion: any diffusers text-to-image checkpoint folder, batched across prompts."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from PIL import Image

from auditkit.errors import GeneratorError
from generators.base import GeneratorInfo, Job, Settings, even_batches
from generators.checkpoint import Notes, check_steps, quiet, read_index, read_notes
from generators.device import pick_device
from generators.samplers import check_sampler, fitting, make_scheduler
from generators.weights import hash_weights

if TYPE_CHECKING:
    import torch

KINDS = {"StableDiffusionPipeline": "latent-unet"}
"""The pipeline classes that can be loaded, and the family each belongs to."""


class LatentGenerator:
    """A checkpoint in diffusers' own folder format, loaded from the disk alone (safetensors, no code).

    The pipeline itself denoises, so an image is the one that the plain pipeline gives for that prompt and
    `torch.Generator().manual_seed(seed)`, up to the rounding of floats in a batch. What is added: each
    distinct text is encoded once, and a batch holds different prompts, each with its own noise.
    """

    kinds: ClassVar[dict[str, str]] = KINDS
    """The pipeline classes that this class loads; see generators.flow for the others."""

    def __init__(
        self,
        folder: str | Path,
        *,
        name: str | None = None,
        source: str | None = None,
        device: str = "auto",
        precision: str = "auto",
    ):
        """
        Args:
            name: for reports; by default the one in the folder's auditkit.toml, or the folder's own.
            source: where it came from; by default `path:FOLDER`.
            device, precision: see `device.pick_device`.

        Raises:
            GeneratorError: the folder is missing, is no such checkpoint, is damaged, or has no safetensors.
        """
        self.folder = folder = Path(folder)
        pipeline_class, components = read_index(folder, self.kinds)
        notes = read_notes(folder)
        weights = hash_weights(folder, components)
        self._device, dtype = pick_device(device, precision)
        self.pipeline = _load(folder, list(weights), self._device, dtype)
        """The diffusers pipeline; its scheduler is replaced on each call of `generate`."""
        self._shipped = self.pipeline.scheduler
        self._fits: int | None = None
        self._warned = False
        self._encode = lru_cache(maxsize=1024)(self._encode_once)
        self.info = self._describe(folder, name, source, notes, weights, pipeline_class, str(dtype))

    @property
    def samplers(self) -> list[str]:
        """Names of the samplers that this checkpoint can be sampled with."""
        return fitting(self._shipped)

    def generate(
        self, jobs: Sequence[Job], settings: Settings, *, batch_size: int | None = None
    ) -> Iterator[Image.Image]:
        """See `base.Generator.generate`. Running out of GPU memory halves the batch and goes on."""
        check_sampler(settings.sampler)
        check_steps(settings, self._shipped)
        if batch_size is not None and batch_size < 1:
            raise GeneratorError("the batch size must be at least 1", where=f"batch_size={batch_size}")
        for job in jobs:
            self._check_noise(job)
        scheduler = make_scheduler(settings.sampler, self._shipped)
        return self._batches(list(jobs), settings, scheduler, batch_size or self.info.batch_size)

    def _batches(
        self, jobs: list[Job], settings: Settings, scheduler: Any, size: int
    ) -> Iterator[Image.Image]:
        for batch in even_batches(jobs, min(size, self._fits or size)):
            yield from self._fit(batch, settings, scheduler)

    def _fit(self, jobs: list[Job], settings: Settings, scheduler: Any) -> list[Image.Image]:
        """The images of one batch, in as many parts as memory asks for."""
        import torch

        if self._fits is None or len(jobs) <= self._fits:
            try:
                return self._make(jobs, settings, scheduler)
            except torch.OutOfMemoryError:
                if len(jobs) == 1:
                    raise GeneratorError(
                        "there is not enough memory on the device for one image",
                        where=str(self._device),
                        mend="free memory there, or use --device cpu",
                    ) from None
                self._fits = len(jobs) // 2
            # Outside the except block, which would keep the failed batch's tensors alive.
            if self._device.type == "cuda":
                torch.cuda.empty_cache()
            warnings.warn(
                f"out of memory with {len(jobs)} images at a time: going on with {self._fits}", stacklevel=4
            )
        return [
            image for part in even_batches(jobs, self._fits) for image in self._fit(part, settings, scheduler)
        ]

    def _make(self, jobs: list[Job], settings: Settings, scheduler: Any) -> list[Image.Image]:
        import torch

        side, guided = self.info.resolution, settings.guidance > 1
        with torch.inference_mode():
            embeds = {"prompt_embeds": torch.cat([self._encode(job.prompt) for job in jobs])}
            if guided:
                embeds["negative_prompt_embeds"] = torch.cat(
                    [self._encode(job.negative or "") for job in jobs]
                )
            # One for each image, on the CPU: the noise depends on neither the batch nor the device.
            draws = [torch.Generator().manual_seed(job.seed) for job in jobs]
            self.pipeline.scheduler = scheduler
            pixels = self.pipeline(
                **embeds,
                latents=self._noise(jobs, draws, embeds["prompt_embeds"].dtype),
                height=side,
                width=side,
                num_inference_steps=settings.steps,
                guidance_scale=settings.guidance if guided else 1.0,
                generator=draws,
                output_type="pt",
            ).images
            pixels = (pixels.float() * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
        return [Image.fromarray(each) for each in pixels]

    def _noise(self, jobs: list[Job], draws: list[torch.Generator], dtype: torch.dtype) -> torch.Tensor | None:
        """Initial noise [n, c, h, w] where a job brings its own; None leaves it to the pipeline.

        Every generator is drawn from as the pipeline would, so that a job without noise gets the pipeline's own bits
        and a sampler that adds noise on its way does not go over the initial noise again.
        """
        import torch

        if all(job.noise is None for job in jobs):
            return None
        shape = self.info.details["latent_shape"]
        return torch.cat(
            [
                drawn if job.noise is None else torch.from_numpy(np.array(job.noise)).to(dtype)[None]
                for job, draw in zip(jobs, draws, strict=True)
                for drawn in [torch.randn([1, *shape], generator=draw, dtype=dtype)]
            ]
        )

    def _check_noise(self, job: Job) -> None:
        if job.noise is None:
            return
        shape = tuple(self.info.details["latent_shape"])
        if job.noise.shape != shape or not np.isfinite(job.noise).all():
            fault = "is not finite" if job.noise.shape == shape else f"has the shape {list(job.noise.shape)}"
            raise GeneratorError(
                f"the initial noise of a job {fault}",
                where=f"{self.info.name}, seed {job.seed}",
                mend=f"give float32 of shape {list(shape)}, or none",
            )

    def _encode_once(self, text: str) -> torch.Tensor:
        """The text's embedding, [1, tokens, d]. One text at a time, so that it has no batch-mates."""
        with quiet():
            embeds: torch.Tensor = self.pipeline.encode_prompt(text, self._device, 1, False)[0]
        self._check_length(text)
        return embeds

    def _check_length(self, text: str) -> None:
        """Warn, once, where the end of a prompt is not seen."""
        tokenizer = self.pipeline.tokenizer
        with quiet():
            ids = tokenizer(text).input_ids
        limit = tokenizer.model_max_length
        if len(ids) > limit and not self._warned:
            self._warned = True
            kept = tokenizer.decode(ids[: limit - 1], skip_special_tokens=True)
            warnings.warn(
                f"{self.info.name} reads {limit} tokens of a prompt, and this one has {len(ids)}: "
                f"of '{text}' it sees '{kept}' (said once, it may hold for other prompts)",
                stacklevel=7,
            )

    def _noise_shape(self) -> tuple[int, list[int]]:
        """(side of the images in pixels, shape [c, h, w] of the initial noise of one)."""
        config = self.pipeline.unet.config
        side = config.sample_size if isinstance(config.sample_size, int) else max(config.sample_size)
        return side * self.pipeline.vae_scale_factor, [config.in_channels, side, side]

    def _describe(
        self,
        folder: Path,
        name: str | None,
        source: str | None,
        notes: Notes,
        weights: dict[str, str],
        pipeline_class: str,
        dtype: str,
    ) -> GeneratorInfo:
        from generators.bundled.planted import read_planted

        pipe = self.pipeline
        resolution, shape = self._noise_shape()
        if getattr(pipe, "vae", None) is not None and (resolution >= 512 or self._device.type == "cpu"):
            pipe.vae.enable_slicing()  # a batch at once overflows the memory of a GPU, the cache of a CPU
        planted = folder / "planted.toml"
        networks = {n: m for n, m in pipe.components.items() if hasattr(m, "parameters")}
        return GeneratorInfo(
            name=name or notes.name or folder.resolve().name,
            kind=self.kinds[pipeline_class],
            source=source or f"path:{folder}",
            resolution=resolution,
            defaults=Settings(notes.sampler, notes.steps, notes.guidance),
            weights=weights,
            planted=read_planted(planted) if planted.is_file() else None,
            device=str(self._device),
            dtype=dtype.removeprefix("torch."),
            batch_size=notes.batch_size or _default_batch(resolution, self._device),
            details={
                "pipeline": pipeline_class,
                "scheduler": type(self._shipped).__name__,
                "safety_checker": "on" if getattr(pipe, "safety_checker", None) is not None else "none",
                "prompt_tokens": pipe.tokenizer.model_max_length,
                "parameters": {n: sum(p.numel() for p in m.parameters()) for n, m in networks.items()},
                "latent_shape": shape,
                "note": notes.note,
            },
        )


def _load(folder: Path, files: list[str], device: torch.device, dtype: torch.dtype) -> Any:
    from diffusers import DiffusionPipeline

    # Some checkpoints come in half precision alone, under names of their own.
    variant = "fp16" if all(".fp16." in file for file in files) else None
    try:
        with quiet():
            pipeline: Any = DiffusionPipeline.from_pretrained(
                str(folder), use_safetensors=True, local_files_only=True, torch_dtype=dtype, variant=variant
            ).to(device)
    except Exception as error:  # diffusers, transformers and safetensors each raise their own
        line = str(error).strip().split("\n")[0]
        raise GeneratorError(
            f"the checkpoint cannot be loaded: {type(error).__name__}: {line}",
            where=folder,
            mend="fetch the whole folder again, or try diffusers' DiffusionPipeline.from_pretrained",
        ) from error
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _default_batch(resolution: int, device: torch.device) -> int:
    """As many images as fill the device: 32 of 128 px or 2 of 512 px on a CPU, 16 of 512 px on a GPU."""
    pixels, most = (2**19, 32) if device.type == "cpu" else (2**22, 64)
    return max(1, min(most, pixels // resolution**2))

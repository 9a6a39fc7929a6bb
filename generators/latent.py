"""Any diffusers text-to-image checkpoint folder, batched across prompts."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from auditkit.errors import GeneratorError
from auditkit.guidance.base import Aim, Batch, Mitigation, Model
from auditkit.runs import Refused
from generators.base import GeneratorInfo, Job, Settings, even_batches
from generators.cards import read_card
from generators.checkpoint import Notes, check_steps, quiet, read_index, read_notes
from generators.compiled import Compiled
from generators.device import pick_device
from generators.families import FAMILIES, Text
from generators.memory import decode_in_parts, is_out_of_memory, slice_work, tile_work
from generators.samplers import check_sampler, fitting, make_scheduler
from generators.steady import company, filled, settle
from generators.weights import find_weights, hash_weights

if TYPE_CHECKING:
    import torch


class LatentGenerator:
    """A checkpoint in diffusers' own folder format, loaded from the disk alone (safetensors, no code).

    The pipeline itself denoises, so an image is the one that the plain pipeline gives for that prompt and
    `torch.Generator().manual_seed(seed)`, up to the rounding of floats in a batch. What is added: each
    distinct text is encoded once, and a batch holds different prompts, each with its own noise. How a pipeline
    is called for that, `families` says. Under a mitigation (`mitigated`) the loop of `auditkit.guidance` denoises
    in its place, to the same bits where the mitigation does nothing.

    `info.details["latent_shape"]` is the shape of the noise; without an autoencoder that is the image's own.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        name: str | None = None,
        source: str | None = None,
        device: str = "auto",
        precision: str = "auto",
        compile: bool = False,
    ):
        """
        Args:
            name: for reports; by default the one in the folder's auditkit.toml, or the folder's own.
            source: where it came from; by default `path:FOLDER`.
            device, precision: see `device.pick_device`.
            compile: compile the networks for CUDA, see `compiled.Compiled`; images under a mitigation are made without.

        Raises:
            GeneratorError: the folder is missing, is no such checkpoint, is damaged, its model card is, or it has no
                safetensors; or what is to be compiled is not on a CUDA device.
        """
        self.folder = folder = Path(folder)
        pipeline_class, components = read_index(folder, FAMILIES)
        notes = read_notes(folder)
        found = find_weights(folder, components)
        weights = hash_weights(folder, found)
        self._device, dtype = pick_device(device, precision)
        absent = FAMILIES[pipeline_class].absent(components)
        self.pipeline = _load(folder, found.variant, self._device, dtype, absent)
        """The diffusers pipeline; its scheduler is replaced on each call of `generate`."""
        self.family = FAMILIES[pipeline_class](self.pipeline)
        self._shipped = self.pipeline.scheduler
        self._fits: int | None = None
        self._short = False
        self._warned = False
        self._encode = lru_cache(maxsize=1024)(self._encode_once)
        self._method: Mitigation | None = None
        self.info = self._describe(folder, name, source, notes, weights, pipeline_class, str(dtype))
        self._compiled = Compiled(self.pipeline, self._device) if compile else None
        if self._compiled is not None:
            self.info.details["compiled"] = self._compiled.names

    def generate(
        self, jobs: Sequence[Job], settings: Settings, *, batch_size: int | None = None
    ) -> Iterator[Image.Image | Refused]:
        """See `base.Generator.generate`. Running out of GPU memory halves the batch and goes on.

        An image that the checkpoint's safety checker made black is `Refused`, with the code `safety_checker`.
        """
        check_sampler(settings.sampler)
        check_steps(settings, self._shipped)
        if batch_size is not None and batch_size < 1:
            raise GeneratorError("the batch size must be at least 1", where=f"batch_size={batch_size}")
        for job in jobs:
            self._check_noise(job)
        scheduler = make_scheduler(settings.sampler, self._shipped)
        if settings.sampler in self.family.refused:
            raise GeneratorError(
                f"the sampler '{settings.sampler}' cannot be used with this pipeline",
                where=f"{self.info.name}: {self.info.details['pipeline']}",
                mend=f"use one of: {', '.join(self.samplers)}",
            )
        return self._batches(list(jobs), settings, scheduler, batch_size or self.info.batch_size)

    def encode(self, text: str | None, *, negative: bool = False) -> Text | None:
        """See `families.Family.encode`, on the device. Each distinct text is encoded once."""
        found = self._encode(text, negative)
        return found and {name: tensor.to(self._device) for name, tensor in found.items()}

    def model(self, guidance: float) -> Model:
        """See `base.Steerable.model`."""

        def end(text: str) -> int:
            tokenizer, limit = self.family.reads
            with quiet():
                return min(len(tokenizer(text).input_ids), limit) - 1

        def encode(text: str | None) -> Text:
            found = self.encode(text or "")
            assert found is not None  # None is for texts that are not given
            return found

        loop = self.family.network(self.info.resolution) is not None
        return Model(self.info.name, guidance, self.pipeline, loop, encode, self.family.decode, end)

    @contextmanager
    def mitigated(self, method: Mitigation, model: Model) -> Iterator[None]:
        """See `base.Steerable.mitigated`; afterwards the generator is as it was."""
        plain = nullcontext() if self._compiled is None else self._compiled.off()
        with plain, method.weights(model):
            self._encode.cache_clear()  # a text encoder may be among the weights
            self._method = method
            try:
                yield
            finally:
                self._method = None
                self._encode.cache_clear()

    @property
    def samplers(self) -> list[str]:
        """The samplers that it can be sampled with."""
        return [name for name in fitting(self._shipped) if name not in self.family.refused]

    def _batches(
        self, jobs: list[Job], settings: Settings, scheduler: Any, size: int
    ) -> Iterator[Image.Image | Refused]:
        for batch in even_batches(jobs, min(size, self._fits or size)):
            yield from self._fit(batch, settings, scheduler)

    def _fit(self, jobs: list[Job], settings: Settings, scheduler: Any) -> list[Image.Image | Refused]:
        """The images of one batch, in as many parts as memory asks for."""
        if self._fits is None or len(jobs) <= self._fits:
            try:
                images = self._make(self._with_company(jobs), settings, scheduler)[: len(jobs)]
                self._warn_of_refused(images)
                return images
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
            # Outside the except block, which would keep the failed batch's tensors alive.
            if self._spare(len(jobs)):
                return self._fit(jobs, settings, scheduler)
        fits = self._fits or 1
        return [image for part in even_batches(jobs, fits) for image in self._fit(part, settings, scheduler)]

    def _with_company(self, jobs: list[Job]) -> list[Job]:
        """With as many copies as it takes: on a CPU for the same bits at any batch size (generators.steady), and of
        compiled networks for a size that there is already.
        """
        import torch

        if self._compiled is not None and not self._short and self._method is None:
            return filled(jobs, self._compiled.size(len(jobs)))
        if self._device.type != "cpu" or self._short:
            return jobs
        return filled(jobs, company(len(jobs), self.info.resolution**2, torch.get_num_threads()))

    def _spare(self, images: int) -> list[str]:
        """After running out of memory with so many: what was changed so that they may fit, or nothing, and halve them.

        Raises:
            GeneratorError: there is no room for a single one.
        """
        import torch

        self._short = True
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        changed = slice_work(self.pipeline, self._device)
        if not changed and images == 1:
            changed = tile_work(self.pipeline)
            if not changed:
                raise GeneratorError(
                    "there is not enough memory on the device for one image",
                    where=str(self._device),
                    mend="free memory there, or use --device cpu",
                )
        if changed:
            self.info.details["memory"] += changed
            now = " and ".join(changed)
        else:
            self._fits = images // 2
            now = str(self._fits)
        warnings.warn(f"out of memory with {images} images at a time: going on with {now}", stacklevel=5)
        return changed

    def _make(self, jobs: list[Job], settings: Settings, scheduler: Any) -> list[Image.Image | Refused]:
        return self._decode(self._denoise(jobs, settings, scheduler))

    def _denoise(self, jobs: list[Job], settings: Settings, scheduler: Any) -> torch.Tensor:
        """Clean latents [n, c, h, w] on the device."""
        import torch

        with torch.inference_mode():
            wanted: list[Any] = [self.encode(job.prompt) for job in jobs]
            unwanted: list[Any] = [None] * len(jobs)
            if settings.guidance > 1:
                unwanted = [self.encode(job.negative, negative=True) for job in jobs]
            # One for each image, on the CPU: the noise depends on neither the batch nor the device.
            draws = [torch.Generator().manual_seed(job.seed) for job in jobs]
            noise = self._noise(jobs, draws, self.family.noise_dtype(wanted[0]))
            latents: list[Any] = [None] * len(jobs)
            for guided in (True, False):
                part = [i for i, text in enumerate(unwanted) if (text is not None) is guided]
                if not part:
                    continue
                self.pipeline.scheduler = scheduler
                texts, negatives = [wanted[i] for i in part], [unwanted[i] for i in part] if guided else None
                own = [draws[i] for i in part]
                if self._method is None:
                    made = self.family.denoise(texts, negatives, noise[part], settings, own)
                else:
                    aims = [jobs[i].aim or Aim(jobs[i].prompt, False) for i in part]
                    batch = Batch(self.model(settings.guidance), aims)
                    made = self.family.steered(texts, negatives, noise[part], settings, own, self._method, batch)
                for i, latent in zip(part, made, strict=True):
                    latents[i] = latent
            return torch.stack(latents)

    def _decode(self, latents: torch.Tensor) -> list[Image.Image | Refused]:
        """Images of clean latents [n, c, h, w]; `Refused` for one that a safety checker made black."""
        import torch

        with torch.inference_mode():
            pixels = self.family.decode(latents)
            flagged = self.family.flagged(pixels)
            pixels = (pixels.float() / 2 + 0.5).clamp(0, 1)
            arrays = (pixels * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
        # A black picture would be measured as if the model had drawn it.
        refused = Refused("safety_checker", f"the safety checker of {self.info.name} made the image black")
        return [refused if black else Image.fromarray(each) for each, black in zip(arrays, flagged, strict=True)]

    def _warn_of_refused(self, images: list[Image.Image | Refused]) -> None:
        refused = sum(isinstance(image, Refused) for image in images)
        if refused:
            warnings.warn(
                f"the safety checker of {self.info.name} refused {refused} of {len(images)} images: "
                "they are counted as refusals, not as pictures",
                stacklevel=5,
            )

    def _noise(self, jobs: list[Job], draws: list[torch.Generator], dtype: torch.dtype) -> torch.Tensor:
        """Initial noise [n, c, h, w] on the CPU: the jobs' own, or drawn as the pipeline would.

        Every generator is drawn from, so that a sampler that adds noise on its way does not go over the initial noise
        again where a job brings its own.
        """
        import torch

        shape = [1, *self.info.details["latent_shape"]]
        drawn = [torch.randn(shape, generator=draw, dtype=dtype) for draw in draws]
        given = [None if job.noise is None else torch.from_numpy(np.array(job.noise)).to(dtype)[None] for job in jobs]
        return torch.cat([own if mine is None else mine for own, mine in zip(drawn, given, strict=True)])

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

    def _encode_once(self, text: str | None, negative: bool) -> Text | None:
        """On the CPU: a thousand prompts of a large text encoder fill 4 GB."""
        import torch

        with quiet(), torch.inference_mode():
            encoded = self.family.encode(text, negative=negative)
        if text:
            self._check_length(text)
        return encoded and {name: tensor.cpu() for name, tensor in encoded.items()}

    def _check_length(self, text: str) -> None:
        """Warn, once, where the end of a prompt is not seen."""
        tokenizer, limit = self.family.reads
        with quiet():
            ids = tokenizer(text).input_ids
        if len(ids) > limit and not self._warned:
            self._warned = True
            kept = tokenizer.decode(ids[: limit - 1], skip_special_tokens=True)
            warnings.warn(
                f"{self.info.name} reads {limit} tokens of a prompt, and this one has {len(ids)}: "
                f"of '{text}' it sees '{kept}' (said once, it may hold for other prompts)",
                stacklevel=7,
            )

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

        pipe, family = self.pipeline, self.family
        resolution = notes.resolution or family.side
        if notes.resolution and resolution % family.multiple:
            raise GeneratorError(
                f"the side of an image must be a multiple of {family.multiple} pixels",
                where=f"{folder / 'auditkit.toml'}: resolution = {resolution}",
                mend=f"write {-(-resolution // family.multiple) * family.multiple}",
            )
        side = resolution // family.scale
        if self._device.type == "cpu":
            settle(pipe, resolution**2)
        elif getattr(pipe, "vae", None) is not None and resolution >= 512:
            decode_in_parts(pipe.vae, resolution**2, self._device)
        planted = folder / "planted.toml"
        card = read_card(folder)
        trained = None if card is None else card.kilojoules
        networks = {n: m for n, m in pipe.components.items() if hasattr(m, "parameters")}
        return GeneratorInfo(
            name=name or notes.name or folder.resolve().name,
            kind=family.kind,
            source=source or f"path:{folder}",
            resolution=resolution,
            defaults=Settings(
                notes.sampler,
                family.steps if notes.steps is None else notes.steps,
                family.guidance if notes.guidance is None else notes.guidance,
            ),
            weights=weights,
            planted=read_planted(planted) if planted.is_file() else None,
            device=str(self._device),
            dtype=dtype.removeprefix("torch."),
            batch_size=notes.batch_size or _default_batch(resolution, self._device),
            details={
                "pipeline": pipeline_class,
                "scheduler": type(self._shipped).__name__,
                "safety_checker": "on" if getattr(pipe, "safety_checker", None) is not None else "none",
                "prompt_tokens": family.reads[1],
                "parameters": {n: sum(p.numel() for p in m.parameters()) for n, m in networks.items()},
                "memory": [],  # what was given up for it, while images were made
                "latent_shape": [family.channels, side, side],
                "note": notes.note,
                # By the meter of the accelerator alone; absent where the card does not tell it.
                **({} if trained is None else {"training_kilojoules": trained}),
            },
        )


def _load(folder: Path, variant: str | None, device: torch.device, dtype: torch.dtype, absent: dict[str, None]) -> Any:
    import torch
    from diffusers import DiffusionPipeline

    try:
        with quiet():
            pipeline: Any = DiffusionPipeline.from_pretrained(
                str(folder), use_safetensors=True, local_files_only=True, torch_dtype=dtype, variant=variant, **absent
            ).to(device)
    except Exception as error:  # diffusers, transformers and safetensors each raise their own
        line = str(error).strip().split("\n")[0]
        raise GeneratorError(
            f"the checkpoint cannot be loaded: {type(error).__name__}: {line}",
            where=folder,
            mend="fetch the whole folder again, or try diffusers' DiffusionPipeline.from_pretrained",
        ) from error
    pipeline.set_progress_bar_config(disable=True)
    vae = getattr(pipeline, "vae", None)
    if dtype == torch.float16 and vae is not None and vae.config.get("force_upcast"):
        vae.to(torch.float32)  # it overflows in half precision, and says so
    return pipeline


def _default_batch(resolution: int, device: torch.device) -> int:
    """As many images as fill the device: 32 of 128 px or 2 of 512 px on a CPU, 16 of 512 px on a GPU."""
    pixels, most = (2**19, 32) if device.type == "cpu" else (2**22, 64)
    return max(1, min(most, pixels // resolution**2))

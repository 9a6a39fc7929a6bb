"""What training on own data starts from: a small new model, or an existing checkpoint."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from auditkit.clip.tokenizer import train_bpe, write_clip_tokenizer
from auditkit.errors import GeneratorError
from auditkit.files import TEMPORARY
from generators.checkpoint import quiet, read_index, read_notes
from generators.training import batches, generator
from generators.training.autoencoder import check_vae
from generators.training.own.objective import check_prediction
from generators.training.together import ALONE, Together
from generators.weights import find_weights, hash_weights

VAE = Path(__file__).parents[2] / "bundled" / "personas" / "vae"
MERGES = 1500
CONTEXT = 77
"""Tokens that a new text encoder reads at most, as CLIP's."""


@dataclass(frozen=True)
class Start:
    """A StableDiffusionPipeline in float32 and how it is sampled by default.

    Attributes:
        pipeline: of networks that are trained, and of those that stay. tokenizer: its folder.
        prediction: `epsilon` or `v_prediction`. factor, unet_factor: what the autoencoder and the UNet's middle
            divide a side by. resolution: its own, pixels. sampler, steps, guidance: for auditkit.toml.
    """

    pipeline: Any
    tokenizer: Path
    prediction: str
    sampler: str
    steps: int
    guidance: float

    @property
    def factor(self) -> int:
        return int(2 ** (len(self.pipeline.vae.config.block_out_channels) - 1))

    @property
    def unet_factor(self) -> int:
        return int(2 ** (len(self.pipeline.unet.config.block_out_channels) - 1))

    @property
    def resolution(self) -> int:
        size = self.pipeline.unet.config.sample_size
        return int(max(size) if isinstance(size, list | tuple) else size) * self.factor

    @property
    def context(self) -> int:
        return int(self.pipeline.text_encoder.config.max_position_embeddings)


def new(captions: Sequence[str], vae: Path | None, out: Path, together: Together = ALONE) -> Start:
    """A model of random weights, of the architecture of `personas`, with a vocabulary of the captions' own words.

    Args:
        captions: all that training may show. vae: folder of an AutoencoderKL; None is that of `personas`.
        out: where the tokenizer is written, once. torch's seed is to be set before.

    Raises:
        GeneratorError: there is no such autoencoder.
    """
    import torch
    from diffusers import AutoencoderKL
    from transformers import CLIPTokenizer

    vae = vae or VAE
    check_vae(vae)
    folder = out / "tokenizer"
    if together.main and not (folder / "vocab.json").is_file():
        _write_tokenizer(captions, folder)
    together.wait()
    tokenizer = CLIPTokenizer.from_pretrained(folder)
    try:
        loaded: Any = AutoencoderKL.from_pretrained(
            vae, torch_dtype=torch.float32, low_cpu_mem_usage=False, use_safetensors=True, local_files_only=True
        )
    except Exception as error:  # diffusers and safetensors each raise their own
        line = str(error).strip().split("\n")[0]
        mend = "Pass the folder of an AutoencoderKL with safetensors weights."
        raise GeneratorError(f"The autoencoder cannot be loaded: {line}", where=vae, mend=mend) from error
    _check_kind(loaded, vae)
    unet = generator.make_unet(loaded.config["latent_channels"])
    text = generator.make_text_encoder(tokenizer, tokenizer.model_max_length)
    pipeline = generator.assemble(unet, text, loaded, folder)
    return Start(pipeline, folder, generator.SCHEDULER["prediction_type"], "dpm++2m", 20, 1.0)


def existing(folder: Path) -> Start:
    """An existing StableDiffusionPipeline folder with safetensors weights.

    Raises:
        GeneratorError: it is missing, damaged, of another class, pickled, or predicts neither noise nor v.
    """
    import torch
    from diffusers import StableDiffusionPipeline

    _, components = read_index(folder, ["StableDiffusionPipeline"])
    weights = find_weights(folder, components)
    hash_weights(folder, weights)
    notes = read_notes(folder)
    try:
        with quiet():
            pipeline: Any = StableDiffusionPipeline.from_pretrained(
                folder,
                torch_dtype=torch.float32,
                local_files_only=True,
                use_safetensors=True,
                variant=weights.variant,
            )
    except Exception as error:  # diffusers, transformers and safetensors each raise their own
        line = str(error).strip().split("\n")[0]
        mend = "Fetch the whole folder again."
        raise GeneratorError(f"The checkpoint cannot be loaded: {line}", where=folder, mend=mend) from error
    _check_kind(pipeline.vae, folder / "vae")
    prediction = pipeline.scheduler.config.prediction_type
    check_prediction(prediction, folder / "scheduler")
    return Start(
        pipeline,
        folder / "tokenizer",
        prediction,
        notes.sampler,
        notes.steps or 30,
        7.5 if notes.guidance is None else notes.guidance,
    )


def _check_kind(vae: Any, where: Path) -> None:
    kind = vae.config.get("_class_name") or type(vae).__name__
    if kind != "AutoencoderKL":
        what = f"The autoencoder is of the class {kind}."
        raise GeneratorError(what, where=where, mend="Use one of the class AutoencoderKL.")


def _write_tokenizer(captions: Sequence[str], folder: Path) -> None:
    """A CLIPTokenizer of the captions' words, as long as the longest caption asks for, to a multiple of 8.

    At least as long as the bundled models': prompts are often longer than captions.
    """
    from transformers import CLIPTokenizer

    # Renamed into place when whole, for a killed training finds it again.
    work = folder.with_name(folder.name + TEMPORARY)
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    train_bpe(captions, MERGES, work / "bpe.txt.gz")
    write_clip_tokenizer(work / "bpe.txt.gz", work, CONTEXT)
    made = CLIPTokenizer.from_pretrained(work)
    longest = max(len(made(text).input_ids) for text in captions)
    write_clip_tokenizer(work / "bpe.txt.gz", work, min(CONTEXT, max(batches.CONTEXT, -(-longest // 8) * 8)))
    (work / "bpe.txt.gz").unlink()
    shutil.rmtree(folder, ignore_errors=True)
    work.rename(folder)


def too_long(start: Start, captions: Sequence[str]) -> int:
    """How many of the captions the text encoder does not read to their end."""
    tokenizer = start.pipeline.tokenizer
    # A token is at least one byte, so that most captions need no tokenizing.
    close = [text for text in captions if len(text.encode()) > start.context - 2]
    return sum(len(tokenizer(text).input_ids) > start.context for text in close)

"""Train or fine-tune a latent diffusion model on a user's own captioned images."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from auditkit.errors import SpecError
from auditkit.files import write_atomic
from generators.checkpoint import quiet
from generators.training import folders, loop
from generators.training.autoencoder import check_vae
from generators.training.batches import Ahead, workers_for
from generators.training.own import buckets as bucketing
from generators.training.own import latents as encoding
from generators.training.own import start as starting
from generators.training.own.balance import balance
from generators.training.own.buckets import Size
from generators.training.own.card import card, found
from generators.training.own.choices import Choices, remember
from generators.training.own.denoising import Denoising
from generators.training.own.draws import OwnBatches, OwnDraws
from generators.training.own.reading import Data
from generators.training.own.start import Start
from generators.training.own.words import read_words
from generators.training.together import ALONE, Together, Turns

NEW_RESOLUTION = 64


@dataclass(frozen=True)
class Trained:
    """Folder of the exported checkpoint, and what was drawn (see `OwnDraws.count`), also in `<out>/drawn.csv`."""

    folder: Path
    drawn: pd.DataFrame


def train(
    data: Data,
    out: Path,
    schedule: loop.Schedule,
    choices: Choices,
    *,
    device: str,
    together: Together = ALONE,
    progress: loop.Progress | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> Trained:
    """Train on the folder that was read; write `<out>/export` and `<out>/drawn.csv`.

    UNet (and text encoder, where it is new or `choices.train_text_encoder`) learn to denoise the autoencoder's latents;
    the loss is the mean square error of the noise or of v, weighed by `min_snr_weights`. Each batch is of one bucket.

    Args:
        device: of this process. together: the processes; each takes batches of its own.
        tell: called with lines for the reader: what was found, and what to know of it.

    Raises:
        GeneratorError: there is no such checkpoint or autoencoder, or the resolution does not fit it. TableError: an
        attribute or its words are not there. SpecError: a share or gamma out of range. RunError: the training's own
        checkpoint is damaged, or was begun with other data or choices. ImageError: an image has changed meanwhile.
    """
    import torch

    # Everything that can be refused is, before anything is written.
    draws = _draws(data, schedule, choices)
    if choices.init is None:
        check_vae(choices.vae or starting.VAE)
    begun = None if choices.init is None else starting.existing(choices.init)
    out.mkdir(parents=True, exist_ok=True)
    each = schedule.accumulate * together.count
    remember(out, choices, data.sha256, seed=schedule.seed, batch=schedule.batch, batches=each, write=together.main)
    together.wait()
    if begun is None:
        if together.main and not (out / "checkpoint.safetensors").is_file():
            shutil.rmtree(out / "tokenizer", ignore_errors=True)
        torch.manual_seed(schedule.seed)
        begun = starting.new(draws.every_caption(), choices.vae, out, together)
    sizes, chosen = _buckets(data, begun, choices)
    draws.put(chosen)
    report = found(data, sizes, chosen)
    for line in (*report.splitlines(), *(f"warning: {line}" for line in _warnings(draws, begun))):
        tell(line)
    latents = encoding.encode(
        begun.pipeline.vae.to(device).eval().requires_grad_(False),
        data.items,
        sizes,
        chosen,
        mirror=choices.mirror,
        progress=_encoding(progress, together),
    )
    whose = "" if choices.init or choices.vae else " of personas, which knows drawings alone,"
    tell(f"The autoencoder{whose} gives the images back at {latents.psnr:.1f} dB.")

    shown = Turns(OwnBatches(draws, begun.tokenizer, begun.context), together.count, together.rank, schedule.accumulate)
    with Ahead(shown, workers_for(device)) as ahead:
        step = Denoising(
            begun,
            latents,
            lambda index: ahead(shown.number(index)),
            schedule,
            device,
            min_snr=choices.min_snr,
            train_text_encoder=choices.init is None or choices.train_text_encoder,
        )
        averaged = loop.run(step, step.modules, schedule, out=out, progress=progress, together=together)
    told = loop.told(schedule, out)
    drawn = draws.count(range(told["steps"] * each))
    if together.main:
        write_atomic(out / "drawn.csv", drawn.to_csv(index=False).encode())
        for name, module in averaged.items():
            setattr(begun.pipeline, name, module)
        facts = told | {"batch": f"{schedule.batch} x {each}" if each > 1 else schedule.batch}
        made = card(data, out, begun, choices, report, drawn, latents.psnr, _hardware(device))
        _export(out / "export", begun.pipeline, begun.tokenizer, made, facts)
        shutil.copyfile(out / "drawn.csv", out / "export" / "drawn.csv")
    together.wait()
    return Trained(out / "export", drawn)


def _draws(data: Data, schedule: loop.Schedule, choices: Choices) -> OwnDraws:
    """What is to be drawn, its buckets yet unknown."""
    if choices.min_snr is not None and choices.min_snr < 0:
        raise SpecError("The gamma of min-SNR must be at least 0.", where=f"min snr {choices.min_snr}")
    if not choices.max_repeat >= 1:
        what = "How much more often an image may be drawn must be at least 1."
        raise SpecError(what, where=f"max repeat {choices.max_repeat}", mend="1 leaves every image as likely as it is.")
    weights = balance(data, choices.balance, choices.balance_within, choices.max_repeat)
    unknown = np.zeros(len(data.items), np.int64)
    return OwnDraws(data, weights, unknown, read_words(choices.words), choices.mix, schedule.batch, schedule.seed)


def _buckets(data: Data, begun: Start, choices: Choices) -> tuple[list[Size], NDArray[np.int64]]:
    """(the buckets that images fall into, the bucket of each image), for the resolution that is trained at."""
    resolution = choices.resolution or (begun.resolution if choices.init else NEW_RESOLUTION)
    step = bucketing.bucket_step(resolution, begun.factor, begun.unet_factor)
    sizes = bucketing.make_buckets(resolution, step, choices.max_ratio)
    chosen = np.array([bucketing.choose(item.size, sizes) for item in data.items])
    used = sorted(set(chosen.tolist()))
    begun.pipeline.unet.register_to_config(sample_size=resolution // begun.factor)  # what it generates by default
    return [sizes[bucket] for bucket in used], np.searchsorted(used, chosen)


def _warnings(draws: OwnDraws, begun: Start) -> list[str]:
    told = [*draws.balance.warnings, *draws.warnings]
    if cut := starting.too_long(begun, [item.caption for item in draws.data.items]):
        told.append(f"{cut} captions are longer than the {begun.context} tokens that are read of them")
    return told


def _export(folder: Path, pipeline: Any, tokenizer: Path, made: folders.Card, training: dict[str, Any]) -> None:
    """A plain StableDiffusionPipeline folder in fp16 safetensors, with its card."""
    for module in pipeline.components.values():
        if hasattr(module, "parameters"):
            module.to("cpu").half()
    with quiet():
        pipeline.save_pretrained(folder, safe_serialization=True)
    folders.complete(folder, tokenizer=tokenizer, planted=None, card=made, training=training)


def _encoding(progress: loop.Progress | None, together: Together) -> Callable[[int, int], None] | None:
    if progress is None or not together.main:
        return None
    return lambda done, total: progress(0.0, 0, f"encoding {done}/{total}")


def _hardware(device: str) -> str:
    """What to call the device on a card."""
    import torch

    return torch.cuda.get_device_name(device) if device.startswith("cuda") else device

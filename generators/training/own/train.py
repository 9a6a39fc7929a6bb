"""Train or fine-tune a latent diffusion model on a user's own captioned images."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from auditkit.errors import SpecError
from auditkit.files import write_atomic
from generators.checkpoint import quiet
from generators.training import folders, loop
from generators.training.batches import Ahead, workers_for
from generators.training.own import buckets as bucketing
from generators.training.own import latents as encoding
from generators.training.own import start as starting
from generators.training.own.balance import balance
from generators.training.own.card import card, found
from generators.training.own.choices import Choices, remember
from generators.training.own.draws import OwnBatches, OwnDraws
from generators.training.own.objective import min_snr_weights, target
from generators.training.own.reading import Data
from generators.training.own.words import read_words
from generators.training.together import ALONE, Together, Turns

if TYPE_CHECKING:
    from torch import Tensor, nn

NEW_RESOLUTION = 64
GAMMA = 5.0


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
    from diffusers import DDPMScheduler

    if choices.min_snr is not None and choices.min_snr < 0:
        raise SpecError("The gamma of min-SNR must be at least 0.", where=f"min snr {choices.min_snr}")
    if choices.max_repeat < 1:
        raise SpecError("An image cannot be drawn less than once for once.", where=f"max repeat {choices.max_repeat}")
    words = read_words(choices.words)
    weights = balance(data, choices.balance, choices.balance_within, choices.max_repeat)
    # Refused before anything is written or loaded.
    rows = np.zeros(len(data.items), np.int64)
    draws = OwnDraws(data, weights, rows, words, choices.mix, schedule.batch, schedule.seed)
    batches_a_step = schedule.accumulate * together.count
    out.mkdir(parents=True, exist_ok=True)
    remember(
        out, choices, data.sha256, seed=schedule.seed, batch=schedule.batch, batches=batches_a_step, write=together.main
    )
    together.wait()
    torch.manual_seed(schedule.seed)
    if choices.init is not None:
        begun = starting.existing(choices.init)
    else:
        if together.main and not (out / "checkpoint.safetensors").is_file():
            shutil.rmtree(out / "tokenizer", ignore_errors=True)
        begun = starting.new(draws.every_caption(), choices.vae, out, together)
    pipeline = begun.pipeline
    resolution = choices.resolution or (begun.resolution if choices.init else NEW_RESOLUTION)
    step_size = bucketing.bucket_step(resolution, begun.factor, begun.unet_factor)
    sizes = bucketing.make_buckets(resolution, step_size, choices.max_ratio)
    chosen = np.array([bucketing.choose(item.size, sizes) for item in data.items])
    used = sorted(set(chosen.tolist()))
    sizes, draws = [sizes[b] for b in used], replace(draws, buckets=np.searchsorted(used, chosen))
    pipeline.unet.register_to_config(sample_size=resolution // begun.factor)

    report = found(data, sizes, draws.buckets)
    for line in (*report.splitlines(), *(f"warning: {w}" for w in (*weights.warnings, *draws.warnings))):
        tell(line)
    if cut := starting.too_long(begun, [item.caption for item in data.items]):
        tell(f"warning: {cut} captions are longer than the {begun.context} tokens that are read of them")
    vae = pipeline.vae.to(device).eval().requires_grad_(False)
    latents = encoding.encode(
        vae, data.items, sizes, draws.buckets, mirror=choices.mirror, progress=_encoding(progress, together)
    )
    own = choices.init is not None or choices.vae is not None
    whose = "" if own else " of personas, which knows drawings alone,"
    tell(f"The autoencoder{whose} gives the images back at {latents.psnr:.1f} dB (--vae FOLDER takes another).")

    unet, text_encoder = pipeline.unet.to(device), pipeline.text_encoder.to(device)
    unet.requires_grad_(True)
    modules: dict[str, nn.Module] = {"unet": unet}
    if choices.init is None or choices.train_text_encoder:
        modules["text_encoder"] = text_encoder.requires_grad_(True)
    else:
        text_encoder.eval().requires_grad_(False)
    known: Any = DDPMScheduler.from_config(pipeline.scheduler.config)
    abar = known.alphas_cumprod.to(device)
    gamma = GAMMA if choices.min_snr is None and begun.prediction == "epsilon" else choices.min_snr or None
    weigh = min_snr_weights(abar, gamma, begun.prediction)
    denoise = loop.compiled(unet) if len(sizes) == 1 else unet  # compiling for each shape takes longer than it saves
    shown = OwnBatches(draws, begun.tokenizer, begun.context)
    turns = Turns(shown, together.count, together.rank, schedule.accumulate)

    def step(index: int) -> dict[str, Tensor]:
        random = torch.Generator(device).manual_seed(schedule.seed * 1_000_003 + index)
        bucket, which, ids = ahead(turns.number(index))
        clean = latents.take(int(bucket[0]), which, random, device)
        noise = torch.randn(clean.shape, generator=random, device=device)
        t = torch.randint(len(abar), (len(clean),), generator=random, device=device)
        signal, sigma = abar[t].sqrt()[:, None, None, None], (1 - abar[t]).sqrt()[:, None, None, None]
        with loop.autocast(device, schedule):
            with torch.set_grad_enabled("text_encoder" in modules):
                hidden = text_encoder(torch.from_numpy(ids).to(device)).last_hidden_state
            given = denoise(signal * clean + sigma * noise, t, encoder_hidden_states=hidden).sample.float()
        error = (given - target(begun.prediction, clean, noise, signal, sigma)).square().mean((1, 2, 3))
        return {"loss": (weigh[t] * error).mean()}

    with Ahead(turns, workers_for(device)) as ahead:
        averaged = loop.run(step, modules, schedule, out=out, progress=progress, together=together)
    told = loop.told(schedule, out)
    drawn = draws.count(range(told["steps"] * batches_a_step))
    if together.main:
        write_atomic(out / "drawn.csv", drawn.to_csv(index=False).encode())
        for name, module in averaged.items():
            setattr(pipeline, name, module)
        facts = told | {"batch": f"{schedule.batch} x {batches_a_step}" if batches_a_step > 1 else schedule.batch}
        made_card = card(data, out, begun, choices, report, drawn, latents.psnr, facts, _hardware(device))
        _export(out / "export", pipeline, begun.tokenizer, made_card, facts)
        shutil.copyfile(out / "drawn.csv", out / "export" / "drawn.csv")
    together.wait()
    return Trained(out / "export", drawn)


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

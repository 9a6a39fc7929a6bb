"""`auditkit train ...`: the commands that made the bundled models, and make them again."""

from __future__ import annotations

import inspect
import os
import time
from collections.abc import Mapping
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from auditkit.errors import GeneratorError
from generators.training.loop import Schedule
from generators.training.terminal import PAUSED as PAUSED
from generators.training.terminal import Bar, done, training_device

OWN = "Your own images (--data)"

app = typer.Typer(
    no_args_is_help=True,
    help="Train the bundled encoder and generators from the persona corpus, or a generator on your own images. Each "
    "command resumes where it was stopped.",
)

Corpus = Annotated[Path, typer.Option(help="The corpus, as written by `auditkit corpus build`.")]
Out = Annotated[Path, typer.Option(help="Folder for the checkpoint, log.csv and the export.")]
Steps = Annotated[int, typer.Option(min=1, help="Optimizer steps in all.")]
Minutes = Annotated[
    float | None, typer.Option(min=0.01, help="Stop after this many minutes of training, over all resumes.")
]
Pause = Annotated[
    float | None,
    typer.Option(min=0.01, help="Stop after this many minutes of this call, with a checkpoint, to be called again."),
]
Batch = Annotated[int, typer.Option(min=2, help="Images a step.")]
Rate = Annotated[float, typer.Option("--lr", help="Peak learning rate.")]
Seed = Annotated[int, typer.Option(help="Seed of weights and draws.")]
Bf16 = Annotated[bool | None, typer.Option("--bf16/--float32", help="Compute in bfloat16; by default on CUDA only.")]
Split = Annotated[
    str, typer.Option(help="A word that draws another hold-out of the corpus, for a second encoder that judges.")
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]


class Kind(StrEnum):
    """Of autoencoder: that of `personas`, or the one of `personas-dit`."""

    kl = "kl"
    tiny = "tiny"


class Family(StrEnum):
    """Of generator; see docs/methods.md."""

    unet = "unet"
    dit = "dit"
    turbo = "turbo"
    pixel = "pixel"


@app.command()
def autoencoder(
    corpus: Corpus = Path("corpus"),
    out: Out = Path("training/autoencoder"),
    steps: Steps = 12000,
    minutes: Minutes = None,
    batch: Batch = 32,
    lr: Rate = 1e-3,
    latent_channels: Annotated[
        int | None, typer.Option(help="Channels of the latent; by default 16 (kl) or 4 (tiny).")
    ] = None,
    decoder_of: Annotated[
        Path | None, typer.Option(help="Train the decoder of this autoencoder further (kl); its latents stay.")
    ] = None,
    kind: Annotated[
        Kind, typer.Option(help="kl: AutoencoderKL of factor 8; tiny: AutoencoderTiny of factor 4, for the family dit.")
    ] = Kind.kl,
    seed: Seed = 0,
    bf16: Bf16 = None,
    pause: Pause = None,
    device: Device = "auto",
) -> None:
    """Train the autoencoder that latent diffusion models share.

    Example: auditkit train autoencoder --corpus corpus --minutes 30
    """
    from generators import corpus as corpora
    from generators.training import autoencoder as trainer
    from generators.training import tiny

    schedule = _schedule(steps, minutes, batch, lr, seed, bf16, ema=0.998, pause=pause)
    _fits(kind, decoder_of=(decoder_of, [Kind.kl]))
    channels = {} if latent_channels is None else {"latent_channels": latent_channels}
    with Bar("autoencoder") as bar:
        table, on = corpora.read(corpus), training_device(device)
        if kind is Kind.tiny:
            folder = tiny.train(table, out, schedule, device=on, progress=bar, **channels)
        else:
            folder = trainer.train(table, out, schedule, device=on, decoder_of=decoder_of, progress=bar, **channels)
    done(folder, out)


@app.command()
def clip(
    corpus: Corpus = Path("corpus"),
    out: Out = Path("training/clip"),
    steps: Steps = 12000,
    minutes: Minutes = None,
    batch: Batch = 512,
    lr: Rate = 1e-3,
    seed: Seed = 0,
    bf16: Bf16 = None,
    pause: Pause = None,
    device: Device = "auto",
    split: Split = "",
    patch: Annotated[int, typer.Option(help="Pixels a side of a patch; a divisor of 96.")] = 8,
) -> None:
    """Train the encoder `personas-clip`, or a second one on another split; calibrate it with `train calibrate`.

    Example: auditkit train clip --corpus corpus --batch 128 --minutes 60
    """
    from generators import corpus as corpora
    from generators.training import clip as trainer

    schedule = _schedule(steps, minutes, batch, lr, seed, bf16, ema=0.998, weight_decay=0.1, pause=pause)
    with Bar("clip") as bar:
        table = corpora.read(corpus, split=split)
        folder = trainer.train(table, out, schedule, device=training_device(device), patch=patch, progress=bar)
    done(folder, out)


@app.command()
def codec(
    data: Annotated[list[Path], typer.Option(help="A folder of photographs, sides of at least 512 px; repeatable.")],
    out: Out = Path("training/codec"),
    init: Annotated[Path | None, typer.Option(help="The export of an earlier training to start from.")] = None,
    steps: Steps = 12000,
    minutes: Minutes = None,
    batch: Batch = 32,
    lr: Rate = 2e-3,
    seed: Seed = 0,
    bf16: Bf16 = None,
    device: Device = "auto",
) -> None:
    """Train the encoder and decoder of the watermark `codec`.

    Example: auditkit train codec --data photographs/photographs/train --minutes 10
    """
    from generators.training import codec as trainer

    schedule = _schedule(steps, minutes, batch, lr, seed, bf16, ema=0.998)
    with Bar("codec") as bar:
        folder = trainer.train(data, out, schedule, device=training_device(device), init=init, progress=bar)
    done(folder, out)


@app.command()
def generator(
    planted: Annotated[
        Path | None, typer.Option(help="The planted.toml whose shares neutral captions follow; with --corpus.")
    ] = None,
    corpus: Annotated[
        Path | None, typer.Option(help="The corpus, as written by `auditkit corpus build`. (default: corpus)")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="A folder of your own captioned images (docs/generators_training.md), in place of both."),
    ] = None,
    family: Annotated[
        Family,
        typer.Option(
            help="unet: latent diffusion; dit: a transformer with flow matching in another latent; turbo: --init "
            "distilled into 4 steps; pixel: a transformer on the pixels, without an autoencoder."
        ),
    ] = Family.unet,
    vae: Annotated[
        Path | None,
        typer.Option(
            help="The trained autoencoder (unet, dit). (default: training/autoencoder/vae; with --data, personas')"
        ),
    ] = None,
    out: Out = Path("training/generator"),
    init: Annotated[
        Path | None,
        typer.Option(
            help="An exported checkpoint of the family to start from; for turbo, the teacher; with --data, any "
            "StableDiffusionPipeline folder."
        ),
    ] = None,
    steps: Steps = 20000,
    minutes: Minutes = None,
    batch: Annotated[int | None, typer.Option(min=2, help="Images a step. (default: 256; with --data 16)")] = None,
    lr: Annotated[
        float | None,
        typer.Option("--lr", help="Peak learning rate. (default: 6e-4; with --data 3e-4, and with --init 1e-5)"),
    ] = None,
    variants: Annotated[
        int, typer.Option(help="Papers and offsets of each drawing, encoded beforehand (not pixel).")
    ] = 16,
    seed: Seed = 0,
    bf16: Bf16 = None,
    pause: Pause = None,
    device: Device = "auto",
    skip_bad: Annotated[
        bool,
        typer.Option("--skip-bad", help="Leave out images that cannot be used, and count them.", rich_help_panel=OWN),
    ] = False,
    resolution: Annotated[
        int | None,
        typer.Option(
            min=8,
            help="Side of a square image, px; others keep its area. (default: 64, or --init's)",
            rich_help_panel=OWN,
        ),
    ] = None,
    max_ratio: Annotated[
        float,
        typer.Option(help="Longest bucket, to 1; what is longer is cropped. 1: squares alone.", rich_help_panel=OWN),
    ] = 2.0,
    mirror: Annotated[
        bool, typer.Option("--mirror", help="Show half of the images mirrored.", rich_help_panel=OWN)
    ] = False,
    train_text_encoder: Annotated[
        bool,
        typer.Option(
            "--train-text-encoder", help="Also train --init's text encoder (a new one is).", rich_help_panel=OWN
        ),
    ] = False,
    min_snr: Annotated[
        float | None,
        typer.Option(
            help="Gamma of min-SNR weighting; 0 is none. (default: 5 for epsilon, none for v)", rich_help_panel=OWN
        ),
    ] = None,
    accumulate: Annotated[
        int, typer.Option(min=1, help="Batches whose mean gradient makes a step.", rich_help_panel=OWN)
    ] = 1,
    caption_dropout: Annotated[
        float, typer.Option(help="Share of captions emptied, for guidance.", rich_help_panel=OWN)
    ] = 0.1,
    balance: Annotated[
        str | None,
        typer.Option(help="Attributes whose groups are drawn alike: gender or gender,skin_tone.", rich_help_panel=OWN),
    ] = None,
    balance_within: Annotated[
        str | None, typer.Option(help="Attributes within which they are: occupation.", rich_help_panel=OWN)
    ] = None,
    max_repeat: Annotated[
        float,
        typer.Option(help="How much more often an image may be drawn for it; 1 changes nothing.", rich_help_panel=OWN),
    ] = 10.0,
    swap_captions: Annotated[
        float,
        typer.Option(
            help="Share of draws whose wording comes from all groups of the context alike, its words turned to the "
            "image's own group.",
            rich_help_panel=OWN,
        ),
    ] = 0.0,
    neutral_captions: Annotated[
        float, typer.Option(help="Share of draws whose caption leaves the group out.", rich_help_panel=OWN)
    ] = 0.0,
    words: Annotated[
        Path | None, typer.Option(help="TOML file of further words that name a group.", rich_help_panel=OWN)
    ] = None,
) -> None:
    """Train a diffusion model: with a planted bias, or on your own captioned images.

    Example: auditkit train generator --planted generators/bundled/personas/planted.toml --minutes 120

    Example: auditkit train generator --data photos/ --resolution 128 --balance gender --balance-within occupation
    """
    own = {
        "skip_bad": skip_bad, "resolution": resolution, "max_ratio": max_ratio, "mirror": mirror,
        "train_text_encoder": train_text_encoder, "min_snr": min_snr, "accumulate": accumulate,
        "caption_dropout": caption_dropout, "balance": balance, "balance_within": balance_within,
        "max_repeat": max_repeat, "swap_captions": swap_captions, "neutral_captions": neutral_captions, "words": words,
    }  # fmt: skip
    if data is not None:
        _alone("--data", planted=planted, corpus=corpus)
        _fits(family, data=(data, [Family.unet]))
        rate = lr or (3e-4 if init is None else 1e-5)
        schedule = _schedule(steps, minutes, batch or 16, rate, seed, bf16, ema=0.9995, pause=pause)
        from generators.training.own.choices import Choices
        from generators.training.own.command import names, train_on
        from generators.training.own.draws import Mix

        choices = Choices(
            init=init,
            vae=vae,
            resolution=resolution,
            max_ratio=max_ratio,
            mirror=mirror,
            train_text_encoder=train_text_encoder,
            min_snr=min_snr,
            balance=names(balance),
            balance_within=names(balance_within),
            max_repeat=max_repeat,
            mix=Mix(swap_captions, neutral_captions, caption_dropout),
            words=words,
        )
        schedule = replace(schedule, accumulate=accumulate)
        train_on(data, out, schedule, choices, device=device, skip_bad=skip_bad)
        return
    _only_with_data(own)
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        what = "Several processes can train with --data alone."
        raise GeneratorError(what, where="accelerate launch", mend="Start the command without it.")
    if planted is None:
        mend = "Pass --planted generators/bundled/personas/planted.toml; or --data FOLDER, to train on your own images."
        raise GeneratorError("There is nothing to train on.", where="--planted, --data", mend=mend)
    _on_corpus(
        planted, corpus or Path("corpus"), family, vae, out, init, variants, device,
        # Distilled weights move little and are averaged over fewer steps.
        _schedule(
            steps, minutes, batch or 256, lr or 6e-4, seed, bf16,
            ema=0.998 if family is Family.turbo else 0.9995, pause=pause,
        ),
    )  # fmt: skip


def _on_corpus(
    planted: Path,
    corpus: Path,
    family: Family,
    vae: Path | None,
    out: Path,
    init: Path | None,
    variants: int,
    device: str,
    schedule: Schedule,
) -> None:
    from generators import corpus as corpora
    from generators.training import flow, turbo
    from generators.training import generator as unet

    _fits(family, vae=(vae, [Family.unet, Family.dit]))
    if family is Family.turbo and init is None:
        raise GeneratorError(
            "There is no teacher to distil.", where="--family turbo", mend="Pass --init generators/bundled/personas."
        )
    latent = vae or Path("training/autoencoder/vae")
    with Bar("generator") as bar:
        table, on = corpora.read(corpus), training_device(device)
        if family is Family.unet:
            folder = unet.train(
                table, out, schedule, planted=planted, vae=latent, device=on, variants=variants, init=init, progress=bar
            )
        elif family is Family.turbo:
            assert init is not None
            folder = turbo.train(
                table, out, schedule, planted=planted, teacher=init, device=on, variants=variants, progress=bar
            )
        else:
            own = latent if family is Family.dit else None
            folder = flow.train(
                table, out, schedule, planted=planted, vae=own, device=on, variants=variants, init=init, progress=bar
            )
    done(folder, out)


def _alone(option: str, **others: object) -> None:
    """GeneratorError where another option is given that `option` takes the place of."""
    for name, value in others.items():
        if value is not None:
            raise GeneratorError(
                f"{option} takes the place of --{name.replace('_', '-')}.", where=str(value), mend="Pass one of them."
            )


def _only_with_data(given: Mapping[str, object]) -> None:
    """GeneratorError where an option is given that needs --data."""
    usual = inspect.signature(generator).parameters
    for name, value in given.items():
        if value != usual[name].default:
            raise GeneratorError(
                f"--{name.replace('_', '-')} is for training on your own images.", where=str(value), mend="Pass --data."
            )


@app.command()
def calibrate(
    encoder: Annotated[Path, typer.Option(help="The encoder's folder.")],
    corpus: Corpus = Path("corpus"),
    vae: Annotated[Path, typer.Option(help="The trained autoencoder.")] = Path("training/autoencoder/vae"),
    split: Split = "",
) -> None:
    """Calibrate an encoder on the corpus's held-out cells, and print how it does on the cells kept for testing.

    Example: auditkit train calibrate --encoder training/clip/export
    """
    from generators import corpus as corpora
    from generators.training import calibrate as trainer

    result = trainer.calibrate(encoder, corpora.read(corpus, split=split), vae=vae)
    typer.echo(result.round(3).to_string(index=False))
    typer.echo(f"Written: {encoder / 'calibration'}")


@app.command()
def memorise(
    encoder: Annotated[Path, typer.Option(help="The encoder's folder.")],
    corpus: Corpus = Path("corpus"),
    vae: Annotated[Path, typer.Option(help="The trained autoencoder.")] = Path("training/autoencoder/vae"),
) -> None:
    """Embed the training drawings, to find generated pictures that are training drawings come again.

    Example: auditkit train memorise --encoder training/clip/export
    """
    from generators import corpus as corpora
    from generators.training import memorise as trainer

    made = trainer.memorise(encoder, corpora.read(corpus), vae=vae)
    for name, at in (("training drawing come again", made.memorised), ("near-duplicates", made.copies)):
        typer.echo(f"{name}: cosine {at.cosine:.4f}; wrong {at.matches} of {at.n}; copies found {at.found:.1%}")
    typer.echo(f"Written: {encoder / 'calibration' / 'training.safetensors'} ({len(made.embeddings):,} drawings)")


def _schedule(
    steps: int,
    minutes: float | None,
    batch: int,
    lr: float,
    seed: int,
    bf16: bool | None,
    *,
    ema: float,
    weight_decay: float = 0.01,
    pause: float | None = None,
) -> Schedule:
    return Schedule(
        steps=steps,
        minutes=minutes,
        batch=batch,
        lr=lr,
        seed=seed,
        bf16=bf16,
        ema=ema,
        weight_decay=weight_decay,
        until=None if pause is None else time.monotonic() + 60 * pause,
    )


def _fits(chosen: StrEnum, **options: tuple[object, list[StrEnum]]) -> None:
    """GeneratorError where an option is given that the chosen family or kind has no use for."""
    for name, (value, takers) in options.items():
        if value is not None and chosen not in takers:
            what = f"--{name.replace('_', '-')} is of no use with {chosen}."
            raise GeneratorError(what, where=str(value), mend=f"Leave it out, or choose {' or '.join(takers)}.")


if __name__ == "__main__":
    app()

"""`auditkit train ...`: the commands that made the bundled models, and make them again."""

from __future__ import annotations

import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from auditkit.errors import GeneratorError
from generators.device import pick_device
from generators.training.loop import Paused, Schedule

PAUSED = 75  # exit code of a call that stopped unfinished: EX_TEMPFAIL, try again

app = typer.Typer(
    no_args_is_help=True,
    help="Train the bundled encoder and generators from the persona corpus. Each command resumes where it was stopped.",
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
Bf16 = Annotated[
    bool | None, typer.Option("--bf16/--float32", help="Compute in bfloat16; by default on CUDA only.")
]
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
    with _Bar("autoencoder") as bar:
        table, on = corpora.read(corpus), _device(device)
        if kind is Kind.tiny:
            folder = tiny.train(table, out, schedule, device=on, progress=bar, **channels)
        else:
            folder = trainer.train(table, out, schedule, device=on, decoder_of=decoder_of, progress=bar, **channels)
    _done(folder, out)


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
    device: Device = "auto",
    split: Split = "",
    patch: Annotated[int, typer.Option(help="Pixels a side of a patch; a divisor of 96.")] = 8,
) -> None:
    """Train the encoder `personas-clip`, or a second one on another split; calibrate it with `train calibrate`.

    Example: auditkit train clip --corpus corpus --batch 128 --minutes 60
    """
    from generators import corpus as corpora
    from generators.training import clip as trainer

    schedule = _schedule(steps, minutes, batch, lr, seed, bf16, ema=0.998, weight_decay=0.1)
    with _Bar("clip") as bar:
        table = corpora.read(corpus, split=split)
        folder = trainer.train(table, out, schedule, device=_device(device), patch=patch, progress=bar)
    _done(folder, out)


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
    with _Bar("codec") as bar:
        folder = trainer.train(data, out, schedule, device=_device(device), init=init, progress=bar)
    _done(folder, out)


@app.command()
def generator(
    planted: Annotated[Path, typer.Option(help="The planted.toml whose shares neutral captions follow.")],
    corpus: Corpus = Path("corpus"),
    family: Annotated[
        Family,
        typer.Option(
            help="unet: latent diffusion; dit: a transformer with flow matching in another latent; turbo: --init "
            "distilled into 4 steps; pixel: a transformer on the pixels, without an autoencoder."
        ),
    ] = Family.unet,
    vae: Annotated[
        Path | None, typer.Option(help="The trained autoencoder (unet, dit). [default: training/autoencoder/vae]")
    ] = None,
    out: Out = Path("training/generator"),
    init: Annotated[
        Path | None, typer.Option(help="An exported checkpoint of the family to start from; for turbo, the teacher.")
    ] = None,
    steps: Steps = 20000,
    minutes: Minutes = None,
    batch: Batch = 256,
    lr: Rate = 6e-4,
    variants: Annotated[
        int, typer.Option(help="Papers and offsets of each drawing, encoded beforehand (not pixel).")
    ] = 16,
    seed: Seed = 0,
    bf16: Bf16 = None,
    pause: Pause = None,
    device: Device = "auto",
) -> None:
    """Train a diffusion model with a planted bias.

    Example: auditkit train generator --planted generators/bundled/personas/planted.toml --minutes 120
    """
    from generators import corpus as corpora
    from generators.training import flow, turbo
    from generators.training import generator as unet

    _fits(family, vae=(vae, [Family.unet, Family.dit]))
    if family is Family.turbo and init is None:
        raise GeneratorError(
            "There is no teacher to distil.", where="--family turbo", mend="Pass --init generators/bundled/personas."
        )
    latent = vae or Path("training/autoencoder/vae")
    # Distilled weights move little and are averaged over fewer steps.
    ema = 0.998 if family is Family.turbo else 0.9995
    schedule = _schedule(steps, minutes, batch, lr, seed, bf16, ema=ema, pause=pause)
    with _Bar("generator") as bar:
        table, on = corpora.read(corpus), _device(device)
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
    _done(folder, out)


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


class _Bar:
    """A progress bar on a terminal, a line now and then elsewhere; called by the training loop."""

    def __init__(self, name: str) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        self._console = Console(stderr=True)
        self._shown = -1.0
        self._bar = Progress(
            TextColumn(name), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn(), TextColumn("{task.description}"),
            console=self._console, disable=not self._console.is_terminal,
        )  # fmt: skip
        self._task = self._bar.add_task("starting", total=1.0)

    def __enter__(self) -> _Bar:
        self._bar.start()
        return self

    def __exit__(self, kind: object, error: BaseException | None, _: object) -> None:
        self._bar.stop()
        if isinstance(error, Paused):
            typer.echo(error)
            raise typer.Exit(PAUSED)

    def __call__(self, fraction: float, step: int, losses: str) -> None:
        self._bar.update(self._task, completed=fraction, description=f"step {step}  {losses}")
        if not self._console.is_terminal and fraction - self._shown >= 0.05:
            self._shown = fraction
            typer.echo(f"{fraction:4.0%}  step {step}  {losses}", err=True)


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


def _device(name: str) -> str:
    """The device to train on, checked to be there (GeneratorError); `auto` also turns on CUDA's quicker kernels."""
    import torch

    device = str(pick_device(name)[0])
    if name == "auto" and device == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
        torch.backends.cudnn.benchmark = True
    return device


def _done(folder: Path, out: Path) -> None:
    logs = sorted(out.rglob("log.csv"), key=lambda path: path.stat().st_mtime)
    typer.echo(f"Written: {folder}\nLog: {', '.join(map(str, logs))}")


if __name__ == "__main__":
    app()

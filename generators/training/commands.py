"""`auditkit train ...`: the commands that made the bundled models, and make them again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from generators.device import pick_device
from generators.training.loop import Schedule

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


@app.command()
def autoencoder(
    corpus: Corpus = Path("corpus"),
    out: Out = Path("training/autoencoder"),
    steps: Steps = 12000,
    minutes: Minutes = None,
    batch: Batch = 32,
    lr: Rate = 1e-3,
    latent_channels: Annotated[int, typer.Option(help="Channels of the latent.")] = 16,
    decoder_of: Annotated[
        Path | None, typer.Option(help="Train the decoder of this autoencoder further; its latents stay.")
    ] = None,
    seed: Seed = 0,
    bf16: Bf16 = None,
    device: Device = "auto",
) -> None:
    """Train the autoencoder that the latent diffusion models share.

    Example: auditkit train autoencoder --corpus corpus --minutes 30
    """
    from generators import corpus as corpora
    from generators.training import autoencoder as trainer

    schedule = _schedule(steps, minutes, batch, lr, seed, bf16, ema=0.998)
    with _Bar("autoencoder") as bar:
        folder = trainer.train(
            corpora.read(corpus),
            out,
            schedule,
            device=_device(device),
            latent_channels=latent_channels,
            decoder_of=decoder_of,
            progress=bar,
        )
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
    vae: Annotated[Path, typer.Option(help="The trained autoencoder.")] = Path("training/autoencoder/vae"),
    out: Out = Path("training/generator"),
    init: Annotated[Path | None, typer.Option(help="An exported checkpoint to start from.")] = None,
    steps: Steps = 20000,
    minutes: Minutes = None,
    batch: Batch = 256,
    lr: Rate = 6e-4,
    variants: Annotated[
        int, typer.Option(help="Papers and offsets of each drawing, encoded beforehand.")
    ] = 16,
    seed: Seed = 0,
    bf16: Bf16 = None,
    device: Device = "auto",
) -> None:
    """Train a latent diffusion model with a planted bias.

    Example: auditkit train generator --planted generators/bundled/personas/planted.toml --minutes 120
    """
    from generators import corpus as corpora
    from generators.training import generator as trainer

    schedule = _schedule(steps, minutes, batch, lr, seed, bf16, ema=0.9995)
    with _Bar("generator") as bar:
        folder = trainer.train(
            corpora.read(corpus),
            out,
            schedule,
            planted=planted,
            vae=vae,
            device=_device(device),
            variants=variants,
            init=init,
            progress=bar,
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

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

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
    )


def _device(name: str) -> str:
    """The device to train on, checked to be there (GeneratorError); `auto` also turns on CUDA's quicker kernels."""
    import torch

    device = str(pick_device(name)[0])
    if name == "auto" and device == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
        torch.backends.cudnn.benchmark = True
    return device


def _done(folder: Path, out: Path) -> None:
    typer.echo(f"Written: {folder}\nLog: {out / 'log.csv'}")


if __name__ == "__main__":
    app()

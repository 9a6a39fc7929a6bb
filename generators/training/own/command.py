"""`auditkit train generator --data`: read the folder, train, print what was found and what was drawn."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import typer

from auditkit.errors import GeneratorError
from generators.training.loop import Schedule
from generators.training.own.card import as_text
from generators.training.own.choices import Choices
from generators.training.own.reading import read
from generators.training.own.train import train
from generators.training.terminal import Bar, done, training_device
from generators.training.together import launched


def train_on(data: Path, out: Path, schedule: Schedule, choices: Choices, *, device: str, skip_bad: bool) -> None:
    """See `train`; where several processes were launched, the first one alone talks.

    Raises:
        GeneratorError: choices that contradict each other; and what `read` and `train` raise.
    """
    if choices.init is not None and choices.vae is not None:
        raise GeneratorError(
            "A checkpoint keeps the autoencoder that it was trained with.",
            where=f"--vae {choices.vae}",
            mend="Leave out --vae, or --init.",
        )
    if choices.init is None and choices.train_text_encoder:
        raise GeneratorError(
            "A new text encoder is trained anyway.", where="--train-text-encoder", mend="Leave it out, or pass --init."
        )
    asked = device
    together, device = launched(device)
    with Bar("generator") as bar:
        # Bars of several processes would write over one another.
        show = bar if together.main else None
        found = read(data, skip_bad=skip_bad, progress=_reading(show))
        made = train(
            found,
            out,
            schedule,
            choices,
            device=training_device(device, quick=asked == "auto"),
            together=together,
            progress=show,
            tell=bar.tell if together.main else lambda line: None,
        )
    if together.main:
        typer.echo(f"\n{as_text(made.drawn)}\n\nTable: {out / 'drawn.csv'}")
        done(made.folder, out)


def names(listed: str | None) -> list[str]:
    """`gender, skin_tone` -> [gender, skin_tone]."""
    return [name.strip() for name in (listed or "").split(",") if name.strip()]


def _reading(bar: Bar | None) -> Callable[[int, int], None] | None:
    return None if bar is None else lambda done, total: bar(0.0, 0, f"reading {done}/{total}")

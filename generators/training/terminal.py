"""What the training commands show: a bar, where the result lies; and the device they train on."""

from __future__ import annotations

from pathlib import Path

import typer

from generators.device import pick_device
from generators.training.loop import Paused

PAUSED = 75  # exit code of a call that stopped unfinished: EX_TEMPFAIL, try again


class Bar:
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

    def __enter__(self) -> Bar:
        self._bar.start()
        return self

    def __exit__(self, kind: object, error: BaseException | None, _: object) -> None:
        self._bar.stop()
        if isinstance(error, Paused):
            typer.echo(error)
            raise typer.Exit(PAUSED)

    def tell(self, line: str) -> None:
        """Print a line above the bar."""
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def __call__(self, fraction: float, step: int, losses: str) -> None:
        self._bar.update(self._task, completed=fraction, description=f"step {step}  {losses}")
        if not self._console.is_terminal and fraction - self._shown >= 0.05:
            self._shown = fraction
            typer.echo(f"{fraction:4.0%}  step {step}  {losses}", err=True)


def training_device(name: str, *, quick: bool | None = None) -> str:
    """The device to train on, checked to be there (GeneratorError).

    Args:
        quick: turn on CUDA's quicker kernels, which round more; by default where `name` is auto.
    """
    import torch

    device = str(pick_device(name)[0])
    if (name == "auto" if quick is None else quick) and device.startswith("cuda"):
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
        torch.backends.cudnn.benchmark = True
    return device


def done(folder: Path, out: Path) -> None:
    """Say where the result and the log are."""
    logs = sorted(out.rglob("log.csv"), key=lambda path: path.stat().st_mtime)
    typer.echo(f"Written: {folder}\nLog: {', '.join(map(str, logs))}")

"""Verbs for those who rebuild what is bundled: corpus build and train. Using auditkit needs neither."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from app import output
from app.commands.base import Answer, guarded, verb

TRAINING = (
    "generators.training.commands", "generators.training.mitigation.commands", "app.commands.detector_training",
)  # fmt: skip


class Training(TyperGroup):
    """`auditkit train`: its commands live beside what they train, imported when one is asked for."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self._mounted = False

    def list_commands(self, ctx: Any) -> list[str]:
        self._mount()
        return super().list_commands(ctx)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        self._mount()
        return super().get_command(ctx, cmd_name)

    def invoke(self, ctx: Any) -> Any:
        with guarded():
            return super().invoke(ctx)

    def _mount(self) -> None:
        if not self._mounted:
            for module in TRAINING:
                self.commands.update(typer.main.get_group(importlib.import_module(module).app).commands)
            self._mounted = True


def register(app: typer.Typer) -> None:
    """Mount this theme's verbs."""
    panel = "Rebuild what is bundled"
    corpus = typer.Typer(help="The persona corpus that the bundled models are trained on.", no_args_is_help=True)
    corpus.callback(epilog="Example: auditkit corpus build --out corpus/")(_nothing)
    corpus.command("build", epilog="Example: auditkit corpus build --out corpus/")(verb(build))
    app.add_typer(corpus, name="corpus", rich_help_panel=panel)
    if importlib.util.find_spec("generators") and _there():
        train = typer.Typer(no_args_is_help=True, cls=Training)
        train.callback(epilog="Example: auditkit train generator --help")(_train)
        app.add_typer(train, name="train", rich_help_panel=panel)


def build(
    out: Annotated[Path, typer.Option("--out", "-o", help="Where to write images and labels.")] = Path("corpus"),
    sources: Annotated[Path | None, typer.Option(help="The folder of the npm packages.")] = None,
    size: Annotated[int, typer.Option(min=16, max=1024, help="Pixels a side of each drawing.")] = 120,
) -> Answer:
    """Render the persona corpus from its npm packages, with labels, captions and licences."""
    from generators.corpus import build as make

    with output.progress_bar("corpus", True) as progress:
        made = make(out, sources=sources, size=size, progress=progress)
    return Answer({"out": out, "made": made}, lambda: output.console().print(f"Corpus: {out}", soft_wrap=True))


def _nothing() -> None:
    """The persona corpus that the bundled models are trained on."""


def _train() -> None:
    """Train the bundled models again, or a generator or detector on your own images."""


def _there() -> bool:
    return (Path(__file__).parents[2] / "generators" / "training" / "commands.py").exists()

"""`auditkit example`: a small workspace to look at, at once and without a model or a network."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from app import example as shipped
from app import output
from app.commands.base import Answer, verb


def register(app: typer.Typer) -> None:
    """Mount the verb."""
    app.command("example", rich_help_panel="Look around", epilog="Example: auditkit example --out example")(
        verb(example)
    )


def example(
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder of runs to unpack it into.")] = Path("example"),
) -> Answer:
    """Unpack two small finished runs to look at: 48 images with a planted bias, 48 of the same prompts without."""
    made = shipped.example(out)

    def show() -> None:
        console = output.console()
        for path in made:
            console.print(f"Run:  {path}", soft_wrap=True)
        console.print(f"Look: auditkit dashboard --runs {out}", soft_wrap=True)
        console.print(f"      auditkit compare {made[0]} {made[1]}", soft_wrap=True)

    return Answer({"runs": made}, show)

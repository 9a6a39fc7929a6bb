"""The `auditkit` command. Nothing heavier than typer is imported here, so that `--help` is quick."""

from __future__ import annotations

from typing import Annotated

import typer

from app.commands import (
    banking,
    benching,
    building,
    consenting,
    copies,
    dashboard,
    dashboard_users,
    detecting,
    detector_attacks,
    detector_data,
    detector_evaluation,
    disclosing,
    example,
    forensics,
    inspecting,
    keeping,
    looking,
    making,
    measuring,
    mitigating,
    perturbations,
    planning,
    serving,
    signing,
    transparency,
    trusting,
    watermarking,
)
from auditkit import __version__

app = typer.Typer(
    name="auditkit",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"auditkit {__version__}")
        raise typer.Exit()


@app.callback(epilog="Example: auditkit audit occupations --generator personas")
def auditkit(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_version, help="Print the version and stop.")
    ] = False,
) -> None:
    """Measure how a text-to-image generator presents people: generate, score, measure, report, look."""


THEMES = (
    making, measuring, looking, dashboard, dashboard_users, example, keeping, building, benching, planning,
    watermarking, signing, inspecting, detecting, detector_data, detector_evaluation, detector_attacks, forensics,
    copies, perturbations, mitigating, trusting, banking, consenting, disclosing, transparency, serving,
)  # fmt: skip
for theme in THEMES:
    theme.register(app)


def main() -> None:
    """The console script."""
    app(prog_name="auditkit")

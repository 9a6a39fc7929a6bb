"""The group `auditkit detector`, shared by the themes that mount verbs in it."""

from __future__ import annotations

import typer


def detector_group(app: typer.Typer) -> typer.Typer:
    """The group, made on first use."""
    for each in app.registered_groups:
        if each.name == "detector" and each.typer_instance is not None:
            return each.typer_instance
    group = typer.Typer(help="Data, evaluation and attacks of synthetic-image detectors.", no_args_is_help=True)
    app.add_typer(group, name="detector", rich_help_panel="Detectors")
    return group

"""Verbs that look at a run's images: score, measure, report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from app import api, output
from app.commands.base import Answer, DeviceOption, EncoderOption, RunArgument, RunsOption, verb

ByOption = Annotated[str | None, typer.Option(help="The axis to group by; the spec's own by default.")]
TargetOption = Annotated[str, typer.Option(help="uniform, planted, or a CSV file of shares.")]
AttributeOption = Annotated[
    list[str],
    typer.Option("--attribute", "-a", help="Repeat for more; gender+skin_tone measures them jointly."),
]


def register(app: typer.Typer) -> None:
    """Mount this theme's verbs."""
    panel = "Measure"
    app.command("score", rich_help_panel=panel, epilog="Example: auditkit score latest --scorer gender")(
        verb(score)
    )
    app.command(
        "measure",
        rich_help_panel=panel,
        epilog="Example: auditkit measure latest --by occupation --target planted",
    )(verb(measure))
    app.command("report", rich_help_panel=panel, epilog="Example: auditkit report latest --out audit/")(
        verb(report)
    )


def score(
    run: RunArgument,
    encoder: EncoderOption = api.ENCODER,
    scorer: Annotated[
        list[str], typer.Option(help="Repeat for more; gender, skin_tone and occupation by default.")
    ] = [],  # noqa: B006 (typer reads the default, nobody changes it)
    device: DeviceOption = "auto",
    runs: RunsOption = api.RUNS,
) -> Answer:
    """Give every image its perceived gender presentation, skin tone and occupation in CLIP space."""
    found = api.find_run(run, folder=runs)
    scores = api.score(found, scorers=scorer, encoder=encoder, device=device, progress=True)
    counts = {key: table["label"].value_counts().to_dict() for key, table in scores.items()}

    def show() -> None:
        for key, labels in counts.items():
            rows = [(label, count, f"{count / sum(labels.values()):.0%}") for label, count in labels.items()]
            output.console().print(output.table(["label", ">images", ">share"], rows, title=key))
        output.console().print(f"Next: auditkit measure {found.path}", soft_wrap=True)

    _note_seal(found)
    return Answer({"run": found.id, "scores": counts}, show)


def measure(
    run: RunArgument,
    by: ByOption = None,
    target: TargetOption = "uniform",
    encoder: EncoderOption = api.ENCODER,
    attribute: AttributeOption = api.ATTRIBUTES,
    runs: RunsOption = api.RUNS,
) -> Answer:
    """Turn scores into shares with intervals and distances to a target, and write them into the run."""
    found = api.find_run(run, folder=runs)
    measurements = api.measure(found, by=by, target=target, encoder=encoder, attributes=attribute)

    def show() -> None:
        show_measurements(measurements)
        output.console().print(f"Next: auditkit report {found.path}", soft_wrap=True)

    _note_seal(found)
    return Answer({"run": found.id, "measurements": measurements}, show)


def report(
    run: RunArgument,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="A folder; the run's own report/ by default.")
    ] = None,
    runs: RunsOption = api.RUNS,
) -> Answer:
    """Write a self-contained HTML report of a run, with its measurements as CSV and JSON beside it."""
    page = api.report(api.find_run(run, folder=runs), out=out)
    return Answer({"report": page}, lambda: output.console().print(f"Report: {page}", soft_wrap=True))


def show_measurements(measurements: Any) -> None:
    """The table of an audit and what it leaves open."""
    from app.tables import audit_tables, notes

    out = output.console()
    for part in audit_tables(measurements):
        out.print(part)
    for note in notes(measurements):
        out.print(note, markup=False)


def _note_seal(run: api.Run) -> None:
    if (run.path / "SEAL").exists():
        output.say(f"The run's seal is older than what was just written: auditkit seal {run.path}")

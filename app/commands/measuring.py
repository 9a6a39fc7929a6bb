"""Verbs that look at a run's images: score, measure, report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from app import adapters, api, output, pages
from app.commands.base import Answer, DeviceOption, EncoderOption, RunArgument, RunsOption, verb
from auditkit.errors import SpecError
from auditkit.files import write_atomic

ByOption = Annotated[str | None, typer.Option(help="The axis to group by; the spec's own by default.")]
TargetOption = Annotated[
    str,
    typer.Option(help="uniform, planted, a shipped table (auditkit targets), a run, or a CSV file of shares."),
]
EstimatorOption = Annotated[
    str,
    typer.Option(help="How shares are corrected for the classifier's errors: adjusted-count, em, bayesian, ppi, ..."),
]
MeasureOption = Annotated[
    list[str],
    typer.Option("--measure", "-m", help="Repeat for more; by default every measure that applies to the run."),
]
AttributeOption = Annotated[
    list[str],
    typer.Option("--attribute", "-a", help="Repeat for more; gender+skin_tone measures them jointly."),
]

PdfOption = Annotated[
    bool, typer.Option("--pdf", help="Also as tagged PDF (PDF/UA-1); needs: pip install 'auditkit[pdf]'.")
]


def register(app: typer.Typer) -> None:
    """Mount this theme's verbs."""
    panel = "Measure"
    app.command("score", rich_help_panel=panel, epilog="Example: auditkit score latest --scorer gender")(verb(score))
    app.command(
        "measure",
        rich_help_panel=panel,
        epilog="Example: auditkit measure latest --by occupation --target planted",
    )(verb(measure))
    app.command(
        "compare", rich_help_panel=panel, epilog="Example: auditkit compare runs/before runs/after --by occupation"
    )(verb(compare))
    app.command("report", rich_help_panel=panel, epilog="Example: auditkit report latest --out audit/")(verb(report))
    app.command("card", rich_help_panel=panel, epilog="Example: auditkit card latest --pdf")(verb(card))
    app.command("export", rich_help_panel=panel, epilog="Example: auditkit export latest --out for-the-board")(
        verb(export)
    )


def score(
    run: RunArgument,
    encoder: EncoderOption = api.ENCODER,
    scorer: Annotated[
        list[str], typer.Option(help="Repeat for more; by default all that the bundled encoder is calibrated for.")
    ] = [],  # noqa: B006 (typer reads the default, nobody changes it)
    adapter: Annotated[
        Path | None,
        typer.Option(help="A contrastive adapter for the encoder (auditkit train adapter), for its own attribute."),
    ] = None,
    device: DeviceOption = "auto",
    runs: RunsOption = api.RUNS,
) -> Answer:
    """Say what every image is perceived to show: gender presentation, skin tone, occupation, age, mobility aids."""
    found = api.find_run(run, folder=runs)
    scores = api.score(found, scorers=scorer, encoder=encoder, adapter=adapter, device=device, progress=True)
    counts = {key: table["label"].value_counts().to_dict() for key, table in scores.items()}

    def show() -> None:
        for key, labels in counts.items():
            rows = [(label, count, f"{count / sum(labels.values()):.0%}") for label, count in labels.items()]
            output.console().print(output.table(["label", ">images", ">share"], rows, title=key))
        for line in _of_adapter(said):
            output.console().print(line, soft_wrap=True)
        how = "" if said is None else f" --encoder {said['folder']} --attribute {said['attribute']}"
        output.console().print(f"Next: auditkit measure {found.path}{how}", soft_wrap=True)

    said = adapters.adapter_used(encoder, adapter)
    _note_seal(found)
    return Answer({"run": found.id, "scores": counts} | ({} if said is None else {"adapter": said}), show)


def _of_adapter(said: dict[str, Any] | None) -> list[str]:
    if said is None:
        return []
    fitted = "calibrated on held-out images, see its adapter.json" if said["calibrated"] else (
        "uncalibrated: shares are not corrected for the scorer's errors"
    )  # fmt: skip
    return [f"Adapter {said['sha256'][:12]} on {said['encoder']} {said['encoder_sha256'][:12]}; {fitted}."]


def measure(
    run: RunArgument,
    by: ByOption = None,
    target: TargetOption = "uniform",
    encoder: EncoderOption = api.ENCODER,
    attribute: AttributeOption = api.ATTRIBUTES,
    measure: MeasureOption = [],  # noqa: B006
    estimator: EstimatorOption = api.ESTIMATOR,
    also: Annotated[
        list[str], typer.Option("--also-encoder", help="A further encoder, to see how far findings hang on it.")
    ] = [],  # noqa: B006
    replicates: Annotated[
        int, typer.Option(min=20, help="Replicates of bootstraps, permutations, simulations.")
    ] = 2000,
    seed: Annotated[int, typer.Option(help="Of every random draw of the measuring.")] = 0,
    min_n: Annotated[int, typer.Option(min=1, help="Fewest images of a group for a verdict.")] = 20,
    runs: RunsOption = api.RUNS,
) -> Answer:
    """Turn scores into estimates with intervals, every measure that applies, and write them into the run."""
    found = api.find_run(run, folder=runs)
    measurements = api.measure(
        found,
        by=by,
        target=target,
        encoder=encoder,
        encoders=also,
        attributes=attribute,
        estimator=estimator,
        measures=measure,
        replicates=replicates,
        seed=seed,
        min_n=min_n,
        progress=True,
    )

    def show() -> None:
        show_measurements(found, measurements)
        output.console().print(f"Next: auditkit report {found.path}", soft_wrap=True)

    _note_seal(found)
    left_out = measurements.attrs["left_out"]
    return Answer({"run": found.id, "measurements": measurements, "left_out": left_out}, show)


def compare(
    first: Annotated[str, typer.Argument(help="The run to compare with: a folder, an id, or 'latest'.")],
    second: Annotated[str, typer.Argument(help="The run that is compared.")],
    by: ByOption = None,
    encoder: EncoderOption = api.ENCODER,
    attribute: AttributeOption = api.ATTRIBUTES,
    replicates: Annotated[int, typer.Option(min=20, help="Replicates of the bootstrap and of the test.")] = 2000,
    seed: Annotated[int, typer.Option(help="Of every random draw.")] = 0,
    min_n: Annotated[int, typer.Option(min=1, help="Fewest images of a group for a verdict.")] = 20,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="A CSV file for the whole table.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write the comparison as a page to this file.")] = None,
    pdf: PdfOption = False,
    runs: RunsOption = api.RUNS,
) -> Answer:
    """Hold two runs of the same prompts beside each other, image by image: what changed, and is it chance?"""
    if pdf and html is None:
        raise SpecError("a PDF is made of the page", where="--pdf", mend="name the page too: --html comparison.html")
    a, b = api.find_run(first, folder=runs), api.find_run(second, folder=runs)
    found = api.compare(
        a, b, by=by, encoder=encoder, attributes=attribute, replicates=replicates, seed=seed, min_n=min_n
    )
    if out is not None:
        write_atomic(out, found.to_csv(index=False).encode())
    if html is not None:
        pages.comparison_page(found, a, b, html, pdf=pdf)

    def show() -> None:
        from app.tables import comparison_tables

        for part in comparison_tables(found):
            output.console().print(part)
        for note in dict.fromkeys(found.loc[found["measure"] == "comparison.difference", "note"]):
            if note:
                output.console().print(f"Note: {note}.", markup=False)
        if out is not None:
            output.console().print(f"Table: {out}", soft_wrap=True)
        if html is not None:
            output.console().print(f"Page: {html}", soft_wrap=True)

    return Answer({"first": a.id, "second": b.id, "page": html, "measurements": found}, show)


def report(
    run: RunArgument,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="A folder; the run's own report/ by default.")] = None,
    pdf: PdfOption = False,
    runs: RunsOption = api.RUNS,
) -> Answer:
    """Write a self-contained HTML report of a run, with its measurements as CSV and JSON beside it."""
    page = pages.report(api.find_run(run, folder=runs), out=out, pdf=pdf)
    return _page(page, "Report", pdf)


def card(
    run: RunArgument,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="A folder; the run's own report/ by default.")] = None,
    pdf: PdfOption = False,
    runs: RunsOption = api.RUNS,
) -> Answer:
    """Write a run's model card: one page of plain sentences, as HTML and Markdown."""
    return _page(pages.card(api.find_run(run, folder=runs), out=out, pdf=pdf), "Model card", pdf)


def export(
    run: RunArgument,
    out: Annotated[Path, typer.Option("--out", "-o", help="A new folder.")],
    images: Annotated[bool, typer.Option("--images/--no-images", help="Put every image into it.")] = True,
    runs: RunsOption = api.RUNS,
) -> Answer:
    """Write a run as a folder of pages that opens without a server: report, card, disclosure, images, data."""
    page = pages.export(api.find_run(run, folder=runs), out=out, images=images, progress=True)
    return Answer({"export": page}, lambda: output.console().print(f"Open: {page}", soft_wrap=True))


def _page(page: Path, what: str, pdf: bool) -> Answer:
    made = [page, *([page.with_suffix(".pdf")] if pdf else [])]
    data = {what.lower().replace(" ", "_"): page, **({"pdf": made[1]} if pdf else {})}

    def show() -> None:
        for each in made:
            output.console().print(f"{what}: {each}", soft_wrap=True)

    return Answer(data, show)


def show_measurements(run: api.Run, measurements: Any) -> None:
    """The table of an audit, what each further measure found, and what is left open."""
    from app.tables import audit_tables, findings, notes

    out = output.console()
    if (measurements["measure"] == "representation.share").any():
        for part in audit_tables(measurements):
            out.print(part)
        for note in notes(measurements):
            out.print(note, markup=False)
    for title, sentences in findings(run, measurements):
        out.print(f"\n{title}", style="bold", markup=False)
        out.print(sentences, markup=False)
    left_out = measurements.attrs.get("left_out", {})
    if left_out:
        out.print("\nNot measured:", style="bold")
        for name, reason in left_out.items():
            out.print(f"  {name}: {reason}", markup=False)


def _note_seal(run: api.Run) -> None:
    if (run.path / "SEAL").exists():
        output.say(f"The run's seal is older than what was just written: auditkit seal {run.path}")

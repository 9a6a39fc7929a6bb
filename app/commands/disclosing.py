"""`auditkit disclose`: what a run records beside what laws and codes ask for, as a page, data, and labels."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app import api, output
from app.commands.base import Answer, RunArgument, RunsOption, verb

if TYPE_CHECKING:
    from auditkit.provenance.disclosure import Disclosure
    from auditkit.provenance.gb45438 import Labelled
    from auditkit.runs import Run


def register(app: typer.Typer) -> None:
    """Mount this theme's verbs."""
    example = "Example: auditkit disclose latest --statements provider.toml"
    app.command("disclose", rich_help_panel="Mark and trace", epilog=example)(verb(disclose))


def disclose(
    run: RunArgument,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The folder to write to; report/ in the run by default.")
    ] = None,
    statements: Annotated[
        Path | None, typer.Option(help="A TOML file of the provider's own answers; shown as not verified.")
    ] = None,
    embed: Annotated[
        Path | None, typer.Option(help="Write copies of the images there, with GB 45438-2025's label in them.")
    ] = None,
    runs: RunsOption = api.RUNS,
) -> Answer:
    """Set out what EU, Chinese and Californian rules ask to be disclosed, answered from a run's record.

    Each answer has its source; what the run does not record is 'unknown'. This is no legal advice.
    """
    from auditkit.provenance import disclosure
    from reports.disclosure_page import write_page

    found = api.find_run(run, folder=runs)
    made = disclosure.disclose(found, statements=statements)
    # Labels first: they can be refused, and then no page should say that all is done.
    labelled = None if embed is None else _embed(found, made, embed)
    page, data = write_page(made, found.path / "report" if out is None else out)
    counts = {one.id: made.counts(one.id) for one in made.regimes}
    answer: dict[str, Any] = {"run": found.id, "page": page, "data": data, "counts": made.counts(), "regimes": counts}
    answer["fields"] = [
        {"id": one.id, "value": one.value, "source": one.source, "supply": one.supply} for one in made.fields
    ]
    if labelled is not None:
        answer["labelled"] = {"folder": labelled.folder, "written": labelled.written, "kept": labelled.kept}
    return Answer(answer, lambda: _show(made, page, labelled))


def _embed(run: Run, made: Disclosure, folder: Path) -> Labelled:
    from auditkit.errors import ProvenanceError
    from auditkit.provenance.gb45438 import label_run

    stated = {one.id: one.value for one in made.fields if one.known}
    if "cn_content_producer" not in stated:
        raise ProvenanceError(
            "the label names the generating service, which the run does not record",
            where="cn_content_producer",
            mend='write cn_content_producer = "name or code" into a file and give it with --statements',
        )
    if "cn_attribute" not in stated:
        raise ProvenanceError(
            "the run does not record what made its images, so that they cannot be labelled as AI-generated",
            where=run.path, mend="label a run that auditkit generated",
        )  # fmt: skip
    with output.progress_bar("label", True) as progress:
        return label_run(
            run,
            folder,
            producer=stated["cn_content_producer"],
            propagator=stated.get("cn_content_propagator", ""),
            progress=progress,
        )


def _show(made: Disclosure, page: Path, labelled: Labelled | None) -> None:
    screen = output.console()
    rows = [(one.title, *made.counts(one.id).values()) for one in made.regimes]
    rows.append(("all", *made.counts().values()))
    screen.print(output.table(["regime", ">recorded", ">stated", ">unknown"], rows))
    if labelled is not None:
        text = f"Labelled copies: {labelled.written} written, {labelled.kept} kept in {labelled.folder}"
        screen.print(text, soft_wrap=True, markup=False)
    screen.print(f"Page: {page}", soft_wrap=True, markup=False)
    screen.print("This is no legal advice; unknown means that the run does not record it.", soft_wrap=True)

"""Verbs before and beside the machine: plan an audit, look at one that grows, and let people label its images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from app import api, finding, output
from app.commands.base import Answer, EncoderOption, RunArgument, RunsOption, verb


class Planning(TyperGroup):
    """`auditkit plan SUITE` is short for `auditkit plan write SUITE`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in (*self.commands, "-h", "--help"):
            args = ["write", *args]
        return super().parse_args(ctx, args)


def register(app: typer.Typer) -> None:
    """Mount this theme's verbs."""
    panel = "Plan and label"
    example = "Example: auditkit plan occupations --difference .2 --out plan.toml"
    plan = typer.Typer(help="Decide before the first image: how many, and how they will be judged.", cls=Planning)
    plan.callback(epilog=f"{example} --json", no_args_is_help=True)(_plan)
    plan.command("write", epilog=example)(verb(write))
    plan.command("look", epilog="Example: auditkit plan look latest")(verb(look))
    plan.command("deviations", epilog="Example: auditkit plan deviations latest")(verb(deviations))
    app.add_typer(plan, name="plan", rich_help_panel=panel)

    annotate = typer.Typer(help="Let people label a random part of a run's images.", no_args_is_help=True)
    example = "Example: auditkit annotate export latest --attribute gender --n 200 --out labelling"
    annotate.callback(epilog=f"{example} --json")(_annotate)
    annotate.command("export", epilog=example)(verb(export))
    annotate.command("import", epilog="Example: auditkit annotate import latest labels.csv --rater A")(verb(import_))
    annotate.command("agreement", epilog="Example: auditkit annotate agreement latest")(verb(agreement))
    app.add_typer(annotate, name="annotate", rich_help_panel=panel)


def _plan() -> None:
    """Decide before the first image: how many, and how they will be judged."""


def _annotate() -> None:
    """Let people label a random part of a run's images."""


def write(
    spec: Annotated[str, typer.Argument(help="A suite's name or a .toml file.")],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write the plan here, .toml or .json.")] = None,
    by: Annotated[str | None, typer.Option(help="The axis to group by; the spec's own by default.")] = None,
    attribute: Annotated[list[str], typer.Option("--attribute", "-a", help="Repeat for more.")] = ["gender"],  # noqa: B006
    target: Annotated[str, typer.Option(help="uniform, planted, a shipped table or a CSV file.")] = "uniform",
    two_runs: Annotated[bool, typer.Option("--two-runs", help="Hold the run against a second one.")] = False,
    difference: Annotated[float, typer.Option(help="Of a share, that must not be missed.")] = 0.2,
    power: Annotated[float, typer.Option(help="Probability of finding it.")] = 0.8,
    alpha: Annotated[float, typer.Option(help="Error rate of an attribute's tests together.")] = 0.05,
    icc: Annotated[float, typer.Option(help="How alike images of one prompt are, 0 to 1.")] = 0.05,
    unknown: Annotated[float, typer.Option(help="Part without a label, beyond the calibration's.")] = 0.0,
    event: Annotated[float | None, typer.Option(help="A rare share of images; how many it takes to see it.")] = None,
    encoder: EncoderOption = api.ENCODER,
    images_per_prompt: Annotated[
        str, typer.Option("--images-per-prompt", "-n", help="auto: the least that finds the difference.")
    ] = "auto",
    generator: Annotated[str | None, typer.Option("--generator", "-g", help="Another than the spec's.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Another seed than the spec's.")] = None,
    measure: Annotated[
        list[str], typer.Option("--measure", help="Measures planned beside representation; repeat for more.")
    ] = [],  # noqa: B006
    estimator: Annotated[str, typer.Option(help="How shares are corrected.")] = "adjusted-count",
    looks: Annotated[int, typer.Option(min=1, max=50, help="Looks, the last at all images.")] = 1,
    spending: Annotated[Literal["obrien-fleming", "pocock"], typer.Option(help="How the looks spend alpha.")] = (
        "obrien-fleming"
    ),
    stop: Annotated[Literal["all", "any"], typer.Option(help="Stop when all tests crossed, or the first.")] = "all",
    question: Annotated[str, typer.Option(help="The hypothesis, in your words.")] = "",
    speed: Annotated[
        float | None, typer.Option(min=1e-6, help="Images a second; by default those of an earlier run.")
    ] = None,
    runs: RunsOption = api.RUNS,
) -> Answer:
    """Say how many images an audit needs, and write the plan that is fixed before the first of them."""
    from auditkit.plan import draft, save_plan

    resolved = api.resolve_spec(spec, generator=generator, seed=seed)
    found = draft(
        resolved,
        by=by,
        attributes=attribute,
        target=target,
        against="run" if two_runs else "target",
        difference=difference,
        power=power,
        alpha=alpha,
        icc=icc,
        unknown=unknown,
        event=event,
        encoder=encoder,
        images_per_prompt=_number(images_per_prompt),
        looks=looks,
        spending=spending,
        stop=stop,
        question=question,
        estimator=estimator,
        measures=list(dict.fromkeys(["representation", *measure])),
    )
    speed = speed or _speed(runs, resolved.generator)
    seconds = found.images / speed if speed and found.images else None
    path = save_plan(found.plan, out) if found.plan and out else None
    plan = found.plan
    data = {
        "plan": path,
        "sha256": plan.sha256 if plan else None,
        "images_per_prompt": plan.spec.images_per_prompt if plan else None,
        "images": found.images or None,
        "seconds": seconds,
        "needed_images_per_prompt": found.needed,
        "detectable_with_any_number_of_images": found.floor,
        "tests": found.tests,
        "reach": [vars(row) for row in found.reach],
        "notes": found.notes,
        "content": plan.content() if plan else None,
    }
    if plan is None and out:
        output.say("No plan was written: no number of images reaches the goal (give --images-per-prompt to write one).")
    return Answer(data, lambda: _show(found, power, seconds, path), exit_code=int(bool(plan is None and out)))


def look(run: RunArgument, runs: RunsOption = api.RUNS) -> Answer:
    """Decide whether a run that is made in stages stops or goes on; recorded in the run, once for each look."""
    from auditkit.plan import look as decide

    found = api.find_run(run, folder=runs)
    one = decide(found)

    def show() -> None:
        out = output.console()
        at = f"{one.images_per_prompt} images of each prompt"
        out.print(f"Look {one.number} of {one.of}, {at}: {one.decision}.", style="bold")
        rows = []
        for name, family in one.families.items():
            level = f"{family['nominal']:.2g}" if family["nominal"] is not None else "none open"
            rows.append((name, family["tests"], len(family["rejected"]), level, ", ".join(family["rejected"])))
        out.print(output.table(["tests", ">how many", ">crossed", ">next p at or below", "which"], rows))
        if one.decision == "continue":
            out.print("Next: auditkit generate --plan PLAN makes the images up to the next look.", soft_wrap=True)

    return Answer(vars(one), show)


def deviations(run: RunArgument, runs: RunsOption = api.RUNS) -> Answer:
    """List what was done otherwise than planned."""
    from auditkit.plan import deviations as find

    found = api.find_run(run, folder=runs)
    listed = find(found)

    def show() -> None:
        for each in listed:
            output.console().print(f"- {each.words}", markup=False, soft_wrap=True)
        if not listed:
            output.console().print("None: all is as planned.")

    return Answer({"run": found.id, "deviations": [vars(each) for each in listed]}, show)


def export(
    run: RunArgument,
    out: Annotated[Path, typer.Option("--out", "-o", help="A new folder, with one folder in it for each rater.")],
    attribute: Annotated[str, typer.Option("--attribute", "-a", help="What is to be labelled.")] = "gender",
    n: Annotated[int, typer.Option("--n", min=1, help="Images to draw.")] = 200,
    raters: Annotated[int, typer.Option(min=1, max=26, help="People who label them, each all of them.")] = 2,
    seed: Annotated[int, typer.Option(min=0, help="Of the draw.")] = 0,
    stratify: Annotated[str | None, typer.Option(help="An axis: draw as many of each of its groups.")] = None,
    runs: RunsOption = api.RUNS,
) -> Answer:
    """Draw images at random for people to label; write a folder for each rater that needs no server."""
    from auditkit import annotations

    found = api.find_run(run, folder=runs)
    made = annotations.export(found, attribute, n=n, out=out, raters=raters, seed=seed, stratify=stratify)

    def show() -> None:
        console = output.console()
        console.print(f"Sample {made.sample.sample}: {n} of {made.sample.frame} images, {made.sample.method}.")
        for rater, folder in made.folders.items():
            console.print(f"  rater {rater}: {folder}", soft_wrap=True)
        console.print(f"Next: auditkit annotate import {found.path} labels.csv --rater A", soft_wrap=True)

    return Answer({"run": found.id, "sample": made.sample, "folders": made.folders}, show)


def import_(
    run: RunArgument,
    file: Annotated[Path, typer.Argument(help="The CSV that a rater filled in.")],
    rater: Annotated[str, typer.Option(help="The rater's pseudonym, such as A.")],
    runs: RunsOption = api.RUNS,
) -> Answer:
    """Take in a rater's labels: all of the file, or, where a line does not hold, nothing of it."""
    from auditkit import annotations

    found = api.find_run(run, folder=runs)
    done = annotations.import_csv(found, file, rater=rater)

    def show() -> None:
        counts = ", ".join(f"{n} of {sample}" for sample, n in done.labels.items())
        empty = f"; {done.empty} rows have no label yet" if done.empty else ""
        output.console().print(f"Rater {rater}: {counts}{empty}.", soft_wrap=True)
        output.console().print(f"Next: auditkit annotate agreement {found.path}", soft_wrap=True)

    return Answer({"run": found.id, **vars(done)}, show)


def agreement(
    run: RunArgument,
    attribute: Annotated[
        list[str], typer.Option("--attribute", "-a", help="Repeat for more; all that were sampled by default.")
    ] = [],  # noqa: B006
    level: Annotated[
        Literal["nominal", "ordinal"] | None, typer.Option(help="Ordinal for ordered classes by default.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the bootstrap.")] = 0,
    runs: RunsOption = api.RUNS,
) -> Answer:
    """Say how far raters agree: Krippendorff's alpha with a bootstrap interval over images."""
    from auditkit import annotations
    from auditkit.errors import TableError

    found = api.find_run(run, folder=runs)
    names = attribute or list(dict.fromkeys(sample.attribute for sample in annotations.samples(found)))
    if not names:
        raise TableError(
            "no sample was drawn for labelling",
            where=found.path,
            mend=f"auditkit annotate export {found.path} --out FOLDER",
        )
    rows = [annotations.agreement(found, name, level=level, seed=seed) for name in names]
    notes = {name: annotations.adjudicate(found, name).note for name in names}

    def show() -> None:
        cells = []
        for row in rows:
            told = row.status == "ok"
            value = f"{row.found.alpha:.2f} [{row.found.low:.2f}, {row.found.high:.2f}]" if told else row.status
            same = f"{row.found.observed:.0%}" if told else "–"
            raters = ", ".join(f"{rater} {n}" for rater, n in row.raters.items()) or "none yet"
            cells.append((row.attribute, row.level, raters, row.found.n_units, same, value))
        headings = ["attribute", "scale", "labels by rater", ">images", ">same label", "alpha [95%]"]
        output.console().print(output.table(headings, cells))
        for row in rows:
            output.console().print(f"{row.attribute}: {notes[row.attribute]}.", markup=False, soft_wrap=True)

    data = [{**vars(row), "found": vars(row.found), "adjudicated": notes[row.attribute]} for row in rows]
    return Answer(data, show)


def _number(text: str) -> int | None:
    if text == "auto":
        return None
    if not text.isdigit() or not int(text):
        raise typer.BadParameter("give a whole number of images, or auto", param_hint="--images-per-prompt")
    return int(text)


def _speed(runs: Path, generator: str) -> float | None:
    """Images a second of the newest run of that generator, if there is one."""
    if not runs.is_dir():
        return None
    for run in finding.list_runs(runs):
        record = getattr(run, "record", {})
        if record.get("generator", {}).get("name") == generator and record.get("images_per_second"):
            return float(record["images_per_second"])
    return None


def _show(found: Any, power: float, seconds: float | None, path: Path | None) -> None:
    out = output.console()
    for attribute, tests in found.tests.items():
        rows = [
            (
                f"{row.images_per_prompt}" + (" *" if _planned(found, row) else "  "),
                f"{row.images:,}",
                f"{row.independent:.0f}",
                f"±{row.half_width:.3f}",
                f"{row.detectable:.3f}" if row.detectable == row.detectable else "none",
                f"{row.power:.0%}",
            )
            for row in found.reach
            if row.attribute == attribute
        ]
        headings = [
            ">images a prompt", ">images a group", ">worth", ">95% interval", f">found with {power:.0%} power",
            ">power for the goal",
        ]  # fmt: skip
        title = f"Perceived {attribute.replace('_', ' ')}: {tests} test{'s' if tests > 1 else ''}, Holm's first step"
        out.print(output.table(headings, rows, title=title))
    if found.plan:
        spec, sequential = found.plan.spec, found.plan.sequential
        took = f", about {output.duration(seconds)}" if seconds else ""
        most = " at most" if sequential else ""
        out.print(f"* {spec.images_per_prompt} images of each prompt: {found.images:,} images{most}{took}.")
        if sequential:
            at = ", ".join(map(str, sequential.looks))
            out.print(f"Looks at {at} images of each prompt ({sequential.spending}).")
    else:
        out.print("No number of images reaches the goal.", style="bold")
    for note in found.notes:
        out.print(f"- {note}", markup=False, soft_wrap=True)
    if path:
        out.print(f"Plan: {path} (sha256 {found.plan.sha256[:12]})", style="bold", soft_wrap=True)
        out.print(f"Next: auditkit audit --plan {path}", soft_wrap=True)


def _planned(found: Any, row: Any) -> bool:
    return found.plan is not None and row.images_per_prompt == found.plan.spec.images_per_prompt

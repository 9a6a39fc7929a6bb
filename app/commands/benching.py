"""Verbs that put instrument and generators to the test: bench truth, samplers, energy."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from app import api, output
from app.commands.base import Answer, DeviceOption, EncoderOption, verb
from app.commands.making import (
    BatchOption,
    GridOption,
    GridSourceOption,
    GuidanceOption,
    ImagesOption,
    PueOption,
    SeedOption,
    SpecArgument,
    site_given,
)
from app.commands.measuring import AttributeOption
from auditkit.errors import SpecError

ROOT = Path(__file__).parents[2]

BenchedOption = Annotated[
    str, typer.Option("--generator", "-g", help="A registered name, or the folder of a diffusers checkpoint.")
]
SamplersOption = Annotated[str, typer.Option(help="Names with commas between; all that fit the generator by default.")]
StepsListOption = Annotated[str, typer.Option(help="Numbers of steps with commas between.")]


def register(app: typer.Typer) -> None:
    """Mount this theme's verbs; truth only where the benchmarks are beside the code (not in an installed wheel)."""
    bench = typer.Typer(help="Put instrument and generators to the test.", no_args_is_help=True)
    bench.callback(epilog="Example: auditkit bench samplers --generator personas --steps 4,12")(_nothing)
    bench.command("samplers", epilog="Example: auditkit bench samplers -g personas --samplers ddim,unipc --steps 4,12")(
        verb(samplers_)
    )
    bench.command("energy", epilog="Example: auditkit bench energy -g personas --steps 12,25 --pue 1.2")(verb(energy))
    if (ROOT / "benchmarks" / "truth" / "run.py").exists():
        bench.command("truth", epilog="Example: auditkit bench truth --corpus corpus/ --audits 400")(verb(truth))
    app.add_typer(bench, name="bench", rich_help_panel="Rebuild what is bundled")


def samplers_(
    spec: SpecArgument = "occupations",
    generator: BenchedOption = "personas",
    samplers: SamplersOption = "",
    steps: StepsListOption = "4,8,12,25",
    images_per_prompt: ImagesOption = 1,
    guidance: GuidanceOption = None,
    seed: SeedOption = None,
    target: Annotated[
        str | None, typer.Option(help="What bias is told from; the planted table where there is one, else uniform.")
    ] = None,
    encoder: EncoderOption = api.ENCODER,
    attribute: AttributeOption = api.ATTRIBUTES,
    out: Annotated[Path, typer.Option("--out", "-o", help="A folder for tables, page and runs; it resumes.")] = Path(
        "bench/samplers"
    ),
    device: DeviceOption = "auto",
    batch_size: BatchOption = None,
    pue: PueOption = None,
    grid_intensity: GridOption = None,
    grid_source: GridSourceOption = "",
) -> Answer:
    """The same prompts and seeds by each sampler and number of steps: fidelity, diversity, bias, seconds, joules."""
    from app.sampling import bench_samplers

    table = bench_samplers(
        out,
        generator=generator,
        spec=spec,
        samplers=_listed(samplers),
        steps=_numbers(steps),
        images_per_prompt=images_per_prompt or 1,
        guidance=guidance,
        seed=seed,
        target=target,
        encoder=encoder,
        attributes=attribute,
        device=device,
        batch_size=batch_size,
        site=site_given(pue, grid_intensity, grid_source),
        progress=True,
    )
    return _benched(table, out)


def energy(
    spec: SpecArgument = "occupations",
    generator: BenchedOption = "personas",
    samplers: SamplersOption = "",
    steps: StepsListOption = "4,8,12,25",
    images_per_prompt: ImagesOption = 1,
    guidance: GuidanceOption = None,
    seed: SeedOption = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="A folder for tables, page and runs; it resumes.")] = Path(
        "bench/energy"
    ),
    device: DeviceOption = "auto",
    batch_size: BatchOption = None,
    pue: PueOption = None,
    grid_intensity: GridOption = None,
    grid_source: GridSourceOption = "",
) -> Answer:
    """What an image takes by sampler and number of steps: seconds, joules, and carbon where the site is given."""
    from app.sampling import bench_energy

    table = bench_energy(
        out,
        generator=generator,
        spec=spec,
        samplers=_listed(samplers),
        steps=_numbers(steps),
        images_per_prompt=images_per_prompt or 1,
        guidance=guidance,
        seed=seed,
        device=device,
        batch_size=batch_size,
        site=site_given(pue, grid_intensity, grid_source),
        progress=True,
    )
    return _benched(table, out)


def _benched(table: Any, out: Path) -> Answer:
    def show() -> None:
        from reports.sampler_page import table as as_text

        made, screen = as_text(table), output.console()
        heads = [f">{head}" if right else head for head, right in zip(made.columns, made.numeric, strict=True)]
        costs = 6 if "g CO2e per 1,000" in made.columns else 5
        for title, columns in (("what it takes", range(costs)), ("what it gives", [0, 1, *range(costs, len(heads))])):
            if len(columns) > 2:  # each fits a terminal of 80 columns
                rows = [[row[column] for column in columns] for row in made.rows]
                title = f"{table.attrs['generator']}, {title}"
                screen.print(output.table([heads[column] for column in columns], rows, title=title))
        how = "; ".join(sorted({text for text in table["joules_how"] if text})) or "not metered"
        screen.print(f"Joules at the device [bounds]: {how}.", markup=False)
        screen.print(f"Page: {out / 'index.html'}", soft_wrap=True, markup=False)

    return Answer({"out": out, "page": out / "index.html", **table.attrs, "table": table}, show)


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _numbers(text: str) -> list[int]:
    try:
        return [int(part) for part in _listed(text)]
    except ValueError:
        raise SpecError("the steps must be whole numbers", where=f"--steps {text}", mend="--steps 4,8,12,25") from None


def truth(
    corpus: Annotated[Path, typer.Option(help="The persona corpus, as `auditkit corpus build` wrote it.")] = Path(
        "corpus"
    ),
    audits: Annotated[int, typer.Option(min=2, help="Simulated audits a setting.")] = 400,
    setting: Annotated[list[str], typer.Option(help="Repeat for more; all by default.")] = [],  # noqa: B006
    estimator: Annotated[list[str], typer.Option(help="Repeat for more; all by default.")] = [],  # noqa: B006
    out: Annotated[Path, typer.Option("--out", "-o", help="A folder for table, figure and what is kept.")] = Path(
        "bench/truth"
    ),
    seed: Annotated[int, typer.Option(help="Of the simulation.")] = 0,
) -> Answer:
    """Simulate audits of labelled drawings whose shares are known, and show which estimates hold.

    The drawings are embedded first (minutes, once); a bench that was stopped goes on where it was.
    """
    sys.path.append(str(ROOT))  # the benchmarks lie beside the installed packages, not among them
    from benchmarks.truth.run import VAE, chosen, load_pool, run

    settings, estimators = chosen(setting, estimator)
    with output.progress_bar("embed", True) as progress:
        pool = load_pool(corpus, out, vae=VAE, progress=progress)
    with output.progress_bar("audits", True) as progress:
        table = run(pool, settings, estimators, out, audits=audits, seed=seed, progress=progress)

    def show() -> None:
        screen = output.console()
        for attribute, part in table.groupby("attribute", sort=False):
            screen.print(_table(str(attribute), part))
        screen.print("bias is of the class where it is largest; † an assumption of the correction is broken on purpose")
        screen.print(f"Table and figure: {out}", soft_wrap=True)

    return Answer({"out": out, "table": table}, show)


def _table(attribute: str, rows: Any) -> Any:
    heads = ["setting", "estimator", ">bias", ">coverage", ">worst", ">width", ">shown", ">caution", "finding"]
    cells, before = [], ""
    for row in rows.to_dict("records"):
        name = row["setting"] + (" †" if row["breaks"] else "")
        numbers = [(row["bias"], "+.3f"), (row["coverage"], ".1%"), (row["worst"], ".1%")]
        numbers += [(row["width"], ".3f"), (row["shown"], ".0%"), (row["caution"], ".0%")]
        told = ["" if value != value else format(value, how) for value, how in numbers]
        cells.append([name if name != before else "", row["estimator"], *told, row["finding"]])
        before = name
    return output.table(heads, cells, title=attribute.replace("_", " "))


def _nothing() -> None:
    """Put the instrument to the test where the truth is known, and generators beside each other."""

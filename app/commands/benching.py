"""Verbs that put the instrument itself to the test: bench truth."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from app import output
from app.commands.base import Answer, verb

ROOT = Path(__file__).parents[2]


def register(app: typer.Typer) -> None:
    """Mount this theme's verbs, where the benchmarks are beside the code (not in an installed wheel)."""
    if not (ROOT / "benchmarks" / "truth" / "run.py").exists():
        return
    bench = typer.Typer(help="Put the instrument to the test where the truth is known.", no_args_is_help=True)
    bench.callback(epilog="Example: auditkit bench truth --corpus corpus/")(_nothing)
    bench.command("truth", epilog="Example: auditkit bench truth --corpus corpus/ --audits 400")(verb(truth))
    app.add_typer(bench, name="bench", rich_help_panel="Rebuild what is bundled")


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
    """Put the instrument to the test where the truth is known."""

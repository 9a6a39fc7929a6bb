"""`auditkit detector attack`: what a detector is worth once somebody works against it."""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any

import typer

from app import detector_attacks, output
from app.commands.base import Answer, DeviceOption, verb
from app.commands.detector_group import detector_group
from auditkit.errors import DetectorError

EXAMPLE = (
    "Example: auditkit detector attack data/ --detector path:detectors/mine --attack pgd --eps 2/255 --out attacked"
)
NONE = "none"
MEASURES = {"linf": "Linf, of 255", "l2": "L2", "psnr": "PSNR, dB", "ssim": "SSIM"}


def register(app: typer.Typer) -> None:
    """Mount this theme's verb."""
    detector_group(app).command("attack", epilog=EXAMPLE)(verb(attack))


def attack(
    data: Annotated[
        list[str], typer.Argument(help="Held-out folders (real/<origin>/, generated/<generator>/), tables or runs.")
    ],
    detector: Annotated[str, typer.Option("--detector", "-d", help="A registered name, or path:FOLDER.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder to write; new or empty.")],
    method: Annotated[
        list[str], typer.Option("--attack", help="pgd, apgd, autoattack, square, or none; repeatable.")
    ] = ["pgd"],  # noqa: B006
    eps: Annotated[
        list[str] | None, typer.Option(help="Budget, as 2/255 or 0.5; repeatable. 2/255 for linf, 0.5 for l2.")
    ] = None,
    norm: Annotated[str, typer.Option(help="linf: largest change of a value; l2: Euclidean, values in 0..1.")] = "linf",
    steps: Annotated[int, typer.Option(min=1, help="Of pgd, apgd and autoattack.")] = 40,
    restarts: Annotated[int, typer.Option(min=1, help="From random starts.")] = 1,
    queries: Annotated[int, typer.Option(min=1, help="Of square and autoattack, for each image.")] = 1000,
    launder: Annotated[
        list[str] | None, typer.Option(help="jpeg:75, resize:0.5, screenshot ..., or none; repeatable; the usual ones.")
    ] = None,
    regenerate: Annotated[
        str | None, typer.Option(help="Also make images again with this generator (its autoencoder, its diffusion).")
    ] = None,
    autoencoder: Annotated[
        list[str],
        typer.Option(help="Real images are laundered through it: a generator, a folder, or none; repeatable."),
    ] = ["personas"],  # noqa: B006
    direction: Annotated[
        list[str], typer.Option(help="evasion: generated passes; framing: real is called generated; repeatable.")
    ] = ["evasion", "framing"],  # noqa: B006
    cost: Annotated[bool, typer.Option("--cost/--no-cost", help="Bisect the distortion that fools half.")] = True,
    images: Annotated[int, typer.Option(min=1, help="Of each class, at most.")] = 100,
    fpr: Annotated[float | None, typer.Option(help="Of the frozen threshold, where there are several.")] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Write the attacked images, too.")] = False,
    seed: Annotated[int, typer.Option(help="Of images drawn, random starts and laundering.")] = 0,
    device: DeviceOption = "auto",
) -> Answer:
    """Attack a detector in both directions, and say what is left of it.

    Attacked images are saved with 8 bits before they are judged. Beside the table stand the distortion that fools half
    of the images and the share of real images that are called generated after an autoencoder.
    """
    report = detector_attacks.attack_detector(
        *data,
        detector=detector,
        out=out,
        attacks=_some(method),
        eps=None if eps is None else [number(one) for one in eps],
        norm=norm,
        steps=steps,
        restarts=restarts,
        queries=queries,
        laundering=None if launder is None else _some(launder),
        regenerate=regenerate,
        autoencoders=_some(autoencoder),
        directions=direction,
        cost=cost,
        images=images,
        fpr=fpr,
        keep=keep,
        seed=seed,
        device=device,
        progress=True,
    )
    return Answer(detector_attacks.as_data(report), lambda: _show(report))


def number(text: str) -> float:
    """'2/255', '0.5'.

    Raises:
        DetectorError: it is no number above 0.
    """
    try:
        value = float(Fraction(text.strip()))
    except (ValueError, ZeroDivisionError):
        value = math.nan
    if not value > 0:
        raise DetectorError("a budget is a number above 0", where=f"eps={text}", mend="for example 2/255 or 0.5")
    return value


def _some(names: list[str]) -> list[str]:
    return [] if names == [NONE] else names


def _show(report: detector_attacks.AttackReport) -> None:
    screen = output.console()
    if len(report.attacks):
        headings = ["attack", "budget", "direction", ">images", ">AUROC", ">after", ">fooled %", ">unsaved", ">PSNR"]
        rows = [
            (
                row["attack"], row["budget"], row["direction"], row["n_images"], _two(row["auroc_before"]),
                _two(row["auroc_after"]), _share(row, "fooled"), _percent(row["fooled_unsaved"]),
                _one(row["psnr"]),
            )
            for row in report.attacks.to_dict("records")
        ]  # fmt: skip
        title = f"{report.detector} under attack, threshold frozen at {report.fpr:.2g} false positives"
        screen.print(output.table(headings, rows, title=title))
        screen.print(
            "fooled: of the images judged rightly before, those judged wrongly as saved with 8 bits [95% interval by "
            "source]; unsaved: before rounding. PSNR in dB, mean. –: too little to say, or sizes changed."
        )
    if len(report.evasion):
        costs = [
            (
                row["direction"], MEASURES[row["measure"]],
                _cost(row), f"{row['fooled']} of {row['n_images']}", row["wrong_already"],
            )
            for row in report.evasion.to_dict("records")
        ]  # fmt: skip
        title = "Distortion at which half of the images are fooled"
        screen.print(
            output.table(["direction", "measure", ">half at", ">fooled", ">wrong already"], costs, title=title)
        )
    if len(report.false_accusations):
        accused = [
            (row["model"], row["n_images"], _percent(row["rate_before"]), _share(row, "rate"))
            for row in report.false_accusations.to_dict("records")
        ]
        title = "Real images laundered through an autoencoder and called generated"
        screen.print(output.table(["through", ">real images", ">before %", ">after %"], accused, title=title))
    screen.print(f"Tables and pictures: {report.out}", soft_wrap=True, markup=False)


def _cost(row: dict[Any, Any]) -> str:
    if row["status"] == "insufficient":
        return "too few sources"
    digits = 3 if row["measure"] in ("l2", "ssim") else 1
    low, high = (f"{row[end]:.{digits}f}" if math.isfinite(row[end]) else "…" for end in ("low", "high"))
    if row["status"] == "not reached":
        return f"not reached within the budget [{low}, {high}]"
    return f"{row['median']:.{digits}f} [{low}, {high}]"


def _share(row: dict[Any, Any], name: str) -> str:
    if not math.isfinite(row[name]):
        return "–"
    return f"{100 * row[name]:.0f} [{100 * row['low']:.0f}, {100 * row['high']:.0f}]"


def _percent(value: float) -> str:
    return f"{100 * value:.0f}" if math.isfinite(value) else "–"


def _two(value: float) -> str:
    return f"{value:.3f}" if math.isfinite(value) else "–"


def _one(value: float) -> str:
    return f"{value:.1f}" if math.isfinite(value) else "–"

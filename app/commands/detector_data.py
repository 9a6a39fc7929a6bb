"""`auditkit detector pairs`, `alike` and `shortcuts`: data that a detector can learn the right thing from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app import detector_data, output
from app.commands.base import Answer, DeviceOption, verb
from app.commands.detector_group import detector_group

if TYPE_CHECKING:
    from detectors.examples import Examples

DataArgument = Annotated[
    list[Path], typer.Argument(help="Folders with real/<origin>/ and generated/<generator>/, tables, runs.")
]
SkipBad = Annotated[bool, typer.Option("--skip-bad", help="Leave out files that are no images, and count them.")]


def register(app: typer.Typer) -> None:
    """Mount the verbs in the group `detector`."""
    group = detector_group(app)
    group.command(
        "pairs", epilog="Example: auditkit detector pairs photographs --autoencoder personas --crop 256 --out pairs"
    )(verb(pairs))
    group.command("alike", epilog="Example: auditkit detector alike data --out data-alike")(verb(alike))
    group.command("shortcuts", epilog="Example: auditkit detector shortcuts data --json")(verb(shortcuts))


def pairs(
    reals: Annotated[Path, typer.Argument(help="A folder of real images, or data whose real ones are taken.")],
    autoencoder: Annotated[
        list[str], typer.Option(help="A bundled generator, or a folder with an autoencoder; repeat for more.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder for the pairs; a stopped call goes on.")],
    crop: Annotated[int | None, typer.Option(min=8, help="Side of the crops, px; whole images by default.")] = None,
    crops: Annotated[int, typer.Option(min=1, help="Crops of each image.")] = 1,
    seed: Annotated[int, typer.Option(help="Of the places of the crops.")] = 0,
    skip_bad: SkipBad = False,
    device: DeviceOption = "auto",
) -> Answer:
    """Pair real images with their reconstructions through autoencoders: same content, size, places and compression."""
    made = detector_data.make_detector_pairs(
        reals, autoencoder, out, crop=crop, crops=crops, seed=seed, device=device, skip_bad=skip_bad, progress=True
    )
    return _written(made, out)


def alike(
    data: DataArgument,
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder for the copies; must not exist.")],
    side: Annotated[
        int | None,
        typer.Option(min=8, help="Side of the copies, px, a multiple of 8; the largest that all images have."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of places and encodings.")] = 0,
    skip_bad: SkipBad = False,
) -> Answer:
    """Copy data with both sides in one encoding: format, JPEG tables and size of the real side, no metadata."""
    made = detector_data.make_detector_data_alike(data, out, side=side, seed=seed, skip_bad=skip_bad, progress=True)
    return _written(made, out)


def shortcuts(
    data: DataArgument,
    seed: Annotated[int, typer.Option(help="Of folds and permutations.")] = 0,
    skip_bad: SkipBad = False,
) -> Answer:
    """Can the classes be told by format, quantisation, size, resampling, content or metadata alone?

    Reads DATA, changes nothing. A warning says that a detector trained on DATA may have learnt that instead.
    """
    found = detector_data.audit_shortcuts(data, seed=seed, skip_bad=skip_bad, progress=True)
    answer: dict[str, Any] = {
        **{key: value for key, value in vars(found).items() if key != "shortcuts"},
        "warnings": found.warnings,
        "shortcuts": [vars(each) for each in found.shortcuts],
    }

    def show() -> None:
        screen = output.console()
        rows = [
            (
                each.kind,
                each.part,
                _number(each.auroc),
                _interval(each.ci_low, each.ci_high),
                _p(each.p_holm),
                each.verdict,
            )
            for each in found.shortcuts
        ]
        title = f"{found.n_real} real and {found.n_generated} generated images of {found.n_sources} sources"
        title += ", aligned pairs" if found.aligned else ""
        headings = ["shortcut", "told by", ">AUROC", ">95% interval", ">p, corrected", "verdict"]
        screen.print(output.table(headings, rows, title=title))
        for each in found.shortcuts:
            if each.meaning:
                output.say(f"{each.kind}: {each.meaning}")
        if found.aligned:
            size = next(each for each in found.shortcuts if each.kind == "size")
            if "bytes" in size.parts:
                output.say(
                    f"size: AUROC {size.parts['bytes']:.2f} by bytes, which in aligned pairs is not judged either"
                )

    return Answer(answer, show)


def _written(made: Examples, out: Path) -> Answer:
    counts = made.table.groupby(["label", "origin", "generator"], sort=False).size().reset_index(name="images")
    answer = {"out": out, "images": len(made), "sources": made.table["source"].nunique(), "parts": counts}

    def show() -> None:
        rows = counts.astype(str).to_numpy().tolist()
        output.console().print(output.table(["label", "origin", "generator", ">images"], rows, title=str(out)))

    return Answer(answer, show)


def _number(value: float) -> str:
    return "" if value != value else f"{value:.2f}"


def _interval(low: float, high: float) -> str:
    return "" if low != low else f"{low:.2f} to {high:.2f}"


def _p(value: float) -> str:
    return "" if value != value else f"{value:.3f}"

"""`auditkit detect`, `detectors` and `train detector`: verdicts on images, by detectors trained on one's own."""

from __future__ import annotations

import json
from enum import Enum, StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app import detection, output
from app.autoencoders import USUAL
from app.commands.base import Answer, DeviceOption, RunsOption, verb
from app.finding import RUNS
from auditkit.errors import DetectorError

if TYPE_CHECKING:
    import pandas as pd

    from auditkit.runs import Run

DetectorOption = Annotated[
    list[str],
    typer.Option(
        "--detector",
        help="A detector's name, or path:FOLDER; repeat for more. By default all installed, but those to be named.",
    ),
]
COLORS = {"generated": "bold red", "abstain": "bold yellow"}
LIMIT = 0.99  # as in `detectors.trained`, which would import numpy here
FIRST = 50
"""Rows that the table shows; --csv and --json have all."""


class CalibrationKind(StrEnum):
    """See `detectors.calibration`."""

    isotonic = "isotonic"
    temperature = "temperature"


class Copies(Enum):
    """See `detectors.splits.split`."""

    error = "error"
    join = "join"
    ignore = "ignore"


def register(app: typer.Typer) -> None:
    """Mount this theme's verbs."""
    panel = "Detectors"
    app.command(
        "detect", rich_help_panel=panel, epilog="Example: auditkit detect uploads/ --detector path:detectors/mine"
    )(verb(detect))
    app.command("detectors", rich_help_panel=panel, epilog="Example: auditkit detectors path:detectors/mine")(
        verb(detectors)
    )


def training(group: typer.Typer) -> None:
    """Mount `detector` in the group `auditkit train`."""
    example = "Example: auditkit train detector data/ --family spectrum --out detectors/mine"
    group.command("detector", epilog=example)(verb(train))


def detect(
    targets: Annotated[list[Path], typer.Argument(help="Images and folders of them; or a run, which keeps the rows.")],
    detector: DetectorOption = [],  # noqa: B006
    fpr: Annotated[
        float | None, typer.Option(help="False positive rate to judge at, one that the detectors were trained for.")
    ] = None,
    runs: RunsOption = RUNS,
    csv: Annotated[Path | None, typer.Option("--csv", help="Write all rows here.")] = None,
    device: DeviceOption = "auto",
) -> Answer:
    """Ask detectors whether images are generated: generated, no sign, abstain or not applicable, each with why.

    'no sign' does not say that an image is real. Files that are no images are named, the others are judged; the exit
    code is then 1.
    """
    table = detection.detect(*targets, detectors=detector, fpr=fpr, device=device, but=csv, runs=runs, progress=True)
    if csv is not None:
        from auditkit.files import write_atomic

        write_atomic(csv, table.to_csv(index=False).encode("utf-8", "backslashreplace"))
    bad = table[table["error"] != ""]
    data = {"images": int(table["file"].nunique() - len(bad)), "unreadable": len(bad), "judgements": table}
    run = detection.run_meant(targets, runs)
    return Answer(data, lambda: _show(table, csv, run), exit_code=int(bool(len(bad))))


def detectors(
    name: Annotated[str | None, typer.Argument(help="A detector's name, or path:FOLDER, to read its card.")] = None,
) -> Answer:
    """List the installed detectors, the generators that each knows, and what it reached; with a name, its card."""
    return _listed() if name is None else _card(detection.detector_card(name))


def train(
    data: Annotated[
        list[Path], typer.Argument(help="Folders (real/ORIGIN/, generated/GENERATOR/), tables, or runs; one or more.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The new folder to write the detector into.")],
    family: Annotated[str, typer.Option(help="cnn, spectrum, clip-linear ...: auditkit plugins lists them.")] = "cnn",
    option: Annotated[
        list[str], typer.Option("--option", help="key=value, an option of the family; repeat for more.")
    ] = [],  # noqa: B006
    name: Annotated[str | None, typer.Option(help="The detector's name; by default the folder's.")] = None,
    development: Annotated[
        list[Path],
        typer.Option("--development", help="Held-out data to set the threshold on; by default a fifth of DATA."),
    ] = [],  # noqa: B006
    test: Annotated[
        list[Path], typer.Option("--test", help="Held-out data to report on; by default a fifth of DATA.")
    ] = [],  # noqa: B006
    reconstruct: Annotated[
        list[str],
        typer.Option(
            "--reconstruct",
            help="Autoencoder (a bundled generator, a folder): reconstruct the real images through it, and learn from "
            "these aligned pairs; repeat for more.",
        ),
    ] = [],  # noqa: B006
    crop: Annotated[
        int | None, typer.Option(min=8, help="With --reconstruct: pixels a side of a pair; whole images by default.")
    ] = None,
    crops: Annotated[int, typer.Option(min=1, help="With --reconstruct and --crop: pairs of each real image.")] = 1,
    fpr: Annotated[float, typer.Option(help="False positive rate to freeze the threshold at.")] = 0.01,
    minutes: Annotated[
        float | None, typer.Option(min=0.01, help="Of training at most, for families that have the option.")
    ] = None,
    adversarial: Annotated[
        bool, typer.Option("--adversarial", help="Harden it against small perturbations (cnn); takes longer.")
    ] = False,
    calibration: Annotated[CalibrationKind, typer.Option(help="Of the probabilities.")] = CalibrationKind.isotonic,
    limit: Annotated[
        float, typer.Option(help="It abstains from images more unlike than this share of the development images.")
    ] = LIMIT,
    by_name: Annotated[
        bool, typer.Option("--by-name", help="Once installed it is asked only where it is named.")
    ] = False,
    duplicates: Annotated[
        Copies, typer.Option(help="Copies under different sources: an error, kept on one side, or not looked for.")
    ] = Copies.error,
    near: Annotated[
        int, typer.Option(min=0, max=256, help="Bits of PDQ up to which images count as copies; 0: the same pixels.")
    ] = 31,
    launder: Annotated[
        list[str],
        typer.Option(
            help="Autoencoder that held-out real images are laundered through, for the rate of false accusations on "
            "the card; repeat for more; 'none' for none."
        ),
    ] = list(USUAL),  # noqa: B006
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Leave out files that are no images.")] = False,
    seed: Annotated[int, typer.Option(help="Seed of split, weights and draws.")] = 0,
    device: DeviceOption = "auto",
) -> Answer:
    """Train a detector of generated images on your own real and generated ones, and report on held-out sources."""
    made = detection.train_detector(
        *data, family=family, out=out, development=development, test=test, reconstruct=reconstruct, crop=crop,
        crops=crops, launder=() if launder == ["none"] else launder, skip_bad=skip_bad, device=device,
        progress=True, options=parse_options(option), name=name, seed=seed, fpr=fpr, minutes=minutes,
        adversarial=adversarial, calibration=str(calibration), limit=limit, by_name=by_name,
        duplicates=duplicates.value, near=near or None,
    )  # fmt: skip
    card = detection.detector_card(out)

    def show() -> None:
        _show_card(card)
        output.console().print(f"Detector: {out}\nAsk it: auditkit detect IMAGES --detector path:{out}", markup=False)

    return Answer({"out": out, "name": made.name, "card": card}, show)


def parse_options(given: list[str]) -> dict[str, Any]:
    """`key=value` as data: values are JSON where they are JSON, else text.

    >>> parse_options(["steps=200", "inputs=[\\"npr\\"]", "kind=wide"])
    {'steps': 200, 'inputs': ['npr'], 'kind': 'wide'}

    Raises:
        DetectorError: there is no '=' in one.
    """
    found: dict[str, Any] = {}
    for each in given:
        key, sign, value = each.partition("=")
        if not sign or not key:
            raise DetectorError("an option is key=value", where=f"--option {each}", mend="such as --option steps=600")
        try:
            found[key.replace("-", "_")] = json.loads(value)
        except ValueError:
            found[key.replace("-", "_")] = value
    return found


def _show(table: pd.DataFrame, csv: Path | None, run: Run | None) -> None:
    from rich.text import Text

    screen = output.console()
    good = table[table["error"] == ""]
    several = len(set(good["detector"])) > 1
    rows = []
    for row in good.head(0 if run else FIRST).to_dict("records"):  # the pictures of a run have no names to read
        verdict = Text(row["verdict"], style=COLORS.get(row["verdict"], ""))
        cells = [row["file"], verdict, *(_number(row[key]) for key in ("score", "probability", "unfamiliar"))]
        rows.append([*cells[:1], *([row["detector"]] if several else []), *cells[1:], row["why"]])
    heads = ["file", *(["detector"] if several else []), "verdict", ">score", ">p", ">unfamiliar", "why"]
    if rows:
        screen.print(output.table(heads, rows))
        more = len(good) - FIRST
        if more > 0:
            screen.print(f"... and {more:,} more rows: --csv FILE or --json has all.")
    for name, part in good.groupby("detector", sort=False):
        counts = ", ".join(f"{n:,} {v}" for v in detection.VERDICTS if (n := int((part["verdict"] == v).sum())))
        fpr = part["fpr"].iloc[0]
        screen.print(
            f"{output.visible(name)}: {counts}. Of {len(part):,} real images like those that it knows, about "
            f"{len(part) * fpr:.2g} would be called generated ({100 * fpr:g}%; its card says how high that may be).",
            soft_wrap=True, markup=False,
        )  # fmt: skip
    if run is not None:
        screen.print(f"Kept: {run.path / 'detections.parquet'}", soft_wrap=True, markup=False)
        screen.print(f"Next: auditkit measure {run.path} --measure detection", soft_wrap=True, markup=False)
        screen.print(f"      auditkit report {run.path}", soft_wrap=True, markup=False)
    if len(rows):
        screen.print(
            "p: that it is generated, if half of such images are. unfamiliar: share of development images less unlike "
            "the training data. No sign is no proof of a real picture.", soft_wrap=True,
        )  # fmt: skip
    bad = table[table["error"] != ""]
    if len(bad):
        title = f"{len(bad):,} of {table['file'].nunique():,} files could not be read"
        screen.print(output.table(["file", "why"], bad[["file", "error"]].itertuples(index=False), title=title))
    if csv is not None:
        screen.print(f"All rows: {csv}", soft_wrap=True, markup=False)


def _listed() -> Answer:
    rows = detection.list_detectors()

    def show() -> None:
        screen = output.console()
        cells = [
            (row["name"], row["family"] or "?", ", ".join(row["knows"]), _number(row["auroc"]), _remark(row))
            for row in rows
        ]
        if rows:
            screen.print(output.table(["detector", "family", "knows", ">AUROC", ""], cells))
        else:
            screen.print("No detector is installed.")
        screen.print("Your own: auditkit train detector DATA --out FOLDER; then --detector path:FOLDER.", markup=False)

    return Answer(rows, show)


def _remark(row: dict[str, Any]) -> str:
    return row["error"] or ("asked only where it is named" if row["by_name"] else "")


def _card(card: dict[str, Any]) -> Answer:
    return Answer(card, lambda: _show_card(card))


def _show_card(card: dict[str, Any]) -> None:
    from rich.markdown import Markdown

    from detectors.training_card import as_markdown

    output.console().print(Markdown(output.visible(as_markdown(card), lines=True), hyperlinks=False))


def _number(value: Any) -> str:
    return "" if value is None or value != value else f"{value:.3g}"

"""`auditkit detector evaluate`: what a detector does on a generator that it has never seen, and at one's own volume."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from app import output
from app.commands.base import Answer, DeviceOption, verb
from app.commands.detector_group import detector_group
from auditkit.errors import DetectorError

BASE_RATE, VOLUME = 0.01, 100_000
EXAMPLE = "Example: auditkit detector evaluate data/ --family spectrum --leave-one-out --out evaluation"


def register(app: typer.Typer) -> None:
    """Mount `evaluate` in the group `detector`."""
    group = detector_group(app)
    if group.registered_callback is None:  # the group's own help has an example too
        group.callback(epilog=EXAMPLE)(_nothing)
    group.command("evaluate", epilog=EXAMPLE)(verb(evaluate))


def _nothing() -> None:
    """Data, evaluation and attacks of synthetic-image detectors."""


def evaluate(
    data: Annotated[
        list[str],
        typer.Argument(help="Folders (real/<origin>/, generated/<generator>/), tables or runs; several are joined."),
    ],
    detector: Annotated[str | None, typer.Option(help="A trained detector: a name, or its folder.")] = None,
    family: Annotated[str | None, typer.Option(help="A family to train anew; needs --leave-one-out.")] = None,
    leave_one_out: Annotated[
        bool, typer.Option("--leave-one-out", help="Train without each generator and each origin, test on it.")
    ] = False,
    baselines: Annotated[
        bool, typer.Option("--baselines", help="The field's usual detectors on the same folds beside it.")
    ] = False,
    option: Annotated[list[str], typer.Option(help="Of the family: name=value; repeat for more.")] = [],  # noqa: B006
    degradation: Annotated[
        list[str], typer.Option(help="jpeg:75, downscale:0.5, social and so on; repeatable; a usual set by default.")
    ] = [],  # noqa: B006
    undegraded: Annotated[bool, typer.Option("--undegraded", help="No degradation: images as they are.")] = False,
    autoencoder: Annotated[
        list[str], typer.Option(help="Launder real images through this autoencoder; repeatable; with --detector.")
    ] = [],  # noqa: B006
    base_rate: Annotated[float, typer.Option(help="Share of generated images among yours.")] = BASE_RATE,
    volume: Annotated[int, typer.Option(help="How many images come in.")] = VOLUME,
    seed: Annotated[int, typer.Option(help="Of splits, training and degradations.")] = 0,
    out: Annotated[Path, typer.Option("--out", "-o", help="A folder for tables, page and card; it resumes.")] = Path(
        "detector-evaluation"
    ),
    device: DeviceOption = "auto",
) -> Answer:
    """Test a detector on generators and photographs that it has not seen, degraded, and at your own volume.

    Writes tables (Parquet, CSV, JSON), a page and a model card. A stopped evaluation goes on where it was.
    """
    if family is not None and not leave_one_out:
        raise DetectorError(
            "a family is not trained yet: it is tested by leaving one out",
            where=f"--family {family}",
            mend="add --leave-one-out, or test a trained detector: --detector NAME",
        )
    if detector is not None and leave_one_out:
        raise DetectorError(
            "a trained detector cannot be left without one of its generators",
            where=f"--detector {detector}",
            mend="use --family NAME --leave-one-out, which trains anew",
        )
    from app.detector_evaluation import evaluate_detector

    table = evaluate_detector(
        *data, detector=detector, family=family, options=_options(option), baselines=baselines,
        degradations=[] if undegraded else degradation or None, autoencoders=autoencoder, base_rate=base_rate,
        volume=volume, out=out, seed=seed, device=device, progress=True,
    )  # fmt: skip
    return Answer({**table.attrs, "results": table}, lambda: _show(table))


def _options(given: list[str]) -> dict[str, Any]:
    """name=value, values as JSON where they are, else text.

    Raises:
        DetectorError: one without '='.
    """
    found = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals:
            raise DetectorError("an option of a family is name=value", where=f"--option {text}", mend="such as bins=48")
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found


def _show(table: Any) -> None:
    from reports.detector_page import alarm_table, left_out_table

    screen = output.console()
    about = table.attrs
    for made in (left_out_table(table, brief=True), alarm_table(about["alarms"], brief=True)):
        heads = [f">{head}" if right else head for head, right in zip(made.columns, made.numeric, strict=True)]
        screen.print(output.table(heads, made.rows, title=made.caption))
    for sentence in about["accusations"].to_dict("records"):
        screen.print(f"{sentence['detector']}, {sentence['held_out']}: {sentence['sentence']}", markup=False)
    for note in about["notes"]:
        screen.print(note, markup=False)
    screen.print(f"Page: {about['page']}", soft_wrap=True, markup=False)
    screen.print(f"Card: {about['card']}", soft_wrap=True, markup=False)

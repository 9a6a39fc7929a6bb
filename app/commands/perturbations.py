"""`auditkit perturbations`: tell protective perturbations from noise, simulate them, and see what edits leave."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app import output
from app.commands.base import Answer, DeviceOption, verb

if TYPE_CHECKING:
    from app.perturbations import PerturbationCheck

SHOWN = 20

ImagesArgument = Annotated[list[Path], typer.Argument(help="Images, or folders of images.")]
KindOption = Annotated[str, typer.Option(help="style-cloak, concept-poison or latent-shield.")]
BudgetOption = Annotated[float, typer.Option(help="Largest change of a value, of 255: 1 to 32.")]
PerceptualOption = Annotated[bool, typer.Option(help="Smooth, and weaker where the image is flat.")]
AgainstOption = Annotated[
    str, typer.Option(help="The CLIP encoder; for latent-shield a generator or a vae folder. Bundled by default.")
]


def register(app: typer.Typer) -> None:
    """Mount this theme's verbs."""
    example = "Example: auditkit perturbations check portfolio/"
    group = typer.Typer(help="Protective perturbations like Glaze's and Nightshade's.", no_args_is_help=True)
    group.callback(epilog=example)(_perturbations)
    group.command("check", epilog=example)(verb(check))
    group.command("simulate", epilog="Example: auditkit perturbations simulate pictures/ --out perturbed/")(
        verb(simulate)
    )
    group.command("survive", epilog="Example: auditkit perturbations survive pictures/ --kind concept-poison")(
        verb(survive)
    )
    app.add_typer(group, name="perturbations", rich_help_panel="Detectors")


def _perturbations() -> None:
    """Protective perturbations: tell them from noise, simulate them, and see what edits leave of them."""


def check(
    images: ImagesArgument,
    fpr: Annotated[float, typer.Option(help="Share of benign sets that may be called perturbed.")] = 0.01,
    device: DeviceOption = "cpu",
) -> Answer:
    """Say whether a set of images, and each image, carries a protective perturbation: perturbed, no sign, insufficient.

    'no sign' is not consent to training. The detector knows simulations; real Glaze and Nightshade were not available.
    """
    from app.perturbations import check_perturbations

    found = check_perturbations(list(images), fpr=fpr, device=device, progress=True)
    one = dataclasses.asdict(found.finding)
    listed = one.pop("images")
    data = {
        "set": one,
        "images": [{"file": file, **row} for file, row in zip(found.files, listed, strict=True)],
        "skipped": [{"file": file, "why": why} for file, why in found.skipped],
    }
    return Answer(data, lambda: _show(found))


def _show(found: PerturbationCheck) -> None:
    screen, finding = output.console(), found.finding
    screen.print(f"{finding.verdict}: {finding.why}", soft_wrap=True, markup=False)
    screen.print(finding.meaning, soft_wrap=True, markup=False)
    order = sorted(range(len(found.files)), key=lambda at: (finding.images[at].p_value, found.files[at]))
    cells = []
    for at in order[:SHOWN]:
        image = finding.images[at]
        shown = "–" if image.p_value != image.p_value else f"{image.p_value:.2g}"
        cells.append((found.files[at], shown, image.verdict))
    screen.print(output.table(["image", ">p", "by itself"], cells))
    if len(order) > SHOWN:
        screen.print(f"and {len(order) - SHOWN} more; --json lists them all", markup=False)
    for file, why in found.skipped:
        screen.print(f"left out: {output.visible(str(file))}: {why}", soft_wrap=True, markup=False)


def simulate(
    images: ImagesArgument,
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder for the perturbed copies (PNG).")],
    kind: KindOption = "style-cloak",
    budget: BudgetOption = 4,
    perceptual: PerceptualOption = False,
    against: AgainstOption = "",
    target: Annotated[Path | None, typer.Option(help="The picture to go to; by default another of the set.")] = None,
) -> Answer:
    """Write perturbed copies of images, to test with. Simulations after Glaze, Nightshade and PhotoGuard."""
    from app.perturbations import simulate_perturbations

    table = simulate_perturbations(
        list(images), out, kind=kind, budget=budget, perceptual=perceptual, against=against, target=target,
        progress=True,
    )  # fmt: skip

    def show() -> None:
        cells = [
            (row.out, row.linf, f"{row.psnr:.1f}", f"{row.shift:.3f}", f"{row.toward:+.3f}")
            for row in table.itertuples()
        ]
        headings = ["copy", ">largest change", ">PSNR, dB", ">shift", ">toward the target"]
        output.console().print(output.table(headings, cells))

    return Answer({"kind": kind, "budget": budget, "files": table}, show)


def survive(
    images: ImagesArgument,
    perturbed: Annotated[
        Path | None, typer.Option(help="A folder of their perturbed copies, in the same order of names.")
    ] = None,
    kind: KindOption = "style-cloak",
    budget: BudgetOption = 4,
    perceptual: PerceptualOption = False,
    against: AgainstOption = "",
    edit: Annotated[list[str], typer.Option(help="jpeg:75, resize:0.5, blur:1, crop:0.8 ...; repeat for more.")] = [],  # noqa: B006
) -> Answer:
    """Measure what share of a perturbation's effect on its encoder edits leave: JPEG, resizing, crops."""
    from app.perturbations import perturbation_survival

    table = perturbation_survival(
        list(images), perturbed=perturbed, kind=kind, budget=budget, perceptual=perceptual, against=against,
        edits=edit, progress=True,
    )  # fmt: skip

    def show() -> None:
        def number(value: Any) -> str:
            return "–" if value != value else f"{value:.2f}"

        cells = [
            (row.label, number(row.share), f"{number(row.ci_low)} to {number(row.ci_high)}", row.n, row.weak)
            for row in table.itertuples()
        ]
        headings = ["edit", ">share left", ">95%", ">images", ">too weak to ask"]
        output.console().print(output.table(headings, cells))

    return Answer({"kind": kind, "budget": budget, "edits": table}, show)

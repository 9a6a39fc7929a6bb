"""`auditkit copies`, `memorisation` and `protected`: is an image a training image come again, or one of my works?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app import api, copies, output
from app.commands.base import Answer, DeviceOption, EncoderOption, RunsOption, verb

if TYPE_CHECKING:
    from detectors.copies.finding import Found

IndexArgument = Annotated[Path, typer.Argument(help="The index's folder.")]
IndexOption = Annotated[Path, typer.Option("--index", help="The index's folder, of: auditkit copies index.")]
ImagesArgument = Annotated[list[str], typer.Argument(help="A run, folders of images, or images.")]
RateOption = Annotated[float, typer.Option(help="Share of unrelated images that may be called a match.")]
TrainingOption = Annotated[
    Path | None, typer.Option("--training", help="Where the indexed images are now, if not where they were.")
]
SheetOption = Annotated[
    Path | None, typer.Option("--sheet", help="Write a page here with each image beside its nearest.")
]
RegistryOption = Annotated[
    Path | None, typer.Option("--registry", help="The registry's file; protected.sqlite in $AUDITKIT_HOME by default.")
]
RegistryEncoderOption = Annotated[
    str | None, typer.Option("--encoder", help="The CLIP encoder of a new registry; a registry keeps its own.")
]
SHOWN = 20
PANEL = "Detectors"


def register(app: typer.Typer) -> None:
    """Mount this theme's verbs."""
    group = typer.Typer(help="Find training images that come again in generated ones.", no_args_is_help=True)
    group.callback(epilog="Example: auditkit copies find latest --index training.index")(_copies)
    group.command("index", epilog="Example: auditkit copies index training/ --out training.index")(verb(index))
    group.command("calibrate", epilog="Example: auditkit copies calibrate training.index --held-out not-trained-on/")(
        verb(calibrate)
    )
    group.command("find", epilog="Example: auditkit copies find latest --index training.index --sheet copies.html")(
        verb(find)
    )
    app.add_typer(group, name="copies", rich_help_panel=PANEL)
    app.command(
        "memorisation",
        rich_help_panel=PANEL,
        epilog="Example: auditkit memorisation prompts.txt -g path:checkpoint --ordinary ordinary.txt",
    )(verb(memorisation))
    works = typer.Typer(
        help="Keep a registry of protected works, and ask what was made from them.", no_args_is_help=True
    )
    works.callback(epilog="Example: auditkit protected check latest")(_protected)
    works.command("add", epilog="Example: auditkit protected add paintings/ --owner 'A. Painter'")(verb(add))
    works.command("list", epilog="Example: auditkit protected list")(verb(show_works))
    works.command("remove", epilog="Example: auditkit protected remove 3")(verb(remove))
    works.command("calibrate", epilog="Example: auditkit protected calibrate unrelated-images/")(verb(learn))
    works.command("check", epilog="Example: auditkit protected check latest --sheet works.html")(verb(check))
    app.add_typer(works, name="protected", rich_help_panel=PANEL)


def _copies() -> None:
    """Find training images that come again in generated ones."""


def _protected() -> None:
    """Keep a registry of protected works, and ask what was made from them."""


def index(
    source: Annotated[Path, typer.Argument(help="The training images: a folder, or a persona corpus.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The index's folder; one that is there is replaced.")],
    split: Annotated[str | None, typer.Option(help="Of a corpus; train by default.")] = None,
    encoder: EncoderOption = api.ENCODER,
    device: DeviceOption = "auto",
) -> Answer:
    """Index training images by whole-image embeddings and PDQ hashes. The images are not kept, and no face is read."""
    made = copies.index_copies(source, out, split=split, encoder=encoder, device=device, progress=True)
    about = made.about
    data = {"index": out, "images": len(made), "encoder": about.encoder, "kind": about.kind, "id": about.id}

    def show() -> None:
        screen = output.console()
        screen.print(output.table(["index", ">images", "encoder"], [(out, f"{len(made):,}", about.encoder)]))
        screen.print(f"Next: auditkit copies calibrate {out} --held-out FOLDER", soft_wrap=True, markup=False)

    return Answer(data, show)


def calibrate(
    index: IndexArgument,
    held_out: Annotated[
        Path, typer.Option("--held-out", help="Images of the same kind that were not trained on: a folder or a corpus.")
    ],
    split: Annotated[str | None, typer.Option(help="Of a held-out corpus; calibration by default.")] = None,
    training: TrainingOption = None,
    rate: RateOption = 0.01,
    planted: Annotated[int, typer.Option("--copies", min=1, help="Training images that copies are made of.")] = 200,
    change: Annotated[
        list[str], typer.Option(help="How copies are changed, such as jpeg:30 or crop-resize:0.8; repeat for more.")
    ] = [],  # noqa: B006
    roc: Annotated[Path | None, typer.Option("--roc", help="Write the ROC curves here as CSV.")] = None,
    seed: Annotated[int, typer.Option(help="Of the lot by which training images are copied.")] = 0,
    device: DeviceOption = "auto",
) -> Answer:
    """Calibrate an index: how near do images come that are no copies, and how many planted copies are found?"""
    from auditkit.files import write_atomic
    from detectors.copies.calibration import check_rate

    check_rate(rate)
    made = copies.calibrate_copies(
        index, held_out, split=split, training=training, copies=planted, changes=change, seed=seed, device=device,
        progress=True,
    )  # fmt: skip
    at, found, area = made.thresholds(rate), made.found(rate), made.auroc()
    if roc is not None:
        write_atomic(roc, made.roc().to_csv(index=False).encode())
    data = {"index": index, "training_images": made.size, "auroc": area, "thresholds": at.as_dict(), "found": found}

    def show() -> None:
        screen = output.console()
        cells = [
            (row.change, row.n, _share(row.found), _between(row.low, row.high), _share(row.by_embedding),
             _share(row.by_pdq), _share(row.right))
            for row in found.itertuples()
        ]  # fmt: skip
        heads = ["planted copies", ">n", ">found", ">95%", ">by embedding", ">by PDQ", ">right one"]
        screen.print(output.table(heads, cells))
        for line in _said(at.as_dict(), made.size):
            screen.print(line, soft_wrap=True, markup=False)

    return Answer(data, show)


def find(
    images: ImagesArgument,
    index: IndexOption,
    rate: RateOption = 0.01,
    sheet: SheetOption = None,
    training: TrainingOption = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write all rows here as CSV.")] = None,
    runs: RunsOption = api.RUNS,
    device: DeviceOption = "auto",
) -> Answer:
    """Find the nearest training image of each image, and say whether it is that one come again.

    A match is for a person to look at. No match does not show that nothing was copied: parts and styles are not seen.
    """
    found = copies.find_copies(images, index, rate=rate, runs=runs, device=device, progress=True)
    return _found(found, images, out, sheet, index=index, training=training, runs=runs)


def memorisation(
    prompts: Annotated[str, typer.Argument(help="A text file with one prompt a line, a suite's name or a .toml spec.")],
    generator: Annotated[str, typer.Option("--generator", "-g", help="A Stable Diffusion or SDXL checkpoint.")],
    ordinary: Annotated[
        str | None, typer.Option(help="Prompts of the same kind known not to be memorised, given likewise.")
    ] = None,
    rate: Annotated[float, typer.Option(help="Share of ordinary prompts that may be called memorised.")] = 0.05,
    steps: Annotated[int | None, typer.Option(help="DDIM steps of a whole path; 50 by default.")] = None,
    first: Annotated[int | None, typer.Option(help="How many of them to measure; 1 by default.")] = None,
    seeds: Annotated[int | None, typer.Option(help="Paths of each prompt; 4 by default.")] = None,
    guidance: Annotated[float | None, typer.Option(help="Guidance scale of the paths; 7.5 by default.")] = None,
    device: DeviceOption = "auto",
) -> Answer:
    """Rank prompts by how strongly they steer the noise: large where a training image was memorised (Wen et al. 2024).

    A signal, no proof: look at the images of the prompts it names, and at the training images nearest to them.
    """
    table, at = copies.memorisation(
        prompts, generator=generator, ordinary=ordinary, rate=rate, steps=steps, first=first, seeds=seeds,
        guidance=guidance, device=device, progress=True,
    )  # fmt: skip
    data = {"generator": generator, "rate": rate, "threshold": None if at is None else vars(at), "prompts": table}

    def show() -> None:
        screen = output.console()
        cells = [
            (row.prompt, f"{row.magnitude:.4f}", _number(row.p), row.verdict) for row in table.head(SHOWN).itertuples()
        ]
        title = f"First {SHOWN} of {len(table):,} prompts" if len(table) > SHOWN else None
        screen.print(output.table(["prompt", ">magnitude", ">p", "verdict"], cells, title=title))
        if at is None:
            said = "Nothing is calibrated: give --ordinary PROMPTS known not to be memorised."
        elif at.status != "ok":
            said = f"{at.n} ordinary prompts are too few for a rate of {rate:.1%}: {at.needed} are needed."
        else:
            called = int((table["verdict"] == "memorised").sum())
            said = (
                f"{called} of {len(table):,} prompts called memorised; {len(table) * at.expected:.2g} would be by "
                f"chance [{len(table) * at.low:.2g}, {len(table) * at.high:.2g}]."
            )
        screen.print(said, soft_wrap=True, markup=False)

    return Answer(data, show)


def add(
    images: ImagesArgument,
    owner: Annotated[str, typer.Option(help="Whose they are.")],
    title: Annotated[str, typer.Option(help="The file's name by default.")] = "",
    licence: Annotated[str, typer.Option(help="What is allowed with them, and to whom.")] = "",
    note: Annotated[str, typer.Option(help="Anything else.")] = "",
    registry: RegistryOption = None,
    encoder: RegistryEncoderOption = None,
    device: DeviceOption = "auto",
) -> Answer:
    """Register works by hashes and whole-image embeddings; the pictures are not kept.

    For works, not for people: no face is recognised, and a face cut out of a picture is no work. Do not add one.
    """
    done = copies.protect(
        images, owner=owner, title=title, licence=licence, note=note, registry=registry, encoder=encoder,
        device=device, progress=True,
    )  # fmt: skip
    data = {"added": done.added, "known": done.known}

    def show() -> None:
        heads = [">added", ">there already"]
        output.console().print(output.table(heads, [(len(done.added), len(done.known))]))

    return Answer(data, show)


def show_works(registry: RegistryOption = None) -> Answer:
    """List the registered works, and how many unrelated images the registry is calibrated with."""
    from detectors.copies.protected import Registry, as_rows

    opened = Registry(registry)
    works, others = opened.works(), opened.unrelated()
    data = {"registry": opened.path, "encoder": opened.encoder(), "works": as_rows(works), "unrelated": others}

    def show() -> None:
        screen = output.console()
        cells = [(work.id, work.title, work.owner, work.licence or "–", work.note or "–") for work in works]
        screen.print(output.table([">id", "title", "owner", "licence", "note"], cells))
        screen.print(f"{len(works):,} works; calibrated with {others:,} unrelated images", markup=False)

    return Answer(data, show)


def remove(
    work: Annotated[list[int], typer.Argument(help="Numbers of works, as in: auditkit protected list.")],
    registry: RegistryOption = None,
) -> Answer:
    """Forget works, prints and all."""
    from detectors.copies.protected import Registry

    removed = Registry(registry).remove(work)
    return Answer({"removed": removed}, lambda: output.console().print(f"{removed} works forgotten", markup=False))


def learn(
    images: ImagesArgument,
    registry: RegistryOption = None,
    encoder: RegistryEncoderOption = None,
    device: DeviceOption = "auto",
) -> Answer:
    """Calibrate the registry on images made from none of the works, of the kind that will be checked."""
    known = copies.calibrate_protected(images, registry=registry, encoder=encoder, device=device, progress=True)
    text = f"Calibrated with {known:,} unrelated images"
    return Answer({"unrelated": known}, lambda: output.console().print(text, markup=False))


def check(
    images: ImagesArgument,
    rate: RateOption = 0.01,
    sheet: SheetOption = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write all rows here as CSV.")] = None,
    registry: RegistryOption = None,
    runs: RunsOption = api.RUNS,
    device: DeviceOption = "auto",
) -> Answer:
    """Ask of each image whether it is made from one of the registered works.

    A match says that two pictures are alike as wholes: not that a right is infringed. Parts and styles are not seen.
    """
    found = copies.check_protected(images, rate=rate, registry=registry, runs=runs, device=device, progress=True)
    return _found(found, images, out, sheet, index=None, training=None, runs=runs)


def _found(
    found: Found,
    images: list[str],
    out: Path | None,
    sheet: Path | None,
    *,
    index: Path | None,
    training: Path | None,
    runs: Path,
) -> Answer:
    from auditkit.files import write_atomic
    from reports.copies_page import summary

    if out is not None:
        write_atomic(out, found.table.to_csv(index=False).encode())
    if sheet is not None:
        copies.copies_page(found, images, sheet, index=index, training=training, runs=runs)
    data = found.as_dict() | {"sheet": sheet, "out": out}

    def show() -> None:
        import pandas as pd

        screen = output.console()
        order = found.table.assign(_cosine=-found.table["cosine"]).sort_values(["p", "_cosine"], kind="stable")
        named = ["owner"] if "owner" in order else []
        cells = [
            (row["image"][-36:], row["verdict"], _number(row["p"]), (row["same_pixels"] or row["nearest"])[-36:],
             *(row[each] for each in named), f"{row['cosine']:.3f}", "–" if pd.isna(row["bits"]) else row["bits"])
            for row in order.head(SHOWN).to_dict("records")
        ]  # fmt: skip
        title = f"First {SHOWN} of {len(order):,} images" if len(order) > SHOWN else None
        heads = ["image", "verdict", ">p", "nearest", *named, ">cosine", ">bits"]
        screen.print(output.table(heads, cells, title=title))
        lines = [summary(data), *(f"{what}: {path}" for what, path in (("Sheet", sheet), ("Rows", out)) if path)]
        for line in lines:
            screen.print(line, soft_wrap=True, markup=False)

    return Answer(data, show)


def _said(at: dict[str, Any], size: int) -> list[str]:
    if at["status"] != "ok":
        return [
            f"Insufficient: {at['held_out']:,} held-out images are too few for a false match rate of {at['rate']:.2%}; "
            f"{at['held_out_needed']:,} are needed."
        ]
    return [
        f"Called a copy: cosine above {at['cosine_above']:.4f}, or fewer than {at['bits_below']:.0f} bits of PDQ.",
        f"Unrelated images called a copy: {at['false_match_rate']:.2%} [{at['low']:.2%}, {at['high']:.2%}], in a "
        f"search among {size:,} training images, known from {at['held_out']:,} held-out ones.",
    ]


def _share(value: Any) -> str:
    return "–" if value != value else f"{value:.0%}"


def _between(low: Any, high: Any) -> str:
    return "–" if low != low else f"[{low:.0%}, {high:.0%}]"


def _number(value: Any) -> str:
    return "–" if value != value else f"{value:.3g}"

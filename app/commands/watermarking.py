"""`auditkit watermark`: mark images, look for marks, say whose they are, and know how often that is wrong."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app import marks, output
from app.commands import watermark_bench, watermark_keys
from app.commands.base import Answer, DeviceOption, RunsOption, verb
from app.commands.watermark_keys import KeysOption

if TYPE_CHECKING:
    import pandas as pd

    from auditkit.watermark.embedding import Marked

Row = dict[Any, Any]

KeyOption = Annotated[str | None, typer.Option(help="The key's id, or how it begins; the active key by default.")]
PayloadOption = Annotated[
    str | None, typer.Option(help="MODEL:USER, two numbers; by default the name's own, else the next free.")
]


def register(app: typer.Typer) -> None:
    """Mount this theme's verbs."""
    example = "Example: auditkit watermark embed picture.png --out marked.png"
    group = typer.Typer(help="Mark images, look for marks, and know how often that is wrong.", no_args_is_help=True)
    group.callback(epilog=example)(_watermark)
    group.command("embed", epilog=example)(verb(embed))
    group.command("detect", epilog="Example: auditkit watermark detect upload.jpg")(verb(detect))
    group.command("identify", epilog="Example: auditkit watermark identify upload.jpg --users users.csv")(
        verb(identify)
    )
    group.command("root", epilog="Example: auditkit watermark root --generator personas --out rooted/personas")(
        verb(root)
    )
    group.command("label", epilog="Example: auditkit watermark label picture.png --out labelled.png")(verb(label))
    watermark_bench.mount(group)
    watermark_keys.mount(group)
    app.add_typer(group, name="watermark", rich_help_panel="Mark and trace")


def _watermark() -> None:
    """Mark images, look for marks, and know how often that is wrong."""


def embed(
    source: Annotated[Path, typer.Argument(help="An image, or a folder of images.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The file or folder to write: PNG, WebP or JPEG.")],
    scheme: Annotated[str, typer.Option(help="spread or codec.")] = "spread",
    payload: PayloadOption = None,
    name: Annotated[str, typer.Option(help="Whom the payload stands for.")] = "",
    key: KeyOption = None,
    keys: KeysOption = None,
    psnr: Annotated[float, typer.Option(min=30, max=60, help="Quality to keep, dB.")] = 42.0,
) -> Answer:
    """Put an invisible mark on an image, or on every image of a folder, and check that it reads back.

    A folder resumes: what is marked already stays. Sources are never changed.
    """
    import pandas as pd

    done = marks.embed_watermark(
        source, out, scheme=scheme, payload=payload, name=name, key=key, keys=keys, psnr=psnr, progress=True
    )
    if not isinstance(done, pd.DataFrame):
        return Answer(dataclasses.asdict(done), lambda: _show_marked(done))
    failed = done[done["status"] == "failed"]

    def show() -> None:
        screen = output.console()
        counts = ", ".join(f"{n} {status}" for status, n in done["status"].value_counts().items()) or "no images"
        screen.print(f"{counts} in {out}", soft_wrap=True, markup=False)
        if len(failed):
            screen.print(output.table(["file", "why"], failed[["file", "note"]].itertuples(index=False)))

    return Answer({"out": out, "files": done}, show, exit_code=int(bool(len(failed))))


def _show_marked(done: Marked) -> None:
    screen = output.console()
    text = f"{done.out}: {done.psnr:.1f} dB, reads back at p = {done.p_value:.1g}"
    screen.print(text, soft_wrap=True, markup=False)
    for note in done.notes:
        screen.print(f"  {note}", markup=False, soft_wrap=True)


def detect(
    target: Annotated[str, typer.Argument(help="An image, a folder of images, or a run (folder, id, 'latest').")],
    scheme: Annotated[
        list[str], typer.Option(help="Repeat for more; by default all in the pixels, for a run its own.")
    ] = [],  # noqa: B006
    key: Annotated[str | None, typer.Option(help="The only key to try; all of the file by default.")] = None,
    keys: KeysOption = None,
    payload: Annotated[list[str], typer.Option(help="MODEL:USER to look for too; repeat for more.")] = [],  # noqa: B006
    fpr: Annotated[float, typer.Option(help="False positive rate of an image, over all that is tried.")] = 1e-6,
    search: Annotated[bool, typer.Option(help="Look for rotations, scales and crops too.")] = True,
    generator: Annotated[
        str | None, typer.Option("--generator", "-g", help="Read latent marks by inversion with this checkpoint.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write all rows here as CSV.")] = None,
    foreign: Annotated[
        list[str], typer.Option(help="Show the bits of another tool's mark: dwtdct, dwtdctsvd, rivagan, trustmark ...")
    ] = [],  # noqa: B006
    expect: Annotated[str | None, typer.Option(help="With --foreign: the bytes that should be there, in hex.")] = None,
    device: DeviceOption = "auto",
    runs: RunsOption = marks.RUNS,
) -> Answer:
    """Say of each image whether it carries a mark of your keys: present, absent, or too weak to tell.

    'absent' means that no mark of these keys was found, not that the image was never marked or not generated.
    """
    if foreign:
        return _foreign(target, foreign, expect)
    table = marks.detect_watermark(
        target,
        schemes=scheme,
        key=key,
        keys=keys,
        payloads=payload,
        fpr=fpr,
        search=search,
        generator=generator,
        device=device,
        runs=runs,
        progress=True,
    )
    if out is not None:
        from auditkit.files import write_atomic

        write_atomic(out, table.to_csv(index=False).encode())
    return Answer({"detections": table}, lambda: _show_detections(table, fpr, out))


def _show_detections(table: pd.DataFrame, fpr: float, out: Path | None) -> None:
    screen = output.console()
    named = "file" if "file" in table else "id"
    images = table[named].nunique()
    if images == 1:
        for row in table.to_dict("records"):
            _show_one(row)
    else:
        rows = [
            (*pair, *(int((part["verdict"] == verdict).sum()) for verdict in VERDICTS))
            for pair, part in table.dropna(subset="verdict").groupby(["scheme", "key_id"])
        ]
        screen.print(output.table(["scheme", "key", *(f">{verdict}" for verdict in VERDICTS)], rows))
        found = table[table["verdict"] == "present"].head(20)
        if len(found):
            cells = [
                (str(row[named])[:44], row["scheme"], _whose(row), f"{row['p_value']:.1g}", row["forgery"])
                for row in found.to_dict("records")
            ]
            screen.print(output.table([named, "scheme", "payload", ">p", "forgery"], cells, title="Present (first 20)"))
        screen.print(
            f"At a false positive rate of {fpr:g} an image, {images:,} unmarked images give {images * fpr:.2g} false "
            "positives on average.", soft_wrap=True,
        )  # fmt: skip
    errors = table[table["error"].astype(bool)] if "error" in table else table[:0]
    if len(errors):
        screen.print(output.table(["file", "could not be read"], errors[["file", "error"]].itertuples(index=False)))
    if out is not None:
        screen.print(f"All rows: {out}", soft_wrap=True, markup=False)


VERDICTS = ("present", "abstain", "absent")
_COLORS = {"present": "bold green", "abstain": "bold yellow", "absent": "bold"}


def _show_one(row: Row) -> None:
    from rich.text import Text

    screen = output.console()
    head = Text.assemble((row["verdict"], _COLORS[row["verdict"]]), f"  {row['scheme']}, key {row['key_id']}")
    if row["verdict"] == "present":
        head.append(f": {_whose(row)}")
    screen.print(head)
    lines = [f"p = {row['p_value']:.2g} ({row['p_kind']}), at a false positive rate of {row['fpr']:g}"]
    if row["bits"]:
        lines.append(f"{row['matched']:.0f} of {row['bits']:.0f} bits agree")
    moved = [f"{name} {row[name]:.3g}" for name in ("rotation", "scale") if row[name] == row[name]]
    if moved and row["verdict"] == "present":
        lines.append("found at " + ", ".join(moved))
    if row["forgery"] != "not checked":
        lines.append(f"forgery check: {row['forgery']}")
    lines += [f"measured null {row['null']}" if row["null"] else "", row["note"]]
    for line in filter(None, lines):
        screen.print(f"  {line}", markup=False, soft_wrap=True)


def _whose(row: Row) -> str:
    payload = row["payload"]
    if not isinstance(payload, str):
        return "this key (no payload)"
    return f"{payload} {row['payload_name'] or ''}".strip()


def _foreign(target: str, names: list[str], expect: str | None) -> Answer:
    import numpy as np

    from auditkit.errors import WatermarkError
    from auditkit.images import open_image
    from auditkit.watermark.verdict import read_foreign, row

    try:
        expected = None if expect is None else bytes.fromhex(expect)
    except ValueError:
        raise WatermarkError("--expect is not hexadecimal", where=expect, mend="for example: 74657374") from None
    rows = [row(one) for one in read_foreign(np.asarray(open_image(target)), names, expected)]

    def show() -> None:
        output.console().print(output.table(["scheme", "what was read"], [(r["scheme"], r["note"]) for r in rows]))

    return Answer({"detections": rows}, show)


def identify(
    image: Annotated[Path, typer.Argument(help="An image.")],
    users: Annotated[
        Path | None, typer.Option(help="CSV with the columns model, user, name; those registered by default.")
    ] = None,
    scheme: Annotated[str, typer.Option(help="spread, codec or signature.")] = "spread",
    key: KeyOption = None,
    keys: KeysOption = None,
    fpr: Annotated[float, typer.Option(help="False positive rate over all users together.")] = 1e-6,
) -> Answer:
    """Say whose image it is, among up to millions of users, or that it is nobody's at the rate asked for."""
    found, name = marks.identify_watermark(image, users=users, scheme=scheme, key=key, keys=keys, fpr=fpr)
    data = {
        **dataclasses.asdict(found),
        "payload": None if found.payload is None else str(found.payload),
        "nearest": str(found.nearest),
        "runner_up": None if found.runner_up is None else str(found.runner_up),
        "name": name,
    }

    def show() -> None:
        screen = output.console()
        if found.payload is None:
            screen.print(
                f"nobody: the nearest of {found.users:,} users agrees no better than chance allows "
                f"(p = {found.p_value:.2g}, asked for {fpr:g})", soft_wrap=True,
            )  # fmt: skip
            return
        screen.print(f"{found.payload} {name}".strip(), style="bold", markup=False)
        screen.print(
            f"  {found.matched} of {found.bits} bits agree; p = {found.p_value:.2g} over {found.users:,} users; "
            f"compared in {found.ms:.0f} ms", soft_wrap=True,
        )  # fmt: skip

    return Answer(data, show)


def root(
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder of the new checkpoint.")],
    generator: Annotated[str, typer.Option("--generator", "-g", help="A bundled name, or a checkpoint's folder.")] = (
        "personas"
    ),
    payload: PayloadOption = None,
    key: KeyOption = None,
    keys: KeysOption = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Training steps; chosen by default.")] = None,
    device: DeviceOption = "auto",
) -> Answer:
    """Make a checkpoint whose decoder marks every image it makes (Stable Signature); minutes on a CPU. Resumes."""
    done = marks.root_watermark(
        generator, out, payload=payload, key=key, keys=keys, steps=steps, device=device, progress=True
    )
    data = dataclasses.asdict(done)

    def show() -> None:
        rows = [(name.replace("_", " "), f"{value:.4g}" if isinstance(value, float) else str(value))
                for name, value in data.items() if isinstance(value, (int, float, str))]  # fmt: skip
        screen = output.console()
        screen.print(output.table(["rooted", "value"], rows))
        screen.print(f"Next: auditkit generate occupations --generator {out}", soft_wrap=True, markup=False)

    return Answer(data, show)


def label(
    source: Annotated[Path, typer.Argument(help="An image.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The file to write: PNG, WebP or JPEG.")],
    text: Annotated[str, typer.Option(help="What the label says.")] = "AI-generated",
    height: Annotated[float, typer.Option(help="Text height, as a share of the shortest side.")] = 0.05,
    corner: Annotated[str, typer.Option(help="bottom-right, bottom-left, top-right or top-left.")] = "bottom-right",
    font: Annotated[Path | None, typer.Option(help="A .ttf or .otf file, for scripts beyond English.")] = None,
) -> Answer:
    """Put a visible label on an image: at least 5% of its shortest side high, legible on any background."""
    box = marks.label_image(source, out, text=text, height=height, corner=corner, font=font)
    data = {"path": out, **dataclasses.asdict(box)}

    def show() -> None:
        screen = output.console()
        screen.print(
            f"{out}: text {box.text_height} px high ({box.share:.1%} of the shortest side), contrast {box.contrast}:1",
            soft_wrap=True, markup=False,
        )  # fmt: skip
        if box.note:
            screen.print(f"  {box.note}", markup=False, soft_wrap=True)

    return Answer(data, show)

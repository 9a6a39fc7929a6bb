"""`auditkit watermark bench`: what marks survive, beside other tools' marks, as a table and a page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from app import marks, output
from app.commands.base import Answer, DeviceOption, verb


def mount(parent: typer.Typer) -> None:
    """Mount the command `bench` in the group `watermark`."""
    parent.command("bench", epilog="Example: auditkit watermark bench --photographs photographs/photographs/test")(
        verb(bench)
    )


def bench(
    photographs: Annotated[Path | None, typer.Option(help="A folder of photographs.")] = None,
    generated: Annotated[Path | None, typer.Option(help="A folder of generated images.")] = None,
    graphics: Annotated[Path | None, typer.Option(help="A folder of flat graphics.")] = None,
    scheme: Annotated[list[str], typer.Option(help="Repeat for more.")] = ["spread", "codec"],  # noqa: B006
    peer: Annotated[
        list[str], typer.Option(help="Another tool's scheme: dwtdct, dwtdctsvd, rivagan, blind-watermark; repeatable.")
    ] = [],  # noqa: B006
    attack: Annotated[list[str], typer.Option(help="jpeg, crop:0.8,0.5 and so on; repeatable; all by default.")] = [],  # noqa: B006
    thorough: Annotated[bool, typer.Option("--thorough", help="More strengths of each attack.")] = False,
    regenerate: Annotated[
        str | None, typer.Option(help="Also regenerate with this checkpoint (its autoencoder, its diffusion).")
    ] = None,
    psnr: Annotated[float, typer.Option(min=30, max=60, help="Quality to mark at, dB.")] = 42.0,
    fpr: Annotated[float, typer.Option(help="False positive rate at which a mark counts as found.")] = 1e-6,
    seed: Annotated[int, typer.Option(help="Of payloads, keys and attacks.")] = 0,
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder for tables and page; a bench resumes.")] = Path(
        "watermark-bench"
    ),
    device: DeviceOption = "auto",
) -> Answer:
    """Mark images, attack them, read them: how often the mark is found, at what quality and speed. Resumes.

    Without folders the few photographs that come with scikit-learn are used.
    """
    folder = marks.bench_watermark(
        out,
        photographs=photographs,
        generated=generated,
        graphics=graphics,
        schemes=scheme,
        peers=peer,
        attacks=attack,
        thorough=thorough,
        regenerate=regenerate,
        psnr=psnr,
        fpr=fpr,
        seed=seed,
        device=device,
        progress=True,
    )
    from auditkit.watermark.bench import read_table

    results, quality = read_table(folder, "results.parquet"), read_table(folder, "quality.parquet")
    data: dict[str, Any] = {"out": folder, "page": folder / "index.html", "results": results, "quality": quality}

    def show() -> None:
        screen = output.console()
        for content, part in results.groupby("content", sort=False):
            names = list(dict.fromkeys(part["scheme"]))
            cells = {(r["attack"], r["strength"], r["scheme"]): r for r in part.to_dict("records")}
            rows = [
                (attack, f"{strength:g}", *(_cell(cells.get((attack, strength, name))) for name in names))
                for attack, strength in dict.fromkeys(zip(part["attack"], part["strength"], strict=True))
            ]
            title = f"Found at a false positive rate of {fpr:g}, {content}"
            screen.print(output.table(["attack", ">strength", *(f">{name}" for name in names)], rows, title=title))
        columns = ["psnr", "ssim", "encode_ms", "decode_ms", "search_ms"]
        rows = [
            (row["scheme"], row["content"], *(f"{row[column]:.3g}" for column in columns))
            for row in quality.to_dict("records")
        ]
        screen.print(output.table(["scheme", "content", *(f">{column}" for column in columns)], rows))
        screen.print(f"Page: {folder / 'index.html'}", soft_wrap=True, markup=False)

    return Answer(data, show)


def _cell(row: dict[Any, Any] | None) -> str:
    return "–" if row is None else f"{row['tpr']:.2f} [{row['tpr_low']:.2f}, {row['tpr_high']:.2f}]"

"""A run as a folder of pages that open without a server: report, model card, disclosure, every image, the data."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auditkit import __version__
from auditkit.errors import RunError
from auditkit.files import sha256_file, write_atomic
from auditkit.images import open_image
from auditkit.provenance.disclosure import disclose
from reports import disclosure_page, model_card, tables, words
from reports.build import build
from reports.render import page, to_json

if TYPE_CHECKING:
    from auditkit.runs import Run

A_PAGE = 200
"""Images on a page."""
EDGE = 192  # pixels of a thumbnail
MANIFEST = "files.json"


def write_site(
    run: Run, out: str | Path, *, images: bool = True, progress: Callable[[int, int], None] | None = None
) -> Path:
    """Write the folder, all of it or nothing.

    Args:
        out: a folder that is not there yet.
        images: whether the pages of images, with thumbnails and the files themselves, are in it.
        progress: told the images done and all of them.

    Returns:
        Its index.html.

    Raises:
        RunError: the folder is there already, or cannot be written. ImageError: an image is missing or damaged.
    """
    out = Path(out)
    if out.exists():
        raise RunError("the folder exists already", where=out, mend="name a new one with --out")
    partial = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    try:
        partial.mkdir(parents=True)
        parts = _parts(run, partial)
        if images:
            parts.append(_images(run, partial, progress))
        html = page("site.html", {"title": run.id, "facts": {}, "parts": parts, "version": __version__})
        write_atomic(partial / "index.html", html.encode())
        files = [file for file in sorted(partial.rglob("*")) if file.is_file()]
        listed = {file.relative_to(partial).as_posix(): sha256_file(file) for file in files}
        told = {"kind": "auditkit.export", "run_id": run.id, "files": listed}
        write_atomic(partial / MANIFEST, to_json(told).encode())
        os.replace(partial, out)
    except OSError as error:
        raise RunError(f"the folder cannot be written: {error.strerror}", where=out, mend="choose another") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return out / "index.html"


def _parts(run: Run, folder: Path) -> list[dict[str, str]]:
    """The pages about the run: file, title and what it is."""
    parts = []
    measurements = run.measurements()
    if measurements is not None and not measurements.empty:
        build(run, out=folder / "report.html")
        parts += [
            _part("report.html", "Report", "findings with their intervals, charts, methods and limits"),
            _part("report.measurements.csv", "Measurements (CSV)", "a row for each estimate"),
            _part("report.measurements.json", "Measurements (JSON)", "the same with the run’s whole origin"),
            _part("report.measurements.schema.json", "Schema of that JSON", "JSON Schema, 2020-12"),
        ]
    model_card.write(model_card.card(run), folder)
    disclosure_page.write_page(disclose(run), folder)
    write_atomic(folder / "images.csv", run.images().to_csv(index=False).encode())
    return [
        *parts,
        _part(model_card.HTML, "Model card", "the run on one page, in plain sentences"),
        _part(model_card.MARKDOWN, "Model card (Markdown)", "the same, to be put beside the model"),
        _part(disclosure_page.PAGE, "Disclosure", "what laws and codes ask for, answered from the run’s record"),
        _part("images.csv", "Table of images (CSV)", "prompt, seed and settings of each"),
    ]


def _images(run: Run, folder: Path, progress: Callable[[int, int], None] | None) -> dict[str, str]:
    table = run.images().drop_duplicates("id")
    (folder / "images").mkdir()
    (folder / "thumbnails").mkdir()
    rows, pages = tables.rows(table), -(-len(table) // A_PAGE)
    for number in range(1, pages + 1):
        shown = rows[(number - 1) * A_PAGE : number * A_PAGE]
        for place, row in enumerate(shown, (number - 1) * A_PAGE + 1):
            _copy(run, row["id"], folder)
            if progress is not None:
                progress(place, len(rows))
        html = page("site_images.html", _page(run, shown, number, pages))
        write_atomic(folder / f"images-{number}.html", html.encode(), sync=False)
    return _part("images-1.html", "Images", f"{words.plural(len(rows), 'image')} with prompt and seed")


def _copy(run: Run, id: str, folder: Path) -> None:
    image = open_image(run.image_path(id))
    image.thumbnail((EDGE, EDGE))
    image.convert("RGB").save(folder / "thumbnails" / f"{id}.webp", quality=80)
    shutil.copyfile(run.image_path(id), folder / "images" / f"{id}.png")


def _page(run: Run, rows: list[dict[str, Any]], number: int, pages: int) -> dict[str, Any]:
    shown = [
        {
            "thumbnail": f"thumbnails/{row['id']}.webp",
            "file": f"images/{row['id']}.png",
            "prompt": row["prompt"],
            "name": f"{row['prompt_id']}.{row['replicate']}",
            "seed": "" if row["seed"] != row["seed"] or row["seed"] is None else str(row["seed"]),
        }
        for row in rows
    ]
    links = [(f"images-{one}.html", str(one), one == number) for one in range(1, pages + 1)]
    title = "Images" if pages == 1 else f"Images, page {number} of {pages}"
    return {"title": title, "facts": {"Run": run.id}, "images": shown, "links": links, "version": __version__}


def _part(file: str, title: str, what: str) -> dict[str, str]:
    return {"file": file, "title": title, "what": what}

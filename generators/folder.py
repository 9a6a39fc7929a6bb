"""A run made of images from anywhere: a folder of files, and a CSV that says which prompt made which."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from auditkit.errors import AuditkitError, ImageError, RunError, TableError
from auditkit.files import slug, write_json
from auditkit.images import open_image
from auditkit.runs import Run, open_run
from auditkit.runs.record import make_record
from auditkit.runs.writer import image_table, store_image
from auditkit.schemas import IMAGES, write_table

Row = tuple[int, Path, str, dict[str, str | None]]
"""Line of the CSV, image file, prompt, axes."""


def import_folder(
    folder: str | Path,
    prompts_csv: str | Path,
    *,
    out: str | Path,
    name: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Run:
    """Make a run of images that another system generated.

    Args:
        folder: where the images are.
        prompts_csv: UTF-8 CSV with the columns `file` (relative to `folder`) and `prompt`; every other
            column becomes an axis to group by. An empty cell of an axis is a missing value.
        out: the folder that runs are kept in.
        name: first part of the run's id; the folder's name by default.
        progress: called with (images done, images in all).

    Returns:
        The run. Images are kept as RGB PNG at their size. The same content gives the same run again.

    Raises:
        TableError: the CSV is not as it must be; the row is named.
        ImageError: a file is missing, truncated, too large or outside `folder`; row and file are named.
        RunError: the run cannot be written. No half-written run is ever left.
    """
    folder, prompts_csv, out = Path(folder), Path(prompts_csv), Path(out)
    if not folder.is_dir():
        raise ImageError("the folder does not exist", where=folder, mend="check the path")
    rows = _read_rows(prompts_csv, folder)
    name = (slug(name or folder.resolve().name)).lower()
    try:
        out.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=".import-", dir=out))
    except OSError as error:
        raise RunError(
            f"the folder cannot be written: {error.strerror}", where=out, mend="choose another"
        ) from error
    try:
        table = image_table(_import_images(work, rows, progress, prompts_csv))
        content = json.dumps(table.astype(object).where(table.notna(), None).to_dict("list"), default=str)
        run_id = f"{name}-import-{hashlib.sha256(content.encode()).hexdigest()[:8]}"
        if (out / run_id / "images.parquet").is_file():
            return open_run(out / run_id)
        write_table(table, work / "images.parquet", IMAGES)
        write_json(work / "run.json", make_record(run_id, None, _generator(folder, prompts_csv, len(rows))))
        work.chmod(0o777 & ~_umask())  # mkdtemp makes it private
        try:
            os.rename(work, out / run_id)
        except OSError as error:
            raise RunError(
                f"the run cannot be put in place: {error.strerror}",
                where=out / run_id,
                mend="remove what is there",
            ) from error
        return open_run(out / run_id)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _read_rows(prompts_csv: Path, folder: Path) -> list[Row]:
    """Every row, checked as far as is possible without decoding an image."""
    try:
        with prompts_csv.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.reader(stream, strict=True)
            header = [cell.strip() for cell in next(reader, [])]
            axes = _axes(header, prompts_csv)
            lines = [(reader.line_num, cells) for cells in reader if any(cell.strip() for cell in cells)]
    except FileNotFoundError:
        raise TableError("the CSV does not exist", where=prompts_csv, mend="check the path") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise TableError(
            f"the CSV cannot be read: {error}", where=prompts_csv, mend="save it as UTF-8 CSV"
        ) from error
    if not lines:
        raise TableError("the CSV has no rows", where=prompts_csv, mend="add a row for each image")

    rows: list[Row] = []
    first: dict[Path, int] = {}
    for line, cells in lines:
        where = f"{prompts_csv}, line {line}"
        if len(cells) != len(header):
            raise TableError(
                f"the row has {len(cells)} cells, and the header has {len(header)}",
                where=where,
                mend="put text that contains commas in double quotes",
            )
        values = dict(zip(header, (cell.strip() for cell in cells), strict=True))
        for column in ("file", "prompt"):
            if not values[column]:
                raise TableError(
                    f"the column '{column}' is empty", where=where, mend="fill it in, or drop the row"
                )
        file = _inside(folder, values["file"], where)
        if file in first:
            raise TableError(
                f"the file '{values['file']}' is there twice, first in line {first[file]}",
                where=where,
                mend="keep one row for each image",
            )
        first[file] = line
        rows.append((line, file, values["prompt"], {axis: values[c] or None for c, axis in axes.items()}))
    return rows


def _axes(header: list[str], prompts_csv: Path) -> dict[str, str]:
    """The columns that are axes, with their slugged names."""
    for column, count in Counter(header).items():
        if count > 1:
            raise TableError(
                f"the column '{column}' is there {count} times", where=prompts_csv, mend="rename one"
            )
    for column in ("file", "prompt"):
        if column not in header:
            raise TableError(
                f"the CSV has no column '{column}'; it has: {', '.join(header) or 'none'}",
                where=prompts_csv,
                mend="name the columns file,prompt and then any axes, such as occupation",
            )
    axes: dict[str, str] = {}
    for column in header:
        if column in ("file", "prompt"):
            continue
        axis = re.sub(r"[^a-z0-9]+", "_", column.lower()).strip("_")
        if not axis or axis in axes.values():
            raise TableError(
                f"the column '{column}' does not make an axis name of its own",
                where=prompts_csv,
                mend="use letters and digits, and names that differ by more than case",
            )
        axes[column] = axis
    return axes


def _inside(folder: Path, name: str, where: str) -> Path:
    """The file `name` of `folder`, which must lie in it, links followed."""
    try:
        file = (folder / name).resolve()
        if Path(name).is_absolute() or not file.is_relative_to(folder.resolve()):
            raise ImageError(
                f"the file '{name}' lies outside the folder {folder}",
                where=where,
                mend="move it into the folder",
            )
        if not file.is_file():
            raise ImageError(f"the file '{name}' does not exist", where=where, mend=f"put it into {folder}")
    except (OSError, ValueError) as error:  # a name with a null byte, or far too long
        raise ImageError(
            f"the file '{name[:80]}' cannot be read: {error}", where=where, mend="mend the name"
        ) from error
    return file


def _import_images(
    work: Path, rows: list[Row], progress: Callable[[int, int], None] | None, prompts_csv: Path
) -> list[dict[str, Any]]:
    prompt_ids: dict[tuple[Any, ...], int] = {}
    replicates: Counter[int] = Counter()
    table = []
    for done, (line, file, prompt, axes) in enumerate(rows, start=1):
        prompt_id = prompt_ids.setdefault((prompt, *axes.values()), len(prompt_ids))
        try:
            stored = store_image(work, open_image(file))
        except AuditkitError as error:
            if isinstance(error, RunError):
                raise
            raise ImageError(
                error.what, where=f"{prompts_csv}, line {line}: {file}", mend=error.mend
            ) from error
        table.append(
            {
                **stored,
                "prompt_id": prompt_id,
                "prompt": prompt,
                "template": prompt,
                "replicate": replicates[prompt_id],
                "seed": None,
                "sampler": None,
                "steps": None,
                "guidance": None,
                "shard": 0,
                "ms": None,
                **{f"axis_{axis}": value for axis, value in axes.items()},
            }
        )
        replicates[prompt_id] += 1
        if progress is not None:
            progress(done, len(rows))
    return table


def _generator(folder: Path, prompts_csv: Path, rows: int) -> dict[str, Any]:
    """The generator's part of run.json: what made these images is not known."""
    return {
        "name": "import",
        "kind": "import",
        "source": f"{folder.resolve().name} ({prompts_csv.name}, {rows} rows)",
        "resolution": None,
        "defaults": None,
        "weights": None,
        "planted": None,
        "device": None,
        "dtype": None,
    }


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask

"""The CSV of an import: which prompt made which file, its axes, and what else is known of it."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from auditkit.errors import ImageError, TableError
from generators.importing.facts import Facts, name, number, seed, steps, text
from generators.importing.sidecar import axis_name

REQUIRED = ("file", "prompt")
MEANT: dict[str, tuple[Callable[[Any], Any], str]] = {
    "seed": (seed, "a whole number from 0 to 2^63 - 1"),
    "steps": (steps, "a whole number of at least 1"),
    "guidance": (number, "a number of at least 0"),
    "sampler": (name, "a name"),
    "negative": (text, "a text"),
    "model": (name, "a name"),
}
"""Columns that say how an image was made, and are no axes. An axis of such a name is written `axis_seed`."""


@dataclass(frozen=True)
class Entry:
    """One image to import."""

    file: Path
    """Whole path, links followed."""
    where: str
    """Its place for an error: the line of the CSV, or the file."""
    facts: Facts


def read_table(prompts_csv: Path, folder: Path) -> list[Entry]:
    """Every row, checked as far as is possible without opening an image.

    Raises:
        TableError: the CSV is not as it must be; the row is named.
        ImageError: a file is missing or outside `folder`; row and file are named.
    """
    header, lines = _read_csv(prompts_csv)
    columns = _columns(header, prompts_csv)
    entries: list[Entry] = []
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
        for column in REQUIRED:
            if not values[column]:
                raise TableError(f"the column '{column}' is empty", where=where, mend="fill it in, or drop the row")
        file = inside(folder, values["file"], where)
        if file in first:
            raise TableError(
                f"the file '{values['file']}' is there twice, first in line {first[file]}",
                where=where,
                mend="keep one row for each image",
            )
        first[file] = line
        entries.append(Entry(file, f"{where}: {file}", _facts(values, columns, where)))
    return entries


def inside(folder: Path, name: str, where: str) -> Path:
    """The file `name` of `folder`, which must lie in it, links followed.

    Raises:
        ImageError: it does not, or is no file.
    """
    try:
        file = (folder / name).resolve()
        if Path(name).is_absolute() or not file.is_relative_to(folder.resolve()):
            raise ImageError(
                f"the file '{name}' lies outside the folder {folder}", where=where, mend="move it into the folder"
            )
        if not file.is_file():
            raise ImageError(f"the file '{name}' does not exist", where=where, mend=f"put it into {folder}")
    except (OSError, ValueError) as error:  # a name with a null byte, or far too long
        what = f"the file '{name[:80]}' cannot be read: {error}"
        raise ImageError(what, where=where, mend="mend the name") from error
    return file


def _read_csv(prompts_csv: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    try:
        with prompts_csv.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.reader(stream, strict=True)
            header = [cell.strip() for cell in next(reader, [])]
            _check_header(header, prompts_csv)
            lines = [(reader.line_num, cells) for cells in reader if any(cell.strip() for cell in cells)]
    except FileNotFoundError:
        raise TableError("the CSV does not exist", where=prompts_csv, mend="check the path") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise TableError(f"the CSV cannot be read: {error}", where=prompts_csv, mend="save it as UTF-8 CSV") from error
    if not lines:
        raise TableError("the CSV has no rows", where=prompts_csv, mend="add a row for each image")
    return header, lines


def _check_header(header: list[str], prompts_csv: Path) -> None:
    for column, count in Counter(header).items():
        if count > 1:
            raise TableError(f"the column '{column}' is there {count} times", where=prompts_csv, mend="rename one")
    for column in REQUIRED:
        if column not in header:
            raise TableError(
                f"the CSV has no column '{column}'; it has: {', '.join(header) or 'none'}",
                where=prompts_csv,
                mend="name the columns file,prompt and then any axes, such as occupation",
            )


def _columns(header: list[str], prompts_csv: Path) -> dict[str, tuple[str, bool]]:
    """What each column but the required ones stands for: a name, and whether it is an axis."""
    columns: dict[str, tuple[str, bool]] = {}
    for column in header:
        if column in REQUIRED:
            continue
        meant = axis_name(column)
        is_axis = meant not in MEANT
        meant = meant.removeprefix("axis_") or meant
        if not meant or (meant, is_axis) in columns.values():
            raise TableError(
                f"the column '{column}' does not make an axis name of its own",
                where=prompts_csv,
                mend="use letters and digits, and names that differ by more than case",
            )
        columns[column] = (meant, is_axis)
    return columns


def _facts(values: dict[str, str], columns: dict[str, tuple[str, bool]], where: str) -> Facts:
    known: dict[str, Any] = {}
    for column, (meant, is_axis) in columns.items():
        if is_axis or not values[column]:
            continue
        clean, kind = MEANT[meant]
        known[meant] = clean(values[column])
        if known[meant] is None:
            raise TableError(
                f"the {meant} '{values[column][:60]}' is not {kind}",
                where=where,
                mend=f"mend the cell, or call the column axis_{meant} if it is an axis",
            )
    axes = {meant: values[column] or None for column, (meant, is_axis) in columns.items() if is_axis}
    return Facts(prompt=values["prompt"], **known, source="csv", axes=axes)

"""Captions and attributes of a folder of images: metadata.csv, metadata.jsonl, captions.csv, or a .txt beside each.

The first two are the convention of Hugging Face's `imagefolder`: a line an image, `file_name` relative to the file,
and `text`. Further columns are attributes.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from auditkit.errors import TableError

TABLES = ("metadata.csv", "metadata.jsonl", "captions.csv")
FILE_COLUMNS = ("file_name", "file")
TEXT_COLUMNS = ("text", "caption")


@dataclass(frozen=True)
class Entry:
    """One line of a table."""

    name: str
    """The image's file, relative to the table's folder, as written."""
    text: str
    """The caption; '' where the line has none."""
    attributes: dict[str, str]
    """Value by column; columns that are empty in this line are left out."""
    where: str
    """Table and line, for errors."""


def find_table(folder: Path) -> Path | None:
    """The folder's own table, if it has one.

    Raises:
        TableError: it has more than one.
    """
    found = [folder / name for name in TABLES if (folder / name).is_file()]
    if len(found) > 1:
        names = " and ".join(path.name for path in found)
        raise TableError(f"The folder has {names}; one must say it all.", where=folder, mend="Keep one of them.")
    return found[0] if found else None


def read_table(path: Path, *, captions: bool = True) -> list[Entry]:
    """The lines of a metadata.csv, captions.csv or metadata.jsonl, in order.

    Args:
        captions: whether there must be a column of them.

    Raises:
        TableError: it is not UTF-8, not of its format, lacks the column of file names or of captions, or two columns
            come to one attribute; the line is named.
    """
    try:
        lines = list(_json_lines(path) if path.suffix == ".jsonl" else _csv_lines(path))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise TableError(
            f"The table cannot be read: {error}", where=path, mend="Save it as UTF-8 text, a line for each image."
        ) from error
    if not lines:
        raise TableError("The table has no lines.", where=path, mend="Add a line for each image: file_name,text")
    names = list(dict.fromkeys(name for _, row in lines for name in row))
    file = _column(path, names, FILE_COLUMNS)
    text = _column(path, names, TEXT_COLUMNS) if captions or any(name in TEXT_COLUMNS for name in names) else ""
    renamed = _attributes(path, [name for name in names if name not in (file, text)])
    entries = []
    for number, row in lines:
        where = f"{path}, line {number}"
        if not row.get(file, ""):
            raise TableError(f"The column '{file}' is empty.", where=where, mend="Fill it in, or drop the line.")
        attributes = {new: row[old] for old, new in renamed.items() if row.get(old, "")}
        entries.append(Entry(row[file], row.get(text, ""), attributes, where))
    return entries


def _csv_lines(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    with path.open(newline="", encoding="utf-8-sig") as stream:
        reader = csv.reader(stream, strict=True)
        header = [cell.strip() for cell in next(reader, [])]
        if len(set(header)) < len(header):
            raise TableError("Two columns have one name.", where=path, mend=f"Rename one of: {', '.join(header)}")
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) != len(header):
                raise TableError(
                    f"The line has {len(cells)} cells, and the header has {len(header)}.",
                    where=f"{path}, line {reader.line_num}",
                    mend="Put text that contains commas in double quotes.",
                )
            yield reader.line_num, dict(zip(header, (cell.strip() for cell in cells), strict=True))


def _json_lines(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            if not isinstance(row, dict):
                raise ValueError("it is not an object")
        except (ValueError, RecursionError) as error:
            mend = 'Write one JSON object a line: {"file_name": "a.png", "text": "a caption"}'
            raise TableError(f"The line is not JSON: {error}", where=f"{path}, line {number}", mend=mend) from error
        # Lists and objects (boxes, tags) are nothing to group by.
        yield number, {str(k): _plain(v) for k, v in row.items() if not isinstance(v, list | dict)}


def _plain(value: Any) -> str:
    return "" if value is None else str(value).strip()


def _column(path: Path, names: list[str], known: tuple[str, ...]) -> str:
    found = [name for name in known if name in names]
    if len(found) == 1:
        return found[0]
    fault = f"has both {' and '.join(found)}" if found else f"has no column '{known[0]}'"
    raise TableError(
        f"The table {fault}; its columns are: {', '.join(names)}.",
        where=path,
        mend="Name the columns file_name,text and then any attributes, such as gender.",
    )


def _attributes(path: Path, columns: list[str]) -> dict[str, str]:
    """Column -> the attribute's name: lower case, digits and underscores."""
    renamed = {column: re.sub(r"[^a-z0-9]+", "_", column.lower()).strip("_") for column in columns}
    for column, name in renamed.items():
        if not name or list(renamed.values()).count(name) > 1:
            raise TableError(
                f"The column '{column}' does not make an attribute's name of its own.",
                where=path,
                mend="Use letters and digits, and names that differ by more than case.",
            )
    return renamed

"""Files beside an image that say what it was made of: `name.json`, `name.txt`, or `name.png.json`, `name.png.txt`."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from auditkit.errors import ImageError
from generators.importing import a1111
from generators.importing.facts import MAX_JSON, Facts, load_json, text
from generators.importing.metadata import facts_of_record

SUFFIXES = (".json", ".txt")


def read_sidecar(image: Path, folder: Path) -> Facts:
    """Facts out of the first file beside `image` that has a prompt; `source` is 'none' where there is none.

    JSON may hold any tool's record (see `facts.from_dict`), a ComfyUI graph, and `axes`, an object of texts. A text
    file is a caption, or AUTOMATIC1111's text with its settings.

    Raises:
        ImageError: the file lies outside `folder`, or cannot be read.
    """
    for suffix in SUFFIXES:
        for file in (image.with_suffix(suffix), image.with_name(image.name + suffix)):
            facts = _read(file, folder) if file.is_file() else None
            if facts is not None and (facts.prompt or facts.axes):
                return replace(facts, source="sidecar")
    return Facts()


def _read(file: Path, folder: Path) -> Facts | None:
    if not file.resolve().is_relative_to(folder.resolve()):
        raise ImageError(
            "the file beside the image lies outside the folder", where=file, mend="move it into the folder"
        )
    try:
        if file.stat().st_size > MAX_JSON:
            return None
        said = file.read_bytes().decode("utf-8-sig", "replace")
    except OSError as error:
        raise ImageError(
            f"the file beside the image cannot be read: {error.strerror}", where=file, mend="make it readable"
        ) from error
    if file.suffix == ".json":
        record = load_json(said)
        return _record(record) if isinstance(record, dict) else None
    if a1111.looks_like(said):
        return a1111.parse(said)
    return Facts(prompt=text(said))


def _record(record: dict[str, Any]) -> Facts:
    facts = facts_of_record(record, "sidecar")
    axes = record.get("axes")
    named = {axis_name(str(key)): text(value, 200) for key, value in axes.items()} if isinstance(axes, dict) else {}
    return Facts(axes={key: value for key, value in named.items() if key and value}).over(facts)


def axis_name(column: str) -> str:
    """The name of the axis that a column or key stands for: lower case letters, digits and _; '' if none is left."""
    return re.sub(r"[^a-z0-9]+", "_", column[:200].lower()).strip("_")

"""The page of an evaluation, of detectors or of mitigations: chapters under facts, written beside its tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from auditkit import __version__
from auditkit.files import write_atomic
from reports.chapters.base import Chapter, Figure
from reports.render import page

PAGE = "index.html"


def values(
    title: str, kicker: str, facts: Mapping[str, str], chapters: Sequence[Chapter], files: Sequence[str]
) -> dict[str, Any]:
    """What the template shows, as plain values; `files` hold the same for programs."""
    told = [
        vars(one) | {"blocks": [vars(b) | {"kind": "figure" if isinstance(b, Figure) else "table"} for b in one.blocks]}
        for one in chapters
    ]
    return {
        "version": __version__, "title": title, "kicker": kicker, "facts": facts, "chapters": told, "files": files,
    }  # fmt: skip


def write(shown: Mapping[str, Any], folder: str | Path, out: str | Path | None) -> Path:
    """Write the page of `values` as `index.html` into the evaluation's folder, or as `out`.

    Raises:
        RunError: it cannot be written.
    """
    path = Path(folder) / PAGE if out is None else Path(out)
    write_atomic(path, page("evaluation.html", dict(shown)).encode())
    return path

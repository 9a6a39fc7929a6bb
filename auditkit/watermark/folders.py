"""Images below a folder, for the batches that mark and detect: in order, and none from outside it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from auditkit.errors import WatermarkError

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff")


def image_files(folder: str | Path, *, but: str | Path | None = None) -> Iterator[tuple[Path, str]]:
    """Paths below `folder`, sorted, relative to it, each with why it must not be opened ('' where it may be).

    Args:
        but: a folder below it whose files are left out, such as the one that results are written to.

    Raises:
        WatermarkError: it is not a folder.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise WatermarkError("there is no such folder", where=folder, mend="check the path")
    root = folder.resolve()
    left_out = None if but is None else Path(but).resolve()
    for path in sorted(folder.rglob("*")):  # does not follow links to folders
        if path.suffix.lower() not in SUFFIXES or path.name.startswith("."):
            continue
        if left_out is not None and path.parent.resolve().is_relative_to(left_out):
            continue
        if path.is_symlink() and not path.resolve().is_relative_to(root):
            yield path.relative_to(folder), "a link to a file outside the folder"
        elif path.is_file() or path.is_symlink():
            yield path.relative_to(folder), ""

"""Reading a folder of captioned images: every image opened once, what cannot be used named with its reason."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from auditkit.errors import ImageError, TableError
from auditkit.images import open_image
from generators.training.own.metadata import TABLES, Entry, find_table, read_table

SUFFIXES = frozenset((".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff"))
SHOWN = 5
"""Bad files that an error lists; the others are counted."""
LEAST = 16
"""Shorter sides, in pixels, are taken for thumbnails or damage."""


@dataclass(frozen=True)
class Item:
    """One captioned image."""

    path: Path
    """Absolute."""
    name: str
    """Relative to the folder, with forward slashes."""
    caption: str
    attributes: dict[str, str]
    size: tuple[int, int]
    """Width and height as it is shown (EXIF orientation applied)."""
    digest: str
    """sha256 of size and pixels: two files of one digest show the same picture."""


@dataclass(frozen=True)
class Bad:
    """A file or line that cannot be used."""

    name: str
    reason: str


@dataclass(frozen=True)
class Data:
    """What a folder holds."""

    folder: Path
    items: list[Item]
    """In the order of their names."""
    bad: list[Bad] = field(default_factory=list)

    @property
    def duplicates(self) -> int:
        """How many images show a picture that another one shows already."""
        return len(self.items) - len({item.digest for item in self.items})

    @property
    def attributes(self) -> dict[str, Counter[str]]:
        """For each attribute, how many images have which value."""
        counts: dict[str, Counter[str]] = {}
        for item in self.items:
            for name, value in item.attributes.items():
                counts.setdefault(name, Counter())[value] += 1
        return counts

    @property
    def sha256(self) -> str:
        """Of every name, picture, caption and attribute: what a training was started with."""
        lines = [repr((i.name, i.digest, i.caption, sorted(i.attributes.items()))) for i in self.items]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def read(folder: Path, *, skip_bad: bool = False, progress: Callable[[int, int], None] | None = None) -> Data:
    """Read every image of a folder and its subfolders, hidden ones left out, with its caption.

    A caption is the line of the nearest table in the image's folder or above it that names the image, or else the text
    of the file of the same name with the suffix .txt.

    Args:
        skip_bad: leave out what cannot be used instead of stopping.
        progress: called with (images done, images in all).

    Raises:
        ImageError: the folder is missing or holds no image; a file is damaged, too large, too small, outside the
            folder or missing, or has no caption (all of them are found before it stops; the first are listed).
        TableError: a table is not as it must be, or names an image twice.
    """
    folder = Path(os.path.abspath(folder))
    if not folder.is_dir():
        raise ImageError("The folder of images does not exist.", where=folder, mend="Check the path.")
    files, tables = _walk(folder)
    entries, bad = _entries(folder, tables)
    if not files and not entries:
        kinds = ", ".join(sorted(SUFFIXES))
        raise ImageError("The folder holds no images.", where=folder, mend=f"Put images into it ({kinds}).")
    captioned, silent = _captions(folder, files, entries)
    bad += silent
    items: list[Item] = []
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for done, opened in enumerate(pool.map(lambda one: _open(folder, *one), captioned), start=1):
            (items if isinstance(opened, Item) else bad).append(opened)  # type: ignore[arg-type]
            if progress is not None:
                progress(done, len(captioned))
    if bad and not skip_bad:
        raise _refused(folder, bad, len(items) + len(bad))
    if not items:
        raise _refused(folder, bad, len(bad), skip=False)
    return Data(folder, sorted(items, key=lambda item: item.name), sorted(bad, key=lambda each: each.name))


def _walk(folder: Path) -> tuple[list[Path], list[Path]]:
    """(images, tables) under the folder; links to other folders are not followed."""
    images, tables = [], []
    for at, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        here = Path(at)
        table = find_table(here)
        tables += [table] if table else []
        shown = sorted(name for name in names if not name.startswith("."))
        images += [here / name for name in shown if Path(name).suffix.lower() in SUFFIXES]
    return images, tables


def _entries(folder: Path, tables: list[Path]) -> tuple[dict[Path, Entry], list[Bad]]:
    """The line of each image, and the lines whose file is not there."""
    entries: dict[Path, Entry] = {}
    bad: list[Bad] = []
    # Deeper tables first: the nearest one speaks for an image.
    for table in sorted(tables, key=lambda path: (-len(path.parts), path)):
        own: dict[Path, Entry] = {}
        for entry in read_table(table):
            try:
                path = Path(os.path.normpath(table.parent / entry.name))
                inside = path.is_relative_to(folder)  # where links lead is seen when it is opened
                fault = "lies outside the folder" if not inside else "" if path.is_file() else "does not exist"
            except (OSError, ValueError) as error:  # a name with a null byte, or far too long
                fault = f"cannot be read: {error}"
            if fault:
                bad.append(Bad(f"{_short(entry.name)} ({entry.where})", f"the file {fault}"))
                continue
            if path in own:
                raise TableError(
                    f"The image '{entry.name}' is there twice, first in {own[path].where}.",
                    where=entry.where,
                    mend="Keep one line for each image.",
                )
            own[path] = entry
        entries = own | entries
    return entries, bad


def _captions(
    folder: Path, files: list[Path], entries: dict[Path, Entry]
) -> tuple[list[tuple[Path, str, dict[str, str]]], list[Bad]]:
    """(image, caption, attributes) of every image that has a caption, and those that have none."""
    found, bad = [], []
    for path in sorted({*files, *entries}):
        entry = entries.get(path)
        try:
            caption = entry.text if entry and entry.text else _sidecar(path)
        except (OSError, UnicodeDecodeError) as error:
            bad.append(Bad(_name(folder, path), f"its {path.stem}.txt cannot be read: {error}"))
            continue
        if caption:
            found.append((path, " ".join(caption.split()), entry.attributes if entry else {}))
        else:
            line = f"{entry.where} is empty" if entry else f"in no {', '.join(TABLES)}"
            bad.append(Bad(_name(folder, path), f"it has no caption ({line}, and there is no {path.stem}.txt)"))
    return found, bad


def _sidecar(image: Path) -> str:
    path = image.with_suffix(".txt")
    return path.read_text(encoding="utf-8-sig").strip() if path.is_file() else ""


def _open(folder: Path, path: Path, caption: str, attributes: dict[str, str]) -> Item | Bad:
    name = _name(folder, path)
    if not path.resolve().is_relative_to(folder.resolve()):
        return Bad(name, "it is a link to a file outside the folder")
    try:
        image = open_image(path)
    except ImageError as error:
        return Bad(name, error.what)
    if min(image.size) < LEAST:
        return Bad(name, f"its {image.width} x {image.height} px are too few")
    digest = hashlib.sha256(repr(image.size).encode() + image.tobytes()).hexdigest()
    return Item(path.resolve(), name, caption, attributes, image.size, digest)


def _refused(folder: Path, bad: list[Bad], of: int, *, skip: bool = True) -> ImageError:
    lines = [f"{_short(each.name)}: {each.reason}" for each in bad[:SHOWN]]
    lines += [f"and {len(bad) - SHOWN} more"] if len(bad) > SHOWN else []
    what = f"{len(bad)} of {of} images cannot be used:\n  " + "\n  ".join(lines)
    mend = "Mend or remove them" + (", or pass --skip-bad to leave them out." if skip else ".")
    return ImageError(what, where=folder, mend=mend)


def _name(folder: Path, path: Path) -> str:
    return path.relative_to(folder).as_posix()


def _short(name: str) -> str:
    return name if len(name) <= 160 else name[:157] + "..."

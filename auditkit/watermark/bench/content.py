"""The images of a bench: from folders, lists of files, or arrays, each with a hash that says which one it was."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from auditkit.errors import ImageError
from auditkit.files import sha256
from auditkit.images import encode_png, image_id, open_image
from auditkit.watermark.folders import image_files

Source = str | Path | Iterable[Any]
"""A folder, or a list of files, Pillow images or arrays uint8 [h, w, 3]."""


@dataclass(frozen=True, eq=False)
class Picture:
    """One image: what it shows ('photographs'), its file's name, the sha256 of its file (of its PNG, where it came as
    pixels), and its pixels, uint8 [h, w, 3]."""

    content: str
    name: str
    hash: str
    pixels: np.ndarray

    def record(self) -> dict[str, Any]:
        """For record.json."""
        height, width = self.pixels.shape[:2]
        return {"name": self.name, "sha256": self.hash, "width": width, "height": height}


def pictures(by_content: Mapping[str, Source]) -> list[Picture]:
    """Every image, in the order given (of a folder: by name); one that comes twice within a content counts once.

    Raises:
        ImageError: a folder or file is missing, empty or no image.
    """
    found = [_read(content, one) for content, source in by_content.items() for one in _listed(source)]
    return list({(one.content, one.hash): one for one in found}.values())


def _listed(source: Source) -> list[Any]:
    if not isinstance(source, str | Path):
        return list(source)
    folder = Path(source)
    if folder.is_file():
        return [folder]
    if not folder.is_dir():
        raise ImageError("there is no such folder of images", where=folder, mend="check the path")
    files = [folder / path for path, problem in image_files(folder) if not problem]
    if not files:
        raise ImageError("the folder holds no images", where=folder, mend="put image files there")
    return files


def _read(content: str, one: Any) -> Picture:
    if isinstance(one, str | Path):
        try:
            data = Path(one).read_bytes()
        except OSError as error:
            raise ImageError(f"the image cannot be read: {error.strerror}", where=one, mend="check the path") from None
        try:
            pixels = np.array(open_image(data))
        except ImageError as error:
            raise ImageError(error.what, where=one, mend=error.mend) from None
        return Picture(content, Path(one).name, sha256(data), pixels)
    from PIL import Image

    image = one if isinstance(one, Image.Image) else Image.fromarray(np.ascontiguousarray(one))
    data = encode_png(image)
    return Picture(content, "", image_id(data), np.array(open_image(data)))

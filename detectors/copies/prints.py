"""What is compared of a picture: its whole-image embedding, its PDQ hashes and the hash of its pixels."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from auditkit.provenance.pdq import FORMS, hash_forms

if TYPE_CHECKING:
    from auditkit.clip.encoders import Encoder

BATCH = 64
"""Pictures opened at a time."""

Open = Callable[[], Image.Image]
"""Opens a picture, as `auditkit.images.open_image` does; may raise ImageError."""

Progress = Callable[[int], None]
"""Called with how many pictures are done."""


@dataclass(frozen=True)
class Picture:
    """A picture that is opened when it is needed.

    Attributes:
        name: by which people find it again: a path, an id.
    """

    name: str
    open: Open


@dataclass(frozen=True)
class Prints:
    """Prints of n pictures.

    Attributes:
        names: of the pictures.
        pixels: uint8 [n, 32], the SHA-256 of size and RGB values: the same just where all pixels are.
        embeddings: float32 [n, v, d], unit rows: of the picture as it is and, where v is 2, mirrored.
        pdq: uint8 [n, 8, 32], PDQ hashes in the order of `auditkit.provenance.pdq.FORMS`.
        usable: bool [n]; a picture that is too flat for PDQ has no hash that means anything.
    """

    names: list[str]
    pixels: NDArray[np.uint8]
    embeddings: NDArray[np.float32]
    pdq: NDArray[np.uint8]
    usable: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.names)

    def where(self, rows: NDArray[np.integer] | NDArray[np.bool_]) -> Prints:
        """Some of the pictures, by numbers or by a mask [n]."""
        rows = np.flatnonzero(rows) if rows.dtype == bool else rows
        return Prints(
            [self.names[int(row)] for row in rows],
            self.pixels[rows], self.embeddings[rows], self.pdq[rows], self.usable[rows],
        )  # fmt: skip

    @staticmethod
    def together(parts: Iterable[Prints], dim: int) -> Prints:
        """Several as one; none gives a `Prints` of no pictures with embeddings of length `dim`."""
        parts = list(parts)
        if not parts:
            empty = np.zeros((0, 32), np.uint8)
            forms = np.zeros((0, len(FORMS), 32), np.uint8)
            return Prints([], empty, np.zeros((0, 1, dim), np.float32), forms, np.zeros(0, bool))
        return Prints(
            [name for part in parts for name in part.names],
            *(np.concatenate([getattr(part, name) for part in parts]) for name in _ARRAYS),
        )


_ARRAYS = ("pixels", "embeddings", "pdq", "usable")


def take(images: list[Image.Image], names: list[str], encoder: Encoder, *, mirrored: bool = True) -> Prints:
    """Prints of opened RGB pictures.

    Args:
        mirrored: embed each mirrored too; only one side of a comparison needs it.
    """
    views = [view for image in images for view in (image, ImageOps.mirror(image))[: 1 + mirrored]]
    embeddings = encoder.embed_images(views).reshape(len(images), 1 + mirrored, encoder.dim)
    hashes = [hash_forms(image) for image in images]
    pdq = np.frombuffer(b"".join(form.bits for forms in hashes for form in forms), np.uint8)
    pixels = np.frombuffer(b"".join(pixel_hash(image) for image in images), np.uint8)
    return Prints(
        names,
        pixels.reshape(-1, 32),
        embeddings,
        pdq.reshape(-1, len(FORMS), 32),
        np.array([forms[0].usable for forms in hashes], bool),
    )


def take_all(
    pictures: Iterable[Picture], encoder: Encoder, *, mirrored: bool = True, progress: Progress | None = None
) -> Iterator[Prints]:
    """Prints of many pictures, `BATCH` at a time, each opened once.

    Raises:
        ImageError: one that cannot be opened.
    """
    waiting: list[Picture] = []
    done = 0

    def flush() -> Prints:
        nonlocal done
        made = take([each.open() for each in waiting], [each.name for each in waiting], encoder, mirrored=mirrored)
        done += len(waiting)
        waiting.clear()
        if progress:
            progress(done)
        return made

    for picture in pictures:
        waiting.append(picture)
        if len(waiting) == BATCH:
            yield flush()
    if waiting:
        yield flush()


def pixel_hash(image: Image.Image) -> bytes:
    """32 bytes: the SHA-256 of an RGB picture's size and values."""
    found = hashlib.sha256(f"{image.width}x{image.height}|".encode())
    found.update(np.ascontiguousarray(np.asarray(image, np.uint8)).tobytes())
    return found.digest()

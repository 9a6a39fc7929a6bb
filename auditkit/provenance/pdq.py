"""PDQ, the 256-bit perceptual hash that platforms exchange: of an image, and of its eight orientations."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pdqhash
from numpy.typing import NDArray
from PIL import Image

from auditkit.errors import ImageError, ProvenanceError
from auditkit.images import open_reduced, to_rgb

BITS = 256
USABLE_QUALITY = 50
"""Below it the image is too flat for its hash to mean anything: PDQ's own advice is to discard the hash."""

FORMS = (
    "as it is",
    "rotated 90",
    "rotated 180",
    "rotated 270",
    "flipped vertically",
    "flipped horizontally",
    "rotated 90, flipped vertically",
    "rotated 90, flipped horizontally",
)
"""The orientations of `hash_forms`, in its order. Rotations are counter-clockwise."""

SIDE = 64  # of the image that PDQ takes its cosine transform of
SMALL = 384  # up to this side the package itself takes less than a millisecond
REDUCED = 512  # a JPEG is decoded at a fraction of its size, but no smaller

Source = str | Path | bytes | Image.Image | NDArray[np.uint8]


@dataclass(frozen=True)
class Pdq:
    """A PDQ hash.

    Attributes:
        bits: 32 bytes, the highest bit first, as in the 64 hexadecimal digits of ThreatExchange.
        quality: 0 (flat) to 100; a hash that came without its quality has 100.
    """

    bits: bytes
    quality: int = 100

    @classmethod
    def from_hex(cls, text: str, *, quality: int = 100) -> Pdq:
        """The hash of 64 hexadecimal digits.

        Raises:
            ProvenanceError: `text` is something else.
        """
        try:
            bits = bytes.fromhex(text)
        except ValueError:
            bits = b""
        if len(bits) * 8 != BITS:
            raise ProvenanceError("a PDQ hash has 64 hexadecimal digits", where=text[:80], mend="copy the whole hash")
        return cls(bits, quality)

    @property
    def hex(self) -> str:
        """64 lower-case hexadecimal digits."""
        return self.bits.hex()

    @property
    def usable(self) -> bool:
        """Whether the hash may be matched: its quality is at least 50."""
        return self.quality >= USABLE_QUALITY


def distance(a: Pdq, b: Pdq) -> int:
    """How many of the 256 bits differ, 0..256. At most 31 is the usual threshold of a match."""
    return (int.from_bytes(a.bits, "big") ^ int.from_bytes(b.bits, "big")).bit_count()


def hash_image(source: Source) -> Pdq:
    """The PDQ hash of an image.

    Follows "The TMK+PDQF Video-Hashing Algorithm and the PDQ Image-Hashing Algorithm" (Facebook 2019). PDQ blurs the
    image with two box filters, samples it at 64 x 64 places and hashes that. Here, for images with a side above 384,
    blur and sampling are one matrix product for each axis, on a JPEG that was decoded at a fraction of its size; the
    64 x 64 values, rounded to 8 bits, then go to the package `pdqhash`. Both ways give the same hash but for a few
    bits (`python -m benchmarks.hash_banks` counts them). Transparency is laid over white, and EXIF orientation is
    applied, which other tools may not do.

    Args:
        source: a file, its bytes, an opened image, or pixels, uint8 [h, w, 3] or [h, w].

    Raises:
        ImageError: the file is no image, or one too large to open safely; or the pixels have another shape or dtype.
    """
    vector, quality = pdqhash.compute(_pixels(source))
    return _pdq(vector, quality)


def hash_forms(source: Source) -> tuple[Pdq, ...]:
    """The eight hashes of an image as it is, rotated and flipped, in the order of `FORMS`; else as `hash_image`.

    All eight cost hardly more than one, because they are sign changes and a transposition of one cosine transform. So
    one that was made here differs by some bits from the hash of an image that was turned as a file.
    """
    vectors, quality = pdqhash.compute_dihedral(_pixels(source))
    return tuple(_pdq(vector, quality) for vector in vectors)


def _pdq(vector: NDArray[np.int64], quality: int) -> Pdq:
    return Pdq(np.packbits(vector.astype(bool)).tobytes(), int(quality))


def _pixels(source: Source) -> NDArray[np.uint8]:
    """What the package is to hash: uint8 [h, w, 3], the image itself where it is small, else 64 x 64 of it."""
    image, (width, height) = _opened(source)
    if max(image.size) <= SMALL and image.size == (width, height):
        return np.ascontiguousarray(image)
    luma = np.asarray(image.convert("L"), dtype=np.float32)
    small = _sampling(height, luma.shape[0]) @ luma @ _sampling(width, luma.shape[1]).T
    return np.repeat(np.rint(small).clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)


def _opened(source: Source) -> tuple[Image.Image, tuple[int, int]]:
    if isinstance(source, (str, Path, bytes)):
        return open_reduced(source, REDUCED)
    if isinstance(source, np.ndarray):
        if source.dtype != np.uint8 or source.shape[2:] not in ((), (3,)) or source.ndim < 2 or not source.size:
            raise ImageError(
                "the pixels are not uint8 [h, w, 3] or [h, w]",
                where=f"{source.dtype} {list(source.shape)}",
                mend="give pixels of 0 to 255 as uint8",
            )
        source = Image.fromarray(source)
    image = to_rgb(source)
    return image, image.size


@lru_cache(maxsize=64)
def _sampling(whole: int, side: int) -> NDArray[np.float32]:
    """PDQ's two box filters and its sampling along one axis: float32 [64, side], whose rows sum to 1.

    Args:
        whole: the side of the image, which sets the filters' width and the places.
        side: the side it was decoded with: `whole` divided by 1, 2, 4 or 8, rounded up.
    """
    width = (whole + 2 * SIDE - 1) // (2 * SIDE)
    after = (width + 2) // 2 - 1  # of an even width, one pixel more lies after the middle than before it

    def window(middle: int) -> range:
        return range(max(0, middle - (width - 1 - after)), min(whole, middle + after + 1))

    weights = np.zeros((SIDE, whole), dtype=np.float32)
    for row in range(SIDE):
        outer = window(int((row + 0.5) * whole / SIDE))
        for middle in outer:
            inner = window(middle)
            weights[row, inner.start : inner.stop] += 1 / (len(outer) * len(inner))
    factor = 2 ** round(math.log2(whole / side))
    padded = np.pad(weights, ((0, 0), (0, side * factor - whole)))
    return padded.reshape(SIDE, side, factor).sum(axis=2)

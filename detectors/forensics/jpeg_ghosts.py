"""JPEG ghosts: parts of an image that were once compressed at another quality than the rest (Farid 2009).

Saved again at many qualities, an image changes least at one that it was saved at before. A part that was pasted in
from a JPEG of lower quality changes least at that quality, while the rest does not. A ghost is a trace of a splice or
of an uneven scene (flat, dark and saturated parts change little at any quality): a place to look at, no verdict.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import label, uniform_filter

from auditkit.errors import ImageError

QUALITIES = tuple(range(30, 96, 5))
BLOCK = 16
"""Pixels a side of the squares over which differences are averaged."""
FLAT = 4.0
"""Squares that change by less at every quality, in grey levels squared, are flat or saturated: they show no ghost."""
LEAST_SHARE, MOST_SHARE, LEAST_CONTRAST = 0.02, 0.5, 0.4
"""Size of a part that is named, as a share of the image, and how much less it must change than the rest."""
COLUMNS = 5


@dataclass(frozen=True)
class Ghosts:
    """What saving again changes.

    Attributes:
        qualities: that were tried.
        difference: float32 [qualities, h / 16, w / 16], 0..1: mean squared difference, between the least and the
            greatest of each place.
        candidate: the quality at which some connected part changes least against the rest; NaN for none.
        share: of the image that this part takes.
        contrast: how much less it changes there than the rest, in 0..1; NaN for none.
    """

    qualities: tuple[int, ...]
    difference: NDArray[np.float32]
    candidate: float
    share: float
    contrast: float

    def map_image(self, *, side: int = 256) -> Image.Image:
        """All maps beside each other, lowest quality first: dark is where saving at that quality changes least."""
        from PIL import ImageDraw

        rows, columns = self.difference.shape[1:]
        scale = side / max(rows, columns)
        size = max(round(columns * scale), 1), max(round(rows * scale), 1)
        lines = -(-len(self.qualities) // COLUMNS)
        sheet = Image.new("RGB", (COLUMNS * (size[0] + 8), lines * (size[1] + 24)), "white")
        draw = ImageDraw.Draw(sheet)
        for at, (quality, plane) in enumerate(zip(self.qualities, self.difference, strict=True)):
            left, top = at % COLUMNS * (size[0] + 8), at // COLUMNS * (size[1] + 24)
            tile = Image.fromarray((plane * 255).astype(np.uint8)).resize(size, Image.Resampling.NEAREST)
            sheet.paste(tile.convert("RGB"), (left, top + 16))
            draw.text((left + 2, top + 2), f"quality {quality}", fill="black")
        return sheet


def ghosts(image: np.ndarray, qualities: tuple[int, ...] = QUALITIES) -> Ghosts:
    """The ghosts of uint8 [h, w, 3], both sides at least 64.

    Raises:
        ImageError: the image is too small.
    """
    height, width = (length // BLOCK * BLOCK for length in image.shape[:2])
    if min(height, width) < 4 * BLOCK:
        raise ImageError(
            f"an image of {image.shape[1]} x {image.shape[0]} pixels is too small for a map of ghosts",
            where="the image",
            mend=f"give one with at least {4 * BLOCK} pixels a side",
        )
    planes = [_change(image, quality)[:height, :width] for quality in qualities]
    squares = np.stack([
        plane.reshape(height // BLOCK, BLOCK, width // BLOCK, BLOCK).mean(axis=(1, 3)) for plane in planes
    ])  # fmt: skip
    low, high = squares.min(axis=0), squares.max(axis=0)
    difference = ((squares - low) / np.maximum(high - low, 1e-6)).astype(np.float32)
    difference[:, high < FLAT] = 1
    return Ghosts(tuple(qualities), difference, *_candidate(difference, qualities))


def _change(image: np.ndarray, quality: int) -> NDArray[np.float32]:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    again = np.asarray(Image.open(file).convert("RGB"), np.float32)
    return ((image - again) ** 2).mean(axis=-1)


def _candidate(difference: NDArray[np.float32], qualities: tuple[int, ...]) -> tuple[float, float, float]:
    """The part that stands out most: its quality, its share of the image, and its contrast.

    A part is the largest connected set of squares that change little (under .15) at a quality but the last two, at
    which everything changes little. NaN where none stands out.
    """
    best, contrast_of_best = (np.nan, np.nan, np.nan), LEAST_CONTRAST
    for at, quality in enumerate(qualities[:-2]):
        plane = uniform_filter(difference[at], 3)
        parts, found = label(plane < 0.15)
        if not found:
            continue
        sizes = np.bincount(parts.ravel())[1:]
        inside = parts == int(np.argmax(sizes)) + 1
        share = float(inside.mean())
        if LEAST_SHARE <= share <= MOST_SHARE:
            contrast = float(np.median(plane[~inside]) - np.median(plane[inside]))
            if contrast >= contrast_of_best:
                best, contrast_of_best = (float(quality), share, contrast), contrast
    return best

"""Is this the picture that was signed, perhaps resized, recompressed, mirrored or cropped? A small picture decides.

A mark can be copied from one image to another, and two pictures can have near hashes. So a match by watermark or by
perceptual hash is compared with a thumbnail that was kept at signing, by normalised cross-correlation (Lewis 1995).
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE = 128
"""Longest side of a thumbnail."""
WHOLE = 0.75
"""Correlation with the whole thumbnail from which it is the same picture."""
PART = 0.82
"""Correlation with a part of it: higher, since the best of many places is taken."""
DIFFERENT = 0.50
"""Below it, at every place and scale that was tried, it is another picture."""
SCALES = np.geomspace(1.0, 0.35, 22)
"""Share of the thumbnail's side that a cropped picture may show."""
STEP = 0.05
"""Between two of them; the best is searched around more finely."""
EDGE = 3
CONTRAST = 1.6
"""How many times more or less contrast a place may have than the part that is held against it."""

FINE, COARSE = 0.7, 3.0
"""Scales, in pixels of the thumbnail, between which pictures are compared."""

Outcome = Literal["same", "part", "different", "unclear"]


@dataclass(frozen=True)
class Comparison:
    """What a comparison found: `correlation` in [-1, 1], of the best of the places tried; `mirrored` or turned."""

    outcome: Outcome
    correlation: float
    form: str
    share: float = 1.0
    """Share of the original's width or height that is shown."""

    @property
    def consistent(self) -> bool:
        return self.outcome in ("same", "part")


def thumbnail(image: Image.Image) -> bytes:
    """A picture of at most 128 px a side, WebP, to be kept beside a manifest."""
    small = image.convert("RGB")
    small.thumbnail((SIDE, SIDE), Image.Resampling.BOX, reducing_gap=3.0)
    out = io.BytesIO()
    small.save(out, format="WEBP", quality=80)
    return out.getvalue()


def compare(image: Image.Image, kept: bytes, *, parts: bool = True) -> Comparison:
    """Hold an image against a thumbnail.

    Args:
        kept: what `thumbnail` gave.
        parts: also look for the image as a crop of the original, which takes some tenths of a second.
    """
    with Image.open(io.BytesIO(kept), formats=("WEBP",)) as opened:
        original = _luma(opened.convert("RGB"))
    small = image.convert("RGB")
    small.thumbnail((2 * SIDE, 2 * SIDE), Image.Resampling.BOX, reducing_gap=3.0)
    whole = max((_correlation(_resized(_turned(small, form), original.shape), original), form) for form in FORMS)
    if whole[0] >= WHOLE:
        return Comparison("same", whole[0], whole[1])
    if not parts:
        return Comparison("different" if whole[0] < DIFFERENT else "unclear", *whole)
    best = max(
        ((*_best_place(_turned(small, form), original, SCALES), form) for form in FORMS), key=lambda each: each[0]
    )
    near = best[1] * np.linspace(1 - STEP, 1 + STEP, 7)
    best = max(best, (*_best_place(_turned(small, best[2]), original, near), best[2]), key=lambda each: each[0])
    if best[0] >= PART:
        return Comparison("part", best[0], best[2], best[1])
    return Comparison("different" if best[0] < DIFFERENT else "unclear", best[0], best[2], best[1])


FORMS = {
    "as it is": None,
    "mirrored": Image.Transpose.FLIP_LEFT_RIGHT,
    "upside down": Image.Transpose.FLIP_TOP_BOTTOM,
    "turned 180°": Image.Transpose.ROTATE_180,
    "turned 90°": Image.Transpose.ROTATE_90,
    "turned 270°": Image.Transpose.ROTATE_270,
    "transposed": Image.Transpose.TRANSPOSE,
    "transversed": Image.Transpose.TRANSVERSE,
}


def _best_place(part: Image.Image, original: NDArray[np.float32], scales: NDArray[np.float64]) -> tuple[float, float]:
    """Correlation at the best place and scale, and the share of the original that is shown there."""
    height, width = original.shape
    best = (-1.0, 1.0)
    for scale in scales:
        # The part's longer side relative to the frame decides how far it can be scaled up within it.
        fit = scale * min(width / part.width, height / part.height)
        w, h = max(8, round(part.width * fit)), max(8, round(part.height * fit))
        if w > width or h > height:
            continue
        template = _resized(part, (h, w))
        if min(template.shape) > 6 * EDGE:  # near its edge the part lacks what the original had beyond it
            template = template[EDGE:-EDGE, EDGE:-EDGE]
        if template.std() < 0.5:
            continue
        found = float(_matched(original, template).max())
        if found > best[0]:
            best = (found, float(scale))
    return best


def _matched(original: NDArray[np.float32], template: NDArray[np.float32]) -> NDArray[np.float32]:
    """Correlation at each place, [-1, 1]; -1 where the original has far less or far more contrast than the part.

    The same picture has the same contrast; on flat ground a correlation is a quotient of rounding errors.
    """
    from scipy.ndimage import uniform_filter
    from skimage.feature import match_template

    found = np.nan_to_num(match_template(original, template)).clip(-1, 1)
    h, w = template.shape
    mean, square = (uniform_filter(each, size=(h, w), mode="constant") for each in (original, original**2))
    top, left = h // 2, w // 2
    place = (slice(top, top + found.shape[0]), slice(left, left + found.shape[1]))
    contrast = np.sqrt(np.maximum(square[place] - mean[place] ** 2, 0)) / template.std()
    return np.where((contrast > 1 / CONTRAST) & (contrast < CONTRAST), found, -1.0).astype(np.float32)


def _turned(image: Image.Image, form: str) -> Image.Image:
    how = FORMS[form]
    return image if how is None else image.transpose(how)


def _resized(image: Image.Image, shape: tuple[int, ...]) -> NDArray[np.float32]:
    return _luma(image.resize((shape[1], shape[0]), Image.Resampling.BOX))


def _luma(image: Image.Image) -> NDArray[np.float32]:
    """Luma between two scales: skies and vignettes, which all pictures share, taken off, and compression's noise."""
    from scipy.ndimage import gaussian_filter

    values = np.asarray(image.convert("L"), dtype=np.float32)
    band: NDArray[np.float32] = gaussian_filter(values, FINE) - gaussian_filter(values, COARSE)
    return band


def _correlation(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    a, b = a - a.mean(), b - b.mean()
    scale = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum() / scale) if scale > 1e-6 else 0.0

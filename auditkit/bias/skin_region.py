"""Which pixels of an image show skin: a colour rule in CIELAB, the plain background left out, weight on the centre.

No face is looked for and no model is asked. The rule admits Monk's ten swatches under lighting shifts, and so it
admits wood, bread and brown hair too: what it finds is the skin-coloured region that fills most of the centre.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from auditkit.bias.skin_color import Floats, lab

Mask = NDArray[np.bool_]

SIDE = 96
"""Pixels to a side at which images are looked at."""
CENTRE = (0.5, 0.48)
SPREAD = (0.14, 0.15)
"""Where the weight lies, x and y, and its standard deviation, as parts of the image's sides. Chosen on the training
drawings of the persona corpus, where heads stand there."""
RADIUS = 12.0
"""A region is what lies within this distance of its own colour, lightness counted at .7, so that shading counts."""
PAPER_RADIUS, PAPER_EDGE = 6.0, 0.4
"""Background is what joins the edge and lies this near to the edge's commonest colour, if that covers so much of the
edge; else nothing is background."""
MAX_CHROMA = 48.0
"""Skin has less; the yellow of drawings that leave the tone open has 65 and more."""

_BIN = 6.0
_GRID = (18, 12, 14)  # bins of L, a, b over the colours that the rule admits
_SHIFT = np.array([0.0, 24.0, 24.0])


@dataclass(frozen=True)
class Skin:
    """What was found in each of n images.

    Attributes:
        lab: float64 [n, 3], CIELAB of the region, its centre weighted; NaN where there is no skin-coloured pixel.
        fraction: float64 [n], share of the image's pixels in the region.
        centre: float64 [n], share of the centre's weight (background left out) in the region.
        yellow: float64 [n], the same of the saturated yellow that drawings use for 'no tone stated'.
    """

    lab: Floats
    fraction: Floats
    centre: Floats
    yellow: Floats


def is_skin_colour(values: Floats) -> Mask:
    """Whether a colour may be skin: hue between red and yellow, little chroma, neither black nor blown out.

    The bounds leave room for light that is too warm or too cool; near black and white hue says little, and low
    chroma passes.

    Args:
        values: CIELAB [..., 3].

    Returns:
        bool [...].
    """
    lightness, a, b = np.moveaxis(values, -1, 0)
    chroma2 = a * a + b * b
    least = 3 * np.clip(np.minimum((lightness - 25) / 15, (95 - lightness) / 15), 0, 1)
    return (
        (lightness >= 5) & (lightness <= 99)
        & (chroma2 <= MAX_CHROMA**2) & (chroma2 >= least**2)
        & (b >= 0.35 * a - 4) & (a >= -0.12 * b - 3.5)
    )  # fmt: skip


def find_skin(images: NDArray[np.uint8]) -> Skin:
    """Find each image's skin-coloured region.

    The region's colour is the mode of the skin-coloured pixels in CIELAB, each counted by its place (a Gaussian
    on the centre) and by how clearly it is warm rather than grey; it is then moved to the mean of the pixels near it
    (mean shift, Comaniciu and Meer 2002), four times.

    Args:
        images: uint8 [n, side, side, 3], sRGB; see `shrunk`.
    """
    values = lab(images)
    height, width = values.shape[1:3]
    paper = _paper(values)
    may = is_skin_colour(values) & ~paper
    place = _centre_weights(height, width)
    warm = np.clip((values[..., 2] - 0.35 * np.maximum(values[..., 1], 0)) / 8, 0.1, 1) * (values[..., 0] < 97)
    colour = _modes(values, may * place * warm)
    near = np.zeros_like(may)
    for _ in range(4):
        apart = ((values - colour[:, None, None]) ** 2 * [0.5, 1, 1]).sum(axis=-1)
        near = may & (apart <= RADIUS**2)
        weight = near * place
        total = weight.sum(axis=(1, 2))
        mean = np.einsum("nhw,nhwc->nc", weight, values) / np.maximum(total, 1e-12)[:, None]
        colour = np.where(total[:, None] > 0, mean, colour)
    shown = np.maximum((~paper * place).sum(axis=(1, 2)), 1e-12)
    found = np.asarray(near.any(axis=(1, 2)))
    return Skin(
        np.where(found[:, None], colour, np.nan),
        near.mean(axis=(1, 2)),
        (near * place).sum(axis=(1, 2)) / shown,
        (_is_yellow(values) * ~paper * place).sum(axis=(1, 2)) / shown,
    )


def _is_yellow(values: Floats) -> Mask:
    lightness, a, b = np.moveaxis(values, -1, 0)
    hue = np.degrees(np.arctan2(b, a))
    return (np.hypot(a, b) > 52) & (hue > 60) & (hue < 105) & (lightness > 60)


def _centre_weights(height: int, width: int) -> Floats:
    y, x = np.linspace(0, 1, height)[:, None], np.linspace(0, 1, width)[None, :]
    return np.exp(-(((x - CENTRE[0]) / SPREAD[0]) ** 2 + ((y - CENTRE[1]) / SPREAD[1]) ** 2) / 2)


def _paper(values: Floats) -> Mask:
    """The plain background, bool [n, height, width]."""
    from scipy import ndimage

    height, width = values.shape[1:3]
    edge = np.ones((height, width), bool)
    edge[2:-2, 2:-2] = False
    rim = values[:, edge]
    coarse = np.round(rim / 4).astype(np.int64)
    keys = (coarse[..., 0] * 128 + coarse[..., 1] + 64) * 128 + coarse[..., 2] + 64
    colour = np.stack([_commonest(colours, key) for colours, key in zip(rim, keys, strict=True)])
    near = ((values - colour[:, None, None]) ** 2).sum(axis=-1) <= PAPER_RADIUS**2
    plain = near[:, edge].mean(axis=1) >= PAPER_EDGE
    within = np.zeros((3, 3, 3), bool)  # neighbours above, below and beside; never in the next image
    within[1] = [[0, 1, 0], [1, 1, 1], [0, 1, 0]]
    part, count = ndimage.label(near, within)
    outer = np.zeros(count + 1, bool)
    outer[np.unique(part[:, edge])] = True
    outer[0] = False
    return np.asarray(outer[part] & plain[:, None, None])


def _commonest(colours: Floats, key: NDArray[np.int64]) -> Floats:
    _, place, counts = np.unique(key, return_inverse=True, return_counts=True)
    return np.asarray(np.median(colours[place == counts.argmax()], axis=0))


def _modes(values: Floats, weight: Floats) -> Floats:
    """The heaviest colour of each image, float64 [n, 3]: a smoothed histogram's peak."""
    from scipy import ndimage

    n = len(values)
    place = np.clip((values + _SHIFT) // _BIN, 0, np.array(_GRID) - 1).astype(np.int64)
    cells = int(np.prod(_GRID))
    key = (place[..., 0] * _GRID[1] + place[..., 1]) * _GRID[2] + place[..., 2]
    key += np.arange(n)[:, None, None] * cells
    table = np.bincount(key.ravel(), weight.ravel(), minlength=n * cells).reshape(n, *_GRID)
    for axis in (1, 2, 3):
        table = ndimage.convolve1d(table, [1.0, 2.0, 1.0], axis=axis, mode="constant")
    peak = table.reshape(n, cells).argmax(axis=1)
    return (np.stack(np.unravel_index(peak, _GRID), axis=-1) + 0.5) * _BIN - _SHIFT

"""What an image looks like, in a few numbers that no generator's trace is needed for: is it a picture of this kind?

A family's own features are made to tell generated from real, and may see nothing strange in a photograph when all that
they were shown is drawings. These see whether it is flat or textured, noisy or clean, colourful or grey, light or dark.
Familiarity (`detectors.familiarity`) looks at both.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from detectors.base import Family, Images

SEEN = 256
"""Pixels a side of the middle that is looked at."""
_FLAT = (0, 1, 3, 8)  # levels of 8 bits between neighbours
_QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601
SIZE = 26


def appearance(images: Images) -> NDArray[np.float32]:
    """[n, 26]: shares of neighbours that differ by at most 0, 1, 3 or 8 levels, across and down; log quantiles of the
    second difference of luma; entropy, largest shares and log number of colours (4 bits a channel); quantiles and
    spread of luma; mean and spread of colourfulness. NaN for an image under 3 pixels a side."""
    return np.stack([_one(image) for image in images]) if len(images) else np.zeros((0, SIZE), np.float32)


def sight(family: Family, images: Images, features: NDArray[np.floating] | None = None) -> NDArray[np.float32]:
    """[n, d + 26]: a family's features, made here if they are not at hand, and the appearance beside them."""
    own = family.features(images) if features is None else features
    return np.hstack([np.asarray(own, np.float32), appearance(images)])


def _one(image: np.ndarray) -> NDArray[np.float32]:
    top, left = (max(length - SEEN, 0) // 2 for length in image.shape[:2])
    part = image[top : top + SEEN, left : left + SEEN]
    if min(part.shape[:2]) < 3:
        return np.full(SIZE, np.nan, np.float32)
    levels = part.astype(np.int16)
    flat = [
        (step <= most).mean()
        for step in (np.abs(np.diff(levels, axis=axis)).max(axis=2) for axis in (1, 0))
        for most in _FLAT
    ]
    luma = (part @ _LUMA) / 255
    second = np.abs(4 * luma[1:-1, 1:-1] - luma[:-2, 1:-1] - luma[2:, 1:-1] - luma[1:-1, :-2] - luma[1:-1, 2:])
    noise = np.log(1e-3 + np.quantile(second, _QUANTILES))
    shares = _colours(part)
    entropy = -(shares * np.log(shares)).sum()
    colours = [entropy, shares[0], shares[:4].sum(), shares[:16].sum(), np.log(len(shares))]
    colourful = (part.max(axis=2) - part.min(axis=2)) / 255
    light = [*np.quantile(luma, _QUANTILES), luma.std(), colourful.mean(), colourful.std()]
    return np.array([*flat, *noise, *colours, *light], np.float32)


def _colours(part: np.ndarray) -> NDArray[np.float64]:
    """Shares of the colours that occur, the largest first."""
    high = (part >> 4).astype(np.int32)
    counts = np.bincount((high[..., 0] * 256 + high[..., 1] * 16 + high[..., 2]).ravel())
    return np.sort(counts[counts > 0])[::-1] / high[..., 0].size

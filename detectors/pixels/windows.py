"""Where a test image is looked at: a grid of windows, the same at every call."""

from __future__ import annotations

import math

GRID = 8
"""Windows start at multiples of this and have sides that are: the grid of JPEG, and an even phase for NPR."""


def places(height: int, width: int, side: int, count: int) -> tuple[int, int, list[tuple[int, int]]]:
    """Height and width of the windows, and the (top, left) of each.

    Windows have `side` pixels, or what a shorter side of the image has, and are spread evenly, about as densely in
    both directions; no more than `count`, and no more than it takes to cover the image.

    >>> places(64, 64, 64, 16)
    (64, 64, [(0, 0)])
    """
    high, wide = (min(side, length) // GRID * GRID for length in (height, width))
    down, across = math.ceil(height / high), math.ceil(width / wide)
    while down * across > count and down * across > 1:
        if (down / height >= across / width and down > 1) or across == 1:
            down -= 1
        else:
            across -= 1
    tops, lefts = _spread(height - high, down), _spread(width - wide, across)
    return high, wide, [(top, left) for top in tops for left in lefts]


def _spread(room: int, count: int) -> list[int]:
    """`count` starts over 0..room, at multiples of GRID; a single one in the middle."""
    starts = [room / 2] if count == 1 else [room * at / (count - 1) for at in range(count)]
    return sorted({int(start) // GRID * GRID for start in starts})

"""The Square attack (Andriushchenko et al. 2020, arXiv 1912.00049): random search with squares, on scores alone.

Black box: the detector answers with a score and shows no gradient. Each image has its own squares and its own budget
of queries, the score of the untouched image included.
"""

from __future__ import annotations

import bisect
import math
from typing import TYPE_CHECKING

import numpy as np

from detectors.attacks.base import Problem, column

if TYPE_CHECKING:
    import torch
    from torch import Tensor

HALVINGS = (0.001, 0.005, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8)
"""Shares of the queries after which the squares' area is halved (section 3.1 for 10,000 queries, scaled)."""

TRIES = 8
FIRST_AREA = 0.8
"""Of the image, for squares at the start."""


def square(problem: Problem, *, queries: int = 1000, first_area: float = FIRST_AREA) -> Tensor:
    """The best point met, float32 [n, 3, h, w] in [0, 1], within the budget. An image that is fooled is left alone.

    Args:
        queries: scores asked for an image, at most.
        first_area: share of the image that the first squares cover.
    """
    propose = _square_linf if problem.norm == "linf" else _square_l2
    rngs = [_numpy(each) for each in problem.generators(-1)]
    best, most = problem.clean.clone(), problem.gain(problem.clean)
    for query in range(1, queries):
        standing = ~problem.fooled(most)
        if not standing.any():
            break
        part, held = problem.where(standing), best[standing]
        some = [rng for rng, each in zip(rngs, standing.tolist(), strict=True) if each]
        if query == 1:
            tried = _start(part, some)
        else:
            area = first_area / 2 ** bisect.bisect_left(HALVINGS, (query - 2) / max(1, queries - 2))
            tried = propose(part, held, area, some)
        gain = part.gain(tried)
        better = gain > most[standing]
        best[standing] = tried.where(column(better), held)
        most[standing] = gain.where(better, most[standing])
    return best


def _start(problem: Problem, rngs: list[np.random.Generator]) -> Tensor:
    """Vertical stripes one pixel wide (Linf), or a grid of 5 x 5 pyramids (L2)."""
    import torch

    _, _, height, width = problem.clean.shape
    if problem.norm == "linf":
        stripes = np.stack([rng.choice([-1.0, 1.0], (3, 1, width)) for rng in rngs])
        change = torch.from_numpy(stripes).to(problem.clean) * column(problem.eps)
        return (problem.clean + change).clamp(0, 1)
    tile = max(1, min(height, width) // 5)
    grid = np.zeros(problem.clean.shape, np.float32)
    for image, rng in zip(grid, rngs, strict=True):
        for top in range(0, height - tile + 1, tile):
            for left in range(0, width - tile + 1, tile):
                signs = rng.choice([-1.0, 1.0], (3, 1, 1))
                image[:, top : top + tile, left : left + tile] = signs * _pyramids(tile, rng)
    return _stretched(problem, torch.from_numpy(grid).to(problem.clean))


def _square_linf(problem: Problem, x: Tensor, area: float, rngs: list[np.random.Generator]) -> Tensor:
    """A square of one new sign of the whole budget for each channel (Algorithm 2); a square that changes nothing would
    waste a query, and is drawn again."""
    import torch

    _, _, height, width = x.shape
    side = min(max(1, round(math.sqrt(area * height * width))), height, width)
    out = x.clone()
    for each, (clean, rng) in enumerate(zip(problem.clean, rngs, strict=True)):
        top, left = int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1))
        where = (slice(None), slice(top, top + side), slice(left, left + side))
        for _ in range(TRIES):
            signs = x.new_tensor(rng.choice([-1.0, 1.0], 3))[:, None, None]
            out[each][where] = (clean[where] + signs * problem.eps[each]).clamp(0, 1)
            if not torch.equal(out[each][where], x[each][where]):
                break
    return out


def _square_l2(problem: Problem, x: Tensor, area: float, rngs: list[np.random.Generator]) -> Tensor:
    """Length is taken from one window, given to another, and shaped there into two pyramids (Algorithm 3)."""
    _, channels, height, width = x.shape
    side = max(3, round(math.sqrt(area * height * width)))
    side = min(side + 1 - side % 2, height, width)
    change = x - problem.clean
    for one, eps, rng in zip(change, problem.eps, rngs, strict=True):
        (to_top, from_top) = rng.integers(height - side + 1, size=2)
        (to_left, from_left) = rng.integers(width - side + 1, size=2)
        given = (slice(None), slice(to_top, to_top + side), slice(to_left, to_left + side))
        taken = (slice(None), slice(from_top, from_top + side), slice(from_left, from_left + side))
        unused = (eps**2 - (one**2).sum()).clamp(min=0) / channels
        both = one.new_zeros(one.shape)
        both[given] = both[taken] = 1
        available = ((one * both) ** 2).sum(dim=(1, 2), keepdim=True) + unused
        old = one[given] / (one[given] ** 2).sum(dim=(1, 2), keepdim=True).sqrt().clamp(min=1e-10)
        signs = one.new_tensor(rng.choice([-1.0, 1.0], (3, 1, 1)))
        new = signs * one.new_tensor(_pyramids(side, rng)) + old
        new = new / (new**2).sum(dim=(1, 2), keepdim=True).sqrt().clamp(min=1e-10) * available.sqrt()
        one[taken] = 0
        one[given] = new
    return _stretched(problem, change)


def _stretched(problem: Problem, change: Tensor) -> Tensor:
    """The change at the whole length of the budget."""
    from detectors.attacks.base import length

    return (problem.clean + change / length(change) * column(problem.eps)).clamp(0, 1)


def _pyramids(side: int, rng: np.random.Generator) -> np.ndarray:
    """Two adjacent pyramids of opposite sign, [side, side] of length 1, upright or lying (section 3.4)."""
    half = side // 2
    out = np.zeros((side, side))
    out[:half], out[half:] = _pyramid(half, side), -_pyramid(side - half, side)
    out /= max(np.sqrt((out**2).sum()), 1e-10)
    return out.T if rng.random() > 0.5 else out


def _pyramid(rows: int, columns: int) -> np.ndarray:
    """Nested rectangles, each ring one pixel narrower and 1/k^2 higher."""
    y, x = np.mgrid[:rows, :columns]
    ring = np.minimum(np.minimum(y, rows - 1 - y) * (columns / max(rows, 1)), np.minimum(x, columns - 1 - x)).astype(
        int
    )
    deepest = max(1, columns // 2 + 1)
    heights = np.cumsum(1.0 / np.arange(deepest, 0, -1) ** 2)
    return heights[np.minimum(ring, deepest - 1)]


def _numpy(generator: torch.Generator) -> np.random.Generator:
    return np.random.default_rng(generator.initial_seed())

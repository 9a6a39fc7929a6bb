"""A small detector to attack, and images for it: those of the benchmark."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.detector_attacks import images, network

SIDE = 16


def data(n: int = 12, *, seed: int = 1, side: int = SIDE) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """n real, then n generated images, their labels [2n] and sources [2n], each image its own."""
    both = [*images(n, False, seed=seed, side=side), *images(n, True, seed=seed, side=side)]
    return both, np.repeat([0, 1], n), np.array([f"source {k}" for k in range(2 * n)])


def scores(some: Sequence[np.ndarray]) -> np.ndarray:
    """What the network gives for images uint8 [h, w, 3] of any size, float64 [n]."""
    import torch

    from detectors.attacks.base import tensor

    with torch.no_grad():
        return np.array([float(network()(tensor(image[None]))[0]) for image in some], np.float64)


def problem(n: int = 8, *, direction: Any = "evasion", norm: Any = "linf", eps: float = 4 / 255, seed: int = 0) -> Any:
    """n images of the class that the direction attacks, at threshold 0."""
    from detectors.attacks.base import problem as made

    some = images(n, direction == "evasion", seed=1, side=SIDE)
    return made(network(), some, direction=direction, threshold=0.0, norm=norm, eps=eps, seed=seed)

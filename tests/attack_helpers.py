"""A small detector to attack: it learned to tell a checkerboard's trace in noise, in a second."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

SIDE = 16


def images(n: int, generated: bool, *, seed: int = 0, side: int = SIDE) -> list[np.ndarray]:
    """Smooth images uint8 [side, side, 3]; generated ones carry a faint checkerboard."""
    rng = np.random.default_rng([seed, generated])
    y, x = np.mgrid[:side, :side] / side
    out = []
    for _ in range(n):
        a, b, phase = rng.normal(size=(3, 3))
        plain = 128 + 50 * np.sin(np.multiply.outer(x, a) * 3 + np.multiply.outer(y, b) * 3 + phase)
        plain = plain + rng.normal(0, 4, plain.shape)
        if generated:
            plain = plain + 6 * ((np.indices((side, side)).sum(0) % 2) * 2 - 1)[..., None]
        out.append(np.clip(np.rint(plain), 0, 255).astype(np.uint8))
    return out


def data(n: int = 24, *, seed: int = 1) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """n of each class, labels [2n], sources [2n], each image its own."""
    both = images(n, False, seed=seed) + images(n, True, seed=seed)
    return both, np.repeat([0, 1], n), np.array([f"source {k}" for k in range(2 * n)])


@lru_cache(maxsize=1)
def network() -> Any:
    """A trained CNN with one logit, in eval mode; at logit 0 it is right about nearly all images of `data`."""
    import torch
    from torch import nn

    from detectors.attacks.base import tensor

    with torch.random.fork_rng(), torch.enable_grad():
        torch.manual_seed(0)
        net = nn.Sequential(
            nn.Conv2d(3, 12, 3, padding=1), nn.ReLU(), nn.Conv2d(12, 12, 3, stride=2, padding=1), nn.ReLU(),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 1), nn.Flatten(0),
        )  # fmt: skip
        both, labels, _ = data(64, seed=0)
        x, y = tensor(np.stack(both)), torch.from_numpy(labels).float()
        optimiser = torch.optim.Adam(net.parameters(), 1e-2)
        for _ in range(120):
            optimiser.zero_grad()
            nn.functional.binary_cross_entropy_with_logits(net(x), y).backward()
            optimiser.step()
    return net.eval().requires_grad_(False)


def scores(some: Any) -> np.ndarray:
    """What the network gives for images uint8 [h, w, 3], float64 [n]."""
    import torch

    from detectors.attacks.base import tensor

    with torch.no_grad():
        return np.array([float(network()(tensor(image[None]))[0]) for image in some], np.float64)

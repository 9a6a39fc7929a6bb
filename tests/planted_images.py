"""Small image sets with a planted difference, for tests of detectors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from scipy.ndimage import gaussian_filter

from detectors.examples import COLUMNS, Examples


def real(seed: int, side: int = 64, noise: float = 12.0) -> np.ndarray:
    """Soft shapes with grain, uint8 [side, side, 3]."""
    rng = np.random.default_rng(seed)
    shapes = gaussian_filter(rng.normal(0, 1, (side, side, 3)), (6, 6, 0))
    levels = 128 + 60 * shapes / shapes.std() / 2 + rng.normal(0, noise, (side, side, 3))
    return np.clip(levels, 0, 255).astype(np.uint8)


def generated(seed: int, side: int = 64, *, warmer: int = 0) -> np.ndarray:
    """What a decoder with plain up-sampling makes of `real(seed)`: every 2 x 2 pixels alike.

    `warmer` levels are added to red and taken from blue: a trace that resizing does not remove.
    """
    doubled = real(seed, side)[::2, ::2].repeat(2, axis=0).repeat(2, axis=1)
    return np.clip(doubled + np.array([warmer, 0, -warmer]), 0, 255).astype(np.uint8)


def planted(folder: Path, n: int = 24, side: int = 64, *, warmer: int = 0) -> Examples:
    """`n` real images and `n` aligned generated ones, as PNG."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for seed in range(n):
        pair = {"real": real(seed, side), "generated": generated(seed, side, warmer=warmer)}
        for label, image in pair.items():
            path = folder / f"{label}-{seed}.png"
            Image.fromarray(image).save(path)
            generator = "doubling" if label == "generated" else ""
            made = "reconstruction" if label == "generated" else ""
            rows.append([str(path), label, f"s{seed}", "grain", generator, made])
    return Examples(pd.DataFrame(rows, columns=list(COLUMNS)))

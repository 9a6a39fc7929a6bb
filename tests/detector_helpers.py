"""Pictures of two worlds that a radial spectrum tells apart, in folders as `auditkit train detector` reads them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from scipy.ndimage import gaussian_filter

from detectors.examples import COLUMNS, Examples

SIDE = 48


def real(seed: int, side: int = SIDE) -> np.ndarray:
    """Smooth noise with grain: uint8 [side, side, 3]."""
    rng = np.random.default_rng(seed)
    smooth = gaussian_filter(rng.standard_normal((side, side, 3)), (2, 2, 0))
    return _uint8(smooth / smooth.std() + 0.1 * rng.standard_normal((side, side, 3)))


def generated(seed: int, side: int = SIDE) -> np.ndarray:
    """The like without grain and with a faint grid, as transposed convolutions leave."""
    rng = np.random.default_rng(seed + 1_000_000)
    smooth = gaussian_filter(rng.standard_normal((side, side, 3)), (2, 2, 0))
    grid = np.cos(np.pi * np.arange(side) / 2)
    return _uint8(smooth / smooth.std() + 0.05 * (grid[:, None] * grid)[..., None])


def foreign(seed: int, side: int = SIDE) -> np.ndarray:
    """White noise, which is neither."""
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)


def _uint8(values: np.ndarray) -> np.ndarray:
    return np.clip(128 + 40 * values, 0, 255).astype(np.uint8)


def write(folder: Path, many: int, *, first: int = 0, labels: Sequence[str] = ("real", "generated")) -> Path:
    """data/real/field and data/generated/grid with `many` pictures each."""
    for label in labels:
        place = folder / ("real/field" if label == "real" else "generated/grid")
        place.mkdir(parents=True, exist_ok=True)
        for seed in range(first, first + many):
            draw = real if label == "real" else generated
            Image.fromarray(draw(seed)).save(place / f"{seed:04d}.png")
    return folder


def examples(folder: Path) -> Examples:
    """Of a folder that `write` made; each file is its own source."""
    rows = []
    for label, place in (("real", "real/field"), ("generated", "generated/grid")):
        for path in sorted((folder / place).glob("*.png")):
            origin, generator = ("field", "") if label == "real" else ("", "grid")
            rows.append((str(path), label, f"{label}-{path.stem}", origin, generator, ""))
    return Examples(pd.DataFrame(rows, columns=list(COLUMNS)))

"""Small sets of images with the labels that detectors learn from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from detectors.examples import COLUMNS, Examples


def noise(seed: int, side: int = 32, *, blocks: int = 4) -> np.ndarray:
    """uint8 [side, side, 3]: coloured blocks with fine noise, unlike those of any other seed."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (blocks, blocks, 3)).astype(np.uint8)
    large = np.asarray(Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC), float)
    return (large + rng.normal(0, 4, large.shape)).clip(0, 255).astype(np.uint8)


def write(path: Path, image: np.ndarray, **options: Any) -> Path:
    """Write an image file, its folders too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path, **options)
    return path


def layout(folder: Path, *, real: int = 6, generated: int = 6, origins: int = 1, generators: int = 1) -> Path:
    """A folder in the layout real/<origin>/, generated/<generator>/, so many images each."""
    for number in range(real * origins):
        write(folder / f"real/camera{number % origins}/{number}.png", noise(number))
    for number in range(generated * generators):
        write(folder / f"generated/maker{number % generators}/{number}.png", noise(1000 + number))
    return folder


def examples(*rows: dict[str, str]) -> Examples:
    """Rows with the columns that they name; the others are empty, a row's source is its file."""
    table = pd.DataFrame([{**dict.fromkeys(COLUMNS, ""), **row} for row in rows])
    table["source"] = table["source"].where(table["source"] != "", table["file"])
    return Examples(table[list(COLUMNS)])

"""A scheme small enough to bench within a test, and images for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter
from skimage import data

from auditkit.watermark import bench
from auditkit.watermark.base import Reading, check_side
from auditkit.watermark.keys import Key
from auditkit.watermark.payload import SHORT_WORD

KEY = Key.from_secret(b"a key for tests, of no other use")
ATTACKS = ("none", "jpeg:90,25", "noise:10", "crop:0.5", "rotate:5")


class Toy:
    """Each bit adds its own keyed signs over the image; no synchronisation, so that a crop destroys it."""

    name: ClassVar[str] = "toy"
    version: ClassVar[int] = 1
    title: ClassVar[str] = "Toy scheme"
    family: ClassVar[str] = "word"
    bits: ClassVar[int] = SHORT_WORD
    min_side: ClassVar[int] = 32

    def __init__(self) -> None:
        self.embedded = 0

    def embed(self, image: np.ndarray, word: np.ndarray, key: Key, *, psnr: float = 42.0) -> np.ndarray:
        check_side(image, self.name, self.min_side)
        self.embedded += 1
        added = np.where(word[self._places(image, key)], 1, -1) * self._signs(image, key)
        amplitude = 255 / 10 ** (psnr / 20)
        return np.clip(np.rint(image + amplitude * added[..., None]), 0, 255).astype(np.uint8)

    def read(self, image: np.ndarray, key: Key, *, search: bool = True) -> Reading:
        grey = image.astype(float).mean(axis=2)
        fine = (grey - gaussian_filter(grey, 1)) * self._signs(image, key)
        soft = np.bincount(self._places(image, key).ravel(), fine.ravel(), self.bits)
        return Reading(soft)

    def _places(self, image: np.ndarray, key: Key) -> np.ndarray:
        return key.rng("toy places").integers(0, self.bits, image.shape[:2])

    def _signs(self, image: np.ndarray, key: Key) -> np.ndarray:
        return key.rng("toy signs").choice([-1.0, 1.0], image.shape[:2])


def photographs(folder: Path, *, n: int = 3, side: int = 96) -> Path:
    """`n` small photographs as PNG files in a new folder."""
    folder.mkdir(parents=True)
    large = data.astronaut()
    for i in range(n):
        Image.fromarray(large[100 * i : 100 * i + side, 120 : 120 + side]).save(folder / f"{i}.png")
    return folder


def small_bench(folder: Path, *, scheme: Any = None, out: str = "bench", **options: Any) -> Path:
    """A finished bench of the toy scheme on three small photographs."""
    given = folder / "photographs"
    images = given if given.is_dir() else photographs(given)
    settings = {"attacks": ATTACKS, "key": KEY, "psnr": 36.0, "fpr": 1e-6, "command": "test"} | options
    return bench.run([scheme or Toy()], {"photographs": images}, out=folder / out, **settings)

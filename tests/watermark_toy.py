"""A toy scheme for tests of what lies around schemes: keyed signs added to the pixels, read from their detail.

And the photographs they are tried on, which scikit-image and scikit-learn ship.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np

from auditkit.watermark.base import Reading, check_side
from auditkit.watermark.keys import Key, KeyEntry, Registered
from auditkit.watermark.payload import LONG_WORD


class Toy:
    """One bit to every pixel, drawn by the key; no synchronisation, no binding."""

    name, version, title, family = "toy", 1, "Toy", "word"
    bits, min_side = LONG_WORD, 64

    def embed(self, image: np.ndarray, word: np.ndarray, key: Key, *, psnr: float = 42.0) -> np.ndarray:
        check_side(image, self.name, self.min_side)
        which, sign = self._pattern(image, key)
        amplitude = 255 * 10 ** (-psnr / 20)
        change = amplitude * sign * (2.0 * word[which] - 1)
        return np.clip(np.rint(image + change[..., None]), 0, 255).astype(np.uint8)

    def read(self, image: np.ndarray, key: Key, *, search: bool = True) -> Reading:
        from scipy.ndimage import gaussian_filter

        if min(image.shape[:2]) < self.min_side:
            return Reading(np.zeros(self.bits), unusable="too small")
        grey = image.mean(axis=2)
        rest = np.clip(grey - gaussian_filter(grey, 1.0), -8, 8)
        which, sign = self._pattern(image, key)
        return Reading(np.bincount(which.ravel(), (rest * sign).ravel(), self.bits))

    def _pattern(self, image: np.ndarray, key: Key) -> tuple[np.ndarray, np.ndarray]:
        rng = key.rng("toy pattern")
        shape = image.shape[:2]
        return rng.integers(0, self.bits, shape), rng.choice([-1.0, 1.0], shape)


def key(number: int = 0) -> Key:
    return Key.from_secret(bytes([number]) * 32)


def entry(number: int = 0, *registered: Registered) -> KeyEntry:
    return KeyEntry(key(number), "2026-01-01T00:00:00+00:00", True, "", registered)


@lru_cache(maxsize=8)
def _whole(name: str) -> np.ndarray:
    import skimage

    return np.asarray(skimage.io.imread(Path(skimage.__file__).parent / "data" / name))[..., :3]


def photograph(name: str = "astronaut.png", side: int = 256) -> np.ndarray:
    """uint8 [side, side, 3], out of the middle."""
    whole = _whole(name)
    top, left = (whole.shape[0] - side) // 2, (whole.shape[1] - side) // 2
    return np.ascontiguousarray(whole[top : top + side, left : left + side])

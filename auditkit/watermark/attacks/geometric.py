"""Attacks that move pixels: scaling, cropping, rotating, mirroring, and everyday mixtures of these with compression.

Each takes an image, uint8 [h, w, 3], a strength and a generator of random numbers, and gives an image, maybe of another
size.
"""

from __future__ import annotations

import numpy as np

from auditkit.watermark.attacks import valuemetric


def downscale(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Scaled by `strength` (bicubic, antialiased) and left at that size."""
    height, width = image.shape[:2]
    return resized(image, max(1, round(height * strength)), max(1, round(width * strength)))


def resize(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Scaled by `strength`, then back to its size."""
    return resized(downscale(image, strength, rng), *image.shape[:2])


def crop(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """A random window of `strength` times each side, not scaled."""
    height, width = image.shape[:2]
    rows, columns = max(1, round(height * strength)), max(1, round(width * strength))
    top, left = int(rng.integers(height - rows + 1)), int(rng.integers(width - columns + 1))
    return image[top : top + rows, left : left + columns].copy()


def crop_resize(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """A random window of `strength` times each side, scaled to the size of the whole."""
    return resized(crop(image, strength, rng), *image.shape[:2])


def rotate(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Turned by `strength` degrees counter-clockwise about its middle (bicubic); size kept, corners black."""
    from PIL import Image

    return np.asarray(Image.fromarray(image).rotate(strength, Image.Resampling.BICUBIC))


def flip(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Mirrored left to right."""
    return image[:, ::-1].copy()


def screenshot(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Shown `strength` times as large on a screen and captured: gamma 1.1, edges lost, JPEG 85."""
    shown = valuemetric.gamma(downscale(image, strength, rng), 1.1, rng)
    return valuemetric.jpeg(crop(shown, 0.97, rng), 85, rng)


def combination(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """As posted: a random window of 80% of each side, scaled to the size of the whole, JPEG at quality `strength`."""
    return valuemetric.jpeg(crop_resize(image, 0.8, rng), strength, rng)


def resized(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bicubic, with antialiasing where it shrinks; a copy where the size is the same."""
    from PIL import Image

    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC))

"""Attacks that change values and leave every pixel in its place.

Each takes an image, uint8 [h, w, 3], a strength and a generator of random numbers, and gives an image of that shape.
"""

from __future__ import annotations

import io

import numpy as np

LUMA = np.array([0.299, 0.587, 0.114], np.float32)
"""Weights of red, green and blue in grey (ITU-R BT.601)."""


def unchanged(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """No attack: a copy."""
    return image.copy()


def jpeg(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """JPEG at quality `strength` (1-95) with colour at half resolution, as most software writes it, and back."""
    return _through(image, "JPEG", quality=round(strength), subsampling="4:2:0")


def webp(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Lossy WebP at quality `strength` (0-100), and back."""
    return _through(image, "WEBP", quality=round(strength), method=2)


def brightness(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Values times `strength`, clipped at white."""
    return rounded(image.astype(np.float32) * strength)


def contrast(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Distance from the mean grey of the image times `strength`, clipped."""
    values = image.astype(np.float32)
    middle = float((values @ LUMA).mean())
    return rounded(middle + (values - middle) * strength)


def saturation(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Distance of each pixel from its own grey times `strength`, clipped; 0 leaves a grey image."""
    values = image.astype(np.float32)
    grey = (values @ LUMA)[..., None]
    return rounded(grey + (values - grey) * strength)


def gamma(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Values in [0, 1] to the power of `strength`."""
    table = rounded(255.0 * (np.arange(256) / 255.0) ** strength)
    return np.asarray(table[image])


def blur(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Gaussian blur with a standard deviation of `strength` pixels (what Pillow calls the radius)."""
    from PIL import Image, ImageFilter

    return np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(strength)))


def median(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Median of a window of `strength` pixels (odd), channel by channel."""
    from PIL import Image, ImageFilter

    return np.asarray(Image.fromarray(image).filter(ImageFilter.MedianFilter(round(strength))))


def noise(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Independent Gaussian noise with a standard deviation of `strength` grey levels."""
    return rounded(image + strength * rng.standard_normal(image.shape, np.float32))


def erase(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Three rectangles, each of one random colour, at random places: at most `strength` of the area together."""
    out = image.copy()
    height, width = image.shape[:2]
    for _ in range(3):
        aspect = float(np.exp(rng.uniform(-0.7, 0.7)))
        side = np.sqrt(strength / 3)
        tall, wide = min(1.0, side * aspect), min(1.0, side / aspect)
        rows, columns = int(height * tall), int(width * wide)
        top, left = int(rng.integers(height - rows + 1)), int(rng.integers(width - columns + 1))
        out[top : top + rows, left : left + columns] = rng.integers(256, size=3)
    return out


def rounded(values: np.ndarray) -> np.ndarray:
    """Floats in grey levels, to the nearest uint8."""
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _through(image: np.ndarray, format: str, **options: object) -> np.ndarray:
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(image).save(stream, format, **options)
    return np.asarray(Image.open(stream).convert("RGB"))

"""What one more pass through an autoencoder does to an image, beside what it does to an image known to come from it.

AEROBLADE (Ricker et al. 2024) asks how far x lies from D(E(x)): the nearer, the likelier that it was decoded from
latents; but simple pictures lie near too. Here the yardstick is the image's own: its reconstruction, encoded as the
image was (JPEG at the same quality), is a generated image with nearly the same content, and is passed through once
more. An image that came from this autoencoder behaves as its reconstruction does; a photograph loses more in the first
pass than in the second; an image of another generator does so as well, since the autoencoder knows nothing of it.
"""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from detectors.autoencoders import Autoencoder
from detectors.forensics.dct import blocks, transform
from detectors.forensics.jpeg_quality import quality_of_pixels
from detectors.forensics.noise import LUMA

_ORDER = np.add.outer(np.arange(8), np.arange(8)).ravel()
BANDS = [np.flatnonzero(np.isin(_ORDER, orders)) for orders in ([0], [1, 2], [3, 4], [5, 6, 7], range(8, 15))]
"""Five rings of the 8 x 8 cosine frequencies of the luminance; a sixth band is the colour."""
WIDTH = 3 * len(BANDS) + 2


def features(image: np.ndarray, autoencoder: Autoencoder, quality: float) -> NDArray[np.float64]:
    """float64 [17] of uint8 [h, w, 3], both sides at least 8; `quality` as `encoded_at` gives it.

    Six log ratios of the second pass's error to the first's over the image, by band; six means over blocks of the
    same; and the correlation, by band of luminance, of what the two passes took away.
    """
    first = autoencoder.reconstruct(image)
    again = encode(first, quality)
    second = autoencoder.reconstruct(again)
    one, two = image.astype(np.float32) - first, again.astype(np.float32) - second
    (a, grey_a), (b, grey_b) = _energies(one), _energies(two)
    overall = np.log(b.mean(axis=0) + 0.02) - np.log(a.mean(axis=0) + 0.02)
    local = (np.log(b + 0.1) - np.log(a + 0.1)).mean(axis=0)
    alike = [
        float((grey_a[:, band] * grey_b[:, band]).mean() / np.sqrt(a[:, at].mean() * b[:, at].mean() + 1e-3))
        for at, band in enumerate(BANDS)
    ]
    return np.concatenate([overall, local, alike])


def encoded_at(image: np.ndarray) -> float:
    """The quality at which an image was once saved as JPEG, as far as its pixels tell; NaN for none."""
    found = quality_of_pixels(image)
    return found.quality if found.grid == (0, 0) else np.nan


def encode(image: np.ndarray, quality: float) -> np.ndarray:
    """The image saved as JPEG and opened again; as it is where `quality` is NaN."""
    if np.isnan(quality):
        return image
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=round(quality))
    return np.asarray(Image.open(file).convert("RGB"))


def _energies(error: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean square of an error [h, w, 3] by block and band, [n, 6], and the luminance's coefficients, [n, 64]."""
    grey = error @ LUMA
    found = transform(blocks(grey)).reshape(-1, 64)
    colour = sum((transform(blocks(error[..., at] - grey)) ** 2).mean(axis=(1, 2)) for at in (0, 2))
    return np.stack([*((found[:, band] ** 2).mean(axis=1) for band in BANDS), colour], axis=1), found

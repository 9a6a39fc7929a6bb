"""Tree-Ring (Wen et al. 2023), keyed: rings of the initial noise's Fourier transform carry the key's values.

The paper writes one channel's rings and compares by an L1 distance, whose p-value (a non-central chi-square) leans on
noise that is white, which recovered noise is not. Here every channel has rings. Their values are Gaussian under the
key: a real one over the whole ring, and an imaginary one of opposite signs on its halves, which is all that a real
latent's ring can hold. The statistic is the projection of the measured ring values on the key's: for any image
whatever, over the draw of the key, it is exactly N(0, 1).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from auditkit.errors import WatermarkError
from auditkit.watermark.base import Evidence
from auditkit.watermark.keys import Key
from auditkit.watermark.payload import Payload

MOST_RINGS = 24
LEAST_VALUES = 80
"""Fewest ring values: the statistic cannot exceed their norm, about the root of their number."""
_SHARE, _SHARE_SIDE = 0.8, 20.0
"""Share of a ring's power that the key takes: 0.8, and less (20 / side) on sides over 25, where rings have coefficients
to spare. Rings add up in the middle of the latent, and what stays random keeps that from standing out."""


class TreeRing:
    """Says 'this key' and no more: it has no payload, and every image of a key carries the same rings.

    Whoever averages many images of one key can learn the rings (Yang et al. 2024): a mark against honest mistakes
    rather than against forgers.
    """

    name = "tree-ring"
    version = 1
    title = "Tree-Ring, keyed"
    family = "latent"

    def capacity(self, shape: Sequence[int]) -> int:
        """0: no payload. Raises WatermarkError where a latent [c, h, w] has under 80 ring values."""
        channels, height, width = shape
        values = 2 * channels * _rings(height, width)
        if values < LEAST_VALUES:
            raise WatermarkError(
                f"the latent has {values} ring values, and tree-ring needs {LEAST_VALUES}",
                where=f"latent {channels} x {height} x {width}",
                mend="use a generator with a larger latent, or a mark in the pixels (spread, codec)",
            )
        return 0

    def noise(self, shape: Sequence[int], key: Key, payload: Payload, *, seed: int) -> np.ndarray:
        """See `base.LatentScheme.noise`; the payload is not carried."""
        self.capacity(shape)
        channels, height, width = shape
        index, counts, centre, half = _geometry(height, width)
        values = _values(key, channels, len(counts))
        values *= math.sqrt(channels * counts.sum() / float((values**2 * counts).sum()))
        plain = np.random.default_rng(seed).standard_normal((channels, height, width))
        spectrum = np.fft.fft2(plain, norm="ortho") * centre
        inside = index >= 0
        own = values[:, 0][:, index[inside]] + 1j * half[inside] * values[:, 1][:, index[inside]]
        share = min(_SHARE, _SHARE_SIDE / min(height, width))
        spectrum[:, inside] = math.sqrt(share) * own + math.sqrt(1 - share) * spectrum[:, inside]
        return np.fft.ifft2(spectrum / centre, norm="ortho").real.astype(np.float32)

    def evidence(self, noise: np.ndarray, key: Key, *, payloads: Sequence[Payload] = ()) -> Evidence:
        """See `base.LatentScheme.evidence`."""
        self.capacity(noise.shape)
        measured = _measured(np.asarray(noise, np.float64))
        size = float(np.linalg.norm(measured))
        if not math.isfinite(size) or size == 0:
            return Evidence(1.0, "exact", unusable="the recovered noise is flat or not finite")
        score = float((_values(key, measured.shape[0], measured.shape[2]) * measured).sum() / size)
        return Evidence(max(1e-300, math.erfc(score / math.sqrt(2)) / 2), "exact", details={"score": score})


def _values(key: Key, channels: int, rings: int) -> np.ndarray:
    """The key's ring values, N(0, 1): float64 [channels, 2 (real, imaginary), rings]."""
    return key.rng("tree-ring values").standard_normal((channels, 2, rings))


def _measured(noise: np.ndarray) -> np.ndarray:
    """Mean of each ring over its root mean square, float64 [c, 2, rings]: a function of the image alone."""
    index, counts, centre, half = _geometry(*noise.shape[1:])
    spectrum = np.fft.fft2(noise, norm="ortho") * centre
    inside = index >= 0
    rings = np.eye(len(counts))[index[inside]] / counts
    power = (np.abs(spectrum[:, inside]) ** 2) @ rings
    parts = np.stack([spectrum[:, inside].real, half[inside] * spectrum[:, inside].imag], axis=1)
    size = np.sqrt(power)[:, None]
    mean: np.ndarray = parts @ rings
    return np.divide(mean, size, out=np.zeros_like(mean), where=size > 0)


def _rings(height: int, width: int) -> int:
    # Up to 0.65 of the side, where circles still have their corners.
    return min(MOST_RINGS, int(0.65 * min(height, width)))


@lru_cache(maxsize=8)
def _geometry(height: int, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Ring of each frequency (int [h, w], -1: none), coefficients of each ring, phases that move the origin, and
    which half of the plane a frequency is in (1 or -1).

    The middle of the latent is the origin, so that turning or mirroring the image moves no value to another ring.
    """
    y, x = np.fft.fftfreq(height, 1 / height)[:, None], np.fft.fftfreq(width, 1 / width)[None]
    radius = np.rint(np.hypot(y, x)).astype(int)
    rings = _rings(height, width)
    # The middle frequency, the image's own brightness and colour, is left out.
    index = np.where((radius >= 1) & (radius <= rings), radius - 1, -1)
    # Frequencies at half the sampling rate have no partner of opposite sign, and a shifted one would not stay real.
    index = np.where((np.abs(y) * 2 == height) | (np.abs(x) * 2 == width), -1, index)
    centre = np.exp(2j * np.pi * (y * (height - 1) / (2 * height) + x * (width - 1) / (2 * width)))
    half = np.where((y > 0) | ((y == 0) & (x > 0)), 1.0, -1.0)
    return index, np.bincount(index[index >= 0], minlength=rings).astype(float), centre, half

"""What ties a mark to its image: keyed signs of coarse features, carried along and compared at reading.

A mark that was copied or averaged onto another image brings the signs of the image it came from (robust hashing in
the manner of Fridrich and Goljan 2000).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from auditkit.watermark.keys import Key
from auditkit.watermark.spread.carriers import BINDING_BITS

_SIDE = 12


def features(luma: np.ndarray) -> np.ndarray:
    """A coarse picture of float32 [h, w], of mean 0 and deviation 1: float32 [144]; zeros for a flat image."""
    from PIL import Image

    small = np.asarray(Image.fromarray(luma).resize((_SIDE, _SIDE), Image.Resampling.BOX)).ravel()
    small = small - small.mean()
    deviation = float(small.std())
    return small / deviation if deviation > 1e-3 else np.zeros_like(small)


def projections(coarse: np.ndarray, key: Key) -> np.ndarray:
    """Keyed random projections of `features`, float32 [BINDING_BITS]."""
    return _directions(key) @ coarse


def bits(coarse: np.ndarray, key: Key) -> np.ndarray:
    """Signs of `projections`: float32 [BINDING_BITS], 1 or -1."""
    return np.where(projections(coarse, key) > 0, 1.0, -1.0).astype(np.float32)


@lru_cache(maxsize=64)
def _directions(key: Key) -> np.ndarray:
    return key.rng("spread binding").standard_normal((BINDING_BITS, _SIDE * _SIDE)).astype(np.float32)

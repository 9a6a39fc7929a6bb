"""Laundering: what happens to every image on its way through the web, used to wash the traces off.

The changes are those of `auditkit.watermark.attacks`: JPEG, resizing, screenshots, crops, noise. Nobody looks at the
detector, so both directions are the same change: of generated images it asks whether they evade, of real images
whether they are called generated.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from auditkit.errors import DetectorError, WatermarkError
from auditkit.watermark.attacks import Step, steps

USUAL = ("jpeg:90,75,50", "webp:75", "resize:0.75,0.5", "screenshot:1.25", "combination:75")
"""What is tried where nothing is named."""


def laundering(chosen: Sequence[str] = USUAL) -> list[Step]:
    """The steps named: 'jpeg', 'jpeg:50', 'resize:0.5'.

    Raises:
        DetectorError: no such change, or a strength that is no number.
    """
    try:
        return steps(chosen)
    except WatermarkError as error:
        raise DetectorError(error.what, where=error.where, mend=error.mend) from None


def launder(images: Sequence[np.ndarray], step: Step, *, seed: int = 0) -> list[np.ndarray]:
    """Each image, uint8 [h, w, 3], changed; the size may change. Draws depend on the image and the seed alone."""
    return [step.attack(image, step.strength, _rng(image, seed)) for image in images]


def _rng(image: np.ndarray, seed: int) -> np.random.Generator:
    digest = hashlib.sha256(f"{seed} ".encode() + image.tobytes()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "big"))

"""A family that sees every image resized to one square: the field's habit, kept here as a baseline to be compared with.

Resizing wipes out what a generator leaves between neighbouring pixels, and its kernel can become the shortcut.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from auditkit.watermark.attacks.geometric import resized
from detectors.base import Family, Images, Progress
from detectors.examples import Examples


@dataclass(frozen=True)
class ResizedExamples(Examples):
    """Examples whose images are squares of `side` pixels."""

    side: int = 64

    def where(self, mask: NDArray[np.bool_]) -> ResizedExamples:
        return ResizedExamples(super().where(mask).table, self.side)

    def image(self, row: int) -> np.ndarray:
        return resized(super().image(row), self.side, self.side)


class Resized:
    """Another family on images resized (bicubic, antialiased) to `side` x `side` pixels."""

    title: ClassVar[str] = "on images resized to one square"

    def __init__(self, inner: Family, *, side: int = 64):
        self.inner, self.side = inner, side

    def fit(self, examples: Examples, *, seed: int, device: str, progress: Progress | None = None) -> None:
        self.inner.fit(ResizedExamples(examples.table, self.side), seed=seed, device=device, progress=progress)

    def scores(self, images: Images) -> NDArray[np.float64]:
        return self.inner.scores([resized(image, self.side, self.side) for image in images])

    def features(self, images: Images) -> NDArray[np.float32]:
        return self.inner.features([resized(image, self.side, self.side) for image in images])

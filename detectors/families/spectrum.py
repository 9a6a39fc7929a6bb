"""Radial power spectrum and a logistic regression: the field's oldest baseline, and a gate for the others.

It tells photographs of two collections apart nearly as well as generated images from real ones, so it is no verdict:
a detector that is not clearly better has learned the collection.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from detectors.base import Images, Progress, State
from detectors.families.linear import Linear, check_examples

if TYPE_CHECKING:
    from detectors.examples import Examples


LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601


class Spectrum:
    """Log power of the luminance by spatial frequency, azimuthally averaged over the central square.

    Args:
        bins: rings between frequency 0 and the Nyquist frequency.
    """

    name: ClassVar[str] = "spectrum"
    version: ClassVar[int] = 1
    title: ClassVar[str] = "radial power spectrum, logistic regression"
    paper: ClassVar[str] = "Durall et al. 2020, arXiv 2003.01826; Dzanic et al. 2020, arXiv 1911.06465"
    min_side: ClassVar[int] = 32

    def __init__(self, *, bins: int = 48):
        self.bins = bins
        self._head = Linear()

    def fit(self, examples: Examples, *, seed: int, device: str, progress: Progress | None = None) -> None:
        check_examples(examples)
        rows = []
        for row, image in enumerate(examples.images()):
            rows.append(self._profile(image))
            if progress:
                progress((row + 1) / len(examples), f"spectrum {row + 1} of {len(examples)}")
        self._head = Linear.fitted(np.stack(rows), examples.labels, seed=seed, sources=examples.sources)

    def scores(self, images: Images) -> NDArray[np.float64]:
        return self._head.scores(self.features(images))

    def features(self, images: Images) -> NDArray[np.float32]:
        return np.stack([self._profile(image) for image in images]) if len(images) else np.zeros((0, self.bins), "f4")

    def state(self) -> State:
        return State({"bins": self.bins}, self._head.tensors())

    @classmethod
    def from_state(cls, state: State, *, device: str) -> Spectrum:
        family = cls(bins=state.settings["bins"])
        family._head = Linear.from_tensors(state.tensors)
        return family

    def _profile(self, image: np.ndarray) -> NDArray[np.float32]:
        """Float32 [bins]; NaN for an image under `min_side`."""
        height, width = image.shape[:2]
        side = min(height, width)
        if side < self.min_side:
            return np.full(self.bins, np.nan, np.float32)
        top, left = (height - side) // 2, (width - side) // 2
        square = image[top : top + side, left : left + side].astype(np.float32) @ LUMA
        window = np.hanning(side).astype(np.float32)
        power = np.abs(np.fft.fft2((square - square.mean()) * window[:, None] * window)) ** 2
        frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(side), np.fft.fftfreq(side), indexing="ij"))
        ring = np.minimum((frequency / 0.5 * self.bins).astype(int), self.bins)  # corners beyond Nyquist are left out
        mean = np.bincount(ring.ravel(), power.ravel(), self.bins + 1) / np.maximum(np.bincount(ring.ravel()), 1)
        return np.log(mean[: self.bins] / side**2 + 1e-3).astype(np.float32)

"""Nearest neighbours in the space of a frozen CLIP encoder: nothing is fitted, new generators are added by example."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from auditkit.errors import DetectorError
from detectors.base import Images, Progress, State
from detectors.families.clip_linear import ClipFeatures, version_checked
from detectors.families.linear import FEWEST, too_few

if TYPE_CHECKING:
    from detectors.examples import Examples


class ClipKnn(ClipFeatures):
    """score = mean cosine of the k nearest generated images minus that of the k nearest real ones, in -2..2.

    Args:
        encoder, view: as in `ClipFeatures`.
        k: neighbours of each class. The paper's best is 1 or 9, about alike.
    """

    name: ClassVar[str] = "clip-knn"
    title: ClassVar[str] = "frozen CLIP features, nearest neighbours"
    paper: ClassVar[str] = "Ojha et al. 2023 (UniversalFakeDetect), arXiv 2302.10174, section 4"

    def __init__(self, *, encoder: str = "personas-clip", view: str = "whole", k: int = 9):
        super().__init__(encoder=encoder, view=view)
        if k < 1:
            raise DetectorError(f"k = {k} cannot be", where=f"the options of {self.name}", mend="give 1 or more")
        self.k = k
        self._real = self._generated = np.zeros((0, 0), np.float32)

    def fit(self, examples: Examples, *, seed: int, device: str, progress: Progress | None = None) -> None:
        features = _unit(self._learned(examples, device, progress))
        kept = np.isfinite(features).all(axis=1)
        real, generated = features[kept & (examples.labels == 0)], features[kept & (examples.labels == 1)]
        if min(len(real), len(generated)) < FEWEST:
            raise too_few(len(real), len(generated))
        self._real, self._generated = real, generated

    def scores(self, images: Images) -> NDArray[np.float64]:
        if not len(self._real):
            return np.full(len(images), np.nan)
        features = _unit(self.features(images))
        return self._near(features, self._generated) - self._near(features, self._real)

    def state(self) -> State:
        tensors = {"real": self._real, "generated": self._generated}
        return State({**self._settings(), "k": self.k}, tensors)

    @classmethod
    def from_state(cls, state: State, *, device: str) -> ClipKnn:
        version_checked(state, cls.name, cls.version)
        family = cls(encoder=state.settings["encoder"], view=state.settings["view"], k=state.settings["k"])
        family._use(device)
        family._check(state)
        family._real, family._generated = state.tensors["real"], state.tensors["generated"]
        return family

    def _near(self, rows: NDArray[np.float32], known: NDArray[np.float32]) -> NDArray[np.float64]:
        """Mean cosine [n] of the k nearest of `known`; NaN rows stay NaN."""
        k = min(self.k, len(known))
        cosines = rows.astype(np.float64) @ known.T.astype(np.float64)
        return np.partition(cosines, len(known) - k, axis=1)[:, len(known) - k :].mean(axis=1)


def _unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)

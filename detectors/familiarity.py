"""How unlike the training images an image is, in what a family sees of it and in how it looks (`appearance`).

A detector's score says nothing of images from a world that it was never shown; there it should abstain. The distance
from the training features is turned into a share: of the development images, which were not trained on, how many are
less unlike. For an image like them that share is uniform (a conformal p-value, one minus it; Vovk et al. 2005), so that
abstaining above .99 costs one in a hundred of the images that the detector knows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast

import numpy as np
from numpy.typing import NDArray

from auditkit.errors import DetectorError
from detectors.base import State

Floats = NDArray[np.float64]
Kind = Literal["mahalanobis", "neighbours"]

FEWEST = 20
"""Training and held-out images that a distance is learned from at least."""
NEIGHBOURS = 5
MOST_KEPT = 1000
"""Training images that `neighbours` keeps."""


@dataclass(frozen=True)
class Familiarity:
    """A distance from the training features, and those of development images to hold it against.

    Attributes:
        kind: `mahalanobis`, from their mean under Ledoit and Wolf's (2004, J. Multivar. Anal. 88:365-411) shrunk
            covariance, or `neighbours`, the distance to the fifth nearest of them with features on one scale, for
            features in several clumps.
        centre: [d]. whitening: [d, d]: after it training features have variance 1, and for `mahalanobis` none goes
            with another.
        kept: whitened training features [k, d]; empty for `mahalanobis`.
        held_out: distances of the development images, rising [m].
    """

    kind: Kind
    centre: Floats
    whitening: Floats
    kept: Floats
    held_out: Floats

    @classmethod
    def fit(
        cls,
        features: NDArray[np.floating],
        held_out_features: NDArray[np.floating],
        *,
        kind: Kind = "mahalanobis",
        seed: int = 0,
    ) -> Familiarity:
        """From features of the training images [n, d], and of development images [m, d] that were not trained on.

        Rows with NaN (images too small) are left out.

        Raises:
            DetectorError: fewer than `FEWEST` of either, other columns in one than in the other, no such kind.
        """
        from sklearn.covariance import LedoitWolf

        if kind not in ("mahalanobis", "neighbours"):
            raise DetectorError(f"there is no familiarity {kind!r}", mend="use mahalanobis or neighbours")
        x, held = _kept(features), _kept(held_out_features)
        if min(len(x), len(held)) < FEWEST or x.shape[1] != held.shape[1]:
            raise DetectorError(
                f"{len(x)} training and {len(held)} held-out images are too few to tell what is unlike them",
                mend=f"give at least {FEWEST} of each",
            )
        centre = x.mean(axis=0)
        # A feature that never varied has variance 0: any other value of it is very unlike, but not infinitely so.
        if kind == "mahalanobis":
            values, vectors = np.linalg.eigh(LedoitWolf().fit(x).covariance_)
        else:
            values, vectors = x.var(axis=0), np.eye(x.shape[1])
        floor = max(float(values.max()), 1e-12) * 1e-8
        whitening = (vectors / np.sqrt(np.maximum(values, floor))).T
        kept = np.zeros((0, x.shape[1]))
        if kind == "neighbours":
            rows = np.random.default_rng(seed).permutation(len(x))[:MOST_KEPT]
            kept = (x[np.sort(rows)] - centre) @ whitening.T
        bare = cls(kind, centre, whitening, kept, np.zeros(0))
        return cls(kind, centre, whitening, kept, np.sort(bare.distances(held)))

    def distances(self, features: NDArray[np.floating]) -> Floats:
        """[n] >= 0, of features [n, d]; NaN where a feature is NaN.

        Raises:
            DetectorError: other columns than those fitted.
        """
        x = np.asarray(features, float)
        if x.ndim != 2 or x.shape[1] != len(self.centre):
            raise DetectorError(f"these features are not the {len(self.centre)} that the detector was trained with")
        white = (x - self.centre) @ self.whitening.T
        if self.kind == "mahalanobis":
            return np.linalg.norm(white, axis=1)
        found = np.full(len(x), np.nan)
        own = (self.kept**2).sum(axis=1)
        nearest = min(NEIGHBOURS, len(self.kept)) - 1
        for row in np.flatnonzero(np.isfinite(white).all(axis=1)):
            squared = own + (white[row] ** 2).sum() - 2 * self.kept @ white[row]
            found[row] = np.sqrt(max(float(np.partition(squared, nearest)[nearest]), 0.0))
        return found

    def unfamiliar(self, features: NDArray[np.floating]) -> Floats:
        """[n] in 0..1: the share of held-out development images that are less unlike; NaN where a feature is NaN.

        At most m/(m + 1): to tell above .99 takes 100 development images.
        """
        distance = self.distances(features)
        share = np.searchsorted(self.held_out, distance, side="left") / (len(self.held_out) + 1)
        return np.where(np.isnan(distance), np.nan, share)

    def state(self) -> State:
        tensors = {"centre": self.centre, "whitening": self.whitening, "kept": self.kept}
        return State(
            {"kind": self.kind},
            {name: value.astype(np.float32) for name, value in tensors.items()} | {"held_out": self.held_out},
        )

    @classmethod
    def from_state(cls, state: State) -> Familiarity:
        """What `state()` gave, to the precision of float32.

        Raises:
            DetectorError: it is damaged.
        """
        try:
            parts = {
                name: np.asarray(state.tensors[name], float) for name in ("centre", "whitening", "kept", "held_out")
            }
            kind, d = state.settings["kind"], len(parts["centre"])
        except KeyError as error:
            raise DetectorError(f"the detector's familiarity lacks {error}", mend="train the detector again") from error
        sound = parts["whitening"].shape == (d, d) and parts["kept"].ndim == 2 and parts["kept"].shape[1] == d
        sound = sound and len(parts["held_out"]) > 0 and all(np.isfinite(part).all() for part in parts.values())
        if not sound or kind not in ("mahalanobis", "neighbours"):
            raise DetectorError("the detector's familiarity is damaged", mend="train the detector again")
        return cls(cast(Kind, kind), **parts)


def _kept(features: NDArray[np.floating]) -> Floats:
    x = np.asarray(features, float)
    if x.ndim != 2:
        raise DetectorError("features must be a table, images by features", where=f"shape {x.shape}")
    return x[np.isfinite(x).all(axis=1)]

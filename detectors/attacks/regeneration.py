"""Images made again by a model: real ones through an autoencoder, generated ones through an autoencoder or diffusion.

A real photograph that went through an autoencoder (an upscaler, a codec that learned, a filter) carries its traces.
A detector that calls it generated accuses a photographer, so that the rate at which it does so belongs beside every
detector. The models come as callables (`generators.regeneration`, `detectors.autoencoders`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from auditkit.errors import DetectorError
from detectors.base import Images

Regenerate = Callable[[np.ndarray], np.ndarray]
"""uint8 [h, w, 3] to uint8 [h, w, 3]."""


@dataclass(frozen=True)
class FalseAccusations:
    """Real images that are called generated once they went through a model.

    Attributes:
        rate, low, high: of the laundered images, with Wilson's 95% interval at the design effect by source.
        rate_before: of the same images untouched: what the threshold alone gives.
        n_images, n_sources: those that could be scored both times.
        status: 'insufficient', with NaN, for fewer sources than an interval needs.
    """

    model: str
    rate: float
    low: float
    high: float
    rate_before: float
    n_images: int
    n_sources: int
    status: str


def regenerated(images: Sequence[np.ndarray], regenerate: Regenerate) -> list[np.ndarray]:
    """Each image made again.

    Raises:
        DetectorError: the model gives something other than an image of the same size.
    """
    out = []
    for image in images:
        made = np.asarray(regenerate(image))
        if made.shape != image.shape or made.dtype != np.uint8:
            raise DetectorError(
                f"the model made {made.dtype} {list(made.shape)} of an image uint8 {list(image.shape)}",
                where="regenerate",
                mend="give back an image of the same size, uint8",
            )
        out.append(made)
    return out


def false_accusations(
    scores: Callable[[Images], NDArray[np.float64]],
    reals: Sequence[np.ndarray],
    sources: ArrayLike,
    regenerate: Regenerate,
    *,
    threshold: float,
    model: str,
) -> FalseAccusations:
    """How often real images laundered through a model are called generated.

    Args:
        scores: the detector's, of images uint8 [h, w, 3].
        reals, sources: real images and the original that each came from, [n].
        threshold: from this score on an image is called generated.
        model: its name, for the table.

    Raises:
        DetectorError: no images, or a model that gives something else.
    """
    from detectors.metrics import share

    if not len(reals):
        raise DetectorError("there is no real image to launder", where=model, mend="give some in data/real/<origin>/")
    before, after = scores(reals), scores(regenerated(reals, regenerate))
    kept = np.isfinite(before) & np.isfinite(after)
    origin = np.asarray(sources, str)[kept]
    found = share(after[kept] >= threshold, origin)
    plain = share(before[kept] >= threshold, origin)
    return FalseAccusations(
        model, found.estimate, found.ci_low, found.ci_high, plain.estimate, found.n_images, found.n_sources,
        found.status,
    )  # fmt: skip

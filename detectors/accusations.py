"""False accusations: real images that are called generated, from sources never trained on, or laundered on purpose.

An image's verdict is 'generated' where its score reaches the threshold *and* it is not too unfamiliar; the detector
abstains from the others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from auditkit.errors import DetectorError
from detectors.base import Progress
from detectors.examples import Examples
from detectors.metrics import Estimate, Status, fewest_reals, share
from detectors.robustness import BATCH, Look

MOST_TIMES = 1.5
"""A realised false positive rate up to this many times the one asked for is borne."""


@dataclass(frozen=True)
class Realised:
    """What the threshold's false positive rate became on real images of a source.

    Attributes:
        asked: the rate that the threshold was frozen at.
        reached: share of the images whose score reaches the threshold, whether or not the detector abstains.
        accused: share that is called generated: reaches it, and is familiar.
        abstained: share that is too unfamiliar.
        times: `accused` over `asked`.
        status: `ok` at up to `MOST_TIMES`; `uncalibrated` above: the detector must abstain from all images of this
            source; `insufficient` under the real images that the rate asks for.
    """

    asked: float
    reached: Estimate
    accused: Estimate
    abstained: Estimate
    times: float
    status: Status

    @property
    def sentence(self) -> str:
        """The line of the report."""
        if self.status == "insufficient":
            return (
                f"{self.accused.n_images:,} real images are too few to tell a false positive rate of "
                f"{100 * self.asked:g}%; {fewest_reals(self.asked):,} are needed."
            )
        rate = f"{100 * self.accused.estimate:.1f}% [{100 * self.accused.ci_low:.1f}, {100 * self.accused.ci_high:.1f}]"
        told = f"At the threshold for {100 * self.asked:g}% it calls {rate} of these real images generated"
        told += f", {self.times:.1f} times as many as asked for, and abstains from {100 * self.abstained.estimate:.0f}%"
        if self.status == "ok":
            return f"{told}."
        return f"{told}: uncalibrated for this source, so that it must abstain from all of it."


def realised(
    scores: ArrayLike, unfamiliar: ArrayLike, sources: ArrayLike, *, threshold: float, fpr: float, limit: float
) -> Realised:
    """The realised false positive rate on real images of a source that the detector was not trained on.

    Args:
        scores, unfamiliar, sources: [n] of real images alone.
        threshold, fpr, limit: of the detector; it abstains from images more unfamiliar than `limit`.
    """
    x, u, s = np.asarray(scores, float), np.asarray(unfamiliar, float), np.asarray(sources, str)
    kept = np.isfinite(x)
    x, u, s = x[kept], u[kept], s[kept]
    strange = ~(u <= limit)
    reached = share(x >= threshold, s)
    accused, abstained = share((x >= threshold) & ~strange, s), share(strange, s)
    times = accused.estimate / fpr
    status: Status = "insufficient"
    if len(x) >= fewest_reals(fpr) and accused.status == "ok":
        status = "ok" if times <= MOST_TIMES + 1e-9 else "uncalibrated"
    return Realised(fpr, reached, accused, abstained, times, status)


def false_accusations(
    look: Look,
    examples: Examples,
    launder: Mapping[str, Callable[[np.ndarray], np.ndarray]],
    *,
    threshold: float,
    limit: float = 1.0,
    progress: Progress | None = None,
) -> pd.DataFrame:
    """Share of real images that are called generated, as they are and after an autoencoder encoded and decoded them.

    Whoever wants a true photograph disbelieved can do that to it.

    Args:
        examples: their real images are used.
        launder: name -> image uint8 [h, w, 3] to the same, such as `Autoencoder.reconstruct`.
        threshold, limit: of the detector.

    Returns:
        columns laundered ('none' first), estimate (share called generated), ci_low, ci_high, n_images, n_sources,
        status, abstained (share too unfamiliar to be judged).

    Raises:
        DetectorError: there is no real image.
    """
    reals = examples.where(examples.labels == 0)
    if not len(reals):
        raise DetectorError("there is no real image to launder", mend="give real images: data/real/<origin>/")
    ways: dict[str, Callable[[np.ndarray], np.ndarray]] = {"none": lambda image: image, **launder}
    rows = []
    for place, (name, way) in enumerate(ways.items()):
        found, strange = [], []
        for start in range(0, len(reals), BATCH):
            batch = [way(reals.image(row)) for row in range(start, min(start + BATCH, len(reals)))]
            scores, unfamiliar = look(batch)
            found.append(scores)
            strange.append(unfamiliar)
            if progress:
                done = place + (start + len(batch)) / len(reals)
                progress(done / len(ways), f"laundering: {name}")
        x, u = np.concatenate(found), np.concatenate(strange)
        apart = ~(u <= limit) & np.isfinite(x)
        estimate = share((x >= threshold) & ~apart, reals.sources)
        rows.append({"laundered": name, **asdict(estimate), "abstained": float(apart.mean())})
    return pd.DataFrame(rows)

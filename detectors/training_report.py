"""What a detector reached on the images held out of its training, as plain data for its card."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from detectors import metrics
from detectors.base import Progress
from detectors.calibration import ece
from detectors.trained import Detector

if TYPE_CHECKING:
    from detectors.examples import Examples
    from detectors.training import Seen

FPR = 0.01
"""False positive rate that a threshold is frozen at when none is named."""
MOST_LAUNDERED, SIDE_LAUNDERED = 200, 512
"""Real test images that are laundered at most, and pixels a side of their middle: an autoencoder is slow."""


def report(detector: Detector, examples: Examples, seen: Seen) -> dict[str, Any]:
    """What a detector reached on examples that it was not trained on, as plain data.

    Returns:
        overall: the rows of `metrics.evaluate` at the frozen threshold, of all images that are scored. judged: the same
        of those that it does not abstain from. generators, origins: share called generated, per generator and per
        origin of real images, with intervals. abstained: share, by class. ece: of the judged.
    """
    threshold = detector.threshold()
    unfamiliar = detector.familiarity.unfamiliar(seen.features)
    judged = np.isfinite(seen.scores) & (unfamiliar <= detector.limit)
    called = judged & (seen.scores >= threshold.score)
    table, labels = examples.table, seen.labels

    def metrics_of(kept: NDArray[np.bool_]) -> list[dict[str, Any]]:
        found = metrics.evaluate(
            seen.scores[kept], labels[kept], seen.sources[kept], threshold=threshold.score, fprs=(FPR,)
        )
        return plain(found)

    def share(hits: NDArray[np.bool_], kept: NDArray[np.bool_]) -> dict[str, Any]:
        return plain(pd.DataFrame([vars(metrics.share(hits[kept], seen.sources[kept]))]))[0]

    def each(column: str, label: int) -> dict[str, Any]:
        mine = labels == label
        names = sorted(set(table[column][mine]) - {""})
        return {name: share(called, mine & (table[column] == name).to_numpy(bool)) for name in names}

    probability = detector.calibration.probability(seen.scores[judged])
    error = ece(probability, labels[judged], seen.sources[judged])
    return {
        "overall": metrics_of(np.ones(len(labels), bool)),
        "judged": metrics_of(judged),
        "generators": each("generator", 1),
        "origins": each("origin", 0),
        "abstained": {
            name: share(np.isfinite(seen.scores) & ~judged, labels == label)
            for name, label in (("real", 0), ("generated", 1))
        },
        "ece": plain(pd.DataFrame([vars(error)]))[0],
    }


def laundered(
    detector: Detector,
    examples: Examples,
    launder: Mapping[str, Callable[[np.ndarray], np.ndarray]],
    seed: int,
    tell: Progress,
) -> list[dict[str, Any]]:
    """Real images of `examples`, their middles, as they are and laundered: the rows of `accusations.false_accusations`.

    At most `MOST_LAUNDERED` images are taken.
    """
    from detectors.accusations import false_accusations
    from detectors.trained_outcomes import look_of

    if not launder:
        return []

    def middle(image: np.ndarray) -> np.ndarray:
        top, left = (max(length - SIDE_LAUNDERED, 0) // 16 * 8 for length in image.shape[:2])
        return image[top : top + SIDE_LAUNDERED, left : left + SIDE_LAUNDERED]

    def through(way: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
        return lambda image: way(middle(image))

    ways = {"none": middle} | {name: through(way) for name, way in launder.items()}
    reals = some_of(examples.where(examples.labels == 0), MOST_LAUNDERED, seed)
    found = false_accusations(
        look_of(detector), reals, ways, threshold=detector.threshold().score, limit=detector.limit, progress=tell
    )
    return plain(found)


def some_of(examples: Examples, most: int, seed: int) -> Examples:
    """At most `most` of them, drawn."""
    if len(examples) <= most:
        return examples
    mask = np.zeros(len(examples), bool)
    mask[np.random.default_rng(seed).permutation(len(examples))[:most]] = True
    return examples.where(mask)


def plain(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as JSON data, None for NaN."""
    rows = table.astype(object).where(table.notna(), None).to_dict("records")
    return [{str(name): value for name, value in row.items()} for row in rows]

"""What families with a linear head share: a regularised logistic regression on standardised features."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from auditkit.errors import DetectorError

if TYPE_CHECKING:
    from detectors.examples import Examples

FEWEST = 10
"""Images of each class that a family is trained on at least."""


@dataclass(frozen=True)
class Linear:
    """score = ((x - centre) / scale) . weight + bias, in logits. Unfitted it has no weights and gives NaN."""

    centre: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    scale: NDArray[np.float64] = field(default_factory=lambda: np.ones(0))
    weight: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    bias: float = 0.0

    @staticmethod
    def fitted(
        x: NDArray[np.floating], labels: NDArray[np.int8], *, seed: int, sources: NDArray[np.object_] | None = None
    ) -> Linear:
        """Fitted to x [n, d] and labels [n] in {0, 1}; rows with NaN are left out; classes weigh the same.

        The regularisation (inverse strength C) is chosen by 5-fold cross-validation, by `sources` [n] where they are
        given: what came from one original never stands on both sides. With sources too few for two folds it is 1.
        """
        from sklearn.linear_model import LogisticRegression, LogisticRegressionCV

        kept = np.isfinite(x).all(axis=1)
        x, labels = np.asarray(x, np.float64)[kept], labels[kept]
        if min((labels == 0).sum(), (labels == 1).sum()) < FEWEST:
            raise too_few((labels == 0).sum(), (labels == 1).sum())
        centre, scale = x.mean(axis=0), np.maximum(x.std(axis=0), 1e-8)
        splits = _splits(labels, np.arange(len(x)) if sources is None else sources[kept], seed)
        if splits:
            model = LogisticRegressionCV(
                Cs=np.logspace(-4, 2, 7), cv=splits, class_weight="balanced", max_iter=2000, random_state=seed,
                scoring="neg_log_loss",
            )  # fmt: skip
        else:
            model = LogisticRegression(class_weight="balanced", max_iter=2000, random_state=seed)
        with warnings.catch_warnings():
            # Of defaults that will change in 1.10; what is used here does not.
            warnings.simplefilter("ignore", FutureWarning)
            model.fit((x - centre) / scale, labels)
        return Linear(centre, scale, model.coef_[0].astype(np.float64), float(model.intercept_[0]))

    def scores(self, x: NDArray[np.floating]) -> NDArray[np.float64]:
        """Logits [n] of x [n, d]."""
        if not len(self.weight):
            return np.full(len(x), np.nan)
        return ((np.asarray(x, np.float64) - self.centre) / self.scale) @ self.weight + self.bias

    def tensors(self) -> dict[str, np.ndarray]:
        """To keep as safetensors."""
        return {"centre": self.centre, "scale": self.scale, "weight": self.weight, "bias": np.array([self.bias])}

    @staticmethod
    def from_tensors(tensors: Mapping[str, np.ndarray]) -> Linear:
        """What `tensors()` gave."""
        return Linear(tensors["centre"], tensors["scale"], tensors["weight"], float(tensors["bias"][0]))


def _splits(
    labels: NDArray[np.int8], sources: NDArray[Any], seed: int
) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Folds, at most five, by source, with both classes on either side; none where that cannot be."""
    from sklearn.model_selection import StratifiedGroupKFold

    folds = min(5, *(len(set(sources[labels == label])) for label in (0, 1)))
    if folds < 2:
        return []
    found = StratifiedGroupKFold(folds, shuffle=True, random_state=seed).split(labels, labels, sources)
    return [(learn, test) for learn, test in found if len(set(labels[learn])) == len(set(labels[test])) == 2]


def check_examples(examples: Examples) -> None:
    """Raise DetectorError where a class is missing or has fewer than `FEWEST` images."""
    generated = int(examples.labels.sum())
    real = len(examples) - generated
    if min(generated, real) < FEWEST:
        raise too_few(real, generated)


def too_few(real: int, generated: int) -> DetectorError:
    """Of either class."""
    return DetectorError(
        f"there are {real} real and {generated} generated images to learn from",
        where="the training data",
        mend=f"give at least {FEWEST} of each: data/real/<origin>/ and data/generated/<generator>/, or --generated RUN",
    )

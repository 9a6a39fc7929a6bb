"""What a score means: calibrated probabilities, and whether they hold on images from elsewhere.

Probabilities are those of an image being generated *if half of such images are*: both classes weigh the same in every
fit and every error here (class-balanced), however many images of each there are. For another share of generated images
use `at_base_rate`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, special, stats

from auditkit.errors import CalibrationError
from auditkit.stats.intervals import wilson
from detectors.base import State
from detectors.metrics import FEWEST_SOURCES, Estimate, Status

Floats = NDArray[np.float64]
Kind = Literal["isotonic", "temperature"]

LARGEST_ECE = 0.03
"""Expected calibration error up to which a probability is given."""
BINS = 10
"""Bins of equal width over 0..1 (as in Guo et al. 2017, arXiv 1706.04599)."""


@dataclass(frozen=True)
class Calibration:
    """A rising map from scores to probabilities, a line between `knots` and level beyond them.

    Attributes:
        kind: `isotonic` (Zadrozny and Elkan 2002) or `temperature`: p = sigmoid(slope * score + offset), Platt's (1999)
            two parameters, of which the slope is the inverse temperature.
        knots: isotonic: float64 [2, k], scores and probabilities; temperature: [2, 1], slope and offset.
    """

    kind: Kind
    knots: Floats

    @classmethod
    def fit(cls, scores: ArrayLike, labels: ArrayLike, clusters: ArrayLike, kind: Kind = "isotonic") -> Calibration:
        """Fitted to images that the detector was not trained on.

        Classes weigh the same, and so do the clusters (sources) within a class. Probabilities stay off 0 and 1 by what
        one further source could change.

        Args:
            scores: [n]; rows with NaN are left out. labels: [n], 1 for generated. clusters: [n], the sources.

        Raises:
            CalibrationError: fewer than `FEWEST_SOURCES` sources of a class, or no such kind.
        """
        x, y, clusters = _kept(scores, labels, clusters)
        weights, counts = _weights(y, clusters)
        if min(counts) < FEWEST_SOURCES:
            raise CalibrationError(
                f"{counts[0]} real and {counts[1]} generated sources are too few to calibrate a detector on",
                mend=f"hold back at least {FEWEST_SOURCES} sources of each class from training",
            )
        soft = np.where(y == 1, (counts[1] + 1) / (counts[1] + 2), 1 / (counts[0] + 2))  # Platt's targets
        if kind == "isotonic":
            return cls(kind, _isotonic(x, soft, weights))
        if kind == "temperature":
            return cls(kind, _temperature(x, soft, weights))
        raise CalibrationError(f"there is no calibration {kind!r}", mend="use isotonic or temperature")

    def probability(self, scores: ArrayLike) -> Floats:
        """[n] in (0, 1), of scores [n]; NaN stays NaN."""
        x = np.asarray(scores, float)
        if self.kind == "temperature":
            return np.asarray(special.expit(self.knots[0, 0] * x + self.knots[1, 0]), float)
        return np.where(np.isnan(x), np.nan, np.interp(np.nan_to_num(x, nan=0.0), self.knots[0], self.knots[1]))

    def state(self) -> State:
        return State({"kind": self.kind}, {"knots": self.knots})

    @classmethod
    def from_state(cls, state: State) -> Calibration:
        """What `state()` gave.

        Raises:
            CalibrationError: it is damaged.
        """
        kind, knots = state.settings.get("kind"), np.asarray(state.tensors.get("knots", np.zeros(0)), float)
        sound = knots.ndim == 2 and len(knots) == 2 and knots.shape[1] > 0 and np.isfinite(knots).all()
        if kind == "isotonic":
            sound = sound and bool((np.diff(knots) >= 0).all() and knots[1].min() >= 0 and knots[1].max() <= 1)
        if not sound or kind not in ("isotonic", "temperature"):
            raise CalibrationError("the detector's calibration is damaged", mend="train the detector again")
        return cls(cast(Kind, kind), knots)


def at_base_rate(probability: ArrayLike, base_rate: float) -> Floats:
    """The probability where a share `base_rate` of images is generated rather than half (Bayes' rule on the odds).

    >>> float(at_base_rate(0.9, 0.01).round(3))
    0.083
    """
    p = np.asarray(probability, float)
    return np.asarray(p * base_rate / (p * base_rate + (1 - p) * (1 - base_rate)), float)


def reliability(probabilities: ArrayLike, labels: ArrayLike, sources: ArrayLike) -> pd.DataFrame:
    """The reliability curve: what share was generated among images of each probability, classes weighing the same.

    Returns:
        a row for each bin that has images: bin, probability (their mean), estimate (share generated), ci_low, ci_high
        (Wilson's, at the effective number by source), weight (the bin's share of all), n_images, n_sources, status.
    """
    p, y, s = _kept(probabilities, labels, sources)
    columns = ["bin", "probability", "estimate", "ci_low", "ci_high", "weight", "n_images", "n_sources", "status"]
    if len(np.unique(y)) < 2:
        return pd.DataFrame(columns=columns)
    weight = _balanced(y)
    where = np.minimum((p * BINS).astype(int), BINS - 1)
    rows = []
    for b in np.unique(where):
        here = where == b
        w, hit = weight[here], y[here] == 1
        share, mean = float(np.average(hit, weights=w)), float(np.average(p[here], weights=w))
        sources_here = len(np.unique(s[here]))
        error = _standard_error(w, hit - share, s[here])
        most = w.sum() ** 2 / (w**2).sum()
        effective = min(most, share * (1 - share) / error**2) if error > 0 else min(most, sources_here)
        low, high = wilson(share * effective, effective)
        enough = sources_here >= FEWEST_SOURCES
        values = (share, float(low), float(high)) if enough else (np.nan,) * 3
        status: Status = "ok" if enough else "insufficient"
        rows.append((int(b), mean, *values, float(w.sum()), int(here.sum()), sources_here, status))
    return pd.DataFrame(rows, columns=columns)


def ece(
    probabilities: ArrayLike, labels: ArrayLike, sources: ArrayLike, *, replicates: int = 1000, seed: int = 0
) -> Estimate:
    """Class-balanced expected calibration error: the mean gap between probability and share generated, over bins.

    The plain error is above 0 by chance alone; here each bin's squared gap is lessened by its variance between sources
    (as Kumar et al. 2019, arXiv 1909.10155, do for the squared error), so that a calibrated detector comes near 0. The
    interval is of gaps drawn around those found with their errors between sources; it reaches down to 0 where chance
    explains all gaps (chi-squared). Insufficient with fewer than `FEWEST_SOURCES` sources of a class.
    """
    p, y, s = _kept(probabilities, labels, sources)
    _, cluster = np.unique(s, return_inverse=True)
    g = int(cluster.max()) + 1 if len(s) else 0
    if min((len(np.unique(cluster[y == label])) for label in (0, 1)), default=0) < FEWEST_SOURCES:
        return Estimate(np.nan, np.nan, np.nan, len(p), g, "insufficient")
    found, gaps, errors, mass = _gaps(p, y, cluster)
    # The gaps of the bins, which are near normal around the true ones, are drawn; their size is not, as it is biased.
    rng = np.random.default_rng(seed)
    true = np.sign(gaps) * np.sqrt(np.maximum(gaps**2 - errors**2, 0))
    draws = np.abs(true + errors * rng.standard_normal((replicates, len(gaps))))
    debiased = np.sqrt(np.maximum(draws**2 - errors**2, 0)) @ mass
    low, high = np.quantile(debiased, [0.025, 0.975])
    # The size of the gaps is above 0 in every draw; where they are such as chance gives, 0 is not excluded.
    if ((gaps / np.maximum(errors, 1e-12)) ** 2).sum() <= stats.chi2.ppf(0.95, len(gaps)):
        low = 0.0
    return Estimate(found, float(min(low, found)), float(max(high, found)), len(p), g, "ok")


def holds(error: Estimate, *, largest: float = LARGEST_ECE) -> Status:
    """Whether probabilities may be given for a source or generator: `ok`, `uncalibrated` or `insufficient`.

    `uncalibrated` where the class-balanced ECE is above `largest`.
    """
    if error.status == "insufficient":
        return "insufficient"
    return "ok" if error.estimate <= largest else "uncalibrated"


def _gaps(p: Floats, y: NDArray[np.generic], cluster: NDArray[np.intp]) -> tuple[float, Floats, Floats, Floats]:
    """The ECE, and by bin the gap, its standard error by source, and the bin's share of all."""
    weight = _balanced(y)
    where = np.minimum((p * BINS).astype(int), BINS - 1)
    gaps, errors, mass = [], [], []
    for b in np.unique(where):
        here = where == b
        residual = p[here] - (y[here] == 1)
        gap = float(np.average(residual, weights=weight[here]))
        gaps.append(gap)
        # What chance gives where probabilities are right is the least: a lone source, or one label, varies in nothing.
        chance = np.sqrt((weight[here] ** 2 * p[here] * (1 - p[here])).sum()) / weight[here].sum()
        errors.append(max(_standard_error(weight[here], residual - gap, cluster[here]), float(chance)))
        mass.append(float(weight[here].sum()))
    d, e, m = np.array(gaps), np.array(errors), np.array(mass)
    return float(np.sqrt(np.maximum(d**2 - e**2, 0)) @ m), d, e, m


def _standard_error(weight: Floats, residual: Floats, clusters: NDArray[np.generic]) -> float:
    """Of a weighted mean, from the clusters' sums of weighted residuals."""
    _, cluster = np.unique(clusters, return_inverse=True)
    g = int(cluster.max()) + 1
    sums = np.bincount(cluster, weight * residual)
    return float(np.sqrt((sums**2).sum() * g / max(g - 1, 1)) / weight.sum())


def _balanced(y: NDArray[np.generic]) -> Floats:
    """Weights [n] that sum to 1/2 in each class."""
    return np.where(y == 1, 0.5 / max((y == 1).sum(), 1), 0.5 / max((y == 0).sum(), 1))


def _weights(y: NDArray[np.generic], clusters: NDArray[np.generic]) -> tuple[Floats, tuple[int, int]]:
    """Weights [n] that sum to 1/2 in each class, clusters alike within it; and the clusters of real and generated."""
    weights, counts = np.zeros(len(y)), [0, 0]
    for label in (0, 1):
        mine = y == label
        if mine.any():
            _, cluster, size = np.unique(clusters[mine], return_inverse=True, return_counts=True)
            weights[mine] = 0.5 / len(size) / size[cluster]
            counts[label] = len(size)
    return weights, (counts[0], counts[1])


def _isotonic(x: Floats, targets: Floats, weights: Floats) -> Floats:
    """Knots [2, k]: pool adjacent violators on distinct scores, of each level the ends and nothing between."""
    levels, where = np.unique(x, return_inverse=True)
    mass = np.bincount(where, weights)
    fitted = optimize.isotonic_regression(np.bincount(where, weights * targets) / mass, weights=mass).x
    turns = np.append(True, np.diff(fitted) > 1e-12)
    kept = turns | np.append(turns[1:], True)
    return np.stack([levels[kept], np.clip(fitted[kept], 0, 1)])


def _temperature(x: Floats, targets: Floats, weights: Floats) -> Floats:
    centre, scale = float(np.average(x, weights=weights)), max(float(x.std()), 1e-12)
    z = (x - centre) / scale

    def loss(parameters: Floats) -> float:
        logit = np.exp(parameters[0]) * z + parameters[1]
        return float((weights * (np.logaddexp(0, logit) - targets * logit)).sum())

    found = optimize.minimize(loss, np.zeros(2), method="L-BFGS-B", bounds=[(-8, 8), (-30, 30)]).x
    slope = np.exp(found[0]) / scale
    return np.array([[slope], [found[1] - slope * centre]])


def _kept(x: ArrayLike, y: ArrayLike, s: ArrayLike) -> tuple[Floats, NDArray[np.generic], NDArray[np.str_]]:
    values, labels, sources = np.asarray(x, float), np.asarray(y), np.asarray(s, str)
    if not len(values) == len(labels) == len(sources):
        raise CalibrationError(f"{len(values)} scores, {len(labels)} labels and {len(sources)} sources do not match")
    kept = np.isfinite(values)
    return values[kept], labels[kept], sources[kept]

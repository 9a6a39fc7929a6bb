"""How well scores tell generated images from real ones, with intervals by source; numpy and scipy only.

Scores are larger for generated images. Labels are 1 for generated, 0 for real. Rows whose score is NaN (could not be
told) are left out of every metric, and counted by `evaluate`. What cannot be estimated is NaN, never 0.

The cluster of every interval is the source: images that come from one original (crops, re-encodings, a photograph and
its reconstruction) are drawn together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, stats

from auditkit.errors import DetectorError
from auditkit.stats.bootstrap import expanded_percentile
from auditkit.stats.intervals import wilson

Floats = NDArray[np.float64]
Status = Literal["ok", "insufficient", "uncalibrated"]

FEWEST_SOURCES = 10
"""Sources of each class that an interval needs at least; with fewer a metric is `insufficient`."""
FPRS = (0.01, 0.001)
"""False positive rates that the true positive rate is read at."""
REPLICATES = 1000
_CELLS = 4_000_000  # of the resampled tables that are held at once


@dataclass(frozen=True)
class Estimate:
    """A metric with its 95% interval; NaN with the status `insufficient` where there is too little to go by.

    Attributes:
        n_images: images that it rests on, of both classes where it needs both.
        n_sources: their sources, the unit of the interval.
    """

    estimate: float
    ci_low: float
    ci_high: float
    n_images: int
    n_sources: int
    status: Status


def fewest_reals(fpr: float) -> int:
    """Real images that a false positive rate of `fpr` needs: 300 at 1%, 3,000 at .1%.

    With 3/fpr images and none over the threshold the rate is below `fpr` with 95% confidence (the rule of three).
    """
    return round(3 / fpr)


def threshold_at(real_scores: ArrayLike, fpr: float) -> float:
    """The lowest threshold that at most a share `fpr` of `real_scores` [n] reaches; NaN for no scores.

    An image is called generated where score >= threshold. With fewer than 1/fpr scores none of them reaches it.

    >>> bool((np.arange(100) >= threshold_at(np.arange(100), 0.05)).mean() == 0.05)
    True
    """
    reals = np.sort(_finite(real_scores))[::-1]
    if not len(reals):
        return float("nan")
    allowed = int(np.floor(fpr * len(reals) + 1e-9))
    return float(np.nextafter(reals[allowed], np.inf)) if allowed < len(reals) else float(reals[-1])


def auroc(scores: ArrayLike, labels: ArrayLike) -> float:
    """Area under the ROC curve: the chance that a generated image scores above a real one, ties counting half.

    >>> auroc([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1])
    0.75
    """
    return _point(_aurocs, scores, labels)


def average_precision(scores: ArrayLike, labels: ArrayLike) -> float:
    """Mean precision over the generated images, in falling order of score; depends on the share of generated ones.

    >>> round(average_precision([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1]), 4)
    0.8333
    """
    return _point(_precisions, scores, labels)


def tpr_at(scores: ArrayLike, labels: ArrayLike, fpr: float) -> float:
    """Share of generated images at or above the threshold that at most `fpr` of the real ones here reach.

    NaN with fewer than `fewest_reals(fpr)` real images: the threshold is then set by one or two of them.
    """
    scores, labels = _paired(scores, labels)
    if (labels == 0).sum() < fewest_reals(fpr):
        return float("nan")
    return _point(_tprs(fpr), scores, labels)


def balanced_accuracy(scores: ArrayLike, labels: ArrayLike, threshold: float) -> float:
    """Mean of the true positive and the true negative rate at a threshold that was frozen on other data."""
    scores, labels = _paired(scores, labels)
    if not np.isfinite(threshold) or len(np.unique(labels)) < 2:
        return float("nan")
    called = scores >= threshold
    return float((called[labels == 1].mean() + 1 - called[labels == 0].mean()) / 2)


def roc(scores: ArrayLike, labels: ArrayLike) -> tuple[Floats, Floats]:
    """False and true positive rates at every distinct threshold, from (0, 0) to (1, 1); empty for one class."""
    scores, labels = _paired(scores, labels)
    if len(np.unique(labels)) < 2:
        return np.zeros(0), np.zeros(0)
    generated, real = _by_score(scores, labels, np.ones((1, len(scores))))
    return tuple(np.append(0, np.cumsum(w[0]) / w.sum()) for w in (real, generated))  # type: ignore[return-value]


def share(hits: ArrayLike, sources: ArrayLike) -> Estimate:
    """Share of images [n] that `hits` names, with Wilson's interval at the images' design effect by source.

    The design effect is the variance between sources over the binomial one, at least 1; Student's quantile at the
    number of sources less one. With no hit or only hits the images of a source count as one.
    """
    hit = np.asarray(hits, float)
    _, cluster = np.unique(np.asarray(sources, str), return_inverse=True)
    n, g = len(hit), int(cluster.max()) + 1 if len(hit) else 0
    if g < FEWEST_SOURCES:
        return _insufficient(n, g)
    p = hit.mean()
    sums, sizes = np.bincount(cluster, hit), np.bincount(cluster)
    if 0 < p < 1:
        effect = max(1.0, g / (g - 1) * ((sums - p * sizes) ** 2).sum() / (n * p * (1 - p)))
    else:
        effect = n / g
    low, high = wilson(p * n / effect, n / effect, df=g - 1)
    return Estimate(float(p), float(low), float(high), n, g, "ok")


def evaluate(
    scores: ArrayLike,
    labels: ArrayLike,
    sources: ArrayLike,
    *,
    threshold: float | None = None,
    fprs: Sequence[float] = FPRS,
    replicates: int = REPLICATES,
    seed: int = 0,
) -> pd.DataFrame:
    """Every metric with its interval, a row each.

    Args:
        scores, labels, sources: [n].
        threshold: frozen on other data; without it the rates and the accuracy at a threshold are left out.
        fprs: rates that the true positive rate is read at.

    Returns:
        columns metric, estimate, ci_low, ci_high, n_images, n_sources, status. Metrics: `auroc`,
        `average_precision`, `tpr@0.01`, `tpr@0.001`, and with a threshold `tpr`, `fpr`, `balanced_accuracy`; last
        `not_scored`, the share of images that have no score.

    Raises:
        DetectorError: lengths differ.
    """
    everything = np.asarray(scores, float)
    kept = np.isfinite(everything)
    labels, sources = np.asarray(labels), np.asarray(sources, str)
    if not len(labels) == len(sources) == len(everything):
        raise DetectorError(f"{len(everything)} scores, {len(labels)} labels and {len(sources)} sources do not match")
    x, y, s = everything[kept], labels[kept], sources[kept]
    found = {
        "auroc": interval(_aurocs, x, y, s, replicates=replicates, seed=seed, guard=_auroc_guard),
        "average_precision": interval(_precisions, x, y, s, replicates=replicates, seed=seed, guard=_share_guard),
    }
    for fpr in fprs:
        name = f"tpr@{fpr:g}"
        if (y == 0).sum() < fewest_reals(fpr):
            found[name] = _insufficient(len(x), len(np.unique(s)))
        else:
            found[name] = interval(_tprs(fpr), x, y, s, replicates=replicates, seed=seed, guard=_share_guard)
    if threshold is not None:
        called = x >= threshold
        for name, label in (("tpr", 1), ("fpr", 0)):
            found[name] = share(called[y == label], s[y == label])
        accuracy = _accuracies(threshold)
        found["balanced_accuracy"] = interval(
            accuracy, x, y, s, replicates=replicates, seed=seed, guard=_accuracy_guard(found["tpr"], found["fpr"])
        )
    found["not_scored"] = share(~kept, sources)
    return pd.DataFrame([{"metric": name, **asdict(estimate)} for name, estimate in found.items()])


def area(scores: ArrayLike, labels: ArrayLike, sources: ArrayLike, *, seed: int = 0) -> Estimate:
    """The AUROC with its interval."""
    return interval(_aurocs, scores, labels, sources, seed=seed, guard=_auroc_guard)


def mean_area(
    parts: Sequence[tuple[ArrayLike, ArrayLike, ArrayLike]], *, replicates: int = REPLICATES, seed: int = 0
) -> Estimate:
    """The mean AUROC of several sets (scores, labels, sources), such as generators left out one after another.

    Sets may share sources, as real images tested with each: a source drawn is drawn in all of them. Insufficient where
    one of the sets is.
    """
    kept = []
    for scores, labels, sources in parts:
        x, y = _paired(scores, labels)
        kept.append((x, y, np.asarray(sources, str)[np.isfinite(np.asarray(scores, float))]))
    if not kept:
        return _insufficient(0, 0)
    names, cluster = np.unique(np.concatenate([s for _, _, s in kept]), return_inverse=True)
    n = len(cluster)
    ends = np.cumsum([len(x) for x, _, _ in kept])[:-1]
    clusters = np.split(cluster, ends)
    fewest = min(
        len(np.unique(own[y == label])) for (_, y, _), own in zip(kept, clusters, strict=True) for label in (0, 1)
    )
    if fewest < FEWEST_SOURCES:
        return _insufficient(n, len(names))
    weights = _source_weights(cluster, np.concatenate([y for _, y, _ in kept]), replicates, np.random.default_rng(seed))
    draws, points = np.zeros(replicates), []
    for (x, y, _), own in zip(kept, clusters, strict=True):
        draws += _drawn(_aurocs, x, y, weights, own) / len(kept)
        points.append(_point(_aurocs, x, y))
    estimate = float(np.mean(points))
    low, high = (float(end) for end in expanded_percentile(draws[np.isfinite(draws)], fewest))
    if min(estimate, 1 - estimate) * fewest <= 0.5:  # hardly a draw varies; the mean is at least as sure as one set
        floor, ceiling = _auroc_guard(estimate, fewest, fewest)
        low, high = float(np.nanmin([low, floor])), float(np.nanmax([high, ceiling]))
    return Estimate(estimate, min(low, estimate), max(high, estimate), n, len(names), "ok")


Statistic = Callable[[Floats, Floats, Floats], Floats]
"""Of weights of the generated and of the real images by distinct score, [R, g] each, in falling order of score, and of
these scores [g]: [R]."""
Guard = Callable[[float, int, int], tuple[float, float]]
"""Of an estimate and the sources of generated and of real images: limits that the interval reaches at least where the
bootstrap has too little to vary."""


def interval(
    statistic: Statistic,
    scores: ArrayLike,
    labels: ArrayLike,
    sources: ArrayLike,
    *,
    replicates: int = REPLICATES,
    seed: int = 0,
    guard: Guard | None = None,
) -> Estimate:
    """A statistic with its interval, from resampled sources.

    G - 1 of the G sources are drawn with replacement, whole and scaled (Rao and Wu 1988), apart among those that have
    real images only, generated ones only, and both; percentiles at Student's quantile (`stats.bootstrap`). A draw in
    which nothing varies says nothing (AUROC 1 of 12 images): there `guard` widens the interval.
    """
    x, y = _paired(scores, labels)
    s = np.asarray(sources, str)[np.isfinite(np.asarray(scores, float))]
    _, cluster = np.unique(s, return_inverse=True)
    g = int(cluster.max()) + 1 if len(s) else 0
    generated, real = (len(np.unique(cluster[y == label])) for label in (1, 0))
    if min(generated, real) < FEWEST_SOURCES:
        return _insufficient(len(x), g)
    estimate = _point(statistic, x, y)
    weights = _source_weights(cluster, y, replicates, np.random.default_rng(seed))
    draws = _drawn(statistic, x, y, weights, cluster)
    low, high = (float(end) for end in expanded_percentile(draws[np.isfinite(draws)], min(generated, real)))
    if guard is not None:
        floor, ceiling = guard(estimate, generated, real)
        low, high = float(np.nanmin([low, floor])), float(np.nanmax([high, ceiling]))
    return Estimate(estimate, min(low, estimate), max(high, estimate), len(x), g, "ok")


def _drawn(
    statistic: Statistic, x: Floats, y: NDArray[np.generic], weights: Floats, cluster: NDArray[np.intp]
) -> Floats:
    """The statistic [R] under weights [R, n_sources] of the images' sources [n]."""
    levels = np.unique(x)[::-1]
    step = max(1, _CELLS // len(x))
    starts = range(0, len(weights), step)
    return np.concatenate([statistic(*_by_score(x, y, weights[at : at + step][:, cluster]), levels) for at in starts])


def _source_weights(
    cluster: NDArray[np.intp], labels: NDArray[np.generic], replicates: int, rng: np.random.Generator
) -> Floats:
    """Weights [R, n_sources], strata by the classes that a source has; a lone source of a stratum keeps its weight."""
    g = int(cluster.max()) + 1
    kind = np.zeros(g, int)
    for label in (0, 1):
        kind[np.unique(cluster[labels == label])] += label + 1
    weights = np.ones((replicates, g))
    for value in np.unique(kind):
        (members,) = np.nonzero(kind == value)
        m = len(members)
        if m > 1:
            weights[:, members] = rng.multinomial(m - 1, np.full(m, 1 / m), size=replicates) * (m / (m - 1))
    return weights


def _by_score(scores: Floats, labels: NDArray[np.generic], weights: Floats) -> tuple[Floats, Floats]:
    """Summed weights [R, g] of generated and of real images by distinct score, highest first, of weights [R, n]."""
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order]
    starts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))
    sorted_weights, is_generated = weights[:, order], labels[order] == 1
    generated = np.add.reduceat(sorted_weights * is_generated, starts, axis=1)
    return generated, np.add.reduceat(sorted_weights * ~is_generated, starts, axis=1)


def _aurocs(generated: Floats, real: Floats, levels: Floats) -> Floats:
    above = np.cumsum(generated, axis=1) - generated / 2
    with np.errstate(invalid="ignore", divide="ignore"):
        return (real * above).sum(axis=1) / (generated.sum(axis=1) * real.sum(axis=1))


def _precisions(generated: Floats, real: Floats, levels: Floats) -> Floats:
    true, false = np.cumsum(generated, axis=1), np.cumsum(real, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        precision = np.where(true + false > 0, true / (true + false), 0)
        return (generated * precision).sum(axis=1) / true[:, -1]


def _tprs(fpr: float) -> Statistic:
    def statistic(generated: Floats, real: Floats, levels: Floats) -> Floats:
        true, false = np.cumsum(generated, axis=1), np.cumsum(real, axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            allowed = false / false[:, -1:] <= fpr + 1e-12
            return np.where(allowed, true, 0).max(axis=1) / true[:, -1]

    return statistic


def _accuracies(threshold: float) -> Statistic:
    def statistic(generated: Floats, real: Floats, levels: Floats) -> Floats:
        called = levels >= threshold
        with np.errstate(invalid="ignore", divide="ignore"):
            tpr = (generated * called).sum(axis=1) / generated.sum(axis=1)
            return (tpr + 1 - (real * called).sum(axis=1) / real.sum(axis=1)) / 2

    return statistic


def _auroc_guard(estimate: float, generated: int, real: int) -> tuple[float, float]:
    """Newcombe's score interval for the AUROC (2006, Stat. Med. 25:559-573, method 5), near 0 and 1 only.

    It solves |A - theta| = z sqrt(V(theta)), V Hanley and McNeil's variance at the mean of both numbers.
    """
    if min(estimate, 1 - estimate) * min(generated, real) > 5:
        return float("nan"), float("nan")
    z = stats.norm.ppf(0.975)
    many = (generated + real) / 2 - 1

    def excess(theta: float) -> float:
        variance = theta * (1 - theta) / (generated * real)
        variance *= 1 + many * ((1 - theta) / (2 - theta) + theta / (1 + theta))
        return float((estimate - theta) ** 2 - z**2 * variance)

    low = optimize.brentq(excess, 0, estimate) if estimate > 0 and excess(estimate) * excess(0) < 0 else 0.0
    high = optimize.brentq(excess, estimate, 1) if estimate < 1 and excess(estimate) * excess(1) < 0 else 1.0
    if estimate == 1:
        low = float(optimize.brentq(excess, 1e-9, 1 - 1e-9))
    if estimate == 0:
        high = float(optimize.brentq(excess, 1e-9, 1 - 1e-9))
    return float(low), float(high)


def _share_guard(estimate: float, generated: int, real: int) -> tuple[float, float]:
    """Wilson's limits at the number of sources of the rarer class, near 0 and 1 only."""
    fewer = min(generated, real)
    if min(estimate, 1 - estimate) * fewer > 5:
        return float("nan"), float("nan")
    low, high = wilson(estimate * fewer, fewer)
    return float(low), float(high)


def _accuracy_guard(tpr: Estimate, fpr: Estimate) -> Guard:
    """Limits of a mean of two shares from their own (MOVER; Newcombe 1998), where either is near 0 or 1."""

    def guard(estimate: float, generated: int, real: int) -> tuple[float, float]:
        near = min(min(s.estimate, 1 - s.estimate) * n for s, n in ((tpr, generated), (fpr, real)) if s.status == "ok")
        if near > 5:
            return float("nan"), float("nan")
        low = estimate - np.hypot(tpr.estimate - tpr.ci_low, fpr.ci_high - fpr.estimate) / 2
        high = estimate + np.hypot(tpr.ci_high - tpr.estimate, fpr.estimate - fpr.ci_low) / 2
        return float(low), float(high)

    return guard


def _point(statistic: Statistic, scores: ArrayLike, labels: ArrayLike) -> float:
    x, y = _paired(scores, labels)
    if len(np.unique(y)) < 2:
        return float("nan")
    return float(statistic(*_by_score(x, y, np.ones((1, len(x)))), np.unique(x)[::-1])[0])


def _paired(scores: ArrayLike, labels: ArrayLike) -> tuple[Floats, NDArray[np.generic]]:
    x, y = np.asarray(scores, float), np.asarray(labels)
    if x.shape != y.shape:
        raise DetectorError(f"{len(x)} scores and {len(y)} labels do not match")
    kept = np.isfinite(x)
    return x[kept], y[kept]


def _finite(scores: ArrayLike) -> Floats:
    x = np.asarray(scores, float)
    return x[np.isfinite(x)]


def _insufficient(n_images: int, n_sources: int) -> Estimate:
    return Estimate(float("nan"), float("nan"), float("nan"), n_images, n_sources, "insufficient")

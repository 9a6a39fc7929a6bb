"""The shortcut audit: can the classes be told apart by what has nothing to do with how their images were made?

Six kinds, each with a small model of its own, cross-validated by source: file format, JPEG quantisation, size,
resampling, content, metadata. A warning says that a detector trained on these data may have learnt that instead.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import rankdata

from auditkit.stats.multiplicity import holm
from detectors.encoding import read_header
from detectors.examples import Examples
from detectors.shortcut_features import KINDS, OWN_TRACE, Features, extract

Verdict = Literal["warning", "no sign", "not judged", "insufficient"]

ALPHA = 0.01
"""Share of clean data sets in which any of the six warns, at most: the level of the corrected p-values."""
LEAST = 0.55
"""AUROC below which nothing warns: with many images the slightest difference is significant."""
FEWEST_SOURCES = 20
"""Of each class: with fewer nothing is said."""
MOST_ROWS = 2000
"""Rows beyond are left out, whole sources drawn by the seed."""
FOLDS = 5
PERMUTATIONS = 1999
_RIDGE = 0.03

MEANINGS = {
    "format": "a detector can read the class off the file format: write both sides in one (auditkit detector alike)",
    "quantisation": "a detector can read the class off JPEG's traces: write both sides with the same tables, and where "
    "one side was a JPEG before, compress the other too (auditkit detector alike)",
    "size": "a detector can read the class off the image size: cut both sides to one size, without resizing "
    "(auditkit detector alike)",
    "resampling": "one side was resized, or resized otherwise, or has a generator's own upsampling in it; these cannot "
    "be told apart here: go back to images that were not resized, or make pairs (auditkit detector pairs)",
    "content": "the sides show different things, as collections made apart do; a detector may learn what is shown: "
    "make pairs (auditkit detector pairs), or test on generated images of the reals' subjects",
    "metadata": "a detector, or whoever sorted the files, can read the class off EXIF, tags or software: remove them "
    "(auditkit detector alike)",
}
NOT_JUDGED = (
    "in aligned pairs the autoencoder's own upsampling cannot be told from resizing; auditkit detector pairs resizes "
    "nothing"
)
ALIGNED_CONTENT = (
    "the reconstructions differ from their originals in colour or layout, even at 8 x 8 pixels: the autoencoder shifts "
    "them, and a detector may learn that shift alone; leave an autoencoder out that is not made for such images"
)


@dataclass(frozen=True)
class Shortcut:
    """One kind of shortcut.

    Attributes:
        part: what tells most of what is judged: 'header' or 'history' of the quantisation, and so on.
        auroc, ci_low, ci_high: of the cross-validated model of that part, with its 95% interval by source; .5 is
            chance. NaN where insufficient.
        p_value, p_holm: one-sided permutation p-value, and corrected over the six kinds (Holm).
        verdict: 'warning' where p_holm <= alpha and auroc >= .55; 'no sign', which does not say that there is none;
            'not judged' in aligned pairs, where the autoencoder causes it too; 'insufficient'.
        meaning: what to do about it, or why nothing is said.
        parts: AUROC of each part; in aligned pairs also of parts that are not judged.
    """

    kind: str
    part: str
    auroc: float
    ci_low: float
    ci_high: float
    p_value: float
    p_holm: float
    verdict: Verdict
    meaning: str
    parts: dict[str, float]


@dataclass(frozen=True)
class Audit:
    """What the six said.

    Attributes:
        aligned: every generated image stands beside the real one that it was made of, in the same size and encoding;
            bytes and traces of resampling are then shown and not judged, because the autoencoder causes them too.
    """

    shortcuts: tuple[Shortcut, ...]
    n_real: int
    n_generated: int
    n_sources: int
    aligned: bool
    alpha: float
    permutations: int
    seed: int

    @property
    def warnings(self) -> list[str]:
        """The kinds that warn."""
        return [each.kind for each in self.shortcuts if each.verdict == "warning"]

    @property
    def table(self) -> pd.DataFrame:
        """A row a kind, with the attributes of `Shortcut`."""
        return pd.DataFrame([vars(each) for each in self.shortcuts])


def audit(
    examples: Examples,
    *,
    seed: int,
    alpha: float = ALPHA,
    permutations: int = PERMUTATIONS,
    progress: Callable[[int, int], None] | None = None,
) -> Audit:
    """Audit examples of both classes for shortcuts.

    For each kind a ridge regression on linear and Gaussian kernels is cross-validated over folds of whole sources; its
    AUROC is compared with those after labels were permuted: among the images of a source where it has both labels,
    among sources where they have one. So an image and its reconstruction are compared with each other. The share of
    clean data sets with any warning is at most `alpha` (`python -m benchmarks.detector_shortcuts` counts).

    Args:
        seed: of folds and permutations.
        alpha: at least 6 / (permutations + 1), or nothing could warn.
        progress: called with (images read, images in all).

    Raises:
        ImageError: a file that is missing, damaged or no image.
        ValueError: `alpha` is out of reach.
    """
    examples = _drawn(examples, seed)
    features = extract(examples, progress=progress) if len(examples) else {}
    return judge(
        features, examples.labels, examples.sources, aligned=is_aligned(examples), seed=seed, alpha=alpha,
        permutations=permutations,
    )  # fmt: skip


def is_aligned(examples: Examples) -> bool:
    """Whether each generated image has a real one of its source with the same size, format, tables and metadata."""
    keys: dict[str, set[tuple[object, ...]]] = {"real": set(), "generated": set()}
    for file, label, source in examples.table[["file", "label", "source"]].itertuples(index=False):
        h = read_header(file)
        keys[label].add((source, h.format, h.mode, h.width, h.height, h.tables, h.subsampling, h.metadata))
    return bool(keys["generated"]) and keys["generated"] <= keys["real"]


def judge(
    features: Features,
    labels: NDArray[np.integer],
    sources: NDArray[np.object_],
    *,
    aligned: bool,
    seed: int,
    alpha: float = ALPHA,
    permutations: int = PERMUTATIONS,
    intervals: bool = True,
) -> Audit:
    """`audit` of features that are there already.

    Args:
        features: of `extract`, n rows each.
        labels: [n], 1 for generated.
        sources: [n].
        intervals: False leaves them NaN, which saves most of the time.
    """
    if len(KINDS) / (permutations + 1) > alpha:
        raise ValueError(f"{permutations} permutations cannot reach {alpha} corrected over {len(KINDS)} kinds")
    labels = np.asarray(labels)
    few = min((len(set(sources[labels == label])) for label in (0, 1)), default=0)
    if few < FEWEST_SOURCES:
        found = [_insufficient(kind, few) for kind in KINDS]
    else:
        found = _judged(features, labels, sources, aligned, seed, alpha, permutations, intervals)
    generated = int((labels == 1).sum())
    return Audit(
        tuple(found), len(labels) - generated, generated, len(set(sources)), aligned, alpha, permutations, seed
    )


def _judged(
    features: Features, labels: NDArray[np.integer], sources: NDArray[np.object_], aligned: bool, seed: int,
    alpha: float, permutations: int, intervals: bool,
) -> list[Shortcut]:  # fmt: skip
    from detectors.metrics import area

    rng = np.random.default_rng(seed)
    fold = _folds(sources, rng)
    permuted = np.vstack([labels, _permuted(labels, sources, permutations, rng)])
    results = []
    for kind in KINDS:
        parts = {part: x for (own, part), x in features.items() if own == kind}
        scores = {part: _cross_validated(x, permuted, fold) for part, x in parts.items()}
        areas = {part: _aurocs(values, permuted) for part, values in scores.items()}
        judged = [part for part in parts if not (aligned and (kind, part) in OWN_TRACE)]
        if not judged:
            best = max(parts, key=lambda part: areas[part][0])
            results.append((kind, best, scores[best][0], {part: float(areas[part][0]) for part in parts}, np.nan))
            continue
        p_values = {part: _permutation_p(areas[part]) for part in judged}
        # The parts' smallest p-value, itself permuted (Westfall and Young 1993): their AUROCs vary unequally by chance.
        p_value = float(_permutation_p(-np.min(list(p_values.values()), axis=0))[0])
        best = min(judged, key=lambda part: (p_values[part][0], -areas[part][0]))
        results.append((kind, best, scores[best][0], {part: float(areas[part][0]) for part in parts}, p_value))
    adjusted = holm([p_value for *_, p_value in results])
    found = []
    for (kind, best, score, parts_, p_value), p_holm in zip(results, adjusted, strict=True):
        low, high = float("nan"), float("nan")
        if intervals:
            estimate = area(score, labels, sources, seed=seed)
            low, high = estimate.ci_low, estimate.ci_high
        verdict: Verdict = "not judged" if np.isnan(p_value) else "no sign"
        if p_holm <= alpha and parts_[best] >= LEAST:
            verdict = "warning"
        meaning = NOT_JUDGED if verdict == "not judged" else ""
        if verdict == "warning":
            meaning = ALIGNED_CONTENT if aligned and kind == "content" else MEANINGS[kind]
        found.append(Shortcut(kind, best, parts_[best], low, high, p_value, float(p_holm), verdict, meaning, parts_))
    return found


def _insufficient(kind: str, few: int) -> Shortcut:
    nan = float("nan")
    why = f"a class has {few} sources, and {FEWEST_SOURCES} are needed"
    return Shortcut(kind, "", nan, nan, nan, nan, nan, "insufficient", why, {})


def _drawn(examples: Examples, seed: int) -> Examples:
    """At most MOST_ROWS rows, whole sources in an order drawn by `seed`, as many of either class where they are."""
    if len(examples) <= MOST_ROWS:
        return examples
    table = examples.table
    rng = np.random.default_rng(seed)
    names = table["source"].unique()
    order = dict(zip(names, rng.permutation(len(names)), strict=True))
    rank = table["source"].map(order)
    kept = np.zeros(len(table), bool)
    for label in ("real", "generated"):
        rows = rank[table["label"] == label].sort_values(kind="stable")
        last = rows.iloc[: MOST_ROWS // 2]
        kept[last.index] = True
    return examples.where(kept)


def _folds(sources: NDArray[np.object_], rng: np.random.Generator) -> NDArray[np.intp]:
    """[n], 0..4: whole sources, in drawn order to the emptiest fold; labels play no part, so permuting keeps them."""
    names, codes, counts = np.unique(sources.astype(str), return_inverse=True, return_counts=True)
    place, filled = np.zeros(len(names), np.intp), np.zeros(FOLDS)
    for one in rng.permutation(len(names)):
        place[one] = filled.argmin()
        filled[place[one]] += counts[one]
    return place[codes]


def _permuted(
    labels: NDArray[np.integer], sources: NDArray[np.object_], count: int, rng: np.random.Generator
) -> NDArray[np.integer]:
    """[count, n]: labels permuted within sources that have both, and among the sources that have one."""
    _, codes = np.unique(sources.astype(str), return_inverse=True)
    members = [np.flatnonzero(codes == code) for code in range(codes.max() + 1)]
    mixed = [rows for rows in members if labels[rows].min() != labels[rows].max()]
    single = [rows for rows in members if labels[rows].min() == labels[rows].max()]
    made = np.tile(labels, (count, 1))
    for rows in mixed:
        made[:, rows] = rng.permuted(made[:, rows], axis=1)
    if single:
        own = np.array([labels[rows[0]] for rows in single])
        drawn = rng.permuted(np.tile(own, (count, 1)), axis=1)
        where = np.concatenate(single)
        made[:, where] = drawn[:, np.repeat(np.arange(len(single)), [len(rows) for rows in single])]
    return made


def _cross_validated(
    x: NDArray[np.float64], permuted: NDArray[np.integer], fold: NDArray[np.intp]
) -> NDArray[np.float64]:
    """Scores [p, n] of each row by models that have not seen its fold, for each row of labels in `permuted` [p, n].

    Kernel ridge regression: given features and folds, the scores are one matrix times the labels, so that permuting
    costs a product.
    """
    x = x[:, x.std(axis=0) > 1e-9]
    if not x.shape[1]:
        return np.zeros(permuted.shape)
    x = ((x - x.mean(axis=0)) / x.std(axis=0)).clip(-5, 5)
    squares = (x**2).sum(axis=1)
    distance = (squares[:, None] + squares - 2 * x @ x.T).clip(0)
    kernel = x @ x.T / x.shape[1] + np.exp(-distance / max(float(distance.mean()), 1e-9))
    n = len(x)
    hat = np.zeros((n, n))
    for number in range(FOLDS):
        test, train = np.flatnonzero(fold == number), np.flatnonzero(fold != number)
        inner = kernel[np.ix_(train, train)] + _RIDGE * len(train) * np.eye(len(train))
        weights = np.linalg.solve(inner, kernel[np.ix_(train, test)]).T
        hat[np.ix_(test, train)] = weights - weights.mean(axis=1, keepdims=True)
    scores = permuted.astype(float) @ hat.T
    for number in range(FOLDS):
        # Models of different folds have different zeros, which would rank folds by their share of labels.
        test = fold == number
        scores[:, test] -= np.median(scores[:, test], axis=1, keepdims=True)
    return scores


def _permutation_p(statistic: NDArray[np.float64]) -> NDArray[np.float64]:
    """[p]: for each of p permutations, the observed one among them, the share with a statistic at least as large."""
    rank = rankdata(np.round(statistic, 12), method="min")
    return (len(rank) + 1 - rank) / len(rank)


def _aurocs(scores: NDArray[np.float64], labels: NDArray[np.integer]) -> NDArray[np.float64]:
    """[p], of scores and labels [p, n]; ties count half. .5 where nothing varies."""
    # Rounded, because rows with equal features must tie whatever the order of summation.
    rank = rankdata(np.round(scores, 9), axis=1)
    generated = labels.sum(axis=1)
    real = labels.shape[1] - generated
    return ((rank * labels).sum(axis=1) - generated * (generated + 1) / 2) / (generated * real)

"""Association with two poles: effect sizes, permutation tests, bootstrap; the cluster is the prompt.

s(x) = mean_a cos(x, a) - mean_b cos(x, b) is how much nearer x lies to pole A than to pole B, and
d = (mean_X s - mean_Y s) / sd over X and Y (Caliskan et al. 2017, Science 356:183-186; sentences: May et al. 2019,
NAACL; images: Steed and Caliskan 2021, FAccT). The published tests permute single items. Images of one prompt are
alike, so that here whole prompts are permuted and resampled.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations, product
from math import comb
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

Floats = NDArray[np.float64]

EXACT = 5000
"""Up to this many partitions a test goes through all of them; beyond, it draws."""


def resampling_weights(g: int, rng: np.random.Generator, replicates: int) -> Floats:
    """How often each of G clusters is in a resampled set, [R, G]: G - 1 draws with replacement, scaled by G/(G - 1),
    as in `auditkit.stats.bootstrap.resampled_totals`. A lone cluster cannot vary: 1."""
    if g < 2:
        return np.ones((replicates, g))
    return np.asarray(rng.multinomial(g - 1, np.full(g, 1 / g), size=replicates) * (g / (g - 1)), np.float64)


@dataclass(frozen=True)
class Clusters:
    """Sums by cluster of k scores an item: all that effect sizes, tests and resampling need.

    Attributes:
        n: [..., G] items. total, square: [..., G, k] sums of scores and of their squares.
    """

    n: Floats
    total: Floats
    square: Floats

    @classmethod
    def of(cls, scores: ArrayLike, cluster: ArrayLike) -> Self:
        """From scores [n_items, k] and the cluster [n_items] of each, clusters in the order of their values.

        >>> Clusters.of([[1.0], [3.0], [5.0]], [0, 0, 7]).total.tolist()
        [[4.0], [5.0]]
        """
        values = np.asarray(scores, float)
        _, row = np.unique(np.asarray(cluster), return_inverse=True)
        size = int(row.max()) + 1 if len(row) else 0
        columns = values.T
        total = np.array([np.bincount(row, weights=c, minlength=size) for c in columns])
        square = np.array([np.bincount(row, weights=c**2, minlength=size) for c in columns])
        return cls(np.bincount(row, minlength=size).astype(float), total.T, square.T)

    def __len__(self) -> int:
        return self.n.shape[-1]

    def take(self, chosen: NDArray[np.bool_] | NDArray[np.intp]) -> Clusters:
        return Clusters(self.n[chosen], self.total[chosen], self.square[chosen])

    def sums(self) -> Sums:
        return Sums(self.n.sum(axis=-1), self.total.sum(axis=-2), self.square.sum(axis=-2))

    def resampled(self, rng: np.random.Generator, replicates: int) -> Sums:
        """Sums of `replicates` resampled sets of clusters."""
        draws = resampling_weights(len(self), rng, replicates)
        return Sums(draws @ self.n, draws @ self.total, draws @ self.square)


@dataclass(frozen=True)
class Sums:
    """Items, scores and squared scores of a set, added up: [...], [..., k], [..., k]."""

    n: Floats
    total: Floats
    square: Floats

    def __add__(self, other: Sums) -> Sums:
        return Sums(self.n + other.n, self.total + other.total, self.square + other.square)

    def __sub__(self, other: Sums) -> Sums:
        return Sums(self.n - other.n, self.total - other.total, self.square - other.square)


def effect_size(x: Sums, y: Sums) -> Floats:
    """d = (mean_X s - mean_Y s) / sd, the sample standard deviation over X and Y together.

    Returns:
        float64 [..., k]; NaN where a set is empty or all scores are equal.

    >>> x, y = (Clusters.of([[a], [b]], [0, 1]).sums() for a, b in ((1.0, 2.0), (3.0, 4.0)))
    >>> effect_size(x, y).round(3).tolist()
    [-1.549]
    """
    nx, ny = np.asarray(x.n)[..., None], np.asarray(y.n)[..., None]
    n, total = nx + ny, x.total + y.total
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = (x.square + y.square - total**2 / n) / (n - 1)
        # Rounding leaves about 1e-16 of the sum of squares where there is no variance at all.
        flat = variance <= 1e-12 * (x.square + y.square) / n
        return (x.total / nx - y.total / ny) / np.sqrt(np.where(flat, np.nan, variance))


def student_interval(
    estimate: ArrayLike, draws: ArrayLike, n_clusters: int, *, confidence: float = 0.95
) -> tuple[Floats, Floats]:
    """Estimate -+ t with G - 1 degrees of freedom times the standard deviation of its bootstrap draws.

    With three to five clusters there are too few distinct resampled sets for percentiles: of a nominal 95% they
    cover 87-94%, this interval 95-98% (`python -m benchmarks.association`).

    Args:
        estimate: [...]. draws: [R, ...], by `resampling_weights`. n_clusters: G > 1 of the smaller side.
    """
    spread = stats.t.ppf(0.5 + confidence / 2, n_clusters - 1) * np.std(np.asarray(draws, float), axis=0, ddof=1)
    return np.asarray(estimate - spread, np.float64), np.asarray(estimate + spread, np.float64)


def permutation_test(
    clusters: Clusters, group: ArrayLike, which: int, rng: np.random.Generator, *, permutations: int = 2000
) -> Floats:
    """Two-sided p-values of `mean_X s = mean_Y s`, X the clusters of one group and Y those of all others.

    Whole clusters are permuted, and the statistic is the difference of means over its cluster-robust standard error.
    With two groups this is the exact test, valid at unequal spread too (Janssen 1997, Stat. Probab. Lett. 36:9-21;
    Chung and Romano 2013, Ann. Stat. 41:484-507). With more, the others may differ from each other, which says
    nothing of X: then each cluster's deviation from its own group is permuted (Freedman and Lane 1983, J. Bus. Econ.
    Stat. 1:292-298). Permuting the raw scores would reject .002 of true nulls at a level of .05 where the others
    differ by two standard deviations, and permuting single items far too many; see tests/test_stats_association.py.

    Args:
        group: [G], the group of each cluster. which: the group tested. permutations: R, where there are more than
            `EXACT` partitions.

    Returns:
        float64 [k]: #{|t_pi| >= |t|} over all partitions, or (1 + #{|t_pi| >= |t|}) / (1 + R) over R drawn ones.
        NaN where either side has fewer than two clusters.
    """
    labels = np.asarray(group)
    chosen, g = labels == which, len(labels)
    m = int(chosen.sum())
    if min(m, g - m) < 2:
        return np.full(clusters.total.shape[-1], np.nan)
    mean = clusters.total.sum(axis=0) / clusters.n.sum()
    centred = Clusters(clusters.n, clusters.total - clusters.n[:, None] * mean, clusters.square)
    others = np.unique(labels[~chosen])
    if len(others) > 1:
        residual = _residuals(centred, labels)
        observed = np.abs(_robust_t(centred, residual, chosen))
        permuted = Clusters(centred.n, residual, centred.square)
    else:
        observed = np.abs(_studentised(centred, chosen[None].astype(float)))[0]
        permuted = centred
    exact = comb(g, m) <= EXACT
    drawn = _all_subsets(g, m) if exact else _random_subsets(g, m, permutations, rng)
    beyond = (np.abs(_studentised(permuted, drawn)) >= observed * (1 - 1e-9)).sum(axis=0)
    return beyond / len(drawn) if exact else (1 + beyond) / (1 + len(drawn))


def _residuals(c: Clusters, labels: NDArray[np.generic]) -> Floats:
    """Each cluster's total less what its group's mean would give it, scaled up for the mean's own fit: [G, k]."""
    _, group = np.unique(labels, return_inverse=True)
    members = np.bincount(group).astype(float)
    n = np.bincount(group, weights=c.n)
    total = np.array([np.bincount(group, weights=column) for column in c.total.T]).T
    fitted = c.n[:, None] * (total / n[:, None])[group]
    return (c.total - fitted) * np.sqrt(members / np.maximum(members - 1, 1))[group][:, None]


def _robust_t(c: Clusters, residual: Floats, chosen: NDArray[np.bool_]) -> Floats:
    """The chosen clusters against the others, with each group's spread about its own mean: float64 [k]."""
    means, errors = [], []
    for side in (chosen, ~chosen):
        n = c.n[side].sum()
        means.append(c.total[side].sum(axis=0) / n)
        errors.append((residual[side] ** 2).sum(axis=0) / n**2)
    return _over(means[0] - means[1], np.sqrt(errors[0] + errors[1]), c)


def _studentised(c: Clusters, subsets: Floats) -> Floats:
    """t of each subset [R, G] (0 or 1) against its complement: float64 [R, k]."""
    n, k = c.n[:, None], c.total.shape[1]
    features = np.hstack([c.total, n * c.total, c.total**2, n, n**2])
    whole, inside = features.sum(axis=0), subsets @ features
    m = subsets.sum(axis=1)[:, None]
    means, variances = [], []
    for sums, size in ((inside, m), (whole - inside, len(c.n) - m)):
        total, cross, squared = (sums[:, i * k : (i + 1) * k] for i in range(3))
        count, count2 = sums[:, -2:-1], sums[:, -1:]
        mean = total / count
        spread = squared - 2 * mean * cross + mean**2 * count2
        means.append(mean)
        variances.append(size / (size - 1) * np.maximum(spread, 0) / count**2)
    return _over(means[0] - means[1], np.sqrt(variances[0] + variances[1]), c)


def _over(gap: Floats, error: Floats, c: Clusters) -> Floats:
    """gap / error; where nothing varies a gap is infinitely many standard errors wide, but for rounding."""
    least = 1e-9 * np.abs(c.total).sum(axis=0) / c.n.sum() + 1e-300
    return np.where(np.abs(gap) <= least, 0.0, gap / np.maximum(error, 1e-9 * least))


def sign_test(values: ArrayLike, rng: np.random.Generator, *, permutations: int = 2000) -> Floats:
    """Two-sided p-values of `mean = 0` by flipping the signs of whole clusters (Fisher 1935; a permutation test of
    paired data, in which each cluster's two conditions change places).

    Args:
        values: [G, k], a value for each cluster, symmetric about 0 under the null; a NaN-free table.
        permutations: R, where there are more than `EXACT` flips.

    Returns:
        float64 [k], as in `permutation_test`; never below 2^(1 - G).

    >>> sign_test([[1.0], [2.0], [3.0]], np.random.default_rng(0)).tolist()
    [0.25]
    """
    v = np.asarray(values, float)
    exact = 2 ** len(v) <= EXACT
    signs = _flips(len(v)) if exact else rng.choice([-1.0, 1.0], (permutations, len(v)))
    least = np.abs(v.sum(axis=0)) - 1e-9 * np.abs(v).sum(axis=0)
    beyond = (np.abs(signs @ v) >= least).sum(axis=0)
    return beyond / len(signs) if exact else (1 + beyond) / (1 + len(signs))


@dataclass(frozen=True)
class Effects:
    """Effect sizes with interval and two-sided p-value, float64, all of one shape."""

    d: Floats
    low: Floats
    high: Floats
    p_value: Floats


def templated_effects(scores: ArrayLike, rng: np.random.Generator, *, replicates: int = 2000) -> Effects:
    """d of each group's sentences against the other groups', where every template is filled with every group.

    The cluster is the template: the interval resamples templates, the p-value flips the sign of a template's
    difference between the group and the others. Both speak of other templates, not of other names for the group.

    Args:
        scores: [T, G, k] of k scores of the sentence of a template and a group.

    Returns:
        Effects [G, k]; interval and p-value NaN for fewer than two templates.
    """
    s = np.asarray(scores, float)
    t, g, k = s.shape
    s = s - s.mean(axis=(0, 1))
    others = (s.sum(axis=1, keepdims=True) - s) / (g - 1)

    def effects(weights: Floats) -> Floats:
        own, rest = (np.tensordot(weights, part, axes=1) / weights.sum(axis=1)[:, None, None] for part in (s, others))
        n = g * weights.sum(axis=1)[:, None]
        total, square = (np.tensordot(weights, part.sum(axis=1), axes=1) for part in (s, s**2))
        variance = (square - total**2 / n) / (n - 1)
        return (own - rest) / np.sqrt(np.where(variance > 0, variance, np.nan))[:, None]

    d = effects(np.ones((1, t)))[0]
    if t < 2:
        nan = np.full_like(d, np.nan)
        return Effects(d, nan, nan, nan)
    low, high = student_interval(d, effects(resampling_weights(t, rng, replicates)), t)
    p_values = sign_test((s - others).reshape(t, g * k), rng, permutations=replicates)
    return Effects(d, low, high, p_values.reshape(g, k))


@dataclass(frozen=True)
class Words:
    """Two poles as sets of words: n_a words of A, then n_b of B. Paired: word i of A belongs to word i of B."""

    n_a: int
    n_b: int
    paired: bool = False

    def contrasts(self, rng: np.random.Generator, permutations: int) -> tuple[Floats, bool]:
        """The words in other hands: float64 [R, n_a + n_b], rows that average A less B; and whether these are all.
        Pairs change places, unpaired words go to either pole."""
        if self.paired:
            signs = _flips(self.n_a) if 2**self.n_a <= EXACT else rng.choice([-1.0, 1.0], (permutations, self.n_a))
            return np.hstack([signs, -signs]) / self.n_a, 2**self.n_a <= EXACT
        n = self.n_a + self.n_b
        exact = comb(n, self.n_a) <= EXACT
        subsets = _all_subsets(n, self.n_a) if exact else _random_subsets(n, self.n_a, permutations, rng)
        return subsets / self.n_a - (1 - subsets) / self.n_b, exact

    @property
    def contrast(self) -> Floats:
        """float64 [n_a + n_b]: the mean over A less that over B."""
        return np.r_[np.full(self.n_a, 1 / self.n_a), np.full(self.n_b, -1 / self.n_b)]


def single_category(
    cosines: ArrayLike, words: Words, rng: np.random.Generator, *, permutations: int = 2000
) -> tuple[Floats, Floats]:
    """One target against the poles' words: d = (mean_a cos - mean_b cos) / sd over a and b, and its p-value.

    The single-category test (Caliskan et al. 2017, WEFAT; Toney and Caliskan 2021, EMNLP). A group has one name, and
    one word is no sample of words: what can be permuted are the poles' words.

    Args:
        cosines: [k, n_a + n_b] of k targets with each word.

    Returns:
        d and two-sided p, float64 [k] each.
    """
    c = np.asarray(cosines, float)
    gap, sd = c @ words.contrast, c.std(axis=1, ddof=1)
    contrasts, exact = words.contrasts(rng, permutations)
    beyond = (np.abs(c @ contrasts.T) >= np.abs(gap)[:, None] * (1 - 1e-9)).sum(axis=1)
    p_values = beyond / len(contrasts) if exact else (1 + beyond) / (1 + len(contrasts))
    return gap / np.where(sd > 0, sd, np.nan), p_values


def poles_apart(embeddings: ArrayLike, words: Words, rng: np.random.Generator, *, permutations: int = 2000) -> float:
    """p-value of 'the encoder puts the words of the two poles no further apart than the same words at random'.

    The statistic is the length of mean_A - mean_B. Where it is not small the encoder does not know the concept, and
    an association with it means nothing.

    Args:
        embeddings: [n_a + n_b, dim] of the words.
    """
    e = np.asarray(embeddings, float)
    contrasts, exact = words.contrasts(rng, permutations)
    gram = e @ e.T
    lengths = np.einsum("ri,ij,rj->r", contrasts, gram, contrasts)
    beyond = int((lengths >= words.contrast @ gram @ words.contrast * (1 - 1e-9)).sum())
    return beyond / len(contrasts) if exact else (1 + beyond) / (1 + len(contrasts))


def _all_subsets(g: int, m: int) -> Floats:
    return _indicators(np.array(list(combinations(range(g), m))), g)


def _random_subsets(g: int, m: int, count: int, rng: np.random.Generator) -> Floats:
    return _indicators(np.argpartition(rng.random((count, g)), m - 1, axis=1)[:, :m], g)


def _indicators(picks: NDArray[np.intp], g: int) -> Floats:
    subsets = np.zeros((len(picks), g))
    np.put_along_axis(subsets, picks, 1.0, axis=1)
    return subsets


def _flips(n: int) -> Floats:
    return np.array(list(product([1.0, -1.0], repeat=n)))

"""What clustering by prompt and stratifying by group do to a variance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Clustering:
    """How alike images of one prompt are: an analysis of variance, with prompts as the groups.

    Attributes:
        icc: the intraclass correlation of the outcomes, pooled over them, in [0, 1].
        df: the degrees of freedom between prompts that it was estimated from, 0 where no group has two prompts
            of which one has two images.
        df_within: those within prompts.
        size: the size of a prompt that the correlation was estimated at, n0 of Donner (1986).
        between, within: mean squares and products of the outcomes' indicators, float64 [n_outcomes, n_outcomes];
            a'Ba and a'Wa are those of a linear score a. None where only `icc` is known.
    """

    icc: float
    df: int
    df_within: int = field(default=0, compare=False, repr=False)
    size: float = field(default=1.0, compare=False, repr=False)
    between: Floats | None = field(default=None, compare=False, repr=False)
    within: Floats | None = field(default=None, compare=False, repr=False)

    def effect(self, sizes: ArrayLike) -> float:
        """Design effect 1 + (sum n_g^2 / n - 1) icc, at least 1, for prompts of these sizes (Kish 1965)."""
        return 1 + _spread_of(sizes) * self.icc

    def correlations(self, functionals: ArrayLike) -> Floats:
        """Intraclass correlation [n_estimates] of linear scores of the outcomes.

        A scorer's errors and its unknowns are not clustered as the classes are, so that the correlation of corrected
        shares is not that of the outcomes pooled. Each is the mean of its own and of all the scores' pooled: a rare
        class says little of its own clustering (simulated, five classes, 10 prompts of 20 images, correlation
        .1: own alone held the rarest class 91 times in 100, the mean 94).

        Args:
            functionals: [n_estimates, n_outcomes], such as `auditkit.stats.corrected.inverse`.
        """
        a = np.asarray(functionals, float)
        if self.df == 0 or self.between is None:
            return np.full(len(a), self.icc)
        own, pooled = self._ratios(a)
        return (_correlation(own, self.size) + _correlation(pooled, self.size)) / 2

    def draw(self, functionals: ArrayLike, rng: np.random.Generator, replicates: int) -> Floats:
        """Correlations that the prompts leave plausible, float64 [replicates, n_estimates], in [0, 1].

        The pivot (MSB / MSW) / F, with F of Snedecor's distribution: of five prompts that seem independent one
        cannot say that they are. Where scores do not vary at all the ratio counts as 1.
        """
        a = np.asarray(functionals, float)
        if self.df == 0 or self.between is None:
            return np.full((replicates, len(a)), self.icc)
        f = rng.f(self.df, max(self.df_within, 1), size=(replicates, 1))
        own, pooled = self._ratios(a)
        return (_correlation(own / f, self.size) + _correlation(pooled / f, self.size)) / 2

    def _ratios(self, a: Floats) -> tuple[Floats, Floats]:
        """MSB / MSW of each score [n_estimates], and of all pooled [n_estimates]."""
        assert self.between is not None
        assert self.within is not None
        msb, msw = (np.einsum("ij,jk,ik->i", a, m, a) for m in (self.between, self.within))
        small = 1e-9 * (a**2).sum(axis=1) + 1e-300

        def ratio(b: Floats, w: Floats, least: Floats) -> Floats:
            return np.where(w > least, b / np.maximum(w, least), np.where(b > least, np.inf, 1.0))

        pooled = ratio(*(np.full(len(a), x.sum()) for x in (msb, msw, small)))
        own = np.where((msw > small) | (msb > small), ratio(msb, msw, small), pooled)
        return own, pooled

    @property
    def quantile_df(self) -> float:
        """Degrees of freedom for t: twice those between prompts where clustering was found, else infinite.

        Part of the variance (the binomial one) is known and the design effect is cut at 1, so that t with
        G - 1 degrees is too wide and the normal quantile too narrow. Twice was chosen by simulation:
        normal outcomes, 5 to 20 prompts of 5 to 50 images, intraclass correlations 0 to .5: 93.8-96.8%
        coverage (normal quantile 90.5-96.2%, G - 1 degrees 95.2-97.3%).
        """
        return 2.0 * self.df if self.icc > 0 and self.df > 0 else np.inf


def clustering(groups: Sequence[ArrayLike]) -> Clustering:
    """Intraclass correlation of outcomes within prompts, pooled over groups, by analysis of variance.

    (MSB - MSW) / (MSB + (n0 - 1) MSW), sums of squares added over the outcomes' indicators and over the
    groups (Donner 1986, Int. Stat. Rev. 54:67-82, eq. 2.1), cut to [0, 1].

    Args:
        groups: for each group counts [n_prompts, n_outcomes], >= 0. Pooling takes clustering to be
            about equal over groups; give one group alone to estimate it there.

    >>> clustering([[[5, 0], [0, 5], [5, 0]]]).icc
    1.0
    >>> clustering([[[30, 20]]])
    Clustering(icc=0.0, df=0)
    """
    between: Floats | float = 0.0
    within: Floats | float = 0.0
    spread = 0.0
    df = df_within = 0
    for group in groups:
        c = np.asarray(group, float)
        c = c[c.sum(axis=1) > 0]
        if len(c) < 2:
            continue
        sizes, totals = c.sum(axis=1), c.sum(axis=0)
        n, products = sizes.sum(), (c.T / sizes) @ c
        between = between + products - np.outer(totals, totals) / n
        within = within + np.diag(totals) - products
        spread += n - (sizes**2).sum() / n
        df += len(c) - 1
        df_within += int(n) - len(c)
    if df == 0 or df_within == 0:
        return Clustering(0.0, 0)
    msb, msw, n0 = np.asarray(between) / df, np.asarray(within) / df_within, spread / df
    b, w = float(np.trace(msb)), max(float(np.trace(msw)), 0.0)
    total = b + (n0 - 1) * w
    icc = float(np.clip((b - w) / total, 0, 1)) if total > 0 else 0.0
    return Clustering(icc, df, df_within, float(n0), msb, msw)


def design_effects(correlations: ArrayLike, sizes: ArrayLike) -> Floats:
    """1 + (sum n_g^2 / n - 1) icc for prompts of these sizes, shape of the correlations (Kish 1965)."""
    return 1 + _spread_of(sizes) * np.asarray(correlations, float)


def _spread_of(sizes: ArrayLike) -> float:
    n = np.asarray(sizes, float)
    return float(max(0.0, (n**2).sum() / n.sum() - 1)) if n.sum() > 0 else 0.0


def _correlation(ratio: Floats, size: float) -> Floats:
    """(MSB - MSW) / (MSB + (n0 - 1) MSW) by the ratio of mean squares, cut to [0, 1]."""
    with np.errstate(invalid="ignore"):
        found = (ratio - 1) / (ratio + size - 1)
    return np.clip(np.where(np.isinf(ratio), 1.0, found), 0, 1)


def stratified_effect(counts: ArrayLike, functionals: ArrayLike, effects: ArrayLike) -> Floats:
    """Variance of pooled estimates over that of one multinomial sample of the same size.

    Groups are strata: their sizes are fixed by the spec, so that differences between them are not
    sampling noise (Cochran 1977, section 5.6). Where groups differ the ratio is below 1.

    Args:
        counts: [n_groups, n_outcomes] images by group and outcome.
        functionals: [n_estimates, n_outcomes], each row a linear function of the outcomes' shares.
        effects: design effects within the groups, [n_groups], or [..., n_groups, n_estimates] where each estimate
            has its own, or draws of them.

    Returns:
        float64 [..., n_estimates], > 0.

    >>> stratified_effect([[45, 5], [5, 45]], [[1, 0]], [1, 1]).round(2).tolist()
    [0.38]
    """
    c, a = np.asarray(counts, float), np.asarray(functionals, float)
    sizes, deff = c.sum(axis=1), np.asarray(effects, float)
    deff = deff[:, None] if deff.ndim == 1 else deff
    keep = sizes > 0
    c, sizes, deff = c[keep], sizes[keep], deff[..., keep, :]

    def variance(k: Floats) -> Floats:
        # One image spread over the outcomes, so that a group all of one kind still has a variance.
        q = (k + 1 / k.shape[-1]) / (k.sum(axis=-1, keepdims=True) + 1)
        return q @ (a**2).T - (q @ a.T) ** 2

    n = sizes.sum()
    pooled = variance(c.sum(axis=0))
    stratified = (sizes[:, None] * deff * variance(c)).sum(axis=-2) / n
    return np.where(pooled > 0, stratified / np.where(pooled > 0, pooled, 1), 1.0)

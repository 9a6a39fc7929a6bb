"""What clustering by prompt and stratifying by group do to a variance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Clustering:
    """How alike images of one prompt are.

    `icc` is the intraclass correlation of the outcomes, in [0, 1]; `df` the degrees of freedom between
    prompts that it was estimated from, 0 where no group has two prompts of which one has two images.
    """

    icc: float
    df: int

    def effect(self, sizes: ArrayLike) -> float:
        """Design effect 1 + (sum n_g^2 / n - 1) icc, at least 1, for prompts of these sizes (Kish 1965)."""
        n = np.asarray(sizes, float)
        return float(max(1.0, 1 + ((n**2).sum() / n.sum() - 1) * self.icc)) if n.sum() > 0 else 1.0

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
    between = within = spread = 0.0
    df = df_within = 0
    for group in groups:
        c = np.asarray(group, float)
        c = c[c.sum(axis=1) > 0]
        if len(c) < 2:
            continue
        sizes, totals = c.sum(axis=1), c.sum(axis=0)
        n, squares = sizes.sum(), (c**2 / sizes[:, None]).sum()
        between += squares - (totals**2).sum() / n
        within += n - squares
        spread += n - (sizes**2).sum() / n
        df += len(c) - 1
        df_within += int(n) - len(c)
    if df == 0 or df_within == 0:
        return Clustering(0.0, 0)
    msb, msw, n0 = between / df, max(within, 0.0) / df_within, spread / df
    total = msb + (n0 - 1) * msw
    return Clustering(float(np.clip((msb - msw) / total, 0, 1)) if total > 0 else 0.0, df)


def stratified_effect(counts: ArrayLike, functionals: ArrayLike, effects: ArrayLike) -> Floats:
    """Variance of pooled estimates over that of one multinomial sample of the same size.

    Groups are strata: their sizes are fixed by the spec, so that differences between them are not
    sampling noise (Cochran 1977, section 5.6). Where groups differ the ratio is below 1.

    Args:
        counts: [n_groups, n_outcomes] images by group and outcome.
        functionals: [n_estimates, n_outcomes], each row a linear function of the outcomes' shares.
        effects: [n_groups] design effects within the groups.

    Returns:
        float64 [n_estimates], > 0.

    >>> stratified_effect([[45, 5], [5, 45]], [[1, 0]], [1, 1]).round(2).tolist()
    [0.38]
    """
    c, a = np.asarray(counts, float), np.asarray(functionals, float)
    sizes, deff = c.sum(axis=1), np.asarray(effects, float)
    keep = sizes > 0
    c, sizes, deff = c[keep], sizes[keep], deff[keep]

    def variance(k: Floats) -> Floats:
        # One image spread over the outcomes, so that a group all of one kind still has a variance.
        q = (k + 1 / k.shape[-1]) / (k.sum(axis=-1, keepdims=True) + 1)
        return q @ (a**2).T - (q @ a.T) ** 2

    n = sizes.sum()
    pooled = variance(c.sum(axis=0))
    stratified = ((sizes * deff)[:, None] * variance(c)).sum(axis=0) / n
    return np.where(pooled > 0, stratified / np.where(pooled > 0, pooled, 1), 1.0)

"""Shares of images that have some property, by group, where images of one prompt are alike."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from auditkit.bias.base import Mask, Row
from auditkit.stats.design import clustering, stratified_effect
from auditkit.stats.intervals import newcombe, wilson
from auditkit.stats.permutation import group_against_rest

Floats = NDArray[np.float64]


class Flag:
    """A yes or no of each image, by group and prompt.

    Args:
        strata: the groups, or `all` where there are none: which images each has, bool [n_images].
        prompts: int [n_images], the prompt of each image. flag: bool [n_images].
    """

    def __init__(self, strata: Mapping[str, Mask], prompts: NDArray[np.intp], flag: Mask) -> None:
        self.counts: dict[str, Floats] = {}
        for name, chosen in strata.items():
            _, prompt = np.unique(prompts[chosen], return_inverse=True)
            pairs = np.bincount(prompt * 2 + flag[chosen], minlength=2 * (int(prompt.max()) + 1) if len(prompt) else 0)
            self.counts[name] = pairs.reshape(-1, 2).astype(float)
        self.clustering = clustering(list(self.counts.values()))

    def _totals(self, names: list[str]) -> tuple[float, float, float]:
        """Flagged images, images, and the design effect of their share, of groups as strata."""
        tables = [self.counts[name] for name in names]
        totals = np.array([t.sum(axis=0) for t in tables])
        effects = [self.clustering.effect(t.sum(axis=1)) for t in tables]
        effect = effects[0] if len(names) == 1 else float(stratified_effect(totals, [[0, 1]], effects)[0])
        return float(totals[:, 1].sum()), float(totals.sum()), effect

    def _members(self, name: str) -> list[str]:
        return [name] if name in self.counts else list(self.counts)

    def share(self, name: str) -> float:
        """Share of the group's images that are flagged; of all where `name` is no group."""
        k, n, _ = self._totals(self._members(name))
        return k / n

    def interval(self, name: str) -> tuple[float, float]:
        """Wilson's interval of that share, 95%, with the design effect of prompts."""
        k, n, effect = self._totals(self._members(name))
        low, high = wilson(k / effect, n / effect, df=self.clustering.quantile_df)
        return float(low), float(high)

    def numbers(self, name: str) -> Row:
        """Estimate, interval and its method for a row."""
        k, n, effect = self._totals(self._members(name))
        low, high = self.interval(name)
        method = f"wilson, design effect {effect:.2f}"
        return {"estimate": k / n, "ci_low": low, "ci_high": high, "ci_method": method}

    def difference_interval(self, name: str) -> tuple[float, float]:
        """Newcombe's interval of the group's share less that of all other groups, design effects included."""
        k, n, effect = self._totals([name])
        k_rest, n_rest, effect_rest = self._totals([other for other in self.counts if other != name])
        df = self.clustering.quantile_df
        low, high = newcombe(k / effect, n / effect, k_rest / effect_rest, n_rest / effect_rest, df=df)
        return float(low), float(high)

    def against_rest(self, rng: np.random.Generator, replicates: int) -> dict[str, tuple[float, float]]:
        """Difference and p-value of each group that has images; empty with one group only."""
        names = [name for name, counts in self.counts.items() if len(counts)]
        hits = np.concatenate([self.counts[name] for name in names])
        members = np.repeat(np.arange(len(names)), [len(self.counts[name]) for name in names])
        difference, p_value = group_against_rest(hits[:, 1], hits.sum(axis=1), members, rng, replicates=replicates)
        if len(names) < 2:
            return {}
        return {name: (float(d), float(p)) for name, d, p in zip(names, difference, p_value, strict=True)}

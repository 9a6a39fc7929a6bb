"""A run's images by group and prompt, and what can be said of a number or a yes and no measured on each image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from auditkit.bias.base import ALL, Mask, Options, groups, row, without_estimate
from auditkit.stats.design import clustering, stratified_effect
from auditkit.stats.intervals import clopper_pearson, wilson
from auditkit.stats.means import Mean, clustered_mean, welch

if TYPE_CHECKING:
    from auditkit.runs import Run

Row = dict[str, Any]


@dataclass(frozen=True)
class Share:
    """k of n images, with an interval on the effective number of images."""

    k: int
    n: int
    low: float
    high: float
    method: str

    def fill(self, row: Row, least: int) -> Row:
        """The row with the share, or `insufficient` below `least` images."""
        if self.n < least:
            return without_estimate(row, "insufficient", f"{self.n} images; {least} are needed")
        return row | {
            "estimate": self.k / self.n, "ci_low": self.low, "ci_high": self.high, "ci_method": self.method,
        }  # fmt: skip


@dataclass(frozen=True)
class Layout:
    """Groups, then all images together.

    Attributes:
        images: the images table. parts: (group_by, group) -> which images; the last is (all, all).
        prompts: int [n_images]. strata: int [n_images], the number of the image's group, -1 outside every group.
    """

    run: Run
    images: pd.DataFrame
    parts: dict[tuple[str, str], Mask]
    prompts: NDArray[np.intp]
    strata: NDArray[np.intp]

    @classmethod
    def read(cls, run: Run, options: Options) -> Layout:
        """Of a run, grouped as the options say.

        Raises:
            TableError: the run has no such axis.
        """
        images = run.images()
        found = groups(run, images, options.by)
        strata = np.full(len(images), -1 if found else 0, np.intp)
        for number, chosen in enumerate(found.values()):
            strata[chosen] = number
        parts = {(options.by, name): chosen for name, chosen in found.items()}
        parts[ALL, ALL] = np.ones(len(images), bool)
        prompts = np.unique(images["prompt_id"].to_numpy(), return_inverse=True)[1]
        return cls(run, images, parts, np.asarray(prompts, np.intp), strata)

    def row(self, measure: str, part: tuple[str, str], chosen: Mask | None = None, **more: Any) -> Row:
        """A row of that group; `chosen` are the images that it rests on, by default the whole group."""
        by, group = part
        mask = self.parts[part] if chosen is None else chosen
        return row(measure, self.run, group_by=by, group=group, chosen=mask, images=self.images, **more)

    def mean(self, part: tuple[str, str], values: ArrayLike) -> Mean:
        """Mean of values [n_images] over the group's images; NaN is missing. Groups are strata of the whole."""
        chosen = self.parts[part]
        strata = self.strata[chosen] if part == (ALL, ALL) else None
        return clustered_mean(np.asarray(values, float)[chosen], self.prompts[chosen], strata)

    def fill_mean(self, row: Row, part: tuple[str, str], values: ArrayLike, least: int) -> Row:
        """The row with the group's mean, tested against the mean of the other groups.

        Fewer than `least` values make it `insufficient`; there is no test where either side is of one prompt.
        """
        mean, chosen = self.mean(part, values), self.parts[part]
        if mean.n < least or not np.isfinite(mean.low):
            why = f"{mean.n} of {int(chosen.sum())} images have a value; {max(least, 2)} are needed"
            return without_estimate(row, "insufficient", why)
        row = row | {"estimate": mean.estimate, "ci_low": mean.low, "ci_high": mean.high}
        if not mean.clustered:
            note = "one prompt: the interval speaks of this prompt only"
            return row | {"ci_method": "t between images", "note": note}
        row["ci_method"] = f"t between prompts, {mean.df:.0f} degrees of freedom"
        if part != (ALL, ALL) and not chosen.all():
            rest = self.rest(part, values)
            if rest.n >= least and rest.clustered:
                more = {"null_value": rest.estimate, "p_value": welch(mean, rest)}
                row |= more | ({} if row["reference"] else {"reference": "the other groups"})
        return row

    def rest(self, part: tuple[str, str], values: ArrayLike) -> Mean:
        """Mean over the images that are not in the group, their groups being strata."""
        others = ~self.parts[part]
        return clustered_mean(np.asarray(values, float)[others], self.prompts[others], self.strata[others])

    def shares(
        self, hits: ArrayLike, *, among: Mask | None = None, exact: bool = False
    ) -> dict[tuple[str, str], Share]:
        """Share of images with a yes, by group; the prompts' intraclass correlation is pooled over the groups.

        Args:
            hits: bool [n_images]. among: bool [n_images], those that were looked at; None: all.
            exact: Clopper and Pearson's interval on the effective number (Korn and Graubard 1998), for rare events;
                else Wilson's.
        """
        yes = np.asarray(hits, bool)
        looked = np.ones(len(yes), bool) if among is None else among
        parts = {part: chosen & looked for part, chosen in self.parts.items()}
        tables = {part: self._table(yes, chosen) for part, chosen in parts.items() if part != (ALL, ALL)}
        found = clustering(list(tables.values()) or [self._table(yes, parts[ALL, ALL])])
        made: dict[tuple[str, str], Share] = {}
        effects = {part: found.effect(table.sum(axis=1)) for part, table in tables.items()}
        for part, chosen in parts.items():
            k, n = int(yes[chosen].sum()), int(chosen.sum())
            if part in effects:
                effect = effects[part]
            elif tables:
                totals = [table.sum(axis=0) for table in tables.values()]
                # The prior image of each group inflates rare shares; strata never lose precision over pooling.
                effect = float(stratified_effect(totals, [[0, 1]], list(effects.values()))[0])
                effect = min(effect, max(effects.values()))
            else:
                effect = found.effect(np.bincount(self.prompts[chosen]))
            if exact:
                effect = max(effect, 1.0)
                low, high = clopper_pearson(k / effect, n / effect)
            else:
                low, high = wilson(k / effect, n / effect, df=found.quantile_df)
            method = f"{'clopper-pearson' if exact else 'wilson'}, design effect {effect:.2f}"
            made[part] = Share(k, n, float(low), float(high), method)
        return made

    def _table(self, yes: Mask, chosen: Mask) -> NDArray[np.float64]:
        _, prompt = np.unique(self.prompts[chosen], return_inverse=True)
        size = int(prompt.max()) + 1 if len(prompt) else 0
        return np.stack([np.bincount(prompt, w, size) for w in (~yes[chosen], yes[chosen])], axis=1).astype(float)

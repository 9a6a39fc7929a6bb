"""The measure `presence`: are people with a visible disability, and people of each age, shown at all?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from auditkit.bias.base import ALL, Options, Row, adjust, groups, row, table
from auditkit.bias.outcomes import UNKNOWN
from auditkit.bias.tally import Tally, Verdict, noted
from auditkit.clip.attributes import attribute as find_attribute
from auditkit.stats.design import clustering
from auditkit.stats.rare import (
    Errors,
    TrueShare,
    effective_size,
    event_errors,
    exact_share,
    melded_share,
    rule_of_three,
)

if TYPE_CHECKING:
    from auditkit.runs import Run

VERSION = 1
ATTRIBUTES = ("age", "disability")
"""Scorers that it reads, those of them that the run has scores of."""
ANY = "any of these"
"""Category of an attribute with a class for images that show none: all its other classes together."""


class Presence:
    """Rows `presence.share` (labels as counted) and `presence.corrected` (for the scorer's errors)."""

    name = "presence"
    version = VERSION
    title = "Who is shown at all: ages and visible disability"

    def applies(self, run: Run, options: Options) -> str:
        if self._attributes(run, options):
            return ""
        scorers = " ".join(f"--scorer {name}" for name in ATTRIBUTES)
        return f"no scores of {' or '.join(ATTRIBUTES)} by {options.encoder}: auditkit score {run.id} {scorers}"

    def measure(self, run: Run, options: Options) -> pd.DataFrame:
        """By group and class, and for all classes but the absent one together (`any of these`).

        `presence.share` is k/N over all images, with Clopper and Pearson's interval on the effective number of
        images; `unknown` has a row of its own. `presence.corrected` is the share in truth, its interval melded from
        the audit's and the calibration's uncertainty; its p-value is of the null that no image shows the class and
        the scorer's false positives account for the labels. Holm and Benjamini-Hochberg over classes and groups.

        Raises:
            TableError: scores are missing, or there is no such axis.
        """
        images = run.images()
        rows: list[Row] = []
        for name in self._attributes(run, options):
            tally = Tally.read(run, images, groups(run, images, options.by), name, options)
            rows += adjust(_Counted(run, images, tally, options).rows())
        return table(rows)

    def _attributes(self, run: Run, options: Options) -> list[str]:
        tables = run.scores()
        return [name for name in ATTRIBUTES if f"{name}@{options.encoder}" in tables]


presence = Presence()


class _Counted:
    """One attribute's rows."""

    def __init__(self, run: Run, images: pd.DataFrame, tally: Tally, options: Options):
        self.run, self.images, self.tally, self.options = run, images, tally, options
        classes = tally.outcomes.classes
        absent = find_attribute(tally.attribute).absent
        shown = {name: [i] for i, name in enumerate(classes) if name != absent}
        together = {ANY: [i for each in shown.values() for i in each]} if 1 < len(shown) < len(classes) else {}
        self.events = shown | together | {name: [i] for i, name in enumerate(classes)}

    def rows(self) -> list[Row]:
        """Of each group, then of all images."""
        made: list[Row] = []
        for name in [*self.tally.groups, ALL]:
            verdict = self.tally.verdict(name)
            made += [self._share(name, event, verdict) for event in [*self.events, UNKNOWN]]
            made += [self._corrected(name, event, verdict) for event in self.events]
        return made

    def _row(self, statistic: str, name: str, event: str, verdict: Verdict) -> Row:
        return row(
            f"presence.{statistic}",
            self.run,
            version=VERSION,
            attribute=self.tally.attribute,
            group_by=ALL if name == ALL else self.options.by,
            group=name,
            chosen=self.tally.chosen(name),
            images=self.images,
            encoder=self.options.encoder,
            category=event,
            status=verdict.status,
            note=verdict.note,
        )

    def _share(self, name: str, event: str, verdict: Verdict) -> Row:
        made = self._row("share", name, event, verdict)
        if verdict.status == "insufficient":
            return made
        k, unknown, n = self._count(name, event), self._count(name, UNKNOWN), made["n_images"]
        size, method = self._size(name, event, n)
        low, high = exact_share(k, n, size)
        notes = [made["note"]]
        if event != UNKNOWN and k == 0:
            notes.append(_none_seen(n, size, made["n_prompts"]))
        if event != UNKNOWN and unknown:
            notes.append(f"{unknown} more images are unknown; were all of them {event}, the share were "
                         f"{(k + unknown) / n:.1%}")  # fmt: skip
        edges = {"estimate": k / n, "ci_low": float(low), "ci_high": float(high)}
        return made | edges | {"ci_method": f"Clopper-Pearson, {method}", "note": noted(*notes)}

    def _corrected(self, name: str, event: str, verdict: Verdict) -> Row:
        made = self._row("corrected", name, event, verdict) | {"null_value": 0.0}
        if verdict.status != "ok" or verdict.estimate is None or self.tally.confusion is None:
            return made
        k, n = self._count(name, event), made["n_images"]
        size, method = self._size(name, event, n)
        errors = event_errors(self.tally.confusion, self.events[event], verdict.estimate.shares)
        rng = self.tally.rng("presence", name, event)
        found = melded_share(k * size / n, size, errors, rng, unexplained=verdict.slack)
        if math.isnan(found.estimate):
            why = "the scorer labels other images so as often as those that show it"
            return made | {"status": "uncalibrated", "note": why}
        return made | {
            "estimate": found.estimate,
            "ci_low": found.low,
            "ci_high": found.high,
            "ci_method": f"melded, {method}",
            "p_value": found.p_none,
            "note": noted(made["note"], _reading(k, n, errors, found)),
        }

    def _count(self, name: str, event: str) -> int:
        totals = np.sum([self.tally.counts[each].sum(axis=0) for each in self._strata(name)], axis=0)
        return int(totals[-1] if event == UNKNOWN else totals[self.events[event]].sum())

    def _size(self, name: str, event: str, n: int) -> tuple[float, str]:
        """Independent images that the group's are worth for this event, and the words for it.

        The design effect is the larger of the event's own and that of all the attribute's outcomes: a rare event
        alone says too little about how alike a prompt's images are.
        """
        columns = [-1] if event == UNKNOWN else self.events[event]
        found = clustering([_two(counts, columns) for counts in self.tally.counts.values()])
        sizes = [self.tally.counts[each].sum(axis=1) for each in self._strata(name)]
        effects = [max(found.effect(each), self.tally.clustering.effect(each)) for each in sizes]
        # As if the strata were alike: what they gain by being told apart is not taken.
        effect = float(np.average(effects, weights=[each.sum() for each in sizes]))
        # Degrees of freedom as in `Clustering.quantile_df`.
        size = effective_size(n, effect, math.inf if effect == 1 else 2.0 * found.df)
        return size, f"worth {size:.0f} independent images (design effect {effect:.2f})"

    def _strata(self, name: str) -> list[str]:
        return [name] if name in self.tally.strata else list(self.tally.strata)


def _two(counts: NDArray[np.float64], columns: Sequence[int]) -> NDArray[np.float64]:
    """Images of each prompt with the event and without, [n_prompts, 2]."""
    hits = counts[:, list(columns)].sum(axis=1)
    return np.stack([hits, counts.sum(axis=1) - hits], axis=1)


def _none_seen(n: int, size: float, n_prompts: int) -> str:
    note = f"none in {n} images: a share of up to {rule_of_three(size):.1%} is still plausible"
    note += f" (rule of three: about 3/{size:.0f}, one-sided 95%)"
    if 1 < n_prompts < n:
        # With none seen, nothing tells whether the event would come by whole prompts.
        note += f"; if it came by whole prompts, only {n_prompts} prompts count, and up to "
        note += f"{rule_of_three(n_prompts):.0%} is"
    return note


def _reading(k: int, n: int, errors: Errors, found: TrueShare) -> str:
    if k == 0 or found.p_none < 0.05:
        return ""
    return (
        f"{k} of {n} labelled so, where false positives alone may bring {errors.false_positive * n:.1f} and by chance "
        "more: not distinguishable from none"
    )

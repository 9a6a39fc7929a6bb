"""The measure `missingness`: how many images could not be told, by group, and what that could hide."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from auditkit.bias.base import ALL, Options, Row, adjust, groups, row, table, without_estimate
from auditkit.bias.flags import Flag
from auditkit.bias.outcomes import UNKNOWN
from auditkit.bias.refused import refused_rows
from auditkit.bias.tally import Tally, missing_scores, noted
from auditkit.stats.corrected import constrained_shares

if TYPE_CHECKING:
    from auditkit.runs import Run

WIDE = 0.1
"""Share of unknown images at which a group's shares are called wide open: each may lie this far apart."""


class Missingness:
    """Unknown as an outcome of its own.

    Rows by attribute, by group and for all images:
    - `missingness.unknown`: share of images without a class; Wilson interval with the design effect of prompts;
      `null_value` the share that the calibration leads one to expect, where there is one.
    - `missingness.difference` (groups only): that share less the one of all other images, with Newcombe's interval; the
      p-value permutes whole prompts.
    - `missingness.outside`: share of images unlike those the encoder was calibrated on, likewise.
    - `missingness.bound`, for each class: how far its counted share could move at most if the unknown were known.

    Where the generator refused images (refusals.jsonl), of all that were asked for and once for all attributes:
    - `missingness.refused` and `missingness.refused_difference`: the share refused, and that of a group less that of
      the rest, as above. No other row counts an image that was never made.
    """

    name = "missingness"
    version = 1
    title = "What could not be told: unknown images, by group"

    def applies(self, run: Run, options: Options) -> str:
        return missing_scores(run, options)

    def measure(self, run: Run, options: Options) -> pd.DataFrame:
        """Raises: TableError: scores or an axis that is not there."""
        images = run.images()
        members = groups(run, images, options.by)
        made: list[Row] = []
        for attribute in options.attributes:
            made += _Missing(self.version, run, images, Tally.read(run, images, members, attribute, options)).rows()
        made += refused_rows(self.version, run, images, options)
        return table(adjust(made))


missingness = Missingness()


class _Missing:
    """One attribute of one run."""

    def __init__(self, version: int, run: Run, images: pd.DataFrame, tally: Tally) -> None:
        self.version, self.run, self.images, self.tally = version, run, images, tally
        self.unknown = Flag(tally.strata, tally.prompts, tally.outcomes.label >= len(tally.outcomes.classes))
        inside = tally.outcomes.in_domain
        self.outside = None if inside is None else Flag(tally.strata, tally.prompts, ~inside)

    def rows(self) -> list[Row]:
        tally = self.tally
        made: list[Row] = []
        differences = self.unknown.against_rest(tally.rng("missingness"), tally.options.n_boot) if tally.groups else {}
        for name in dict.fromkeys([*tally.strata, ALL]):
            made.append(self._unknown(name))
            if name in tally.groups:
                made.append(self._difference(name, differences.get(name)))
            made.append(self._outside(name))
            made += self._bounds(name)
        return made

    def _row(self, statistic: str, name: str, **more: object) -> Row:
        tally = self.tally
        return row(
            f"missingness.{statistic}",
            self.run,
            version=self.version,
            attribute=tally.attribute,
            group_by=tally.options.by if name in tally.groups else ALL,
            group=name,
            chosen=tally.chosen(name),
            images=self.images,
            encoder=tally.options.encoder,
            **({"direction": "lower is closer"} | more),
        )

    def _few(self, name: str) -> str:
        n, fewest = int(self.tally.chosen(name).sum()), max(self.tally.options.min_n, 1)
        return f"{n} images; {fewest} are needed" if n < fewest else ""

    def _unknown(self, name: str) -> Row:
        empty = self._row("unknown", name, category=UNKNOWN)
        if few := self._few(name):
            return without_estimate(empty, "insufficient", few)
        share, expected = self.unknown.share(name), self._expected(name)
        notes = ["no image has a class"] if share == 1 else []
        if WIDE <= share < 1:
            notes.append(f"the bounds are wide: each class's share may lie {share:.0%} of the images apart")
        if np.isfinite(expected) and self.unknown.interval(name)[0] > expected:
            notes.append(f"more than the calibration's {expected:.1%}: these images are harder than those it is from")
        return empty | self.unknown.numbers(name) | {"null_value": expected, "note": noted(*notes)}

    def _expected(self, name: str) -> float:
        """Share of unknown that the calibration leads one to expect at the group's corrected shares; or NaN."""
        confusion, counts = self.tally.confusion, self.tally.evidence(name).outcomes()
        if confusion is None or not counts.sum():
            return float("nan")
        expected = confusion.matrix @ constrained_shares(counts / counts.sum(), confusion.matrix)
        return float(expected[_is_unknown(self.tally)].sum())

    def _difference(self, name: str, found: tuple[float, float] | None) -> Row:
        empty = self._row("difference", name, category=UNKNOWN, reference="all other images", null_value=0.0)
        rest = int(self.tally.chosen(ALL).sum() - self.tally.chosen(name).sum())
        if few := self._few(name):
            return without_estimate(empty, "insufficient", few)
        if found is None or rest < max(self.tally.options.min_n, 1):
            return without_estimate(empty, "insufficient", f"{rest} images in the other groups")
        difference, p_value = found
        low, high = self.unknown.difference_interval(name)
        prompts = len(self.tally.counts[name])
        few = "" if prompts >= 5 else f"{prompts} prompts: the permutations can hardly tell"
        return empty | {
            "estimate": difference,
            "ci_low": min(low, difference),
            "ci_high": max(high, difference),
            "ci_method": "Newcombe, design effects",
            "p_value": p_value,
            "note": few,
        }

    def _outside(self, name: str) -> Row:
        empty = self._row("outside", name, category="outside the domain")
        if few := self._few(name):
            return without_estimate(empty, "insufficient", few)
        if self.outside is None:
            why = "the scores carry no check that the images are of the calibration's kind"
            return without_estimate(empty, "uncalibrated", why)
        return empty | self.outside.numbers(name)

    def _bounds(self, name: str) -> list[Row]:
        labels, made = self.tally.outcomes.label[self.tally.chosen(name)], []
        n, classes, few = len(labels), self.tally.outcomes.classes, self._few(name)
        unknown = int((labels >= len(classes)).sum())
        for i, category in enumerate(classes):
            empty = self._row("bound", name, category=category, null_value=0.0)
            if few or unknown == n:
                made.append(without_estimate(empty, "insufficient", few or "no image has a class"))
                continue
            k = int((labels == i).sum())
            furthest = unknown / n * max(k, n - unknown - k) / (n - unknown)
            said = f"{k / (n - unknown):.1%} of the images with a class; {k / n:.1%} to {(k + unknown) / n:.1%} of all"
            made.append(empty | {"estimate": furthest, "ci_method": "exact for these images", "note": said})
        return made


def _is_unknown(tally: Tally) -> NDArray[np.bool_]:
    """Which outcomes are unknown, [n_outcomes]; of a pair, where either label is."""
    if tally.confusion is not None and tally.confusion.factors:
        a, b = (np.arange(len(f.matrix)) >= f.matrix.shape[1] for f in tally.confusion.factors)
        return (a[:, None] | b).ravel()
    return np.arange(tally.outcomes.n_outcomes) >= len(tally.outcomes.classes)

"""The measure `setting`: what surroundings and what cues of wealth does naming a place bring into the pictures?"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from auditkit.bias.base import ALL, Mask, Options, Row, adjust, row, table, without_estimate
from auditkit.bias.counter_prompts import Paired, counter_prompts
from auditkit.bias.outcomes import UNKNOWN, Outcomes, read_outcomes
from auditkit.errors import CalibrationError
from auditkit.stats.counterparts import mean_difference, odd_one_test, sign_flip_test
from auditkit.stats.design import clustering
from auditkit.stats.intervals import wilson

if TYPE_CHECKING:
    from auditkit.runs import Run

VERSION = 1
ATTRIBUTES = ("surroundings", "wealth")
"""Scorers that it reads, those of them that the run has scores of."""
AXIS = "place"
FEWEST_PAIRS = 5
"""Fewest prompts with a counter-prompt for a verdict: no test of fewer can reach .05."""
FEWEST_SPREAD = 10
"""Fewest degrees of freedom for the spread of images without a place, which `similarity_shift` is measured in."""
COUNTER = "counter-prompts"
SMALLEST = 1e-30
"""Posteriors below it count as this: they are rounded to 0."""

Z = 1.96
Floats = NDArray[np.float64]


class Setting:
    """Rows `setting.share`, `setting.shift` and `setting.similarity_shift`."""

    name = "setting"
    version = VERSION
    title = "What a place name brings: surroundings and cues of wealth"

    def applies(self, run: Run, options: Options) -> str:
        images = run.images()
        axis = _axis(images, options)
        if f"axis_{axis}" not in images:
            return "the run has no axis 'place': auditkit generate places"
        if not images[f"axis_{axis}"].isna().any():
            return f"no prompt leaves {axis} out, so that there is nothing to compare with: auditkit generate places"
        if not counter_prompts(images, axis):
            return f"no prompt without {axis} is the same as one with it but for the name: auditkit generate places"
        blind = ", ".join(name for name in ATTRIBUTES if _specialist(options, name))
        if blind:
            return f"{options.encoder} was made for other attributes and knows no {blind}: score with a general encoder"
        if not _scored(run, options):
            scorers = " ".join(f"--scorer {name}" for name in ATTRIBUTES)
            return f"no scores of {' or '.join(ATTRIBUTES)} by {options.encoder}: auditkit score {run.id} {scorers}"
        return ""

    def measure(self, run: Run, options: Options) -> pd.DataFrame:
        """By value of the axis `place` (or `options.by`, where the run has no such axis) and class.

        `setting.share` is k/N as labelled, Wilson's interval with prompts as clusters; group `no place` holds the
        counter-prompts. `setting.shift` is the share with the place less that under the counter-prompt of the same
        template, the mean over templates. `setting.similarity_shift` is the same for the centred log-posterior of the
        class, in standard deviations of images of one counter-prompt. Tests flip the signs of templates. Group
        `all` is the mean over places.

        Shares and their shifts are `uncalibrated`: they hold what the generator draws and how the scorer errs.

        Raises:
            TableError: some images have no score.
        """
        images = run.images()
        axis = _axis(images, options)
        paired = Paired.read(images, axis)
        rows: list[Row] = []
        for name in _scored(run, options):
            outcomes = read_outcomes(run, images, name, options.encoder)
            scores = run.scores()[f"{name}@{options.encoder}"].set_index("id").reindex(images["id"])
            similarity = _centred(scores[[f"p_{label}" for label in outcomes.classes]].to_numpy(float))
            rows += adjust(_Attribute(run, images, axis, paired, outcomes, similarity, options).rows())
        return table(rows)


setting = Setting()


class _Attribute:
    """One attribute's rows."""

    def __init__(
        self,
        run: Run,
        images: pd.DataFrame,
        axis: str,
        paired: Paired,
        outcomes: Outcomes,
        similarity: Floats,
        options: Options,
    ):
        self.run, self.images, self.axis, self.paired, self.options = run, images, axis, paired, options
        self.outcomes, self.categories, self.min_n = outcomes, [*outcomes.classes, UNKNOWN], max(options.min_n, 1)
        self.labels = paired.means(np.eye(len(self.categories))[outcomes.label])
        self.similarity = paired.means(similarity)
        self.spread, self.spread_df = paired.spread(similarity)

    def rows(self) -> list[Row]:
        made: list[Row] = []
        for group, chosen in {**self.paired.places, f"no {self.axis}": self.paired.counters}.items():
            made += self._shares(group, chosen)
        for group in [*self.paired.pairs, ALL]:
            made += self._shifts(group)
            made += self._similarity_shifts(group)
        return made

    def _shares(self, group: str, chosen: Mask) -> Iterator[Row]:
        counts = self.outcomes.counts(self.paired.prompts, chosen)
        n, totals = int(chosen.sum()), counts.sum(axis=0)
        for i, category in enumerate(self.categories):
            made = self._row("share", group, chosen, category)
            if n < self.min_n:
                yield made | {"status": "insufficient", "note": f"{n} images; {self.min_n} are needed"}
                continue
            found = clustering([np.stack([counts[:, i], counts.sum(axis=1) - counts[:, i]], axis=1)])
            effect = found.effect(counts.sum(axis=1))
            low, high = wilson(totals[i] / effect, n / effect, df=found.quantile_df)
            yield made | {
                "estimate": totals[i] / n,
                "ci_low": float(low),
                "ci_high": float(high),
                "ci_method": f"wilson, design effect {effect:.2f}",
                "status": "uncalibrated",
                "note": "as labelled, uncorrected",
            }

    def _shifts(self, group: str) -> Iterator[Row]:
        # One image more or less of a prompt is the least that can change.
        found = self._compared(group, self.labels, self.categories, step=float(1 / np.median(self.paired.sizes)))
        for made in found:
            about = made | {"measure": "setting.shift", "unit": "difference of shares"}
            if about["status"] == "insufficient":
                yield about
                continue
            edges = {"ci_low": max(about["ci_low"], -1.0), "ci_high": min(about["ci_high"], 1.0)}
            note = "; ".join(part for part in (about["note"], "as labelled on both sides, uncorrected") if part)
            yield about | edges | {"status": "uncalibrated", "note": note}

    def _similarity_shifts(self, group: str) -> Iterator[Row]:
        for i, made in enumerate(self._compared(group, self.similarity, self.outcomes.classes)):
            about = made | {"measure": "setting.similarity_shift", "unit": "effect size"}
            if about["status"] == "insufficient":
                yield about
                continue
            sd, df = self.spread[i], self.spread_df
            if df < FEWEST_SPREAD or not sd > 0:
                why = "the images of one counter-prompt are too few, or too alike, to know their spread"
                yield without_estimate(about, "insufficient", why)
                continue
            size = about["estimate"] / sd
            # The spread is an estimate too: its relative variance is 1 / (2 df).
            half = np.hypot((about["ci_high"] - about["ci_low"]) / 2 / sd, Z * size / np.sqrt(2 * df))
            yield about | {"estimate": size, "ci_low": size - half, "ci_high": size + half}

    def _compared(self, group: str, means: Floats, categories: Sequence[str], step: float = 0.0) -> Iterator[Row]:
        """Rows of the difference that the place makes to each column of `means` [n_prompts, n_categories]."""
        keep, few, note = self._basis(group)
        rng = np.random.default_rng([self.options.seed, zlib.crc32(f"{self.outcomes.attribute}/{group}".encode())])
        if group == ALL:
            blocks = self.paired.blocks(means)
            differences = np.array([block[1:].mean(axis=0) - block[0] for block in blocks])
            p_values = odd_one_test(blocks, rng, replicates=self.options.n_boot)
        else:
            named, counter = self.paired.pairs[group].T
            differences = means[named] - means[counter]
            p_values = sign_flip_test(differences, rng, replicates=self.options.n_boot)
        estimate, low, high = mean_difference(differences, step=step)
        for i, category in enumerate(categories):
            made = self._row("", group, keep, category)
            made |= {"reference": COUNTER, "null_value": 0.0, "note": note}
            if few:
                yield made | {"status": "insufficient", "note": few}
                continue
            yield made | {
                "estimate": float(estimate[i]),
                "ci_low": float(low[i]),
                "ci_high": float(high[i]),
                "ci_method": f"t, {len(differences)} pairs of prompts",
                "p_value": float(p_values[i]),
            }

    def _basis(self, group: str) -> tuple[Mask, str, str]:
        """The images that a comparison rests on, why they are too few, and what else to say."""
        paired = self.paired
        both = np.concatenate(list(paired.pairs.values())) if group == ALL else paired.pairs[group]
        named = np.any(list(paired.places.values()), axis=0) if group == ALL else paired.places[group]
        keep = np.isin(paired.prompts, both)
        pairs = len(np.unique(both[:, 1]))
        few = f"{pairs} prompts have a counter-prompt; {FEWEST_PAIRS} are needed" if pairs < FEWEST_PAIRS else ""
        for chosen, what in ((keep & named, f"name {self.axis}"), (keep & paired.counters, "leave it out")):
            if not few and chosen.sum() < self.min_n:
                few = f"{chosen.sum()} images {what}; {self.min_n} are needed"
        alone = len(np.unique(paired.prompts[named & ~keep]))
        return keep, few, f"{alone} prompts without a counter-prompt are left out" if alone else ""

    def _row(self, statistic: str, group: str, chosen: Mask, category: str) -> Row:
        return row(
            f"setting.{statistic}",
            self.run,
            version=VERSION,
            attribute=self.outcomes.attribute,
            group_by=ALL if group == ALL else self.axis,
            group=group,
            chosen=chosen,
            images=self.images,
            encoder=self.options.encoder,
            category=category,
        )


def _axis(images: pd.DataFrame, options: Options) -> str:
    return AXIS if f"axis_{AXIS}" in images else options.by


def _scored(run: Run, options: Options) -> list[str]:
    tables = run.scores()
    return [name for name in ATTRIBUTES if f"{name}@{options.encoder}" in tables]


def _specialist(options: Options, name: str) -> bool:
    """Whether the encoder was calibrated on images of its own kind, but not for this attribute: then what it says of
    the attribute is noise. A general encoder has no reference images, and is taken at its word, uncalibrated."""
    from auditkit.clip.calibration import load_calibration
    from auditkit.clip.domain import load_domain

    encoder = options.encoder_source or options.encoder
    try:
        return load_domain(encoder) is not None and load_calibration(encoder, name) is None
    except CalibrationError:
        return True


def _centred(posterior: Floats) -> Floats:
    """log p less its mean over the classes: the cosines, up to the encoder's scale, less their mean."""
    logs = np.log(np.maximum(posterior, SMALLEST))
    return logs - logs.mean(axis=1, keepdims=True)

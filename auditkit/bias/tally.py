"""One attribute's outcomes by group and prompt, and whether its calibration holds there.

What the measures that look within prompts share; judged as `representation` does by its default estimator.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from auditkit.bias.base import ALL, Mask, Options
from auditkit.bias.outcomes import Outcomes, read_confusion, read_outcomes, standing
from auditkit.stats import estimators
from auditkit.stats.confusion import Confusion
from auditkit.stats.corrected import inverse
from auditkit.stats.design import Clustering, clustering
from auditkit.stats.estimators import Estimate, Evidence

if TYPE_CHECKING:
    from auditkit.runs import Run

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Verdict:
    """Whether a group's shares can be corrected.

    Attributes:
        status: `ok`, `insufficient` or `uncalibrated`. note: why, or what to bear in mind; may be empty.
        estimate: the corrected shares of the group's images together; None unless ok.
        slack: share of the images whose outcomes no mixture of classes explains; these may be of any class.
        size: effective number of images: those there are, over the mean design effect of the shares.
    """

    status: str
    note: str
    estimate: Estimate | None = None
    slack: float = 0.0
    size: float = 0.0


@dataclass
class Tally:
    """One attribute of one run.

    Attributes:
        groups: name -> which images, in the table's order; empty where the run is not grouped.
        strata: the groups, or `all` where there are none.
        counts: stratum -> images by prompt and outcome, float64 [n_prompts, n_outcomes].
        confusion: None where there is none to be trusted; `uncalibrated` then says why.
        stratum: int [n_images], the number of the image's stratum, -1 outside every one.
    """

    outcomes: Outcomes
    options: Options
    prompts: NDArray[np.intp]
    groups: Mapping[str, Mask]
    confusion: Confusion | None
    uncalibrated: str
    strata: dict[str, Mask]
    counts: dict[str, Floats]
    clustering: Clustering
    stratum: NDArray[np.intp]

    @classmethod
    def read(
        cls, run: Run, images: pd.DataFrame, groups: Mapping[str, Mask], attribute: str, options: Options
    ) -> Tally:
        """Of one attribute, `gender` or joint `gender+skin_tone`.

        Raises:
            TableError: there are no such scores, or some images have none.
        """
        outcomes = read_outcomes(run, images, attribute, options.encoder)
        confusion, reason = read_confusion(outcomes, options.encoder, options.calibrations)
        prompts = images["prompt_id"].to_numpy(np.intp)
        strata = dict(groups) or {ALL: np.ones(len(images), bool)}
        stratum = np.full(len(images), -1, np.intp)
        for i, chosen in enumerate(strata.values()):
            stratum[chosen] = i
        counts = {name: outcomes.counts(prompts, chosen) for name, chosen in strata.items()}
        found = clustering(list(counts.values()))
        return cls(outcomes, options, prompts, groups, confusion, reason, strata, counts, found, stratum)

    @property
    def attribute(self) -> str:
        return self.outcomes.attribute

    def rng(self, *key: str) -> np.random.Generator:
        """A source of its own for each row, so that its numbers do not hang on the order of the others."""
        return np.random.default_rng([self.options.seed, zlib.crc32("/".join([self.attribute, *key]).encode())])

    def sizes(self) -> dict[str, float]:
        """Images of each group, the weights of a target's mean; empty where the run is not grouped."""
        return {name: float(self.counts[name].sum()) for name in self.groups}

    def chosen(self, name: str, among: Sequence[str] | None = None) -> Mask:
        """The images of a group; of `all`, those of any group, or of those named."""
        if name in self.strata:
            return self.strata[name]
        return self.stratum >= 0 if among is None else np.any([self.strata[group] for group in among], axis=0)

    def together(self, told: Sequence[str]) -> str:
        """Why these groups are too few to speak for all: under half of the images; empty where they are enough."""
        sizes = self.sizes()
        if 2 * sum(sizes[name] for name in told) >= sum(sizes.values()) > 0:
            return ""
        return f"only {len(told)} of {len(sizes)} groups have an estimate"

    def evidence(self, name: str) -> Evidence:
        """What the estimators take, of a group or of `all`, whose groups are strata."""
        chosen = self.chosen(name)
        stratum = None if name in self.strata else self.stratum[chosen]
        return Evidence(self.outcomes.outcome[chosen], self.prompts[chosen], confusion=self.confusion, stratum=stratum)

    def verdict(self, name: str, *, null: Floats | None = None, confidence: float = 0.95) -> Verdict:
        """Of a group, or of all images together; with the p-values of the null shares [n_classes]."""
        status, why = standing(
            self.outcomes, self.chosen(name), self.confusion, self.uncalibrated, self.options.min_n
        )
        if status != "ok":
            return Verdict(status, why)
        assert self.confusion is not None
        evidence = self.evidence(name)
        found = estimators.get(estimators.DEFAULT).estimate(
            evidence,
            rng=self.rng(name, estimators.DEFAULT),
            replicates=self.options.n_boot,
            confidence=confidence,
            clustering=self.clustering,
            null=null,
        )
        if found.refused:
            return Verdict("uncalibrated", found.refused)
        joint = "takes the scorers' errors to be independent of each other" if "+" in self.attribute else ""
        effects = evidence.effects(inverse(self.confusion.matrix), self.clustering)
        return Verdict("ok", noted(joint, *found.cautions), found, found.slack, evidence.n / float(effects.mean()))


def missing_scores(run: Run, options: Options) -> str:
    """Why a measure of scores does not apply: which scores are missing, with the command; or empty."""
    tables = run.scores()
    parts = {part for name in options.attributes for part in name.split("+")}
    missing = sorted(part for part in parts if f"{part}@{options.encoder}" not in tables)
    return f"no scores of {', '.join(missing)} by {options.encoder}: auditkit score {run.id}" if missing else ""


def noted(*parts: str) -> str:
    """Notes joined by semicolons, each once, without the empty ones."""
    return "; ".join(dict.fromkeys(part for part in parts if part))

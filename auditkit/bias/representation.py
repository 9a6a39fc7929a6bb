"""The measure `representation`: who is shown, by group, beside a target; rows as in docs/architecture.md."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from auditkit.bias.base import ALL, COLUMNS, Options
from auditkit.bias.base import groups as find_groups
from auditkit.bias.outcomes import (
    UNKNOWN,
    CalibrationTable,
    Outcomes,
    read_confusion,
    read_outcomes,
    read_people,
    read_sample,
    standing,
)
from auditkit.bias.targets import Target, load_target
from auditkit.stats import estimators
from auditkit.stats.confusion import Confusion
from auditkit.stats.corrected import inverse
from auditkit.stats.design import Clustering, clustering, design_effects, stratified_effect
from auditkit.stats.divergence import Sample, distance_to_target
from auditkit.stats.estimators import Estimate, Estimator, Evidence
from auditkit.stats.estimators.misfit import MATERIAL, MISFIT
from auditkit.stats.intervals import wilson
from auditkit.stats.multiplicity import benjamini_hochberg, holm

if TYPE_CHECKING:
    from auditkit.runs import Run

__all__ = ["MATERIAL", "MISFIT", "Representation", "measure", "representation"]

VERSION = 2

Row = dict[str, Any]


def measure(
    run: Run,
    *,
    by: str,
    attributes: Sequence[str] = ("gender", "skin_tone"),
    encoder: str = "personas-clip",
    target: str | Path = "uniform",
    estimator: str = estimators.DEFAULT,
    n_boot: int = 2000,
    seed: int = 0,
    min_n: int = 20,
    calibrations: Mapping[str, CalibrationTable] | None = None,
) -> pd.DataFrame:
    """Shares of each class by group, counted and corrected for the scorer's errors; distances to a target.

    Intervals have nominal coverage 95% and take prompts as clusters, their intraclass correlation pooled
    over the groups. The group `all` takes the groups as strata.

    Args:
        by: the axis that groups the images, or `all` for the whole run only.
        attributes: names of scorers; joint ones written with a plus, `gender+skin_tone`.
        encoder: whose scores and calibration to use.
        target: `uniform`, `planted`, a shipped table, another run or a CSV file; see `auditkit.bias.targets`.
        estimator: how shares are corrected; see `auditkit.stats.estimators`. Joint attributes are always corrected
            by the adjusted count.
        n_boot: draws behind each interval, and simulated audits behind each distance.
        seed: of the simulation. Rows do not depend on which other groups or attributes are measured, but for
            the pooled correlation.
        min_n: fewest images with a label for a verdict; below it a group is `insufficient`.
        calibrations: by attribute, in place of those beside the encoder.

    Returns:
        Measurements (schema MEASUREMENTS): `representation.share`, `.bounds`, `.corrected`, `.distance`, for
        group `all` also `.mean_distance`, and `.fidelity` where the run has an axis and scores of occupation.

    Raises:
        TableError: no such axis, or scores are missing; names the axes or the command.
        SpecError: the target does not hold, or there is no such estimator.
    """
    chosen = estimators.get(estimator)
    images = run.images()
    groups = find_groups(run, images, by)
    goal = load_target(target, run, by=by, attributes=attributes)
    rows: list[Row] = []
    for attribute in attributes:
        outcomes = read_outcomes(run, images, attribute, encoder)
        confusion, reason = read_confusion(outcomes, encoder, calibrations)
        how = chosen if "+" not in attribute else estimators.get(estimators.DEFAULT)
        sample = read_sample(outcomes, encoder, calibrations)
        people = read_people(run, images, outcomes) if "human" in how.needs else None
        everything = Evidence(
            outcomes.outcome,
            images["prompt_id"].to_numpy(np.intp),
            outcomes.posterior,
            confusion,
            sample,
            None if people is None else people.label,
            inclusion=None if people is None else people.inclusion,
        )
        about = "" if people is None else people.note
        audit = _Audit(run.id, by, images, groups, outcomes, everything, reason, how, about, goal, n_boot, seed, min_n)
        rows += _adjusted(audit.rows(), len(outcomes.classes))
    rows += _fidelity(run, images, groups, by, encoder, min_n)
    return pd.DataFrame([each | {"encoder": encoder} for each in rows], columns=COLUMNS)


class Representation:
    """Who is shown, by group: shares corrected for the scorer's errors, beside a target."""

    name = "representation"
    version = VERSION
    title = "Who is shown: shares by group, beside a target"

    def applies(self, run: Run, options: Options) -> str:
        tables = run.scores()
        parts = {part for name in options.attributes for part in name.split("+")}
        missing = sorted(part for part in parts if f"{part}@{options.encoder}" not in tables)
        if missing:
            return f"no scores of {', '.join(missing)} by {options.encoder}: auditkit score {run.id}"
        return ""

    def measure(self, run: Run, options: Options) -> pd.DataFrame:
        return measure(
            run,
            by=options.by,
            attributes=options.attributes,
            encoder=options.encoder,
            target=options.target,
            estimator=options.estimator,
            n_boot=options.n_boot,
            seed=options.seed,
            min_n=options.min_n,
            calibrations=options.calibrations,
        )


representation = Representation()


@dataclass
class _Audit:
    """One attribute of one run: everything its rows are made from."""

    run_id: str
    by: str
    images: pd.DataFrame
    groups: dict[str, NDArray[np.bool_]]
    outcomes: Outcomes
    evidence: Evidence
    uncalibrated: str
    estimator: Estimator
    people: str
    target: Target
    n_boot: int
    seed: int
    min_n: int

    def __post_init__(self) -> None:
        self.prompts = self.evidence.prompt
        self.confusion = self.evidence.confusion
        everyone = np.ones(len(self.images), bool)
        strata = self.groups or {ALL: everyone}
        self.tables = {name: self.outcomes.counts(self.prompts, chosen) for name, chosen in strata.items()}
        self.clustering: Clustering = clustering(list(self.tables.values()))
        sizes = {name: float(t.sum()) for name, t in self.tables.items()} if self.groups else {}
        self.shares = self.target.shares(self.outcomes.attribute, sizes, self.outcomes.classes)
        # Which label an outcome counts for: the same, but for pairs.
        self.label_of = np.zeros((len(self.outcomes.classes) + 1, self.outcomes.n_outcomes))
        self.label_of[self.outcomes.label, self.outcomes.outcome] = 1
        self.stratum = np.zeros(len(self.images), np.intp)
        for i, chosen in enumerate(strata.values()):
            self.stratum[chosen] = i
        self.samples: dict[str, Sample] = {}
        self.slacks: dict[str, float] = {}

    def rows(self) -> list[Row]:
        """Rows of each group, then of all images together."""
        made: list[Row] = []
        for name, chosen in self.groups.items():
            made += self._group(self.by, name, chosen)
        made += self._group(ALL, ALL, np.ones(len(self.images), bool))
        return made + ([self._mean_distance()] if self.groups else [])

    def _group(self, by: str, name: str, chosen: NDArray[np.bool_]) -> list[Row]:
        k = len(self.outcomes.classes)
        labels = np.bincount(self.outcomes.label[chosen], minlength=k + 1)
        status, why = standing(self.outcomes, chosen, self.confusion, self.uncalibrated, self.min_n)
        goal = np.array([self.shares[name][c] for c in self.outcomes.classes])
        base = _base(self.run_id, self.outcomes.attribute, by, name, chosen, self.prompts) | {
            "status": status,
            "note": why or self._caution(),
        }
        pooled = name == ALL and bool(self.groups)
        made = self._counted(base, labels, self._effects(self.label_of, pooled, name))
        gap = self.target.missing(self.shares[name])
        against = base | {"reference": self.target.name}
        by_people = "human" in self.estimator.needs
        # People's labels do not hang on the scorer's calibration.
        if status == "insufficient" or (status == "uncalibrated" and not by_people):
            return made + self._without_estimate(against, goal)
        against["status"] = "ok"
        found = self._estimate(chosen, pooled, name, None if gap else goal)
        if found.refused:
            refused = {"status": "insufficient" if by_people else "uncalibrated", "note": found.refused}
            made = made if by_people else [each | refused for each in made]
            return made + self._without_estimate(against | refused, goal)
        note = self._note(base["note"] if status == "ok" else "", found, gap or self.target.note)
        p_values = np.full(k, np.nan) if found.p_values is None else found.p_values
        for i, c in enumerate(self.outcomes.classes):
            made.append(
                against
                | {
                    "measure": "representation.corrected",
                    "category": c,
                    "estimate": found.shares[i],
                    "ci_low": found.low[i],
                    "ci_high": found.high[i],
                    "ci_method": found.method + self._effect_note(pooled, name, i),
                    "null_value": goal[i],
                    "p_value": p_values[i],
                    "note": note,
                }
            )
        if gap:
            return [*made, against | _DISTANCE | {"status": "insufficient", "note": gap}]
        sample = Sample(found.shares, goal, self._size(found, int(labels.sum()), pooled, name))
        if not pooled:
            self.samples[name] = sample
            self.slacks[name] = found.slack
        return [*made, against | self._distance([sample], name, [found.slack]) | {"note": note}]

    def _estimate(
        self, chosen: NDArray[np.bool_], pooled: bool, name: str, goal: NDArray[np.float64] | None
    ) -> Estimate:
        whole = self.evidence
        part = Evidence(
            whole.outcome[chosen],
            whole.prompt[chosen],
            None if whole.posterior is None else whole.posterior[chosen],
            whole.confusion,
            whole.sample,
            None if whole.human is None else whole.human[chosen],
            self.stratum[chosen] if pooled else None,
            None if whole.inclusion is None else whole.inclusion[chosen],
        )
        rng = self._rng(f"{name}/{self.estimator.name}")
        return self.estimator.estimate(part, rng=rng, replicates=self.n_boot, clustering=self.clustering, null=goal)

    def _rng(self, key: str) -> np.random.Generator:
        """A source of its own for each group, so that its numbers do not hang on the order of the others."""
        return np.random.default_rng([self.seed, zlib.crc32(f"{self.outcomes.attribute}/{key}".encode())])

    def _size(self, found: Estimate, n: int, pooled: bool, name: str) -> float:
        """The effective sample size behind an estimate; without an adjusted count that of its own variance."""
        if self._adjusted and self.confusion is not None:
            return n / float(self._effects(inverse(self.confusion.matrix), pooled, name).mean())
        if found.covariance is None:
            return float(n)
        spread = float((found.shares * (1 - found.shares)).sum())
        return float(np.clip(spread / max(float(np.trace(found.covariance)), 1e-12), 1.0, n))

    @property
    def _adjusted(self) -> bool:
        return self.estimator.name == estimators.DEFAULT

    def _effect_note(self, pooled: bool, name: str, i: int) -> str:
        if not self._adjusted or self.confusion is None:
            return ""
        return f", {_effect_text(self._effects(inverse(self.confusion.matrix), pooled, name)[i])}"

    def _without_estimate(self, base: Row, goal: NDArray[np.float64]) -> list[Row]:
        """The corrected rows and the distance where there is no verdict: NaN, with the status and its reason."""
        classes = zip(self.outcomes.classes, goal, strict=True)
        rows = [base | {"measure": "representation.corrected", "category": c, "null_value": t} for c, t in classes]
        return [*rows, base | _DISTANCE]

    def _caution(self) -> str:
        if self.clustering.df == 0:
            return "no group has several prompts with several images: intervals speak of these prompts only"
        return ""

    def _note(self, note: str, found: Estimate, about_target: str) -> str:
        joint = "takes the scorers' errors to be independent of each other"
        notes = [note, about_target, joint if "+" in self.outcomes.attribute else "", self.people, *found.cautions]
        return "; ".join(dict.fromkeys(each for each in notes if each))

    def _effects(self, functionals: NDArray[np.float64], pooled: bool, name: str) -> NDArray[np.float64]:
        """Design effects of linear functions of the outcomes' shares."""
        correlations = self.clustering.correlations(functionals)
        if not pooled:
            return design_effects(correlations, self.tables[name].sum(axis=1))
        totals = np.array([table.sum(axis=0) for table in self.tables.values()])
        within = [design_effects(correlations, table.sum(axis=1)) for table in self.tables.values()]
        return stratified_effect(totals, functionals, np.stack(within))

    def _counted(self, base: Row, labels: NDArray[np.intp], effects: NDArray[np.float64]) -> list[Row]:
        """Rows of counted labels: shares with Wilson intervals, and what the unknown could add."""
        n, unknown = int(labels.sum()), int(labels[-1])
        told = base["status"] != "insufficient"
        low, high = wilson(labels / effects, n / effects, df=self.clustering.quantile_df)
        made = []
        for i, category in enumerate([*self.outcomes.classes, UNKNOWN]):
            row = base | {"measure": "representation.share", "category": category}
            if told:
                method = f"wilson, {_effect_text(effects[i])}"
                row |= {"estimate": labels[i] / n, "ci_low": low[i], "ci_high": high[i], "ci_method": method}
            made.append(row)
        for i, category in enumerate(self.outcomes.classes):
            row = base | {"measure": "representation.bounds", "category": category}
            if told:
                edges = {"ci_low": labels[i] / n, "ci_high": (labels[i] + unknown) / n}
                row |= edges | {"ci_method": "unknown bounds"}
            made.append(row)
        return made

    def _distance(self, samples: Sequence[Sample], name: str, slacks: Sequence[float]) -> Row:
        """Mean distance of the samples; the interval reaches as near and as far as unexplained images allow."""
        found = self._simulated(samples, name)
        if not any(slacks):
            return found
        least = self._simulated([_nearer(s, slack) for s, slack in zip(samples, slacks, strict=True)], name)
        high = min(1.0, found["ci_high"] + float(np.mean(slacks)))
        return found | {"ci_low": least["ci_low"], "ci_high": high, "p_value": least["p_value"]}

    def _simulated(self, samples: Sequence[Sample], name: str) -> Row:
        k = len(self.outcomes.classes)
        # Another estimator's errors are those of a perfect scorer with its effective sample size.
        perfect = Confusion(np.eye(k), np.full(k, np.inf))
        confusion = self.confusion if self._adjusted and self.confusion is not None else perfect
        found = distance_to_target(samples, confusion, self._rng(name), replicates=self.n_boot)
        return _DISTANCE | {
            "estimate": found.estimate,
            "ci_low": found.low,
            "ci_high": found.high,
            "ci_method": "inverted simulation test",
            "null_value": found.null_value,
            "p_value": found.p_value,
        }

    def _mean_distance(self) -> Row:
        """Mean over groups of their distances: pooling the images first would let opposite skews cancel."""
        everyone = np.ones(len(self.images), bool)
        base = _base(self.run_id, self.outcomes.attribute, ALL, ALL, everyone, self.prompts)
        row = base | _DISTANCE | {"reference": self.target.name, "measure": "representation.mean_distance"}
        if not self.samples:
            if all(self.target.missing(self.shares[name]) for name in self.groups):
                return row | {"status": "insufficient", "note": f"the target {self.target.name} says nothing of it"}
            status = "uncalibrated" if self.confusion is None or self._judged() else "insufficient"
            return row | {"status": status, "note": "no group has a distance"}
        row |= self._distance(list(self.samples.values()), "mean", list(self.slacks.values())) | {
            "measure": "representation.mean_distance"
        }
        note = "small samples pull the estimate up; the interval allows for that and may lie below it"
        if len(self.samples) < len(self.groups):
            note = f"over {len(self.samples)} of {len(self.groups)} groups; {note}"
        return row | {"note": note}

    def _judged(self) -> bool:
        """Whether some group has labels enough, so that only the calibration stands in the way."""
        k = len(self.outcomes.classes)
        return any((self.outcomes.label[c] < k).sum() >= max(self.min_n, 1) for c in self.groups.values())


_DISTANCE: Row = {"measure": "representation.distance", "category": "", "direction": "lower is closer"}


def _base(
    run_id: str, attribute: str, by: str, group: str, chosen: NDArray[np.bool_], prompts: NDArray[np.intp]
) -> Row:
    nan = float("nan")
    numbers = dict.fromkeys(["estimate", "ci_low", "ci_high", "null_value", "p_value", "p_holm", "p_bh"], nan)
    return numbers | {
        "run_id": run_id,
        "measure_version": VERSION,
        "attribute": attribute,
        "group_by": by,
        "group": group,
        "reference": "",
        "n_images": int(chosen.sum()),
        "n_prompts": len(np.unique(prompts[chosen])),
        "ci_method": "",
        "unit": "share",
        "direction": "none",
        "status": "ok",
        "note": "",
    }


def _nearer(sample: Sample, slack: float) -> Sample:
    """The sample moved toward its target by a total variation of `slack`, or onto it."""
    apart = max(float(np.abs(sample.shares - sample.target).sum()) / 2, 1e-12)
    return Sample(sample.shares + (sample.target - sample.shares) * min(1.0, slack / apart), sample.target, sample.n)


def _effect_text(effect: float) -> str:
    return f"design effect {effect:.2f}"


def _adjusted(rows: list[Row], n_classes: int) -> list[Row]:
    """Holm and Benjamini-Hochberg over the cells of each measure and grouping.

    With two classes both cells of a group are one test, and count once.
    """
    families: dict[tuple[str, str], dict[tuple[str, str], list[Row]]] = {}
    for row in rows:
        test = (row["group"], "" if n_classes == 2 else row["category"])
        families.setdefault((row["measure"], row["group_by"]), {}).setdefault(test, []).append(row)
    for family in families.values():
        p_values = [cells[0]["p_value"] for cells in family.values()]
        adjusted = zip(holm(p_values), benjamini_hochberg(p_values), family.values(), strict=True)
        for p_holm, p_bh, cells in adjusted:
            for row in cells:
                # Rounding may part the two cells' p-values by an ulp.
                row["p_holm"], row["p_bh"] = max(p_holm, row["p_value"]), max(p_bh, row["p_value"])
    return rows


def _fidelity(
    run: Run, images: pd.DataFrame, groups: Mapping[str, NDArray[np.bool_]], by: str, encoder: str, min_n: int
) -> list[Row]:
    """Share of images whose perceived occupation is the prompt's; unknown counts as another."""
    if "axis_occupation" not in images or f"occupation@{encoder}" not in run.scores():
        return []
    seen = read_outcomes(run, images, "occupation", encoder)
    asked = pd.Index(seen.classes).get_indexer(pd.Index(images["axis_occupation"]))
    prompts, hit = images["prompt_id"].to_numpy(np.intp), seen.label == asked
    answer = Outcomes("occupation", ["same"], hit.astype(np.intp), hit.astype(np.intp), 2, None)
    everyone = np.ones(len(images), bool)
    strata = dict(groups) or {ALL: everyone}
    tables = {name: answer.counts(prompts, chosen) for name, chosen in strata.items()}
    found = clustering(list(tables.values()))
    effects = [found.effect(table.sum(axis=1)) for table in tables.values()]
    totals = [table.sum(axis=0) for table in tables.values()]
    whole = float(stratified_effect(totals, [[0, 1]], effects)[0]) if groups else effects[0]
    rows = []
    for group_by, name, chosen, effect in [
        *((by, name, chosen, effect) for (name, chosen), effect in zip(groups.items(), effects, strict=False)),
        (ALL, ALL, everyone, whole),
    ]:
        row = _base(run.id, "occupation", group_by, name, chosen, prompts)
        row |= {
            "measure": "representation.fidelity",
            "category": "as prompted",
            "direction": "higher is closer",
        }
        n, strange = int(chosen.sum()), int((asked[chosen] < 0).sum())
        if strange:
            row |= {
                "status": "insufficient",
                "note": f"{strange} images ask for an occupation the scorer does not know",
            }
        elif n < max(min_n, 1):
            row |= {"status": "insufficient", "note": f"{n} images; {max(min_n, 1)} are needed"}
        else:
            low, high = wilson(hit[chosen].sum() / effect, n / effect, df=found.quantile_df)
            row |= {"estimate": hit[chosen].mean(), "ci_low": float(low), "ci_high": float(high)}
            row |= {"ci_method": f"wilson, {_effect_text(effect)}"}
        rows.append(row)
    return rows

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
from auditkit.bias.outcomes import UNKNOWN, CalibrationTable, Outcomes, read_confusion, read_outcomes
from auditkit.bias.targets import Target, load_target
from auditkit.clip.domain import Domain
from auditkit.stats.confusion import Confusion
from auditkit.stats.corrected import CorrectedShares, corrected_shares, inverse
from auditkit.stats.design import Clustering, clustering, stratified_effect
from auditkit.stats.divergence import Sample, distance_to_target
from auditkit.stats.intervals import wilson
from auditkit.stats.multiplicity import benjamini_hochberg, holm

if TYPE_CHECKING:
    from auditkit.runs import Run

VERSION = 1

MISFIT = 0.001
"""Below this p-value the outcomes count as impossible under the calibration."""

MATERIAL = 0.15
"""Share of the images that no mixture of classes explains, above which there is no correction. Below it the
intervals are widened by that share, since those images may belong to any class."""

Row = dict[str, Any]


def measure(
    run: Run,
    *,
    by: str,
    attributes: Sequence[str] = ("gender", "skin_tone"),
    encoder: str = "personas-clip",
    target: str | Path = "uniform",
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
        target: `uniform`, `planted` or a CSV file; see `auditkit.bias.targets`.
        n_boot: simulated audits behind each distance's null expectation, p-value and interval.
        seed: of the simulation. Rows do not depend on which other groups or attributes are measured, but for
            the pooled correlation.
        min_n: fewest images with a label for a verdict; below it a group is `insufficient`.
        calibrations: by attribute, in place of those beside the encoder.

    Returns:
        Measurements (schema MEASUREMENTS): `representation.share`, `.bounds`, `.corrected`, `.distance`, for
        group `all` also `.mean_distance`, and `.fidelity` where the run has an axis and scores of occupation.

    Raises:
        TableError: no such axis, or scores are missing; names the axes or the command.
        SpecError: the target does not hold.
    """
    images = run.images()
    groups = find_groups(run, images, by)
    goal = load_target(target, run, by=by, attributes=attributes)
    rows: list[Row] = []
    for attribute in attributes:
        outcomes = read_outcomes(run, images, attribute, encoder)
        confusion, reason = read_confusion(outcomes, encoder, calibrations)
        audit = _Audit(run.id, by, images, groups, outcomes, confusion, reason, goal, n_boot, seed, min_n)
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
    confusion: Confusion | None
    uncalibrated: str
    target: Target
    n_boot: int
    seed: int
    min_n: int

    def __post_init__(self) -> None:
        self.prompts = self.images["prompt_id"].to_numpy(np.intp)
        everyone = np.ones(len(self.images), bool)
        strata = self.groups or {ALL: everyone}
        self.tables = {name: self.outcomes.counts(self.prompts, chosen) for name, chosen in strata.items()}
        self.clustering: Clustering = clustering(list(self.tables.values()))
        self.effects = {name: self.clustering.effect(t.sum(axis=1)) for name, t in self.tables.items()}
        sizes = {name: float(t.sum()) for name, t in self.tables.items()} if self.groups else {}
        self.shares = self.target.shares(self.outcomes.attribute, sizes, self.outcomes.classes)
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
        n, unknown = int(labels.sum()), int(labels[k])
        status, why = self._status(chosen, n - unknown, n)
        goal = np.array([self.shares[name][c] for c in self.outcomes.classes])
        base = _base(self.run_id, self.outcomes.attribute, by, name, chosen, self.prompts) | {
            "status": status,
            "note": why or self._caution(),
        }
        pooled = name == ALL and bool(self.groups)
        made = self._counted(base, labels, self._label_effects(labels, pooled, name), name)
        against = base | {"reference": self.target.name}
        if status != "ok" or self.confusion is None:
            return made + self._without_estimate(against, goal)
        counts = np.bincount(self.outcomes.outcome[chosen], minlength=self.outcomes.n_outcomes)
        effect = self._effects(inverse(self.confusion.matrix), pooled, name)
        df = self.clustering.quantile_df
        found = corrected_shares(counts, self.confusion, effect=effect, df=df, null=goal)
        slack = self._slack(counts, found)
        if slack > MATERIAL:
            why = f"the scorer errs differently here: no mixture of classes explains {slack:.0%} of the outcomes"
            refused = {"status": "uncalibrated", "note": why}
            return [row | refused for row in made] + self._without_estimate(against | refused, goal)
        note = self._corrected_note(base["note"], slack)
        # The unexplained images may belong to any class: the nearest share to the goal that they allow is tested.
        nearest = goal + (found.shares - goal) * np.clip(slack / np.maximum(abs(found.shares - goal), 1e-12), 0, 1)
        p_values = corrected_shares(counts, self.confusion, effect=effect, df=df, null=nearest).p_values
        low, high = np.maximum(found.low - slack, 0), np.minimum(found.high + slack, 1)
        method = "score, calibration's variance" + (", widened by the unexplained share" if slack else "")
        for i, c in enumerate(self.outcomes.classes):
            made.append(
                against
                | {
                    "measure": "representation.corrected",
                    "category": c,
                    "estimate": found.shares[i],
                    "ci_low": low[i],
                    "ci_high": high[i],
                    "ci_method": f"{method}, {_effect_text(effect[i])}",
                    "null_value": goal[i],
                    "p_value": p_values[i],
                    "note": note,
                }
            )
        sample = Sample(found.shares, goal, n / float(effect.mean()))
        if not pooled:
            self.samples[name] = sample
            self.slacks[name] = slack
        return [*made, against | self._distance([sample], name, [slack]) | {"note": note}]

    def _slack(self, counts: NDArray[np.intp], found: CorrectedShares) -> float:
        """Share of the images whose outcomes no mixture of classes explains; 0 where chance would explain it."""
        assert self.confusion is not None
        if found.fit_p >= MISFIT:
            return 0.0
        return float(np.abs(counts / counts.sum() - self.confusion.matrix @ found.shares).sum() / 2)

    def _without_estimate(self, base: Row, goal: NDArray[np.float64]) -> list[Row]:
        """The corrected rows and the distance where there is no verdict: NaN, with the status and its reason."""
        classes = zip(self.outcomes.classes, goal, strict=True)
        rows = [base | {"measure": "representation.corrected", "category": c, "null_value": t} for c, t in classes]
        return [*rows, base | _DISTANCE]

    def _status(self, chosen: NDArray[np.bool_], labelled: int, n: int) -> tuple[str, str]:
        if labelled < max(self.min_n, 1):
            return "insufficient", f"{labelled} of {n} images have a label; {max(self.min_n, 1)} are needed"
        if self.confusion is None:
            return "uncalibrated", self.uncalibrated
        if self.outcomes.in_domain is None:
            return "uncalibrated", "the scores carry no check that the images are of the calibration's kind"
        inside = self.outcomes.in_domain[chosen]
        if not Domain.holds(inside):
            return (
                "uncalibrated",
                f"{1 - inside.mean():.0%} of the images are unlike the calibration's",
            )
        return "ok", ""

    def _caution(self) -> str:
        if self.clustering.df == 0:
            return "no group has several prompts with several images: intervals speak of these prompts only"
        return ""

    def _corrected_note(self, note: str, slack: float) -> str:
        notes = [note] if note else []
        if "+" in self.outcomes.attribute:
            notes.append("takes the scorers' errors to be independent of each other")
        if slack:
            notes.append(
                f"no mixture of classes explains {slack:.0%} of the outcomes: the scorer errs differently here, "
                "and the interval is wider by that much on each side"
            )
        return "; ".join(notes)

    def _effects(self, functionals: NDArray[np.float64], pooled: bool, name: str) -> NDArray[np.float64]:
        if not pooled:
            return np.full(len(functionals), self.effects[name])
        totals = np.array([table.sum(axis=0) for table in self.tables.values()])
        return stratified_effect(totals, functionals, list(self.effects.values()))

    def _label_effects(self, labels: NDArray[np.intp], pooled: bool, name: str) -> NDArray[np.float64]:
        if not pooled:
            return np.full(len(labels), self.effects[name])
        by_group = [np.bincount(self.outcomes.label[c], minlength=len(labels)) for c in self.groups.values()]
        return stratified_effect(by_group, np.eye(len(labels)), list(self.effects.values()))

    def _counted(
        self, base: Row, labels: NDArray[np.intp], effects: NDArray[np.float64], name: str
    ) -> list[Row]:
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
        assert self.confusion is not None
        # A source of its own for each group, so that its numbers do not hang on the order of the others.
        key = zlib.crc32(f"{self.outcomes.attribute}/{name}".encode())
        rng = np.random.default_rng([self.seed, key])
        found = distance_to_target(samples, self.confusion, rng, replicates=self.n_boot)
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
        *(
            (by, name, chosen, effect)
            for (name, chosen), effect in zip(groups.items(), effects, strict=False)
        ),
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

"""The measure `intersections`: two attributes at once, by group."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from auditkit.bias.base import ALL, Mask, Options, Row, adjust, groups, row, table, without_estimate
from auditkit.bias.joint import arrays, joint_target, pairs
from auditkit.bias.tally import Tally, Verdict, missing_scores, noted
from auditkit.bias.targets import Target, load_target
from auditkit.stats.confusion import Confusion
from auditkit.stats.corrected import inverse
from auditkit.stats.divergence import Distance, Sample, distance_to_target, hidden_by_pooling
from auditkit.stats.intersections import Interaction, information, shrunken_cells, worst_cell

if TYPE_CHECKING:
    from auditkit.runs import Run

Floats = NDArray[np.float64]

FEWEST_GROUPS = 3
"""Groups that the strength of the shrinkage is learned from."""


class Intersections:
    """Two attributes at once.

    Rows for each pair of attributes, by group and for all images (statistics in `auditkit.stats.intersections`):
    - `intersections.cell`: joint share of each cell, corrected, shrunk towards the product of the group's own
      marginals; interval and p-value against the joint target are those of the share before shrinkage.
    - `intersections.worst_cell`: the cell furthest below its target, named by `category`; share less target, with a
      p-value and an interval that allow for the choice.
    - `intersections.interaction`: total variation, within prompts, between the joint shares and the product of the
      marginals; `null_value` and p-value by permutation within prompts.
    - `intersections.distance`: total variation of the joint shares from the joint target.
    - `intersections.cancellation` (all images; also for each attribute alone): the groups' mean distance less that of
      the pooled images, which is what pooling hides.
    """

    name = "intersections"
    version = 1
    title = "Two attributes at once: cells, the worst of them, and interaction"

    def applies(self, run: Run, options: Options) -> str:
        if not pairs(options):
            return "it needs two attributes, such as -a gender -a skin_tone"
        return missing_scores(run, options)

    def measure(self, run: Run, options: Options) -> pd.DataFrame:
        """Raises: TableError, SpecError: scores, an axis or a target that is not there."""
        images = run.images()
        members = groups(run, images, options.by)
        made: list[Row] = []
        alone: dict[str, list[Row]] = {}
        for pair in pairs(options):
            parts = [Tally.read(run, images, members, name, options) for name in pair]
            joint = _Looked(self.version, run, images, Tally.read(run, images, members, "+".join(pair), options))
            goal, shares, about = joint_target(run, options, parts, joint.tally)
            made += joint.rows(goal, shares, about)
            for part in parts:
                if members and part.attribute not in alone:
                    single = load_target(options.target, run, by=options.by, attributes=options.attributes)
                    goals = arrays(single.shares(part.attribute, part.sizes(), part.outcomes.classes))
                    looked = _Looked(self.version, run, images, part)
                    looked.judge(goals)
                    alone[part.attribute] = [looked.cancellation(single, goals, single.note)]
        return table(adjust([*made, *(each for rows in alone.values() for each in rows)]))


intersections = Intersections()


class _Looked:
    """One attribute, single or joint, of one run: verdicts by group, and the rows made of them."""

    def __init__(self, version: int, run: Run, images: pd.DataFrame, tally: Tally) -> None:
        self.version, self.run, self.images, self.tally = version, run, images, tally
        self.names = list(dict.fromkeys([*tally.strata, ALL]))
        self.verdicts: dict[str, Verdict] = {}

    def judge(self, goals: dict[str, Floats]) -> None:
        """Correct each group's shares, tested against its target."""
        self.verdicts = {name: self.tally.verdict(name, null=goals[name]) for name in self.names}

    def rows(self, goal: Target, goals: dict[str, Floats], about: str) -> list[Row]:
        """Every row of a joint attribute."""
        self.judge(goals)
        made: list[Row] = []
        shrunk = self._shrunken()
        interactions = self._interactions()
        for name in self.names:
            made += self._cells(name, goal, goals[name], shrunk.get(name), about)
            made.append(self._worst(name, goal, goals[name], about))
            made.append(self._distance(name, goal, goals[name], about))
            made.append(self._interaction(name, interactions))
        return [*made, self.cancellation(goal, goals, about)] if self.tally.groups else made

    def _row(self, statistic: str, name: str, among: list[str] | None = None, /, **more: object) -> Row:
        chosen: Mask = self.tally.chosen(name, among)
        return row(
            f"intersections.{statistic}",
            self.run,
            version=self.version,
            attribute=self.tally.attribute,
            group_by=self.tally.options.by if name in self.tally.groups else ALL,
            group=name,
            chosen=chosen,
            images=self.images,
            encoder=self.tally.options.encoder,
            **more,
        )

    def _lacking(self) -> str:
        """The status of the whole where too few groups have shares."""
        statuses = {self.verdicts[name].status for name in self.tally.groups}
        return "uncalibrated" if "uncalibrated" in statuses else "insufficient"

    def _ok(self) -> list[str]:
        return [name for name in self.tally.groups if self.verdicts[name].status == "ok"]

    def _shrunken(self) -> dict[str, tuple[Floats, float]]:
        """Shares and weight of the prior for each group; empty with too few groups to learn from."""
        told, confusion = self._ok(), self.tally.confusion
        if len(told) < FEWEST_GROUPS or confusion is None or confusion.factors is None:
            return {}
        shape = [factor.matrix.shape[1] for factor in confusion.factors]
        estimates = [found for name in told if (found := self.verdicts[name].estimate) is not None]
        shares, low, high = (
            np.array([getattr(found, end).reshape(shape) for found in estimates]) for end in ("shares", "low", "high")
        )
        n = [self._worth(name, confusion) for name in told]
        shrunk = shrunken_cells(shares, n, low, high)
        cells = zip(told, shrunk.shares, shrunk.weight, strict=True)
        return {name: (values.ravel(), float(weight)) for name, values, weight in cells}

    def _worth(self, name: str, confusion: Confusion) -> float:
        evidence = self.tally.evidence(name)
        effect = evidence.effects(inverse(confusion.matrix), self.tally.clustering)
        return information(evidence.outcomes() / evidence.n, confusion, evidence.n, effect)

    def _cells(
        self, name: str, goal: Target, target: Floats, shrunk: tuple[Floats, float] | None, about: str
    ) -> list[Row]:
        verdict, made = self.verdicts[name], []
        for i, category in enumerate(self.tally.outcomes.classes):
            cell = self._row("cell", name, category=category, reference=goal.name, null_value=float(target[i]))
            if verdict.estimate is None:
                made.append(without_estimate(cell, verdict.status, verdict.note))
                continue
            found, prior = verdict.estimate, ""
            shares, weight = (found.shares, 0.0) if shrunk is None else shrunk
            if weight:
                prior = f"moved {weight:.0%} of the way to the product of the group's marginals"
            gap = "" if np.isfinite(target).all() else goal.missing({category: float(target[i])})
            numbers = {"estimate": shares[i], "ci_low": found.low[i], "ci_high": found.high[i]}
            numbers["p_value"] = np.nan if found.p_values is None else found.p_values[i]
            made.append(cell | numbers | {"ci_method": found.method, "note": noted(prior, verdict.note, gap or about)})
        return made

    def _against(self, name: str, target: Floats) -> tuple[Sample | None, str, str]:
        """The group as simulations see it; or None, with status and reason."""
        verdict = self.verdicts[name]
        if verdict.estimate is None:
            return None, verdict.status, verdict.note
        if not np.isfinite(target).all():
            return None, "insufficient", "measured without a comparison: the target says nothing of it"
        return Sample(verdict.estimate.shares, target, verdict.size), "ok", verdict.note

    def _worst(self, name: str, goal: Target, target: Floats, about: str) -> Row:
        empty = self._row("worst_cell", name, reference=goal.name, direction="higher is closer")
        sample, status, why = self._against(name, target)
        if sample is None or self.tally.confusion is None:
            return without_estimate(empty, status, why)
        tally, verdict = self.tally, self.verdicts[name]
        n_boot = tally.options.n_boot
        found = worst_cell(
            sample, self.tally.confusion, tally.rng(name, "worst"), slack=verdict.slack, replicates=n_boot
        )
        # One interval for all cells at once, so that it also holds for the one that was chosen.
        wide = tally.verdict(name, confidence=1 - 0.05 / len(target)).estimate
        assert wide is not None
        return empty | {
            "category": tally.outcomes.classes[found.index],
            "estimate": found.gap,
            "ci_low": min(float(wide.low[found.index] - target[found.index]), found.gap),
            "ci_high": max(float(wide.high[found.index] - target[found.index]), found.gap),
            "ci_method": "simultaneous for all cells (Bonferroni)",
            "null_value": found.null_value,
            "p_value": found.p_value,
            "note": noted("share less target, before shrinkage; the p-value allows for the choice", why, about),
        }

    def _distance(self, name: str, goal: Target, target: Floats, about: str) -> Row:
        empty = self._row("distance", name, reference=goal.name, direction="lower is closer")
        sample, status, why = self._against(name, target)
        if sample is None or self.tally.confusion is None:
            return without_estimate(empty, status, why)
        slack = self.verdicts[name].slack
        found = self._distance_of(sample, name)
        if slack:
            least = self._distance_of(sample.nearer(slack), name)
            found = Distance(found.estimate, found.null_value, least.low, min(found.high + slack, 1.0), least.p_value)
        return empty | _numbers(found, "inverted simulation test") | {"note": noted(why, about)}

    def _distance_of(self, sample: Sample, name: str) -> Distance:
        assert self.tally.confusion is not None
        # The source of randomness of `representation.distance`, so that the two agree.
        replicates = self.tally.options.n_boot
        return distance_to_target([sample], self.tally.confusion, self.tally.rng(name), replicates=replicates)

    def _interactions(self) -> Interaction | None:
        tally = self.tally
        told = [name for name in tally.strata if self.verdicts[name].status == "ok"]
        if tally.confusion is None or tally.confusion.factors is None or not told:
            return None
        a, b = tally.confusion.factors
        shape = (-1, len(a.matrix), len(b.matrix))
        return Interaction(
            {name: tally.counts[name].reshape(shape) for name in told},
            (a, b),
            {name: tally.rng(name, "permutation") for name in told},
            replicates=tally.options.n_boot,
        )

    def _interaction(self, name: str, interactions: Interaction | None) -> Row:
        empty = self._row("interaction", name, reference="product of the marginals", direction="lower is closer")
        pooled = name == ALL and bool(self.tally.groups)
        members = self._ok() if pooled else [name]
        verdict = self.verdicts[name]
        few = self.tally.together(members) if pooled else ""
        if interactions is None or few or (verdict.estimate is None and not pooled):
            status = self._lacking() if pooled else verdict.status
            return without_estimate(empty, status, noted(few, verdict.note))
        if pooled:
            empty = self._row("interaction", name, members, reference=empty["reference"], direction=empty["direction"])
        slack = max(self.verdicts[member].slack for member in members)
        found = interactions.of(members, self.tally.rng(name, "interaction"), slack=slack)
        plain = interactions.of(members, self.tally.rng(name, "interaction")).p_value if slack else 1.0
        if not np.isfinite(found.estimate):
            why = "one image a prompt: interaction within prompts needs several"
            return without_estimate(empty, "insufficient", why)
        prompts = sum(len(self.tally.counts[member]) for member in members)
        over = f"over {len(members)} of {len(self.tally.groups)} groups"
        notes = [over if pooled and len(members) < len(self.tally.groups) else ""]
        notes += ["one prompt: the interval speaks of this prompt only"] if prompts == 1 else []
        if plain <= 0.05 < found.p_value:
            notes.append(f"the labels do hang together (p = {plain:.2g}), but the unexplained images could be why")
        notes += [verdict.note] if verdict.estimate is not None else []
        method = "inverted tests, permutations within prompts and bootstrap of prompts"
        return empty | _numbers(found, method) | {"note": noted(*notes)}

    def cancellation(self, goal: Target, goals: dict[str, Floats], about: str) -> Row:
        """Of all groups that have shares and a target; needs two."""
        empty = self._row("cancellation", ALL, reference=goal.name, direction="lower is closer")
        samples = {name: self._against(name, goals[name])[0] for name in self.tally.groups}
        told = {name: sample for name, sample in samples.items() if sample is not None}
        confusion, tally = self.tally.confusion, self.tally
        few = tally.together(list(told)) or ("" if len(told) > 1 else "one group alone cancels nothing")
        if few or confusion is None:
            silent = goals and not any(np.isfinite(goals[name]).all() for name in tally.groups)
            why = noted(few, "the target says nothing of it" if silent else self.verdicts[ALL].note)
            ok = all(self.verdicts[name].status == "ok" for name in tally.groups)
            return without_estimate(empty, "insufficient" if ok or silent else self._lacking(), why)
        empty = self._row("cancellation", ALL, list(told), reference=goal.name, direction="lower is closer")
        weights = np.array([tally.counts[name].sum() for name in told])
        slack = float(np.average([self.verdicts[name].slack for name in told], weights=weights))
        found = self._hidden(list(told.values()), weights)
        if slack:
            least = self._hidden([sample.nearer(self.verdicts[name].slack) for name, sample in told.items()], weights)
            found = Distance(found.estimate, found.null_value, least.low, min(found.high + slack, 1.0), least.p_value)
        apart = np.average([abs(s.shares - s.target).sum() / 2 for s in told.values()], weights=weights)
        pooled = np.average([s.shares - s.target for s in told.values()], axis=0, weights=weights)
        distance = float(abs(pooled).sum() / 2)
        said = f"the groups lie {apart:.3f} from the target on average, the pooled images {distance:.3f}"
        whole, _, _ = self._against(ALL, goals[ALL])
        if whole is not None and found.p_value <= 0.05:
            nearer = whole.nearer(self.verdicts[ALL].slack)
            if self._distance_of(nearer, ALL).p_value > 0.05:
                said += ": pooled they look like it while groups differ, so judge the groups and not the pool"
        over = f"over {len(told)} of {len(tally.groups)} groups" if len(told) < len(tally.groups) else ""
        return (
            empty
            | _numbers(found, "simulated audits, wider of percentile and basic")
            | {"note": noted(said, over, about)}
        )

    def _hidden(self, samples: list[Sample], weights: Floats) -> Distance:
        assert self.tally.confusion is not None
        rng, replicates = self.tally.rng("cancellation"), self.tally.options.n_boot
        return hidden_by_pooling(samples, weights, self.tally.confusion, rng, replicates=replicates)


def _numbers(found: Distance, method: str) -> Row:
    return {
        "estimate": found.estimate,
        "ci_low": found.low,
        "ci_high": found.high,
        "ci_method": method,
        "null_value": found.null_value,
        "p_value": found.p_value,
    }

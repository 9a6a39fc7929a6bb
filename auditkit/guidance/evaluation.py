"""What a mitigation did, on paired seeds: nearer to the target or not, and at what price.

`evaluate` gives a table of effects (columns `study.COLUMNS`), for one pair of runs as one encoder saw them:

distance            total variation to the target, by group and as a mean over groups; corrected for the scorer's errors
level_before,       the two distances with intervals of their own; `null_value` is what chance alone gives
level_after
reduction           1 - after/before of the mean
worst_change        the mean change if groups of which nothing can be claimed went as far off as they could
squared_distance    mean of ||p - t||^2, without the upward bias that small samples give a distance
bounds_before,      total variation of the labels as counted: the least and the greatest that unknown images leave open
bounds_after
flips               pairs that changed their class, with McNemar's exact test (1947), Holm over groups
unknown             share of images without a label
majority_turned     groups whose majority turned into the opposite majority
stayed_balanced     whether a group that was balanced lies off its target, beyond sampling noise, Holm over groups
shift, fidelity, ... see `prices`

Nobody's identity is inferred: all shares are of perceived presentation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from auditkit.bias.base import ALL
from auditkit.bias.outcomes import CalibrationTable
from auditkit.guidance.policy import Policy
from auditkit.guidance.prices import prices
from auditkit.guidance.study import BALANCED, LEAST_UNBALANCED, SET, UNBALANCED, Mask, Row, Study, table
from auditkit.stats.confusion import Confusion
from auditkit.stats.corrected import constrained_shares, inverse
from auditkit.stats.design import clustering, design_effects
from auditkit.stats.divergence import Sample, distance_to_target
from auditkit.stats.moved import (
    FEWEST_PROMPTS,
    Estimated,
    Movement,
    Pairs,
    counted_range,
    movement,
    shares_with_intervals,
)
from auditkit.stats.multiplicity import holm
from auditkit.stats.paired import discordance

if TYPE_CHECKING:
    from auditkit.runs import Run

METHOD = "paired bootstrap of prompts, calibration's variance"
JOINT = "gender+skin_tone"


def evaluate(
    before: Run, after: Run, policy: Policy, *, method: str, encoder: str, by: str | None = None, n_boot: int = 2000,
    seed: int = 0, min_n: int = 20, calibrations: Mapping[str, CalibrationTable] | None = None,
    kept: dict[Any, pd.DataFrame] | None = None,
) -> pd.DataFrame:  # fmt: skip
    """The table of effects of a mitigation.

    Args:
        before, after: runs of one spec and seed, without and with it, both scored by `encoder`.
        policy: what was aimed at. method: what to call it in the table.
        by: the axis of groups; the spec's own by default. n_boot: replicates. min_n: fewest labelled images a group.
        calibrations: by attribute, in place of those beside the encoder.
        kept: an empty dict, given to several calls, saves them from measuring the quality of one run again.

    Raises:
        TableError: the runs are not paired, or scores are missing.
    """
    study = Study.of(
        method, before, after, policy, encoder=encoder, by=by, n_boot=n_boot, seed=seed, min_n=min_n,
        calibrations=calibrations, kept=kept,
    )  # fmt: skip
    rows: list[Row] = []
    for attribute in judged(study):
        rows += _attribute(study, attribute)
    return table(rows + prices(study))


def judged(study: Study) -> list[str]:
    """The attributes held against the target: each of the policy's, then joint gender and skin tone where scored."""
    found = [*study.policy.attributes]
    joint = study.policy.attribute if len(found) > 1 else JOINT
    if set(joint.split("+")) & set(found) and study.scored(joint) and joint not in found:
        found.append(joint)
    return found


def _attribute(study: Study, attribute: str) -> list[Row]:
    """All that is held against the target, of one attribute."""
    confusion, _ = study.confusion(attribute)
    goals = {name: study.target(attribute, name) for name in study.groups}
    told: dict[str, Pairs] = {}
    rows: list[Row] = []
    for name, chosen in study.groups.items():
        goal = goals[name]
        if goal is None:
            continue
        rows += _counted(study, attribute, name, chosen, goal)
        status, why = study.standing(attribute, chosen)
        base = study.row(
            "distance", chosen, attribute=attribute, group=name, direction="lower is closer", status=status
        )  # fmt: skip
        base["note"] = "; ".join(filter(None, [why, study.about]))
        if status != "ok" or confusion is None:
            rows += [base | {"measure": m} for m in ("distance", "level_before", "level_after")]
            continue
        told[name] = study.pairs(attribute, chosen, goal)
        rng = study.rng(attribute, name)
        rows += _moved(base, movement([told[name]], confusion, rng, replicates=study.n_boot), brief=True)
    _adjust(rows, "distance")
    if confusion is not None and told:
        rows += _means(study, attribute, goals, told, confusion)
        if attribute in (study.policy.attribute, *study.policy.attributes):
            rows += _majorities(study, attribute, told, confusion) + _stayed(study, attribute, told, confusion)
    else:
        nobody = study.row("distance", study.acts, attribute=attribute, group=ALL, group_by=SET)
        worst: Row | None = next((row for row in rows if row["measure"] == "distance"), None)
        reason: Row = worst or {"status": "insufficient", "note": "the mitigation was to act on no image with a target"}
        rows += [
            nobody | {"measure": m, "status": reason["status"], "note": reason["note"], "direction": "lower is closer"}
            for m in ("distance", "level_before", "level_after", "reduction", "squared_distance")
        ]
    if "+" not in attribute:
        rows += _flips(study, attribute) + _unknown(study, attribute)
    return rows


def _moved(base: Row, found: Movement, *, brief: bool = False) -> list[Row]:
    """Rows of a movement; `brief` for a single group."""

    def numbers(x: Estimated) -> Row:
        return {"estimate": x.value, "ci_low": x.low, "ci_high": x.high, "ci_method": METHOD}

    both = {"before": found.before.estimated.value, "after": found.after.estimated.value}
    widened = "interval widened by the upward bias of a distance at this number of images"
    note = "; ".join(filter(None, [base["note"], widened]))
    rows = [
        base | both | numbers(found.change) | {"null_value": 0.0, "p_value": found.p_nearer, "note": note},
        base | numbers(found.before.estimated) | {"measure": "level_before", "null_value": found.before.null},
        base | numbers(found.after.estimated) | {"measure": "level_after", "null_value": found.after.null},
    ]
    if brief:
        return rows
    reduced = base | both | {"measure": "reduction", "unit": "share of the distance", "direction": "higher is closer"}
    if np.isfinite(found.reduction.value):
        rows.append(reduced | numbers(found.reduction) | {"null_value": 0.0, "note": note})
    else:
        why = f"the distance before, {both['before']:.3f}, is no more than chance gives: nothing could be reduced"
        rows.append(reduced | {"status": "insufficient", "note": why})
    squares = {"before": found.squared_before.value, "after": found.squared_after.value, "null_value": 0.0}
    rows.append(base | squares | numbers(found.squared_change) | {"measure": "squared_distance", "unit": "square"})
    return rows


def _means(
    study: Study, attribute: str, goals: dict[str, Any], told: dict[str, Pairs], confusion: Confusion
) -> list[Row]:
    """Means over all groups, and over those that were planted unbalanced or balanced."""
    rows: list[Row] = []
    for name, whole in sets(study, attribute, [g for g, goal in goals.items() if goal is not None]).items():
        members = [g for g in whole if g in told]
        chosen = np.any([study.groups[g] for g in members or whole], axis=0)
        over = f"over {len(members)} group{'' if len(members) == 1 else 's'}"
        if len(members) < len(whole):
            lost = ", ".join(g for g in whole if g not in told)
            over = f"over {len(members)} of {len(whole)} groups; nothing is claimed of {lost}"
        base = study.row(
            "distance", chosen, attribute=attribute, group=name, group_by=SET, direction="lower is closer",
            note="; ".join(filter(None, [over, study.about])),
        )  # fmt: skip
        if not members or base["n_prompts"] < FEWEST_PROMPTS:
            why = f"{base['n_prompts']} prompts; {FEWEST_PROMPTS} are needed for a test that swaps them"
            base |= {"status": "insufficient", "note": why if members else over}
            names = ("distance", "level_before", "level_after", "reduction", "squared_distance")
            rows += [base | {"measure": m} for m in names]
            continue
        found = movement(
            [told[g] for g in members], confusion, study.rng(attribute, SET, name), replicates=study.n_boot
        )  # fmt: skip
        rows += _moved(base, found)
        rows.append(_worst(study, attribute, base, found, goals, members, whole))
    return rows


def _worst(
    study: Study, attribute: str, base: Row, found: Movement, goals: dict[str, Any], members: list[str],
    whole: list[str],
) -> Row:  # fmt: skip
    """The mean change if every group of which nothing is claimed went as far from its target as it could.

    A mitigation can make images that the scorer is not calibrated for; to leave such groups out would flatter it.
    """
    total = len(members) * found.change.value
    for name in whole:
        if name not in members:
            seen = study.outcomes(attribute)[0]
            counts = np.bincount(seen.label[study.groups[name]], minlength=len(seen.classes) + 1)
            total += 1 - float(np.min(goals[name])) - counted_range(counts, goals[name])[0]
    return base | {"measure": "worst_change", "estimate": total / len(whole), "null_value": 0.0}


def sets(study: Study, attribute: str, names: list[str]) -> dict[str, list[str]]:
    """Groups to take means over: `all`, and where a planted table is known those planted off the target and on it.

    Never by what the run without showed: groups chosen for lying far off in one sample lie nearer in the next,
    whatever is done (regression to the mean), and a mitigation that does nothing would seem to help.
    """
    found = {ALL: names}
    planted = {name: study.planted_distance(attribute, name) for name in names}
    if all(each is not None for each in planted.values()):
        off = [name for name in names if (planted[name] or 0.0) >= LEAST_UNBALANCED]
        on = [name for name in names if name not in off]
        found |= ({UNBALANCED: off} if off else {}) | ({BALANCED: on} if on else {})
    return found


def _counted(study: Study, attribute: str, name: str, chosen: Mask, goal: np.ndarray) -> list[Row]:
    rows = []
    for measure, seen in zip(("bounds_before", "bounds_after"), study.outcomes(attribute), strict=True):
        counts = np.bincount(seen.label[chosen], minlength=len(seen.classes) + 1)
        low, high = counted_range(counts, goal)
        row = study.row(measure, chosen, attribute=attribute, group=name, direction="lower is closer")
        note = f"{counts[-1]} of {counts.sum()} images have no label"
        rows.append(row | {"ci_low": low, "ci_high": high, "ci_method": "unknown bounds", "note": note})
    return rows


def _flips(study: Study, attribute: str) -> list[Row]:
    """McNemar by group and class; of two classes the first alone, whose mirror the second is but for the unknown."""
    a, b = study.outcomes(attribute)
    rows: list[Row] = []
    classes = a.classes[:1] if len(a.classes) == 2 else a.classes
    for i, category in enumerate(classes):
        made = []
        for name, chosen in [*study.groups.items(), *([(ALL, study.acts)] if study.by != ALL else [])]:
            row = study.row(
                "flips", chosen, attribute=attribute, group=name, category=category, unit="share of pairs",
                null_value=0.0,
            )  # fmt: skip
            n = int(chosen.sum())
            if n < max(study.min_n, 1):
                made.append(row | {"status": "insufficient", "note": f"{n} pairs; {study.min_n} are needed"})
                continue
            first, second = a.label[chosen] == i, b.label[chosen] == i
            found = discordance(
                first, second, study.prompts[chosen], study.rng(attribute, name, category), replicates=study.n_boot
            )  # fmt: skip
            note = f"{found.gained} gained, {found.lost} lost; p by swapping the runs by prompt {found.p_value:.3g}"
            made.append(
                row
                | {"before": first.mean(), "after": second.mean(), "estimate": (found.gained - found.lost) / n,
                   "p_value": found.p_mcnemar, "ci_method": "McNemar's exact test", "note": note}
            )  # fmt: skip
        _adjust(made, "flips")
        rows += made
    return rows


def _unknown(study: Study, attribute: str) -> list[Row]:
    """A mitigation can also make the scorer abstain."""
    a, b = study.outcomes(attribute)
    k, n = len(a.classes), max(int(study.acts.sum()), 1)
    first, second = (float((seen.label[study.acts] == k).sum()) / n for seen in (a, b))
    row = study.row("unknown", study.acts, attribute=attribute, group=ALL, group_by=SET, null_value=0.0)
    return [row | {"before": first, "after": second, "estimate": second - first}] if study.acts.any() else []


def _majorities(study: Study, attribute: str, told: dict[str, Pairs], confusion: Confusion) -> list[Row]:
    """Groups of which one class had more than half before, and another has after, both beyond their intervals."""
    classes = study.outcomes(attribute)[1].classes
    turned = []
    for name, pairs in told.items():
        (_, low, _), (_, then, _) = shares_with_intervals(
            pairs, confusion, study.rng(attribute, name, "majority"), replicates=study.n_boot
        )  # fmt: skip
        was, now = np.flatnonzero(low > 0.5), np.flatnonzero(then > 0.5)
        if len(was) and len(now) and was[0] != now[0]:
            turned.append(f"{name} from {classes[was[0]]} to {classes[now[0]]}")
    row = study.row("majority_turned", study.acts, attribute=attribute, group=ALL, group_by=SET, unit="groups")
    note = "; ".join(turned) or f"none of {len(told)} groups"
    return [row | {"estimate": float(len(turned)), "null_value": 0.0, "direction": "lower is closer", "note": note}]


def _stayed(study: Study, attribute: str, told: dict[str, Pairs], confusion: Confusion) -> list[Row]:
    """Balanced groups: whether their distance after is more than sampling noise; Holm over them.

    Balanced are those planted so; where nothing is known of that, those of which the run without shows no difference.
    """
    planted = sets(study, attribute, list(told))
    known = UNBALANCED in planted or BALANCED in planted
    members = planted.get(BALANCED, []) if known else list(told)
    rows, was = [], []
    for name in members:
        chosen = study.groups[name]
        a, b = (_against(study, attribute, name, seen, told[name], confusion) for seen in study.outcomes(attribute))
        was.append(a[2])
        row = study.row("stayed_balanced", chosen, attribute=attribute, group=name, direction="lower is closer")
        rows.append(
            row | {"before": a[0], "after": b[0], "estimate": b[0], "null_value": b[1], "p_value": b[2],
                   "ci_method": "simulated audits", "note": f"p before {a[2]:.3g}"}
        )  # fmt: skip
    if not known:
        rows = [row for row, p in zip(rows, holm(was), strict=True) if p > 0.05] if rows else []
    _adjust(rows, "stayed_balanced")
    return rows


def _against(
    study: Study, attribute: str, name: str, seen: object, pairs: Pairs, confusion: Confusion
) -> tuple[float, float, float]:
    """Distance of one run's group, its expectation by chance, and the p-value that chance alone made it."""
    a, b = study.outcomes(attribute)
    outcomes = a if seen is a else b
    tables = [outcomes.counts(study.prompts, chosen) for chosen in study.groups.values()]
    own = outcomes.counts(study.prompts, study.groups[name])
    effects = design_effects(clustering(tables).correlations(inverse(confusion.matrix)), own.sum(axis=1))
    q, n = own.sum(axis=0) / own.sum(), own.sum() / float(effects.mean())
    assert pairs.target is not None
    found = distance_to_target(
        [Sample(constrained_shares(q, confusion.matrix), pairs.target, n)], confusion,
        study.rng(attribute, name, "stayed"), replicates=study.n_boot, steps=2,
    )  # fmt: skip
    return found.estimate, found.null_value, found.p_value


def _adjust(rows: list[Row], measure: str) -> None:
    """Holm over the groups' tests of a measure; means over groups are no part of the family."""
    family = [row for row in rows if row["measure"] == measure and row["group_by"] != SET]
    for row, p in zip(family, holm([row["p_value"] for row in family]), strict=True):
        row["p_holm"] = float(p)

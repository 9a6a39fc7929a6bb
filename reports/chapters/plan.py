"""The chapter on what was decided before the first image, and what was done otherwise."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pandas as pd

from auditkit.errors import AuditkitError
from auditkit.plan import Look, Plan, deviations, looks, planned
from auditkit.prompts import expand
from auditkit.stats.sequential import boundaries
from reports.chapters.base import Chapter, Table
from reports.words import MISSING, listed, name, p_value, percent, plural, target_name

if TYPE_CHECKING:
    from auditkit.runs import Run

ID, TITLE = "plan", "Planned and done"

WITHOUT = (
    "To confirm a finding, plan a run with another seed (auditkit plan) and see whether it comes back.",
    "Adjusted p-values count the tests of this table only, not those that other targets, attributes or "
    "groupings would have given.",
)
WITH = (
    "The plan's sha256 was written into the run before its first image; a deviation is no fault, but a reader must "
    "know of it.",
    "Only what was planned is tested at the error rate that is stated; all else explores.",
)
LOOKED = (
    "A run that stopped at a look is judged by the boundaries below, not by the adjusted p-values elsewhere in this "
    "report; shares of a run that stopped early lie, on average, a little too far from the target."
)


def chapter(measurements: pd.DataFrame, run: Run) -> Chapter | None:
    """Plan, looks and deviations; of a run without a plan, that it explores."""
    try:
        plan = planned(run)
        done = looks(run) if plan and plan.sequential else []
    except AuditkitError as error:
        return Chapter(ID, TITLE, [f"What was planned cannot be told: {error.what}."])
    found = deviations(run, measurements)
    if plan is None:
        return Chapter(ID, TITLE, [each.words for each in found], notes=WITHOUT)
    blocks = [_plan(plan)]
    if plan.sequential:
        blocks.append(_looks(plan, done))
    if found:
        rows = [[each.words, each.planned or MISSING, each.done or MISSING] for each in found]
        blocks.append(Table("Done otherwise than planned", ["What", "Planned", "Done"], rows))
    count = f"{plural(len(found), 'deviation')} from it {'is' if len(found) == 1 else 'are'} listed below"
    lead = [
        f"The audit was planned on {plan.created[:10]}, before the first image "
        f"(sha256 {str(run.record['plan']['sha256'])[:12]}); {count if found else 'nothing deviates from it'}."
    ]
    if plan.question:
        lead.append(f"The question was: {plan.question}")
    if plan.sequential:
        lead.append(_stopped(plan, done))
    return Chapter(ID, TITLE, lead, blocks, notes=[*WITH, LOOKED] if plan.sequential else WITH)


def _plan(plan: Plan) -> Table:
    asked, spec, sizing = plan.analysis, plan.spec, plan.sizing
    made = len(expand(spec)) * spec.images_per_prompt
    at_most = "at most " if plan.sequential else ""
    rows = [
        ["Images", f"{at_most}{made:,}: {spec.images_per_prompt} of each prompt of {spec.name}, seed {spec.seed}"],
        ["Generator", spec.generator],
        ["Perceived", listed([name(each) for each in asked.attributes])],
        ["Grouped by", name(asked.by)],
        ["Held against", target_name(asked.target) if sizing is None or sizing.against == "target" else "a second run"],
        ["Seen by", f"{asked.encoder}, corrected by {asked.estimator}"],
        ["Primary outcome", listed(list(asked.primary))],
        ["Error rate", f"{percent(asked.alpha)} of each family of tests ({asked.multiplicity})"],
        ["Fewest images of a group", str(asked.min_n)],
    ]
    if sizing:
        rows.append(
            [
                "To be found",
                f"a difference of {100 * sizing.difference:.0f} points with {percent(sizing.power)} power, if images "
                f"of one prompt correlate by {sizing.icc:g}",
            ]
        )
    return Table("The plan", ["What", "Planned"], rows)


def _looks(plan: Plan, done: list[Look]) -> Table:
    """A row a look and family: how many tests crossed, and the level that the rest was held against."""
    assert plan.sequential is not None
    rows = []
    for look in done:
        for family, told in look.families.items():
            level = told["nominal"]
            rows.append(
                [
                    f"{look.number}",
                    f"{look.images_per_prompt}",
                    family,
                    f"{len(told['rejected'])} of {told['tests']}",
                    "none left open" if level is None else _level(level),
                    look.decision,
                ]
            )
    for number, images in list(enumerate(plan.sequential.looks, 1))[len(done) :]:
        rows.append([f"{number}", f"{images}", MISSING, MISSING, MISSING, "not made"])
    columns = ["Look", "Images a prompt", "Tests", "Crossed", "Open tests cross at p up to", "Decision"]
    caption = f"Looks, spending {percent(plan.analysis.alpha)} as {plan.sequential.spending}"
    return Table(caption, columns, rows, numeric=[True, True, False, True, True, False])


def _level(level: float) -> str:
    return p_value(level) if level >= 0.001 else f"{level:.1e}"


def _stopped(plan: Plan, done: list[Look]) -> str:
    assert plan.sequential is not None
    if not done:
        first = boundaries(plan.sequential.fractions, alpha=plan.analysis.alpha, spending=plan.sequential.spending)
        level = _level(float(first.nominal[0])) if math.isfinite(first.z[0]) else "no level at all"
        return f"No look has been taken yet; a single test would cross at the first with p up to {level}."
    last, of = done[-1], len(plan.sequential.looks)
    if last.decision == "continue":
        return f"After look {last.number} of {of} the run was to go on: the plan is not finished."
    crossed = sum(len(told["rejected"]) for told in last.families.values())
    tests = sum(told["tests"] for told in last.families.values())
    early = "before its last look" if last.number < of else "at its last look"
    return f"The run stopped at look {last.number} of {of}, {early}: {crossed} of {tests} tests crossed their boundary."

"""Looks at a run that is made in stages: stop or go on, kept in the run's looks.jsonl."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pandas as pd

from auditkit.errors import RunError, TableError
from auditkit.plan.document import Plan, planned
from auditkit.plan.names import encoder_names, target_names
from auditkit.runs.journal import Line, read_journal, writing
from auditkit.runs.writer import LOOKS
from auditkit.stats.sequential import Decision, decide

if TYPE_CHECKING:
    from auditkit.runs import Run


@dataclass(frozen=True)
class Look:
    """One look at a run.

    Attributes:
        number: 1 for the first. of: how many were planned.
        images_per_prompt: that the run had then.
        decision: `stop` or `continue`.
        families: by `measure, attribute`, what was decided about its tests; see `Decision`.
        why: in words.
        time: in UTC.
    """

    number: int
    of: int
    images_per_prompt: int
    decision: str
    families: dict[str, Line]
    why: str
    time: str


def looks(run: Run) -> list[Look]:
    """The looks so far, first to last.

    Raises:
        TableError: looks.jsonl is damaged.
    """
    try:
        return [Look(**line) for line in read_journal(run.path / LOOKS)]
    except TypeError as error:
        raise TableError(
            f"a look is damaged: {error}", where=run.path / LOOKS, mend="restore the file from a copy"
        ) from None


def look(run: Run, measurements: pd.DataFrame | None = None) -> Look:
    """Decide at this look, by the plan's boundaries, and append it to looks.jsonl; a second time it is only told.

    Args:
        measurements: the run's own by default.

    Raises:
        RunError: the run's plan has no looks, or the run does not stand at one.
        TableError: the run has not been measured as planned with all its images.
    """
    plan = planned(run)
    if plan is None or plan.sequential is None:
        raise RunError(
            "the run was planned without looks" if plan else "the run was made without a plan",
            where=run.path,
            mend="plan looks before the first image: auditkit plan SUITE --looks 4 --out plan.toml",
        )
    at = int(run.images()["replicate"].max()) + 1
    sequential = plan.sequential
    if at not in sequential.looks:
        raise RunError(
            f"the run has {at} images of each prompt, and looks were planned at {sequential.looks}",
            where=run.path,
            mend="go on with the plan it was begun with: auditkit generate --plan PLAN",
        )
    number = sequential.looks.index(at) + 1
    with writing(run.path / LOOKS) as journal:
        before = looks(run)
        if len(before) >= number:
            return before[number - 1]
        if len(before) != number - 1:
            raise RunError(
                f"look {number} comes after look {len(before)}", where=run.path / LOOKS, mend="restore it from a copy"
            )
        families = _families(run, plan, run.measurements() if measurements is None else measurements)
        decided = {
            name: decide(
                p_values,
                fractions=sequential.fractions[:number],
                alpha=plan.analysis.alpha,
                spending=sequential.spending,
                rejected=before[-1].families[name]["rejected"] if before else (),
                stop=sequential.stop,
            )
            for name, p_values in families.items()
        }
        stop = all(each.stop for each in decided.values())
        line: dict[str, Any] = {
            "number": number,
            "of": len(sequential.looks),
            "images_per_prompt": at,
            "decision": "stop" if stop else "continue",
            "families": {name: _told(each, families[name]) for name, each in decided.items()},
            "why": "; ".join(f"{name}: {each.why}" for name, each in decided.items()),
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        journal.append([line])
        return Look(**line)


def _told(decision: Decision, p_values: dict[str, float]) -> Line:
    return {
        "tests": len(p_values),
        "rejected": sorted(decision.rejected),
        "nominal": decision.nominal if math.isfinite(decision.nominal) else None,
        "p_values": {name: p if math.isfinite(p) else None for name, p in p_values.items()},
    }


def _families(run: Run, plan: Plan, measurements: pd.DataFrame | None) -> dict[str, dict[str, float]]:
    """p-values of each primary family: a measure and an attribute, over the groups (and classes, if over two)."""
    asked, mend = plan.analysis, f"auditkit measure {run.path} as planned, then look again"
    if measurements is None:
        raise TableError("the run has not been measured", where=run.path, mend=mend)
    families: dict[str, dict[str, float]] = {}
    for measure in asked.primary:
        for attribute in asked.attributes:
            rows = measurements[
                (measurements["measure"] == measure)
                & (measurements["attribute"] == attribute)
                & (measurements["group_by"] == asked.by)
            ]
            if rows.empty or not _of_all_images(rows, run, asked.by):
                raise TableError(
                    f"there is no {measure} of {attribute} by {asked.by} over all {len(run.images())} images",
                    where=run.path,
                    mend=mend,
                )
            for what, found, right in (
                ("encoder", rows.get("encoder", pd.Series(dtype=str)), encoder_names(asked.encoder)),
                ("target", rows["reference"], target_names(asked.target)),
            ):
                strangers = {str(value) for value in found.dropna()} - right
                if strangers:
                    raise TableError(
                        f"{measure} was measured with the {what} {', '.join(sorted(strangers))}, not as planned",
                        where=run.path,
                        mend=mend,
                    )
            tests = rows["group"].astype(str)
            if rows["category"].nunique() == 2:  # both shares are one test
                rows = rows[rows["category"] == rows["category"].iloc[0]]
                tests = tests[rows.index]
            elif rows["category"].nunique() > 2:
                tests = tests + ": " + rows["category"].astype(str)
            families[f"{measure}, {attribute}"] = dict(zip(tests, rows["p_value"].astype(float), strict=True))
    return families


def _of_all_images(rows: pd.DataFrame, run: Run, by: str) -> bool:
    images = run.images()
    sizes = {"all": len(images)} if by == "all" else images[f"axis_{by}"].value_counts().to_dict()
    return {str(g): int(n) for g, n in zip(rows["group"], rows["n_images"], strict=True)} == sizes

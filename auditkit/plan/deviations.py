"""What was done otherwise than planned, said in words; a deviation is no fault, but it is told."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from auditkit.errors import AuditkitError, RunError
from auditkit.files import sha256_file
from auditkit.plan.analyses import analyses
from auditkit.plan.document import Analysis, Plan, planned
from auditkit.plan.looks import Look, looks
from auditkit.plan.names import encoder_names, target_names
from auditkit.prompts import expand

if TYPE_CHECKING:
    from auditkit.runs import Run


@dataclass(frozen=True)
class Deviation:
    """One thing that is not as planned.

    Attributes:
        kind: `unplanned`, `plan`, `spec`, `images`, `looks`, `missing`, `exploratory`, `analysis`.
        planned, done: what was to be, and what is; empty where a sentence says all.
        words: a sentence.
    """

    kind: str
    planned: str
    done: str
    words: str


UNPLANNED = Deviation(
    "unplanned",
    "",
    "",
    "No plan was written before the first image: every finding of this run is exploratory.",
)

_TOLD = {
    "seed": "the seed of the images",
    "generator": "the generator",
    "templates": "the templates",
    "axes": "the axes",
    "sampler": "the sampler",
    "steps": "the steps",
    "guidance": "the guidance scale",
    "negative": "the negative prompt",
}
_SETTINGS = {
    "by": "grouping",
    "encoder": "encoder",
    "target": "target",
    "target_sha256": "content of the target's file",
    "estimator": "estimator",
    "min_n": "least number of images",
    "replicates": "number of replicates",
    "seed": "seed of the analysis",
}


def deviations(run: Run, measurements: pd.DataFrame | None = None) -> list[Deviation]:
    """What differs from the run's plan; empty where all is as planned.

    Args:
        measurements: what is judged; the run's own by default.

    Returns:
        Of a run without a plan, one deviation, of kind `unplanned`.
    """
    try:
        plan = planned(run)
    except RunError as error:
        return [Deviation("plan", "", "", f"Nothing can be said of deviations: {error.what}.")]
    if plan is None:
        return [UNPLANNED]
    table = run.measurements() if measurements is None else measurements
    found = [*_spec(plan, run), *_images(plan, run)]
    if table is None or table.empty:
        found.append(Deviation("missing", ", ".join(plan.analysis.measures), "", "The run has not been measured."))
    else:
        found += [*_measures(plan.analysis, table), *_rows(plan.analysis, table)]
    found += _analyses(plan.analysis, run)
    return list(dict.fromkeys(found))


def _spec(plan: Plan, run: Run) -> Iterator[Deviation]:
    created = str(run.record.get("created", ""))
    if created and plan.created > created:
        yield Deviation(
            "plan",
            "before the first image",
            plan.created,
            f"The plan is dated {plan.created}, after the run was begun ({created}).",
        )
    resolved = (run.record.get("spec") or {}).get("resolved") or {}
    for key, words in _TOLD.items():
        wanted, got = getattr(plan.spec, key), resolved.get(key)
        # What the plan leaves open the generator's default fills in.
        if wanted is not None and wanted != got:
            yield Deviation("spec", _short(wanted), _short(got), f"Not as planned: {words} ({_short(wanted)} planned).")


def _images(plan: Plan, run: Run) -> Iterator[Deviation]:
    wanted, prompts = plan.spec.images_per_prompt, len(expand(plan.spec))
    images = run.images()
    made = len(images)
    done: list[Look] = []
    if plan.sequential:
        try:
            done = looks(run)
        except AuditkitError as error:
            yield Deviation("looks", "", "", f"The looks cannot be read: {error.what}.")
        at = int(images["replicate"].max()) + 1
        passed = [each for each in plan.sequential.looks if each <= at]
        if len(done) < len(passed):
            yield Deviation(
                "looks",
                f"{len(plan.sequential.looks)} looks",
                f"{len(done)} looks",
                f"No decision was recorded at {at if len(passed) - len(done) == 1 else passed[len(done)]} images of "
                "each prompt, where a look was planned.",
            )
        if done and done[-1].decision == "stop":
            wanted = done[-1].images_per_prompt
    if made != wanted * prompts:
        few = "Fewer" if made < wanted * prompts else "More"
        yield Deviation(
            "images",
            str(wanted * prompts),
            str(made),
            f"{few} images than planned: {made:,} instead of {wanted * prompts:,}.",
        )


def _measures(asked: Analysis, table: pd.DataFrame) -> Iterator[Deviation]:
    here = list(dict.fromkeys(table["measure"].str.partition(".")[0]))
    for name in asked.measures:
        if name not in here:
            yield Deviation("missing", name, "", f"Planned and not done: the measure {name}.")
    for name in asked.primary:
        if name.partition(".")[0] in here and name not in set(table["measure"]):
            yield Deviation("missing", name, "", f"Planned and not done: the primary outcome {name}.")
    extra = [name for name in here if name not in asked.measures]
    if extra:
        words = f"Not planned, and so exploratory: {', '.join(extra)}."
        yield Deviation("exploratory", "", ", ".join(extra), words)
    rows = table[table["measure"].isin(asked.primary)]
    seen = list(dict.fromkeys(rows["attribute"]))
    for name in asked.attributes:
        if len(rows) and name not in seen:
            yield Deviation("missing", name, "", f"Planned and not measured: {_name(name)}.")
    unasked = [name for name in seen if name not in asked.attributes]
    if unasked:
        words = f"Not planned, and so exploratory: {', '.join(map(_name, unasked))}."
        yield Deviation("exploratory", "", ", ".join(unasked), words)


def _rows(asked: Analysis, table: pd.DataFrame) -> Iterator[Deviation]:
    """What the rows of planned measures themselves tell."""
    rows = table[table["measure"].str.partition(".")[0].isin(asked.measures)]
    primary = table[table["measure"].isin(asked.primary) & table["attribute"].isin(asked.attributes)]
    by = [str(v) for v in primary["group_by"].dropna().unique() if v not in (asked.by, "all")]
    if by:
        yield _otherwise("by", asked.by, ", ".join(by))
    elif len(primary) and asked.by not in set(primary["group_by"]):
        yield _otherwise("by", asked.by, "all")
    if "encoder" in rows:
        strangers = {str(v) for v in rows["encoder"].dropna() if v} - encoder_names(asked.encoder)
        if strangers:
            yield _otherwise("encoder", asked.encoder, ", ".join(sorted(strangers)))
    strangers = {str(v) for v in primary["reference"].dropna()} - target_names(asked.target)
    if strangers:
        yield _otherwise("target", asked.target, ", ".join(sorted(strangers)))
    path = Path(asked.target)
    if asked.target_sha256 and path.is_file() and sha256_file(path) != asked.target_sha256:
        yield _otherwise("target_sha256", asked.target_sha256[:12], sha256_file(path)[:12])


def _analyses(asked: Analysis, run: Run) -> Iterator[Deviation]:
    """What was asked of planned measures at any time, also where later rows took the place of earlier ones."""
    try:
        lines = analyses(run)
    except AuditkitError as error:
        yield Deviation("analysis", "", "", f"The record of analyses cannot be read: {error.what}.")
        return
    for line in lines:
        if not set(line.get("measures", [])) & set(asked.measures):
            continue
        for key in _SETTINGS:
            wanted, got = getattr(asked, key), line.get(key)
            same = wanted == got or (key == "encoder" and str(got) in encoder_names(asked.encoder))
            if got is not None and not same and not (key == "target_sha256" and wanted is None):
                yield _otherwise(key, _short(wanted), _short(got))


def _otherwise(key: str, wanted: str, got: str) -> Deviation:
    what = _SETTINGS[key]
    return Deviation("analysis", wanted, got, f"Another {what} than planned: {got} instead of {wanted}.")


def _short(value: Any) -> str:
    if isinstance(value, dict):
        value = [f"{key} ({len(items)})" for key, items in value.items()]
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _name(identifier: str) -> str:
    return "perceived " + identifier.replace("_", " ").replace("+", " and ")

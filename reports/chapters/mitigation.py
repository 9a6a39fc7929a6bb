"""The chapter on the mitigation that a run was made with: what was applied, what was aimed at, what was left alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from auditkit.bias.base import ALL
from reports.chapters.base import Chapter, Table
from reports.words import MISSING, listed, name, percent, plural

if TYPE_CHECKING:
    import pandas as pd

    from auditkit.runs import Run

ID, TITLE = "mitigation", "Mitigation"
MOST_GROUPS = 24
NOTES = (
    "A mitigation trades one distribution for another, at a price in fidelity, diversity or time. What it did is told "
    "by holding the run beside one without it, on the same seeds: ‘auditkit mitigate’ does both, ‘auditkit compare’ "
    "takes two runs that are there.",
    "The shares above are those of this run, with the mitigation. They say nothing of the model without it.",
    "Prompts that state the attribute, name nobody, or stand in a context that was to be left alone keep the model’s "
    "own images. They are found by lists of words, and no list of words is complete.",
)


def chapter(measurements: pd.DataFrame, run: Run) -> Chapter | None:
    """None where the run has no mitigation."""
    record = run.record.get("mitigation")
    if record is None:
        return None
    try:
        return _chapter(record, run)
    except (KeyError, TypeError, ValueError, AttributeError):
        return Chapter(ID, TITLE, ["What run.json says of the mitigation is damaged. Nothing is claimed."])


def _chapter(record: dict[str, Any], run: Run) -> Chapter:
    made, asked = record["resolved"], record["as_passed"]
    goal = made["target"]
    aimed = asked["target"]
    words = "; ".join(f"{k}={v}" for k, v in aimed.items()) if isinstance(aimed, dict) else str(aimed)
    images = run.images()
    lead = [f"The images were made with the mitigation ‘{made['name']}’, toward {words}."]
    steered = images["steered_to"].dropna() if "steered_to" in images else images["prompt"].iloc[:0]
    if len(steered):
        by = "a quota" if goal["assign"] == "quota" else "a draw"
        lead.append(
            f"Of {len(images):,} images {len(steered):,} were moved toward a group of their own, by {by}; "
            f"{_counts(steered)}."
        )
    else:
        lead.append("The method moves no image toward a group of its own, so that none is noted.")
    alone = suppressed(run)
    if alone:
        lead.append(f"{plural(len(alone), 'prompt')} had to be left alone; the reasons are below.")
    blocks = [_settings(made), _target(goal)] + ([_alone(alone)] if alone else [])
    return Chapter(ID, TITLE, lead, blocks, NOTES)


def suppressed(run: Run) -> list[tuple[str, str]]:
    """Prompts on which the mitigation was not to act, with the reason, as its policy has it."""
    from auditkit.guidance.policy import Policy
    from auditkit.guidance.words import Words
    from auditkit.prompts import expand

    if run.spec is None:
        return []
    goal = run.record["mitigation"]["resolved"]["target"]
    words = Words(goal["words"], (), tuple(goal["nouns"]), tuple(goal["contexts"]))
    policy = Policy(goal["attribute"], goal["shares"], goal["by"], goal["assign"], goal["person"], words)
    aim = policy.aims(run.spec)
    aims = [aim(prompt, 0, 0) for prompt in expand(run.spec)]
    return [(each.prompt, each.why) for each in aims if not each.acts]


def _counts(steered: pd.Series) -> str:
    return listed([f"{count:,} {str(group).replace('+', ', ')}" for group, count in steered.value_counts().items()], 12)


def _settings(made: dict[str, Any]) -> Table:
    rows = [["Method", f"{made['name']}, version {made['version']}"]]
    rows += [[str(key), str(value)] for key, value in made["options"].items()]
    rows.append(["Assigned by", str(made["target"]["assign"])])
    return Table("What was applied", ["Setting", "Value"], rows)


def _target(goal: dict[str, Any]) -> Table:
    classes = list(dict.fromkeys(c for shares in goal["shares"].values() for c in shares))
    groups = list(goal["shares"].items())
    rows = [
        ["every other group" if group == ALL and len(groups) > 1 else str(group),
         *(percent(shares[c]) if c in shares else MISSING for c in classes)]
        for group, shares in groups[:MOST_GROUPS]
    ]  # fmt: skip
    left = f"; {len(groups) - MOST_GROUPS} groups more in run.json" if len(groups) > MOST_GROUPS else ""
    heads = ["Group", *(c.replace("+", ", ") for c in classes)]
    return Table(f"The target: {name(goal['attribute'])}{left}", heads, rows, [False, *[True] * len(classes)])


def _alone(alone: list[tuple[str, str]]) -> Table:
    return Table("Prompts that were left alone", ["Prompt", "Why"], [[prompt, why] for prompt, why in alone])

"""The model card of a detector: Markdown, made of its numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from auditkit.errors import DetectorError
from auditkit.files import write_atomic
from detectors.evaluation import Evaluation
from detectors.outcomes import ESTIMATE, MEAN, worst

FILE = "card.md"
SECTIONS = {
    "what": "What it is",
    "use": "Use",
    "data": "Data",
    "shortcut_audit": "Shortcut audit",
    "metrics": "By generator and by origin of the real images",
    "robustness": "After everyday changes, to both classes alike",
    "calibration": "Calibration",
    "false_accusation": "False accusations",
    "abstention": "Abstention",
    "limits": "Limits",
}
"""Fields of the facts and their headings, in order. What is absent is said to be unknown."""
UNKNOWN = "Not measured."
LIMITS = (
    "It never says that an image is real. 'No sign' is what most images of an unknown generator get.",
    "An attacker who can ask it, or who has its weights, evades it; see the attack suite for the cost.",
    "Real images that went through an autoencoder can be called generated.",
    "A probability holds for images like those that it was calibrated on, at one generated in two.",
)


def write_card(folder: str | Path, facts: Mapping[str, Any]) -> Path:
    """Write the card of these facts as `card.md` into `folder`.

    Args:
        facts: `name`, and of each of `SECTIONS` a sentence, a list of sentences, or a list of rows (dicts) for a table.

    Raises:
        DetectorError: a fact that has no section, or no name. RunError: the folder cannot be written.
    """
    path = Path(folder) / FILE
    write_atomic(path, markdown(facts).encode())
    return path


def markdown(facts: Mapping[str, Any]) -> str:
    """The card as Markdown; see `write_card`."""
    strange = [key for key in facts if key not in SECTIONS and key != "name"]
    if strange or not facts.get("name"):
        raise DetectorError(
            f"a card has no section '{strange[0]}'" if strange else "a card needs the detector's name",
            mend=f"use {', '.join(SECTIONS)}",
        )
    lines = [f"# {_text(facts['name'])}", ""]
    for key, heading in SECTIONS.items():
        lines += [f"## {heading}", "", *_body(facts.get(key)), ""]
    return "\n".join(lines).rstrip() + "\n"


def facts_of(evaluation: Evaluation, detector: str | None = None) -> dict[str, Any]:
    """The facts of one detector of an evaluation, the first by default.

    Raises:
        DetectorError: it is not in the evaluation.
    """
    name = detector or evaluation.detectors[0]
    if name not in evaluation.detectors:
        raise DetectorError(f"the evaluation has no detector '{name}'", mend=f"use {', '.join(evaluation.detectors)}")
    record, own = evaluation.record, evaluation.results[evaluation.results["detector"] == name]
    clean = own[own["degradation"] == "none"]
    left_out = record["kind"] == "leave-one-out"
    shown = ("auroc", "average_precision", "tpr@0.01", "tpr@0.001", "balanced_accuracy", "tpr", "fpr")
    rows = [
        {"left out" if left_out else "on": row["held_out"], "metric": row["metric"], **_told(row)}
        for row in clean[clean["metric"].isin(shown)].to_dict("records")
    ]
    lowest = [
        f"Lowest AUROC: {row['estimate']:.3f} [{row['ci_low']:.3f}, {row['ci_high']:.3f}], {row['left']} "
        f"{row['held_out']}."
        for row in worst(own).to_dict("records")
    ]
    robust = own[(own["metric"] == "auroc") & (own["held_out"] == MEAN) & (own["left"] == "generator")]
    laundered = [
        {"laundered through": row["laundered"], **_told(row), "abstained": f"{row['abstained']:.3f}"}
        for row in evaluation.laundered.to_dict("records")
    ]
    realised = evaluation.accusations[evaluation.accusations["detector"] == name]
    counts = record["counts"]
    kept_apart = "each trained without what it is tested on" if left_out else "as trained"
    return {
        "name": name,
        "what": record.get("what", {}).get(name, f"A detector of generated images, {kept_apart}."),
        "use": "To find images worth a person's look, at a false positive rate chosen beforehand. Its answers are "
        "'generated', 'no sign', 'abstain' and 'not applicable'; nobody should be accused on them alone.",
        "data": [
            f"{counts['real']:,} real and {counts['generated']:,} generated images of {counts['sources']:,} sources.",
            f"Origins of the real ones: {_counted(record['origins'])}.",
            f"Generators: {_counted(record['generators'])}.",
        ],
        "shortcut_audit": record.get("shortcuts") or None,
        "metrics": [*lowest, rows],
        "robustness": [
            {
                "degradation": record["steps"].get(row["degradation"], row["degradation"]),
                "metric": "mean AUROC",
                **_told(row),
            }
            for row in robust.to_dict("records")
        ],
        "calibration": [
            {
                "on": row["held_out"],
                "metric": "class-balanced ECE",
                **_told(row),
                "probabilities": _given(row["status"]),
            }
            for row in clean[clean["metric"] == "ece"].to_dict("records")
        ],
        "false_accusation": [
            *(f"{row['held_out']}: {row['sentence']}" for row in realised.to_dict("records")),
            *([laundered] if laundered else []),
        ]
        or None,
        "abstention": [
            {"on": row["held_out"], "images": row["metric"].removeprefix("abstained_"), **_told(row)}
            for row in clean[clean["metric"].isin(["abstained_real", "abstained_generated"])].to_dict("records")
        ],
        "limits": list(LIMITS),
    }


def _told(row: Mapping[Any, Any]) -> dict[str, str]:
    """Estimate, interval, images and status as text."""
    estimate, low, high, images, sources, status = (row[name] for name in ESTIMATE)
    known = math.isfinite(estimate)
    return {
        "estimate": f"{estimate:.3f}" if known else "–",
        "interval": f"{low:.3f}–{high:.3f}" if known else "",
        "images": f"{images:,} of {sources:,} sources",
        "status": status,
    }


def _given(status: str) -> str:
    return "given" if status == "ok" else f"not given: {status} for this source"


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name or 'none named'} ({number:,})" for name, number in counts.items()) or "none"


def _body(fact: Any) -> list[str]:
    if fact is None or (isinstance(fact, (str, list, tuple)) and not fact):
        return [UNKNOWN]
    if isinstance(fact, str):
        return [_text(fact)]
    if isinstance(fact, Mapping):
        return [f"- {_text(key)}: {_text(value)}" for key, value in fact.items()]
    if all(isinstance(each, Mapping) for each in fact):
        return _table(fact)
    lines: list[str] = []
    for each in fact:
        lines += ["", *_table(each)] if isinstance(each, (list, tuple)) else [f"- {_text(each)}"]
    return lines


def _table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    if not rows:
        return [UNKNOWN]
    heads = list(rows[0])
    lines = [f"| {' | '.join(map(_text, heads))} |", f"|{'---|' * len(heads)}"]
    return lines + [f"| {' | '.join(_text(row.get(head, '')) for head in heads)} |" for row in rows]


def _text(value: Any) -> str:
    """One line of text that no Markdown or HTML is read into; names can be a stranger's."""
    line = " ".join(str(value).split())
    for sign in "\\`*[]|<>":
        line = line.replace(sign, f"\\{sign}" if sign not in "<>" else {"<": "&lt;", ">": "&gt;"}[sign])
    return line

"""The card of a trained detector, for people: what it learned from, what it reached, where its limits are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from detectors import metrics

NAMES = {
    "auroc": "AUROC", "average_precision": "average precision", "tpr@0.01": "generated images found at 1% of reals",
    "tpr": "generated images found at the threshold", "fpr": "real images called generated at the threshold",
    "balanced_accuracy": "balanced accuracy at the threshold", "not_scored": "images without a score",
}  # fmt: skip
LIMITS = (
    "It knows the generators above. Of others its verdict may mean little: `auditkit detector evaluate` leaves one out "
    "and says.",
    "'no sign' does not say that an image is real.",
    "It can be evaded on purpose, and real images that went through an autoencoder may be called generated.",
    "A verdict is a reason to look, not a proof against anybody.",
)


def warnings(card: Mapping[str, Any]) -> list[str]:
    """Sentences on what weakens the detector, of its card."""
    found = [str(each) for each in card.get("shortcuts", {}).get("warnings", [])]
    for each in card.get("thresholds", [])[:1]:
        if each["reals"] < metrics.fewest_reals(each["fpr"]):
            found.append(
                f"The threshold for a false positive rate of {_percent(each['fpr'])} rests on {each['reals']:,} real "
                f"images of {each['sources']:,} sources: the true rate may be as high as {_percent(each['highest'])}."
            )
    return found


def as_markdown(card: Mapping[str, Any]) -> str:
    """The card as Markdown; a card that lacks a part leaves it out."""
    family = card.get("family", {})
    lines = [f"# {card.get('name', 'a detector')}", ""]
    if family:
        lines += [f"{family['title'].capitalize()} (`{family['name']}`, after {family['paper']}).", ""]
    for sentence in warnings(card):
        lines += [f"**Warning.** {sentence}", ""]
    lines += _data(card) + _thresholds(card) + _test(card.get("test"))
    return "\n".join([*lines, "## Limits", "", *(f"- {limit}" for limit in LIMITS), ""])


def _data(card: Mapping[str, Any]) -> list[str]:
    if "parts" not in card:
        return []
    rows = [(part, n["real"], n["generated"], n["sources"]) for part, n in card["parts"].items()]
    generators = ", ".join(f"{name} ({n:,})" for name, n in card["generators"].items()) or "not named"
    origins = ", ".join(f"{name or 'unnamed'} ({n:,})" for name, n in card["origins"].items())
    options = ", ".join(f"{key} = {value}" for key, value in card.get("options", {}).items()) or "as they are"
    made = f"Options: {options}. Seed {card.get('seed')}, {card.get('seconds')} s on {card.get('device')}."
    return [
        "## Trained on", "", f"Generators: {generators}. Real images: {origins}. Split by source. {made}", "",
        *_table(("part", "real", "generated", "sources"), rows), "",
    ]  # fmt: skip


def _thresholds(card: Mapping[str, Any]) -> list[str]:
    if not card.get("thresholds"):
        return []
    rows = [
        (_percent(t["fpr"]), f"{t['score']:.4g}", t["reals"], t["sources"], _percent(t["highest"]))
        for t in card["thresholds"]
    ]
    return [
        "## Thresholds", "",
        "Frozen on development data. The last column is the upper end of the 95% interval of the false positive rate.",
        "", *_table(("false positive rate", "score from", "real images", "sources", "may be as high as"), rows), "",
        f"Probabilities: {card['calibration']} calibration, for images of which half are generated. It abstains from "
        f"images more unlike the training data than {_percent(card['limit'])} of the development images.", "",
    ]  # fmt: skip


def _test(test: Mapping[str, Any] | None) -> list[str]:
    if not test:
        return []
    rows = [(NAMES.get(row["metric"], row["metric"]), *_cells(row)) for row in test["overall"]]
    rows += [(f"abstains from {name} images", *_cells(row)) for name, row in test["abstained"].items()]
    rows.append(("expected calibration error, where it judges", *_cells(test["ece"])))
    rows += [(f"called generated: {name}", *_cells(row)) for name, row in test["generators"].items()]
    rows += [(f"called generated: real, {name}", *_cells(row)) for name, row in test["origins"].items()]
    rows += [
        (f"called generated: real, laundered through {row['laundered']}", *_cells(row))
        for row in test.get("laundered", [])
        if row["laundered"] != "none"
    ]
    head = ("on held-out sources", "", "95% interval", "images", "sources")
    return ["## Reached", "", *_table(head, rows), ""]


def _cells(row: Mapping[str, Any]) -> tuple[str, str, str, str]:
    if row["estimate"] is None or row["status"] == "insufficient":
        return "–", "insufficient", f"{row['n_images']:,}", f"{row['n_sources']:,}"
    interval = f"{row['ci_low']:.3f} to {row['ci_high']:.3f}"
    return f"{row['estimate']:.3f}", interval, f"{row['n_images']:,}", f"{row['n_sources']:,}"


def _percent(share: float) -> str:
    return f"{100 * share:.3g}%"


def _table(head: tuple[str, ...], rows: list[tuple[Any, ...]]) -> list[str]:
    def line(cells: tuple[Any, ...]) -> str:
        return "| " + " | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"

    return [line(head), "|" + "---|" * len(head), *(line(row) for row in rows)]

"""`write_page(folder)`: an evaluation of detectors as one page that needs nothing else."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from detectors.alarms import MEASURES
from detectors.calibration import LARGEST_ECE
from detectors.evaluation import Evaluation, read
from detectors.metrics import Estimate, fewest_reals
from detectors.outcomes import ESTIMATE, MEAN, worst
from reports import evaluation_page, tables
from reports.chapters.base import Chapter, Figure, Table
from reports.charts import to_svg
from reports.detector_charts import (
    dots_chart,
    precision_chart,
    precision_rows,
    reliability_chart,
    robustness_chart,
    roc_chart,
)
from reports.words import MISSING, interval, listed, percent, plural

KICKER = "An evaluation of detectors of generated images"
FILES = ("results.csv", "curves.csv", "reliability.csv", "alarms.csv", "accusations.csv", "laundered.csv")
"""For programs; each also as JSON and Parquet."""
NAMES = {
    "auroc": "AUROC",
    "average_precision": "Average precision",
    "tpr@0.01": "TPR at 1% FPR",
    "tpr@0.001": "TPR at 0.1% FPR",
    "balanced_accuracy": "Balanced accuracy",
    "tpr": "TPR at the frozen threshold",
    "fpr": "FPR at the frozen threshold",
    "ece": "ECE",
    "auroc_seen": "AUROC, seen generators",
}
LEFT = {"generator": "Generator", "origin": "Origin of the real images"}
LIMITS = (
    "Intervals are at 95%, from 1,000 drawings of sources: what comes from one original is drawn together.",
    f"A true positive rate at 1% is given from {fewest_reals(0.01):,} real images on, at 0.1% from "
    f"{fewest_reals(0.001):,}; ‘insufficient’ stands where there are fewer.",
    "The frozen threshold was set on development images; the real images tested may reach it more or less often.",
    "Average precision depends on the share of generated images among those tested.",
    "ECE is class-balanced: both classes weigh the same in it, as in the probabilities. ‘uncalibrated’ stands where it "
    f"is above {LARGEST_ECE:g}; no probability is given for such a source.",
    "No sign of generation is no proof that an image is real.",
)


def write_page(folder: str | Path, out: str | Path | None = None) -> Path:
    """Write the page of an evaluation; `index.html` in its folder, or `out`.

    Raises:
        DetectorError: the folder holds no evaluation. RunError: the page cannot be written.
    """
    return evaluation_page.write(assemble(read(folder)), folder, out)


def assemble(made: Evaluation) -> dict[str, Any]:
    """All that the page shows, as plain values."""
    record, first = made.record, made.detectors[0]
    left_out = record["kind"] == "leave-one-out"
    counts = record["counts"]
    facts = {
        "Detectors": listed(made.detectors),
        "Real images": f"{counts['real']:,} of {plural(len(record['origins']), 'origin')}",
        "Generated images": f"{counts['generated']:,} of {plural(len(record['generators']), 'generator')}",
        "Sources": f"{counts['sources']:,}",
        "Threshold": f"frozen at {100 * record['fpr']:g}% of development reals",
        "Time": f"{record['seconds'] / 60:.1f} min",
    }
    title = f"{first}: {'what was never seen' if left_out else 'tested on images of your own'}"
    return evaluation_page.values(title, KICKER, facts, chapters(made), FILES)


def chapters(made: Evaluation, *, width: int = 860) -> list[Chapter]:
    """What the evaluation says, chapter by chapter; those without rows are left out."""
    found = [
        _left_out_chapter(made, width),
        _roc_chapter(made),
        _robustness_chapter(made),
        _calibration_chapter(made),
        _alarms_chapter(made),
        _reals_chapter(made),
    ]
    return [one for one in found if one is not None]


def left_out_table(results: pd.DataFrame, *, brief: bool = False) -> Table:
    """AUROC and the rates by detector and what was left out, undegraded; `brief` for a terminal."""
    metrics = ["auroc", "tpr@0.01", "tpr", "fpr"] if brief else list(NAMES)
    clean = results[results["degradation"] == "none"]
    metrics = [name for name in metrics if (clean["metric"] == name).any()]
    rows = []
    for (detector, left, held_out), part in clean.groupby(["detector", "left", "held_out"], sort=False):
        by = {row["metric"]: row for row in tables.rows(part)}
        what = f"mean of {left}s" if held_out == MEAN else str(held_out)
        rows.append([str(detector), what, *(_cell(by.get(name)) for name in metrics)])
    return Table(
        "By detector and generator or origin of the real images, undegraded",
        ["Detector", "Tested on", *(NAMES[name] for name in metrics)],
        rows,
        [False, False, *[True] * len(metrics)],
    )


def alarm_table(alarms: pd.DataFrame, *, brief: bool = False) -> Table:
    """Expected numbers at the user's own base rate and volume."""
    measures = ["false_alarms", "misses", "precision"] if brief else list(MEASURES)
    rows = []
    for (detector, _, held_out), part in alarms.groupby(["detector", "left", "held_out"], sort=False):
        by = {row["measure"]: row for row in tables.rows(part)}
        rows.append([str(detector), str(held_out), *(expected_words(by[name]) for name in measures)])
    volume, base_rate = (alarms[name].iloc[0] for name in ("volume", "base_rate"))
    return Table(
        f"Expected among {volume:,} images of which {100 * base_rate:g}% are generated",
        ["Detector", "Generator or origin", *(MEASURES[name] for name in measures)],
        rows,
        [False, False, *[True] * len(measures)],
    )


def _left_out_chapter(made: Evaluation, width: int) -> Chapter:
    results, first = made.results, made.detectors[0]
    aurocs = results[(results["metric"] == "auroc") & (results["degradation"] == "none")]
    lead = []
    low = worst(results)
    for left in ("generator", "origin"):
        own = aurocs[(aurocs["detector"] == first) & (aurocs["left"] == left)]
        mean, lowest = own[own["held_out"] == MEAN], low[(low["detector"] == first) & (low["left"] == left)]
        if len(mean) and math.isfinite(mean["estimate"].iloc[0]) and len(lowest):
            a, b = tables.rows(mean)[0], tables.rows(lowest)[0]
            lead.append(
                f"Mean AUROC of {first} over {_what(made, left)}: {_cell(a)}; lowest {_cell(b)}, {b['held_out']}."
            )
            others = aurocs[(aurocs["left"] == left) & (aurocs["held_out"] == MEAN) & (aurocs["detector"] != first)]
            ahead = others[others["estimate"] > a["estimate"]].sort_values("estimate", ascending=False)
            if len(ahead):
                named = listed([f"{row['detector']} {_cell(row)}" for row in tables.rows(ahead)])
                apart = (ahead["ci_low"] > a["ci_high"]).all()
                sure = "The intervals lie apart." if apart else "Not all intervals lie apart; more images would tell."
                lead.append(f"Higher on the same images: {named}. {sure}")
    blocks: list[Figure | Table] = []
    for left in ("generator", "origin"):
        rows = aurocs[aurocs["left"] == left]
        if rows["estimate"].notna().any():
            blocks.append(
                Figure(
                    to_svg(styled_dots(rows, width)),
                    f"Dots with intervals of AUROC by {LEFT[left].lower()} and detector. {_spoken(rows)}",
                    f"AUROC by {LEFT[left].lower()}, with 95% intervals; the dashed line is chance.",
                    to_svg(styled_dots(rows, 380)),
                )
            )
    blocks.append(left_out_table(results))
    title = "On what it has not seen" if made.record["kind"] == "leave-one-out" else "On these images"
    return Chapter("left-out", title, lead, blocks, [*made.record["notes"], *LIMITS])


def styled_dots(rows: pd.DataFrame, width: int) -> Any:
    """The chart of AUROCs, with words for the row of the mean."""
    return dots_chart(rows.assign(held_out=rows["held_out"].replace({MEAN: "mean"})), width=width)


def _roc_chapter(made: Evaluation) -> Chapter | None:
    first = made.detectors[0]
    curves = made.curves[(made.curves["detector"] == first) & (made.curves["left"] == "generator")]
    if curves.empty:
        return None
    at = [0.0, 0.001, 0.005, 0.01, 0.02, 0.05, 0.1]
    rows = [
        [str(name), *(percent(float(part.loc[part["fpr"] <= level + 1e-12, "tpr"].max()), 1) for level in at)]
        for name, part in curves.groupby("held_out", sort=False)
    ]
    table = Table(
        "True positive rate at false positive rates read off these images",
        ["Generator", *(f"{100 * level:g}%" for level in at)], rows, [False, *[True] * len(at)],
    )  # fmt: skip
    spoken = "; ".join(f"{row[0]} {row[4]} at 1%" for row in rows)
    figure = Figure(
        to_svg(roc_chart(curves, width=620)), f"ROC curves up to a false positive rate of 10%: {spoken}.",
        "ROC curves up to a false positive rate of 10%; the dashed line is 1%.", to_svg(roc_chart(curves, width=360)),
    )  # fmt: skip
    lead = [f"What {first} finds where few real images may be called generated."]
    return Chapter("roc", "At low false positive rates", lead, [figure, table])


def robustness_rows(made: Evaluation, left: str = "generator") -> pd.DataFrame:
    """Mean AUROCs by detector and degradation, with `attack`, `strength` and `title`."""
    results = made.results
    rows = results[(results["metric"] == "auroc") & (results["held_out"] == MEAN) & (results["left"] == left)].copy()
    parts = rows["degradation"].str.partition(":")
    rows["attack"], rows["strength"] = parts[0], pd.to_numeric(parts[2], errors="coerce")
    rows["title"] = rows["degradation"].map(made.record["steps"]).fillna(rows["degradation"])
    return rows


def _robustness_chapter(made: Evaluation) -> Chapter | None:
    rows = robustness_rows(made)
    told = rows[rows["estimate"].notna()]
    if told["degradation"].nunique() < 2:
        return None
    first = made.detectors[0]
    blocks: list[Figure | Table] = []
    for attack, part in told[told["attack"] != "none"].groupby("attack", sort=False):
        if part["strength"].nunique() < 2:
            continue
        title = curve_title(str(part["title"].iloc[0]))
        words = _spoken(part.assign(held_out=part["title"]))
        blocks.append(
            Figure(
                to_svg(robustness_chart(part, title=title, width=560)),
                f"Mean AUROC by strength of {attack}. {words}",
                f"Mean AUROC over generators: {title}.",
                to_svg(robustness_chart(part, title=title, width=360)),
            )
        )
    names = made.detectors
    cells = {(row["degradation"], row["detector"]): row for row in tables.rows(rows)}
    degradations = list(dict.fromkeys(rows["degradation"]))
    blocks.append(
        Table(
            "Mean AUROC over generators, by degradation",
            ["Degradation", *names],
            [
                [str(made.record["steps"].get(d, d)), *(_cell(cells.get((d, name))) for name in names)]
                for d in degradations
            ],
            [False, *[True] * len(names)],
        )
    )
    own = told[told["detector"] == first].sort_values("estimate", kind="stable")
    lead = []
    if len(own):
        row = tables.rows(own)[0]
        lead = [f"Every degradation is done to both classes. {first} does worst after: {row['title']}, {_cell(row)}."]
    return Chapter("robustness", "After everyday changes", lead, blocks)


def curve_title(title: str) -> str:
    """'JPEG, quality 50' -> 'JPEG, quality': what the strength says."""
    return " ".join(word for word in title.split() if not word.replace(".", "").isdigit())


def _calibration_chapter(made: Evaluation) -> Chapter | None:
    first = made.detectors[0]
    curve = made.reliability[(made.reliability["detector"] == first) & (made.reliability["left"] == "generator")]
    errors = made.results[(made.results["metric"] == "ece") & (made.results["detector"] == first)]
    if errors.empty:
        return None
    bad = errors[errors["status"] != "ok"]["held_out"].tolist()
    lead = [
        f"Probabilities of {first} hold (class-balanced ECE at most {LARGEST_ECE:g}) for "
        f"{len(errors) - len(bad)} of {plural(len(errors), 'source')}."
    ]
    if bad:
        lead.append(f"For {listed(bad)} it is uncalibrated, or too little is known, and gives no probability.")
    blocks: list[Figure | Table] = []
    if curve["estimate"].notna().any():
        blocks.append(
            Figure(
                to_svg(reliability_chart(curve, width=460)),
                f"Reliability diagram: share generated against probability. {_reliability_words(curve)}",
                "Reliability: on the dashed diagonal a probability means what it says; 95% intervals.",
                to_svg(reliability_chart(curve, width=360)),
            )
        )
        rows = [
            [str(row["held_out"]), percent(row["probability"]), f"{percent(row['estimate'])} "
             f"{interval(row['ci_low'], row['ci_high'])}", f"{row['n_images']:,}", row["status"]]
            for row in tables.rows(curve)
        ]  # fmt: skip
        blocks.append(
            Table(
                "Reliability",
                ["Generator", "Probability", "Share generated", "Images", "Status"],
                rows,
                [False, True, True, True, False],
            )
        )
    cells = [[str(row["held_out"]), _cell(row), row["status"]] for row in tables.rows(errors)]
    blocks.append(Table("Class-balanced ECE", ["Left out", "ECE", "Status"], cells, [False, True, False]))
    return Chapter("calibration", "What a probability is worth", lead, blocks)


def rates_of(results: pd.DataFrame, detector: str, left: str = "generator") -> list[tuple[str, Estimate, Estimate]]:
    """What was left out, with the true and the false positive rate at the frozen threshold."""
    own = results[(results["detector"] == detector) & (results["left"] == left) & (results["degradation"] == "none")]
    found = []
    for held_out, part in own.groupby("held_out", sort=False):
        by = part.set_index("metric")
        if {"tpr", "fpr"} <= set(by.index):
            tpr, fpr = (Estimate(*by.loc[name, list(ESTIMATE)]) for name in ("tpr", "fpr"))
            found.append((str(held_out), tpr, fpr))
    return found


def _alarms_chapter(made: Evaluation) -> Chapter | None:
    if made.alarms.empty:
        return None
    first, record = made.detectors[0], made.record
    own = made.alarms[(made.alarms["detector"] == first) & (made.alarms["measure"] == "false_alarms")]
    lead = []
    if own["estimate"].notna().any():
        row = tables.rows(own[own["estimate"].notna()].sort_values("estimate", kind="stable").tail(1))[0]
        lead = [
            f"Among {record['volume']:,} images of which {100 * record['base_rate']:g}% are generated, {first} would "
            f"call up to {expected_words(row)} real images generated ({row['held_out']})."
        ]
    blocks: list[Figure | Table] = []
    rows = precision_rows(rates_of(made.results, first))
    if len(rows):
        here = made.alarms[(made.alarms["measure"] == "precision") & (made.alarms["detector"] == first)]
        words = "; ".join(f"{row['held_out']} {expected_words(row)}" for row in tables.rows(here))
        blocks.append(
            Figure(
                to_svg(precision_chart(rows, at=record["base_rate"], width=620)),
                f"Share of alarms that are right by base rate; at {100 * record['base_rate']:g}%: {words}.",
                "Share of alarms that are right, with 95% intervals; the dashed line is the base rate given.",
                to_svg(precision_chart(rows, at=record["base_rate"], width=360)),
            )
        )
    blocks.append(alarm_table(made.alarms))
    note = "Intervals are of the expected numbers, from what is not known of both rates; a given day varies more."
    return Chapter("alarms", "At your own volume", lead, blocks, [note])


def _reals_chapter(made: Evaluation) -> Chapter | None:
    blocks: list[Figure | Table] = []
    lead = [f"{row['detector']}, {row['held_out']}: {row['sentence']}" for row in tables.rows(made.accusations)]
    if len(made.accusations):
        rows = [
            [str(row["detector"]), str(row["held_out"]), f"{100 * row['asked']:g}%", _rate(row),
             f"{row['times']:.1f}" if math.isfinite(row["times"]) else MISSING, percent(row["abstained"], 1),
             row["status"]]
            for row in tables.rows(made.accusations)
        ]  # fmt: skip
        heads = ["Detector", "Real images of", "Asked for", "Called generated", "Times", "Abstained", "Status"]
        blocks.append(Table("Realised false positive rate on real images of each origin", heads, rows,
                            [False, False, True, True, True, True, False]))  # fmt: skip
    if len(made.laundered):
        rows = [
            ["as they are" if row["laundered"] == "none" else str(row["laundered"]), _rate(row),
             percent(row["abstained"], 1), f"{row['n_images']:,}"]
            for row in tables.rows(made.laundered)
        ]  # fmt: skip
        heads = ["Real images through", "Called generated", "Abstained", "Images"]
        blocks.append(Table("False accusations: real images laundered through an autoencoder", heads, rows,
                            [False, True, True, True]))  # fmt: skip
    return Chapter("reals", "Real images called generated", lead, blocks) if blocks else None


def _cell(row: Mapping[str, Any] | None) -> str:
    """'.952 [.931, .970]', or the status where there is no number."""
    if row is None:
        return MISSING
    if not math.isfinite(row["estimate"]):
        return str(row["status"])
    middle, low, high = (f"{row[name]:.3f}".replace("0.", ".", 1) for name in ("estimate", "ci_low", "ci_high"))
    return f"{middle} [{low}, {high}]"


def _rate(row: Mapping[str, Any]) -> str:
    if not math.isfinite(row["estimate"]):
        return "insufficient"
    return f"{percent(row['estimate'], 1)} {interval(row['ci_low'], row['ci_high'], 1)}"


def expected_words(row: Mapping[str, Any]) -> str:
    """An expected count, or a share in percent, with its interval."""
    if not math.isfinite(row["estimate"]):
        return str(row["status"]) if row["status"] != "ok" else MISSING
    if row["measure"] in ("precision", "false_omission"):
        return f"{percent(row['estimate'], 1)} {interval(row['ci_low'], row['ci_high'], 1)}"
    return f"{row['estimate']:,.0f} [{row['ci_low']:,.0f}, {row['ci_high']:,.0f}]"


def _spoken(rows: pd.DataFrame) -> str:
    return "; ".join(f"{row['detector']}, {row['held_out']}: {_cell(row)}" for row in tables.rows(rows)) + "."


def _reliability_words(curve: pd.DataFrame) -> str:
    told = curve[curve["estimate"].notna()]
    gaps = [
        f"{name}: largest gap {100 * (part['probability'] - part['estimate']).abs().max():.0f} points"
        for name, part in told.groupby("held_out", sort=False)
    ]
    return "; ".join(gaps) + "."


def _what(made: Evaluation, left: str) -> str:
    noun = "generator" if left == "generator" else "origin"
    count = len(made.record[f"{noun}s"])
    return f"{plural(count, noun)}{' left out' if made.record['kind'] == 'leave-one-out' else ''}"

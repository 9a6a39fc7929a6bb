"""The chapter on detectors: how much of a run they call generated, and what that does not say."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from reports.chapters.base import Chapter, Figure, Table
from reports.chapters.dots import dots_figure
from reports.words import MISSING, group_name, group_noun, interval, listed, percent

if TYPE_CHECKING:
    import pandas as pd

    from auditkit.runs import Run

HEADS = {"generated": "Called generated", "no_sign": "No sign", "abstained": "Abstained from"}
NOTES = (
    "A detector knows the generators that it was trained on. What it does on another is told by an evaluation with "
    "that generator left out (‘auditkit detector evaluate --leave-one-out’), not by this chapter.",
    "‘No sign’ is what most images of a generator that it does not know get; it never says that an image is real.",
    "‘Abstained from’: the image is unlike what the detector was trained and calibrated on, or cannot be scored.",
    "The rate asked for is the share of real images like those of its calibration that are called generated. The "
    "images of a run are generated, so their share says how visible the generator is to this detector, in files as "
    "they lie here; compression and scaling change it.",
)


def chapter(measurements: pd.DataFrame, run: Run) -> Chapter | None:
    rows = measurements[measurements["measure"].str.startswith("detection.")]
    if rows.empty:
        return None
    lead: list[str] = []
    blocks: list[Figure | Table] = []
    for detector in rows["attribute"].unique():
        own = rows[rows["attribute"] == detector]
        lead += _said(str(detector), own)
        blocks += _blocks(str(detector), own)
    return Chapter("detection", "Detectors", lead, blocks, NOTES)


def _said(detector: str, own: pd.DataFrame) -> list[str]:
    whole = {name: row for name in HEADS if (row := _row(own, name, "all")) is not None}
    row = whole["generated"]
    if not math.isfinite(row["estimate"]):
        return [f"What {detector} sees in these images is {row['status']}: {row['note']}."]
    unsure = whole["abstained"]
    out = [
        f"{detector} calls {_share(row)} of {row['n_images']:,} images generated, at a false positive rate of "
        f"{percent(row['null_value'], 1)}, and abstains from {_share(unsure)}."
    ]
    if unsure["estimate"] >= 0.5:
        out.append("It abstains from most of them: these images are not of the kind that it knows.")
    parts = own[(own["measure"] == "detection.generated") & (own["group"] != "all") & own["estimate"].notna()]
    if len(parts) > 1:
        parts = parts.sort_values("estimate", kind="stable")
        low, high = parts.iloc[0], parts.iloc[-1]
        if low["ci_high"] < high["ci_low"]:
            out.append(
                f"By {group_noun(str(low['group_by']))} the share lies between {_share(low)} "
                f"({group_name(str(low['group']))}) and {_share(high)} ({group_name(str(high['group']))})."
            )
    return out


def _blocks(detector: str, own: pd.DataFrame) -> list[Figure | Table]:
    groups = own.loc[own["measure"] == "detection.generated", ["group_by", "group"]]
    by = next((str(name) for name in groups["group_by"] if name != "all"), "all")
    cells = [
        [group_name(str(group)), f"{int(_row(own, 'generated', group)['n_images']):,}",
         *(_cell(_row(own, name, group)) for name in HEADS)]
        for group in groups["group"]
    ]  # fmt: skip
    noun = group_noun(by).capitalize() if by != "all" else "Images"
    table = Table(
        f"What {detector} says, in percent with 95% intervals", [noun, "Images", *HEADS.values()], cells,
        [False, *[True] * (len(HEADS) + 1)],
    )  # fmt: skip
    told = own[(own["measure"] == "detection.generated") & own["estimate"].notna()]
    if told["estimate"].nunique() < 2:
        return [table]
    spans = listed([f"{group_name(str(row['group']))} {_share(row)}" for _, row in told.iterrows()], limit=30)
    figure = dots_figure(
        told, title="Share called generated", form=".0%",
        alt_text=f"Dot-and-interval chart of the share that {detector} calls generated: {spans}.",
        caption="Share of images called generated, with 95% intervals; the dashed line is all images together.",
    )  # fmt: skip
    return [figure, table]


def _row(own: pd.DataFrame, statistic: str, group: object) -> Any:
    found = own[(own["measure"] == f"detection.{statistic}") & (own["group"] == group)]
    return None if found.empty else found.iloc[0]


def _share(row: Any) -> str:
    return f"{percent(row['estimate'], 1)} {interval(row['ci_low'], row['ci_high'], 1)}".rstrip()


def _cell(row: Any) -> str:
    if row is None:
        return MISSING
    return _share(row) if math.isfinite(row["estimate"]) else str(row["status"])

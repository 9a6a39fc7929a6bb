"""The chapter on setting: what surroundings and cues of wealth a place name brings, beside the same prompts without."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import altair as alt
import pandas as pd

from reports.chapters.base import Chapter, Figure, Table
from reports.chapters.dots import NARROW, WIDE
from reports.charts import INK, LABEL_LIMIT, MARKS, MUTED, inline, styled, to_svg
from reports.words import MISSING, group_name, group_noun, listed, name, p_value, percent, plural

if TYPE_CHECKING:
    from auditkit.runs import Run

MOST_CLASSES = 4
"""Classes drawn, those that shift most; the table holds all."""
DIFFERS, SAME = "Differs from the counter-prompt", "No difference found"
NOTES = (
    "Nothing here is corrected for the classifier's errors. The same one reads both sides, so that an error which does "
    "not depend on the place cancels; one that does, such as reading any market in some countries as poor, counts as a "
    "shift. Look at the images, and try a second encoder.",
    "The shift in similarity is in standard deviations of the images of one prompt without a place. It uses more of "
    "each image than the label, and finds smaller shifts.",
    "Cues of wealth are cues in a picture, not the wealth of a country. A shift is not an error by itself: places do "
    "differ. Nor is none a sign of accuracy.",
    "Templates are the units of the tests; with fewer than five nothing is claimed.",
)


def chapter(measurements: pd.DataFrame, run: Run) -> Chapter | None:
    rows = measurements[measurements["measure"].str.startswith("setting.")]
    if rows.empty:
        return None
    by = next((str(each) for each in rows["group_by"] if each != "all"), "all")
    parts = [_Part(rows[rows["attribute"] == each], str(each), by) for each in dict.fromkeys(rows["attribute"])]
    blocks: list[Figure | Table] = []
    for part in parts:
        if part.similarity.loc[part.similarity["group"] != "all", "estimate"].notna().any():
            blocks.append(part.figure())
        blocks.append(part.table())
    lead = [sentence for part in parts for sentence in part.lead()]
    lead.append("The classifier is uncalibrated here: shares are as labelled, and only their shifts are compared.")
    return Chapter("setting", f"What a {group_noun(by)} name brings", lead, blocks, NOTES)


class _Part:
    """One attribute's rows."""

    def __init__(self, rows: pd.DataFrame, attribute: str, by: str):
        self.attribute, self.by = attribute, by
        self.counted, self.shift, self.similarity = (
            rows[rows["measure"] == f"setting.{kind}"] for kind in ("share", "shift", "similarity_shift")
        )
        self.counter = f"no {by}"

    def lead(self) -> list[str]:
        about = f"{name(self.attribute).capitalize()}: "
        noun = group_noun(self.by)
        told = self.similarity[(self.similarity["group"] != "all") & self.similarity["estimate"].notna()]
        silent = self.similarity[self.similarity["status"] == "insufficient"].drop_duplicates("group")
        out = []
        places = told["group"].nunique()
        found = told[told["p_holm"] < 0.05].sort_values("estimate", key=abs, ascending=False, kind="stable")
        if len(found):
            differ = found["group"].nunique()
            out.append(
                f"{about}naming {differ} of {plural(places, noun)} moves images away from those of the same prompts "
                "without the name, after correction for multiple testing (Holm)."
            )
            for group in found["group"].unique()[:3]:
                moved = [self._one(row) for _, row in found[found["group"] == group].iterrows()]
                out.append(f"{group_name(str(group))}: {'; '.join(moved)}.")
        elif places:
            widest = float(((told["ci_high"] - told["ci_low"]) / 2).median())
            out.append(
                f"{about}no {noun} of {places} differs detectably from the same prompts without the name. That is no "
                f"proof of none: the typical interval reaches {widest:.1f} standard deviations to each side."
            )
        whole = self.similarity[(self.similarity["group"] == "all") & (self.similarity["p_holm"] < 0.05)]
        for _, row in whole.iterrows():
            out.append(f"Over all of them, naming a {noun} moves images {_toward(row)}: {_effect(row)}.")
        if len(silent):
            names = listed([group_name(str(each)) for each in silent["group"]])
            out.append(f"{about}insufficient for {names}: {silent['note'].iloc[0]}.")
        return out

    def _one(self, row: Any) -> str:
        here, without = (self._counted(group, row["category"]) for group in (row["group"], self.counter))
        labels = ""
        if math.isfinite(here) and math.isfinite(without):
            labels = f" ({percent(here)} of the images are labelled so, {percent(without)} without the name)"
        return f"{_toward(row)} by {_effect(row)}{labels}"

    def _counted(self, group: str, category: str) -> float:
        found = self.counted[(self.counted["group"] == group) & (self.counted["category"] == category)]
        return float(found["estimate"].iloc[0]) if len(found) else math.nan

    def table(self) -> Table:
        rows = []
        for _, row in self.shift.sort_values("group", key=lambda each: each == "all", kind="stable").iterrows():
            same = (self.similarity["group"] == row["group"]) & (self.similarity["category"] == row["category"])
            near = self.similarity[same]
            told = math.isfinite(row["estimate"])
            shares = [self._counted(group, row["category"]) for group in (row["group"], self.counter)]
            rows.append(
                [
                    f"all {self.by}s" if row["group"] == "all" else str(row["group"]),
                    str(row["category"]),
                    *[percent(each) for each in shares],
                    f"{100 * row['estimate']:+z.0f} [{100 * row['ci_low']:z.0f}, {100 * row['ci_high']:z.0f}]"
                    if told
                    else row["status"],
                    p_value(row["p_holm"]),
                    _effect(near.iloc[0], short=True) if len(near) else MISSING,
                    p_value(near["p_holm"].iloc[0]) if len(near) else MISSING,
                ]
            )
        return Table(
            f"Perceived {name(self.attribute)} by {group_noun(self.by)} beside the same prompts without it; shifts of "
            "labels in points, of similarity in standard deviations",
            [
                group_noun(self.by).capitalize(), "Class", "Labelled so", "Without", "Shift of labels", "p (Holm)",
                "Shift of similarity", "p (Holm)",
            ],
            rows,
            [False, False, *[True] * 6],
        )  # fmt: skip

    def figure(self) -> Figure:
        named = self.similarity[self.similarity["group"] != "all"]
        told = named[named["estimate"].notna()]
        reach = told.assign(reach=abs(told["estimate"])).groupby("category", sort=False)["reach"].max()
        classes = [str(each) for each in reach.sort_values(ascending=False, kind="stable").index[:MOST_CLASSES]]
        drawn = named[named["category"].isin(classes)]
        wide, narrow = (to_svg(_chart(drawn, classes, width)) for width in (WIDE, NARROW))
        spans = "; ".join(_span(each, told[told["category"] == each]) for each in classes)
        return Figure(
            wide,
            f"Dots and intervals of the shift in similarity by {group_noun(self.by)}, in standard deviations: {spans}.",
            f"Perceived {name(self.attribute)}: how much nearer to each class images come when the prompt names a "
            f"{group_noun(self.by)}. 95% intervals over templates; the line at 0 is the same prompt without the name.",
            narrow,
        )


def _span(category: str, rows: pd.DataFrame) -> str:
    ends = [rows.sort_values("estimate", kind="stable").iloc[i] for i in (0, -1)]
    return f"{category} from " + " to ".join(f"{each['estimate']:+.1f} ({each['group']})" for each in ends)


def _toward(row: Any) -> str:
    return f"{'toward' if row['estimate'] > 0 else 'away from'} ‘{row['category']}’"


def _effect(row: Any, *, short: bool = False) -> str:
    if not math.isfinite(row["estimate"]):
        return str(row["status"])
    middle, low, high = row["estimate"], row["ci_low"], row["ci_high"]
    if short:
        return f"{middle:+z.1f} [{low:z.1f}, {high:z.1f}]"
    low, high = sorted((abs(low), abs(high))) if low * high > 0 else (low, high)
    return f"{abs(middle):.1f} standard deviations [{low:.1f}, {high:.1f}]"


def _chart(drawn: pd.DataFrame, classes: list[str], width: int) -> Any:
    told = drawn["estimate"].notna()
    first = drawn[drawn["category"] == classes[0]].sort_values("estimate", ascending=False, kind="stable")
    labels = {str(r["group"]): str(r["group"]) + ("" if math.isfinite(r["estimate"]) else f" · {r['status']}")
              for _, r in first.iterrows()}  # fmt: skip
    frame = pd.DataFrame(
        {
            "label": drawn["group"].astype(str).map(labels),
            "head": drawn["category"],
            "mark": (drawn["p_holm"] < 0.05).map({True: DIFFERS, False: SAME}),
            "estimate": drawn["estimate"],
            "low": drawn["ci_low"].where(told),
            "high": drawn["ci_high"].where(told),
        }
    )
    marks = [mark for mark in (DIFFERS, SAME) if (frame["mark"] == mark).any()]
    looks = {DIFFERS: MARKS["Differs from target"], SAME: MARKS["No difference found"]}
    order = list(labels.values())
    roomy = width >= 600
    beside = min(6.4 * max(map(len, order)), LABEL_LIMIT) if roomy else 0
    columns = len(classes) if roomy else 1
    panel = int((width - beside - 34) / columns) - (24 if columns > 1 else 0)
    x = alt.X("estimate:Q", title="Standard deviations", axis=alt.Axis(format="+.1~f", tickCount=5 if roomy else 7))
    y = alt.Y("label:N", sort=order, title=None).axis(labels=roomy).scale(paddingOuter=0 if roomy else 0.4)
    channels: dict[str, Any] = {
        key: kind("mark:N", title=None).scale(domain=marks, range=[looks[mark][key] for mark in marks])
        for key, kind in (("stroke", alt.Stroke), ("fill", alt.Fill))
    }
    tips = ["label:N", "head:N", *(alt.Tooltip(f"{each}:Q", format="+.2f") for each in ("estimate", "low", "high"))]
    zero = alt.Chart().mark_rule(color=INK, strokeDash=[4, 3], strokeWidth=1).encode(x=alt.datum(0))
    layers = [
        zero,
        alt.Chart().mark_rule(strokeWidth=1.6, color=MUTED).encode(x=alt.X("low:Q"), x2="high:Q", y=y),
        alt.Chart()
        .transform_filter("isValid(datum.estimate)")
        .mark_point(opacity=1, size=50, strokeWidth=1.7, shape="circle")
        .encode(x=x, y=y, tooltip=tips, **channels),
    ]
    if not roomy:
        above = alt.Chart().mark_text(align="left", fontSize=12, color=INK, yOffset=-13)
        layers.append(above.encode(x=alt.value(0), y=y, text="label:N"))
    layered = alt.layer(*layers).properties(width=max(90, panel), height=alt.Step(19 if roomy else 32))
    facet = alt.Facet("head:N", sort=classes, title=None)
    faceted = layered.facet(facet=facet, columns=columns, data=inline(frame), spacing=24 if roomy else 14)
    return styled(faceted, legend_columns=2 if roomy else 1)

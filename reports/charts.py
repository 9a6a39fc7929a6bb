"""Altair charts of a View: the same ones in the report and in the dashboard.

Colours are from Okabe and Ito's palette. Every mark also has a shape of its own, so that the charts read in
grey and without colour vision: filled circle, open circle, upright stroke, open diamond, cross.
"""

from __future__ import annotations

import json
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from reports.tables import View
from reports.words import group_name, name

FONT = "Liberation Sans, Arial, Helvetica, sans-serif"
INK, MUTED, RULE = "#1c2430", "#56606b", "#dfe3e6"
DIFFERS, SAME, TARGET, PLANTED = "Differs from target", "No difference found", "Target", "Planted truth"
PLAIN = "As classified, uncorrected"
NO_TARGET = "No target for this group"
MARKS: dict[str, dict[str, Any]] = {
    DIFFERS: {"stroke": "#0072B2", "fill": "#0072B2", "shape": "circle", "size": 64},
    SAME: {"stroke": MUTED, "fill": "#ffffff", "shape": "circle", "size": 56},
    TARGET: {"stroke": INK, "fill": "transparent", "shape": "M0,-1L0,1", "size": 150},
    PLANTED: {"stroke": "#B34700", "fill": "transparent", "shape": "diamond", "size": 80},
    NO_TARGET: {"stroke": MUTED, "fill": "#ffffff", "shape": "square", "size": 50},
    PLAIN: {"stroke": MUTED, "fill": "#ffffff", "shape": "cross", "size": 60},
}
COVERS, MISSES = "Interval covers planted share", "Interval misses planted share"
MARKS |= {
    COVERS: {"stroke": MUTED, "fill": "#ffffff", "shape": "circle", "size": 46},
    MISSES: {"stroke": "#B34700", "fill": "#B34700", "shape": "square", "size": 52},
}
TOOLTIP = [
    alt.Tooltip("group:N"),
    alt.Tooltip("category:N", title="class"),
    alt.Tooltip("corrected:Q", format=".1%"),
    alt.Tooltip("low:Q", format=".1%"),
    alt.Tooltip("high:Q", format=".1%"),
    alt.Tooltip("target:Q", format=".1%"),
    alt.Tooltip("planted:Q", format=".1%"),
    alt.Tooltip("n_images:Q", title="images"),
    alt.Tooltip("status:N"),
]
LABEL_LIMIT = 300
"""Pixels of a label beside its row; a longer one ends in an ellipsis."""
PERCENT = alt.Axis(format="%", values=[0, 0.25, 0.5, 0.75, 1])


def shares_chart(view: View, *, width: int = 900) -> alt.Chart | alt.FacetChart | alt.LayerChart:
    """Corrected share and interval by group, with target and planted truth: one panel a class.

    Groups are sorted by the share of the first class. A group without an estimate keeps its row and carries
    its status in its label.

    Args:
        width: pixels in all; below 600 the panels stand under one another and each label above its row.
    """
    many, wide = len(view.shown) > 1, width >= 600
    frame = _drawn(view)
    labels = frame["label"].unique().tolist()
    columns = len(view.shown) if wide else 1
    beside = min(6.4 * max(map(len, labels)), LABEL_LIMIT) if wide else 0
    panel = int((width - beside - 34) / columns) - (24 if columns > 1 else 0)
    top = _top(frame) if many else 1.0
    title = "Share of images" if many else f"Share perceived as {name(view.shown[0])}"
    if wide and len(view.categories) == 2:
        title += f" (the rest: {name(view.categories[1])})"
    ticks = np.arange(0, top + 0.01, 0.25 if panel > 140 * top else 0.5).tolist()
    axis = alt.Axis(format="%", values=ticks, labelOverlap=False, labelFlush=False)
    y = alt.Y("label:N", sort=labels, title=None).axis(labels=wide).scale(paddingOuter=0 if wide else 0.4)
    layers = _layers(frame, y, {"axis": axis, "title": title, "scale": alt.Scale(domain=[0, top], nice=False)})
    if not wide:
        above = alt.Chart().mark_text(align="left", fontSize=12, color=INK, yOffset=-13)
        layers.append(above.encode(x=alt.value(0), y=y, text="label:N"))
    layered = alt.layer(*layers).properties(width=max(90, panel), height=alt.Step(20 if wide else 32))
    if not many:
        return styled(layered.properties(data=inline(frame)), legend_columns=5 if wide else 1)
    heads = {category: name(category) for category in view.shown}
    faceted = layered.facet(
        facet=alt.Facet("head:N", sort=list(heads.values()), title=None),
        columns=columns,
        data=inline(frame.assign(head=frame["category"].map(heads))),
        spacing=28 if wide else 14,
    )
    return styled(faceted, legend_columns=5 if wide else 1)


def recovery_chart(view: View, *, width: int = 420) -> alt.LayerChart:
    """Planted share against recovered share with its interval: on the diagonal, the instrument is right."""
    frame = view.shares[view.shares["category"].isin(view.shown) & view.shares["covered"].notna()].copy()
    frame["mark"] = np.where(frame["covered"].astype(bool), COVERS, MISSES)
    base, side = alt.Chart(inline(frame)), width - 70
    ends = alt.Chart(inline(pd.DataFrame({"at": [0.0, 1.0]})))
    diagonal = ends.mark_line(color=INK, strokeDash=[3, 3], strokeWidth=1).encode(x="at:Q", y="at:Q")
    x = alt.X("planted:Q", axis=PERCENT).title("Planted share").scale(domain=[0, 1])
    y = alt.Y("low:Q", axis=PERCENT).title("Recovered share").scale(domain=[0, 1])
    bars = base.mark_rule(strokeWidth=1.2, color=MUTED).encode(x=x, y=y, y2="high:Q")
    dots = base.mark_point(opacity=1, strokeWidth=1.6).encode(
        x=x, y="corrected:Q", tooltip=TOOLTIP, **_looks("mark", [COVERS, MISSES])
    )
    return styled(alt.layer(diagonal, bars, dots).properties(width=side, height=side), legend_columns=1)


def to_svg(chart: Any) -> str:
    """The chart as SVG, made offline; text stays text, in the fonts named by `FONT`."""
    import vl_convert

    with alt.data_transformers.enable("default", max_rows=None):
        spec = chart.to_dict()
    version = ".".join(alt.SCHEMA_VERSION.split(".")[:2])
    return vl_convert.vegalite_to_svg(json.dumps(spec, allow_nan=False), vl_version=version)


def _drawn(view: View) -> pd.DataFrame:
    """The rows to draw, sorted: by the first class's corrected share, then those without one.

    Adds `mark`; `label`, with the status of a group without a corrected share; and `plain`, the share as
    classified, with `plain_low` and `plain_high`, where it could not be corrected.
    """
    frame = view.shares[view.shares["category"].isin(view.shown)].copy()
    frame["mark"] = np.where(frame["differs"], DIFFERS, np.where(frame["target"].isna(), NO_TARGET, SAME))
    uncalibrated = frame["status"] == "uncalibrated"
    for end in ("", "_low", "_high"):
        frame[f"plain{end}"] = frame[f"classified{end}"].where(uncalibrated)
    first = frame[frame["category"] == view.shown[0]].set_index("group")
    first = first.assign(missing=first["corrected"].isna(), at=first["corrected"].fillna(first["classified"]))
    first = first.sort_values(["missing", "at"], ascending=[True, False], na_position="last", kind="stable")
    labels = {
        group: group_name(str(group)) + (f" · {row.status}" if row.missing else "")
        for group, row in zip(first.index, first.itertuples(), strict=True)
    }
    frame["label"] = frame["group"].map(labels)
    return frame.set_index("group").loc[first.index].reset_index()


def _looks(field: str, present: list[str]) -> dict[str, Any]:
    """Stroke, fill, shape and size of a mark, all from `field`, so that the legend shows the whole mark."""
    channels = {"stroke": alt.Stroke, "fill": alt.Fill, "shape": alt.Shape, "size": alt.Size}
    return {
        channel: kind(f"{field}:N", title=None).scale(domain=present, range=[MARKS[mark][channel] for mark in present])
        for channel, kind in channels.items()
    }


def _layers(frame: pd.DataFrame, y: alt.Y, x: dict[str, Any]) -> list[alt.Chart]:
    """Back to front: target, intervals, shares, and the planted truth as an outline around them."""
    known = frame[frame["corrected"].notna()]
    present = [mark for mark in (DIFFERS, SAME, NO_TARGET) if (known["mark"] == mark).any()]
    present += [TARGET] if frame["target"].notna().any() else []
    present += [PLANTED] if frame["planted"].notna().any() else []
    present += [PLAIN] if frame["plain"].notna().any() else []

    def points(column: str, field: str, lower: float = 0) -> alt.Chart:
        return (
            alt.Chart()
            .transform_calculate(
                is_target=json.dumps(TARGET), is_planted=json.dumps(PLANTED), is_plain=json.dumps(PLAIN)
            )
            .transform_filter(f"isValid(datum.{column})")
            .mark_point(opacity=1, strokeWidth=1.7, yOffset=lower)
            .encode(x=alt.X(f"{column}:Q", **x), y=y, tooltip=TOOLTIP, **_looks(field, present))
        )

    interval = alt.Chart().transform_filter("isValid(datum.low)").mark_rule(strokeWidth=1.6, color=MUTED)
    plain = alt.Chart().transform_filter("isValid(datum.plain)")
    dashed = plain.mark_rule(strokeWidth=1.2, color=MUTED, strokeDash=[2, 3])
    return [
        points("target", "is_target"),
        interval.encode(x=alt.X("low:Q", **x), x2="high:Q", y=y),
        dashed.encode(x=alt.X("plain_low:Q", **x), x2="plain_high:Q", y=y),
        points("plain", "is_plain"),
        points("corrected", "mark"),
        points("planted", "is_planted", lower=3),
    ]


def _top(frame: pd.DataFrame) -> float:
    """The end of the axis: the next quarter above all that is drawn, half at least."""
    drawn = frame[["high", "plain_high", "target", "planted"]].max().max()
    return float(np.clip(np.ceil(4 * np.nan_to_num(drawn)) / 4, 0.5, 1))


def inline(frame: pd.DataFrame) -> alt.InlineData:
    """Inline values with null for what is missing."""
    return alt.InlineData(values=json.loads(frame.to_json(orient="records")))


def styled(chart: Any, *, legend_columns: int) -> Any:
    """Axes, type and legend that every chart shares."""
    return (
        chart.configure(font=FONT, background="#ffffff", padding=4)
        .configure_view(stroke=None)
        .configure_axis(
            labelColor=INK,
            titleColor=MUTED,
            labelFontSize=12,
            titleFontSize=12,
            titleFontWeight="normal",
            gridColor=RULE,
            domain=False,
            ticks=False,
            labelPadding=6,
            labelLimit=LABEL_LIMIT,
            titlePadding=8,
        )
        .configure_axisY(grid=True)
        .configure_header(labelFontSize=12.5, labelFontWeight="bold", labelColor=INK, labelPadding=4)
        .configure_legend(
            orient="top",
            direction="horizontal",
            columns=legend_columns,
            labelFontSize=12,
            labelColor=INK,
            labelLimit=0,
            title=None,
            padding=0,
            offset=12,
            symbolStrokeWidth=1.7,
        )
    )

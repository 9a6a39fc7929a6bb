"""Charts of watermarks: how strong the evidence is in a run, and what a mark survives. In report and dashboard alike.

Colours are from Okabe and Ito's palette; what a colour says is said by place, shape or number too.
"""

from __future__ import annotations

import math
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from auditkit.watermark.base import GREY
from reports.charts import INK, inline, styled
from reports.words import power

VERDICTS = {"present": "verified", "abstain": "no verdict", "absent": "no mark found"}
"""What a reader is told of each verdict."""
COLOURS = {"present": "#0072B2", "abstain": "#E69F00", "absent": "#c9ced3"}
FARTHEST = 100.0
"""p-values below 1e-100 are drawn there."""
SERIES = ("#0072B2", "#B34700", "#007A5A", "#8A4B9B", "#56606b", "#9A6A00", "#1c2430", "#C2185B")
SHAPES = ("circle", "square", "diamond", "triangle-up", "cross", "triangle-down", "triangle-right", "triangle-left")
_STEPS = (1, 2, 4, 5, 10)


def p_values_chart(found: pd.DataFrame, *, width: int = 860) -> Any:
    """Histogram of the p-values of one scheme and key, the surest to the right, with the threshold.

    Args:
        found: rows of a run's table `watermarks`, at least one with a p-value.
    """
    bins = evidence_bins(found)
    names = [VERDICTS[v] for v in VERDICTS if (bins["verdict"] == VERDICTS[v]).any()]
    colours = [COLOURS[v] for v in VERDICTS if VERDICTS[v] in names]
    end = float(bins["to"].max())
    roomy = width >= 600
    axis = alt.Axis(
        values=_ticks(end, 10 if roomy else 5), labelExpr="datum.value == 0 ? '1' : '1e-' + datum.value", grid=False
    )
    title = "p-value" + (" (right: stronger evidence for the mark)" if roomy else " (right: stronger)")
    x = alt.X("from:Q", axis=axis, title=title).scale(domain=[0, end], nice=False)
    y = alt.Y("images:Q", title="Images (square-root scale)", axis=alt.Axis(tickCount=5, format="d"))
    tips = [
        alt.Tooltip("verdict:N"), alt.Tooltip("between:N", title="p-value"), alt.Tooltip("images:Q", title="images"),
    ]  # fmt: skip
    bars = alt.Chart(inline(bins)).mark_bar(stroke="#ffffff", strokeWidth=0.7, binSpacing=0).encode(
        x=x,
        x2="to:Q",
        y=y.scale(type="sqrt", nice=True),
        y2=alt.datum(0),
        color=alt.Color("verdict:N", title=None, legend=alt.Legend(offset=28)).scale(domain=names, range=colours),
        tooltip=tips,
    )  # fmt: skip
    lines = pd.DataFrame([{"at": -math.log10(fpr), "label": f"asked for: {power(fpr)}"} for fpr in _rates(found)])
    base = alt.Chart(inline(lines))
    rule = base.mark_rule(color=INK, strokeDash=[4, 3], strokeWidth=1.2).encode(x="at:Q")
    text = base.mark_text(align="left", baseline="bottom", dx=4, dy=-2, fontSize=12, color=INK)
    label = text.encode(x="at:Q", y=alt.value(0), text="label:N")
    chart = alt.layer(bars, rule, label).properties(width=width - 70, height=190)
    return styled(chart, legend_columns=3 if roomy else 1)


def evidence_bins(found: pd.DataFrame) -> pd.DataFrame:
    """The histogram's bars: `from`, `to` (both -log10 p), `between` (the p-values in words), `verdict`, `images`.

    The edges break at the threshold and at `GREY`, so that no bar mixes verdicts that follow from the p-value.
    """
    told = found[found["p_value"].notna()]
    strength = np.clip(-np.log10(told["p_value"].clip(lower=10.0**-FARTHEST).to_numpy(float)), 0.0, FARTHEST)
    highest = max(float(strength.max(initial=0.0)), *(-math.log10(fpr) for fpr in _rates(found)), 4.0)
    step = next((s for s in _STEPS if highest / s <= 30), _STEPS[-1])
    end = step * math.floor(highest / step + 1)
    marks = {-math.log10(fpr) for fpr in _rates(found)} | {-math.log10(GREY)}
    edges = np.array(sorted({*np.arange(0.0, end + step / 2, step), *marks}))
    place = np.clip(np.searchsorted(edges, strength, side="right") - 1, 0, len(edges) - 2)
    # At a threshold itself the verdict is the stronger one: its bar begins there.
    counted = pd.DataFrame({"place": place, "verdict": told["verdict"].map(VERDICTS).to_numpy()}).value_counts()
    bins = counted.rename("images").reset_index().sort_values(["place", "verdict"], ignore_index=True)
    at = bins["place"].to_numpy(int)
    return pd.DataFrame(
        {
            "from": edges[at],
            "to": edges[at + 1],
            "between": [f"{power(10.0 ** -edges[i + 1])} to {power(10.0 ** -edges[i])}" for i in at],
            "verdict": bins["verdict"],
            "images": bins["images"],
        }
    )


def heat_chart(cells: pd.DataFrame, *, width: int = 860) -> Any:
    """Share verified after each attack, a column a scheme: the number is in every cell, so that colour only helps.

    Args:
        cells: columns `scheme`, `attack` (with its strength, in words), `tpr` in [0, 1].
    """
    attacks, schemes = cells["attack"].drop_duplicates().tolist(), cells["scheme"].drop_duplicates().tolist()
    frame = cells.assign(share=[f"{100 * v:.0f}" if math.isfinite(v) else "–" for v in cells["tpr"]])
    beside = 6.6 * max(map(len, attacks))
    each = max(24.0, min(96.0, (width - beside - 30) / len(schemes)))
    angle = 0 if each > 7 * max(map(len, schemes)) else -40
    base = alt.Chart(inline(frame)).encode(
        x=alt.X("scheme:N", sort=schemes, title=None).axis(orient="top", labelAngle=angle, grid=False),
        y=alt.Y("attack:N", sort=attacks, title=None).axis(grid=False),
    )
    fill = alt.Color("tpr:Q", legend=None).scale(domain=[0, 1], range=["#ffffff", "#cfe3f2", "#5aa0d6"])
    tips = [alt.Tooltip("attack:N"), alt.Tooltip("scheme:N"), alt.Tooltip("tpr:Q", format=".1%", title="verified")]
    boxes = base.mark_rect(stroke="#ffffff", strokeWidth=1.5).encode(fill=fill, tooltip=tips)
    numbers = base.mark_text(fontSize=11.5, color=INK).encode(text="share:N")
    chart = alt.layer(boxes, numbers).properties(width=alt.Step(each), height=alt.Step(21))
    return styled(chart, legend_columns=1)


def curves_chart(curves: pd.DataFrame, *, title: str, width: int = 860) -> Any:
    """Share verified against the strength of one attack, with 95% intervals, a line and a shape a scheme.

    Args:
        curves: columns `scheme`, `strength` float, `tpr`, `tpr_low`, `tpr_high` in [0, 1].
        title: of the axis of strength.
    """
    schemes = curves["scheme"].drop_duplicates().tolist()
    roomy = width >= 600
    base = alt.Chart(inline(curves))
    x = alt.X("strength:Q", title=title).scale(zero=False, nice=True)
    percent = alt.Axis(format="%", values=[0, 0.25, 0.5, 0.75, 1])
    y = alt.Y("tpr:Q", title="Images verified", axis=percent).scale(domain=[0, 1])
    places = range(len(schemes))
    colour = alt.Color("scheme:N", title=None).scale(domain=schemes, range=[SERIES[i % len(SERIES)] for i in places])
    shape = alt.Shape("scheme:N", title=None).scale(domain=schemes, range=[SHAPES[i % len(SHAPES)] for i in places])
    tips = ["scheme:N", "strength:Q", *(alt.Tooltip(f"{c}:Q", format=".1%") for c in ("tpr", "tpr_low", "tpr_high"))]
    layers = [
        base.mark_rule(strokeWidth=1.2, opacity=0.55).encode(x=x, y="tpr_low:Q", y2="tpr_high:Q", color=colour),
        base.mark_line(strokeWidth=1.5).encode(x=x, y=y, color=colour),
        base.mark_point(size=55, strokeWidth=1.7, fill="#ffffff", opacity=1).encode(
            x=x, y=y, color=colour, shape=shape, tooltip=tips
        ),
    ]
    chart = alt.layer(*layers).properties(width=width - 70, height=240)
    return styled(chart, legend_columns=6 if roomy else 2)


def calibration_chart(null: pd.DataFrame, *, width: int = 860) -> Any:
    """False positives observed on unmarked images against the rate asked for, on logarithmic axes, with the diagonal.

    Args:
        null: columns `name`, `nominal`, `observed`, `low`, `high`; all in [0, 1], an observed 0 is drawn at its upper
            end only.
    """
    floor = 10.0 ** math.floor(math.log10(max(min(null["nominal"].min(), null["high"].min()), 1e-9)))
    frame = null.assign(drawn=null["observed"].where(null["observed"] > 0), low=null["low"].clip(lower=floor))
    log: dict[str, Any] = {"type": "log", "domain": [floor, 1], "nice": False}
    base = alt.Chart(inline(frame))
    ends = alt.Chart(inline(pd.DataFrame({"at": [floor, 1.0]})))
    diagonal = ends.mark_line(color=INK, strokeDash=[3, 3], strokeWidth=1).encode(x="at:Q", y="at:Q")
    axis = alt.Axis(tickCount=6, labelExpr="datum.value == 1 ? '1' : '1e' + round(log(datum.value) / LN10)")
    x = alt.X("nominal:Q", title="False positive rate asked for", axis=axis).scale(**log)
    y = alt.Y("low:Q", title="Observed on unmarked images", axis=axis).scale(**log)
    names = frame["name"].drop_duplicates().tolist()
    places = range(len(names))
    colour = alt.Color("name:N", title=None).scale(domain=names, range=[SERIES[i % len(SERIES)] for i in places])
    shape = alt.Shape("name:N", title=None).scale(domain=names, range=[SHAPES[i % len(SHAPES)] for i in places])
    bars = base.mark_rule(strokeWidth=1.2).encode(x=x, y=y, y2="high:Q", color=colour)
    dots = base.transform_filter("isValid(datum.drawn)").mark_point(size=55, fill="#ffffff", opacity=1, strokeWidth=1.7)
    points = dots.encode(x=x, y="drawn:Q", color=colour, shape=shape)
    side = min(width - 70, 380)
    return styled(alt.layer(diagonal, bars, points).properties(width=side, height=side * 0.75), legend_columns=2)


def _rates(found: pd.DataFrame) -> list[float]:
    return sorted({float(fpr) for fpr in found["fpr"] if fpr > 0})


def _ticks(end: float, most: int) -> list[float]:
    step = next((s for s in (1, 2, 5, 10, 20, 50) if end / s <= most), 100)
    return [float(v) for v in np.arange(0, end + 0.1, step)]

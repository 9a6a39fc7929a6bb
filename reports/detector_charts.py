"""Charts of an evaluation of detectors: in page and dashboard alike. What a colour says, a shape says too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from detectors.alarms import expected
from detectors.metrics import Estimate
from reports.charts import INK, MUTED, inline, styled
from reports.watermark_charts import SERIES, SHAPES

CHANCE = 0.5
GRID = (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 0.5)
"""Base rates at which precision is drawn."""


def dots_chart(rows: pd.DataFrame, *, title: str = "AUROC", width: int = 860) -> Any:
    """A metric with its interval by what was left out, detectors under each other in colour and shape.

    Args:
        rows: columns `detector`, `held_out`, `estimate`, `ci_low`, `ci_high`; rows without an estimate are not drawn.
    """
    names, held = _ordered(rows["detector"]), _ordered(rows["held_out"])
    known = rows[rows["estimate"].notna()]
    base = alt.Chart(inline(known[["detector", "held_out", "estimate", "ci_low", "ci_high"]]))
    low = float(min(CHANCE, known["ci_low"].min())) if len(known) else CHANCE
    domain = [max(0.0, np.floor(10 * low) / 10), 1]
    x = alt.X("estimate:Q", title=title).scale(domain=domain, nice=False, zero=False)
    y = alt.Y("held_out:N", sort=held, title=None).scale(paddingInner=0.25)
    offset = alt.YOffset("detector:N", sort=names)
    colour, shape = _looks("detector", names)
    tips = [
        "detector:N",
        "held_out:N",
        *(alt.Tooltip(f"{c}:Q", format=".3f") for c in ("estimate", "ci_low", "ci_high")),
    ]
    bars = base.mark_rule(strokeWidth=1.3).encode(x=_lower(x), x2="ci_high:Q", y=y, yOffset=offset, color=colour)
    dots = base.mark_point(size=48, strokeWidth=1.7, fill="#ffffff", opacity=1).encode(
        x=x, y=y, yOffset=offset, color=colour, shape=shape, tooltip=tips
    )
    at = alt.Chart(inline(pd.DataFrame({"at": [CHANCE]})))
    chance = at.mark_rule(color=MUTED, strokeDash=[3, 3], strokeWidth=1).encode(x="at:Q")
    beside = min(6.6 * max(map(len, held), default=0), 300)
    height = alt.Step(max(12, 34 / max(len(names), 1)))
    chart = alt.layer(chance, bars, dots).properties(width=max(120, width - beside - 60), height=height)
    return styled(chart, legend_columns=5 if width >= 600 else 2)


def roc_chart(curves: pd.DataFrame, *, width: int = 420) -> Any:
    """True against false positive rates up to 10%, a line for each `held_out` of one detector; 1% is marked.

    Args:
        curves: columns `held_out`, `fpr`, `tpr`.
    """
    names = _ordered(curves["held_out"])
    base = alt.Chart(inline(curves[["held_out", "fpr", "tpr"]]))
    x = alt.X("fpr:Q", title="False positive rate", axis=alt.Axis(format="%", values=[0, 0.01, 0.02, 0.05, 0.1]))
    y = alt.Y("tpr:Q", title="True positive rate", axis=alt.Axis(format="%", values=[0, 0.25, 0.5, 0.75, 1]))
    colour, shape = _looks("held_out", names)
    lines = base.mark_line(interpolate="step-after", strokeWidth=1.5).encode(
        x=x.scale(domain=[0, 0.1]), y=y.scale(domain=[0, 1]), color=colour, order="fpr:Q"
    )
    ends = curves.sort_values(["fpr", "tpr"]).groupby("held_out", sort=False).tail(1)
    dots = alt.Chart(inline(ends[["held_out", "fpr", "tpr"]])).mark_point(size=55, fill="#ffffff", opacity=1)
    marks = dots.encode(x="fpr:Q", y="tpr:Q", color=colour, shape=shape)
    at = alt.Chart(inline(pd.DataFrame({"at": [0.01]})))
    rule = at.mark_rule(color=INK, strokeDash=[4, 3], strokeWidth=1).encode(x="at:Q")
    chart = alt.layer(rule, lines, marks).properties(width=width - 70, height=240)
    return styled(chart, legend_columns=3 if width >= 400 else 2)


def robustness_chart(rows: pd.DataFrame, *, title: str, width: int = 420) -> Any:
    """The mean AUROC against the strength of one degradation, with intervals, a line and a shape a detector.

    Args:
        rows: columns `detector`, `strength`, `estimate`, `ci_low`, `ci_high`.
        title: of the axis of strength.
    """
    names = _ordered(rows["detector"])
    base = alt.Chart(inline(rows[["detector", "strength", "estimate", "ci_low", "ci_high"]]))
    low = float(np.nanmin([CHANCE, rows["ci_low"].min()]))
    domain = [max(0.0, np.floor(10 * low) / 10), 1]
    x = alt.X("strength:Q", title=title, axis=alt.Axis(tickCount=6)).scale(zero=False, nice=True)
    y = alt.Y("estimate:Q", title="Mean AUROC").scale(domain=domain, nice=False, zero=False)
    colour, shape = _looks("detector", names)
    bars = base.mark_rule(strokeWidth=1.2, opacity=0.6).encode(x=x, y=_lower(y), y2="ci_high:Q", color=colour)
    lines = base.mark_line(strokeWidth=1.5).encode(x=x, y=y, color=colour)
    dots = base.mark_point(size=55, strokeWidth=1.7, fill="#ffffff", opacity=1)
    marks = dots.encode(x=x, y=y, color=colour, shape=shape)
    chart = alt.layer(bars, lines, marks).properties(width=width - 70, height=220)
    return styled(chart, legend_columns=3 if width >= 400 else 2)


def reliability_chart(curve: pd.DataFrame, *, width: int = 420) -> Any:
    """Share generated against calibrated probability, with intervals, by `held_out`; on the diagonal it holds.

    Args:
        curve: columns `held_out`, `probability`, `estimate`, `ci_low`, `ci_high`, `weight`.
    """
    known = curve[curve["estimate"].notna()]
    names = _ordered(curve["held_out"])
    base = alt.Chart(inline(known[["held_out", "probability", "estimate", "ci_low", "ci_high", "weight"]]))
    ends = alt.Chart(inline(pd.DataFrame({"at": [0.0, 1.0]})))
    diagonal = ends.mark_line(color=INK, strokeDash=[3, 3], strokeWidth=1).encode(x="at:Q", y="at:Q")
    percent = alt.Axis(format="%", values=[0, 0.25, 0.5, 0.75, 1])
    x = alt.X("probability:Q", title="Probability given", axis=percent).scale(domain=[0, 1])
    y = alt.Y("estimate:Q", title="Share generated", axis=percent).scale(domain=[0, 1])
    colour, shape = _looks("held_out", names)
    bars = base.mark_rule(strokeWidth=1.1, opacity=0.6).encode(x=x, y=_lower(y), y2="ci_high:Q", color=colour)
    lines = base.mark_line(strokeWidth=1.1, opacity=0.7).encode(x=x, y=y, color=colour)
    dots = base.mark_point(size=50, strokeWidth=1.6, fill="#ffffff", opacity=1)
    marks = dots.encode(x=x, y=y, color=colour, shape=shape)
    side = min(width - 70, 320)
    chart = alt.layer(diagonal, bars, lines, marks).properties(width=side, height=side * 0.85)
    return styled(chart, legend_columns=3 if width >= 400 else 2)


def precision_chart(rows: pd.DataFrame, *, at: float, width: int = 420) -> Any:
    """The share of alarms that are right against the base rate, with intervals, by `held_out`.

    Args:
        rows: of `precision_rows`. at: the user's own base rate, marked.
    """
    names = _ordered(rows["held_out"])
    base = alt.Chart(inline(rows))
    axis = alt.Axis(values=list(GRID), format="~%", labelAngle=0, labelOverlap=True)
    x = alt.X("base_rate:Q", title="Share of generated images among yours", axis=axis)
    x = x.scale(type="log", domain=[GRID[0], GRID[-1]], nice=False)
    y = alt.Y("estimate:Q", title="Alarms that are right", axis=alt.Axis(format="%", values=[0, 0.25, 0.5, 0.75, 1]))
    y = y.scale(domain=[0, 1])
    colour, shape = _looks("held_out", names)
    bars = base.mark_rule(strokeWidth=1.1, opacity=0.6).encode(x=x, y=_lower(y), y2="ci_high:Q", color=colour)
    lines = base.mark_line(strokeWidth=1.4).encode(x=x, y=y, color=colour)
    dots = base.mark_point(size=50, strokeWidth=1.6, fill="#ffffff", opacity=1)
    marks = dots.encode(x=x, y=y, color=colour, shape=shape)
    own = alt.Chart(inline(pd.DataFrame({"at": [min(max(at, GRID[0]), GRID[-1])]})))
    rule = own.mark_rule(color=INK, strokeDash=[4, 3], strokeWidth=1).encode(x="at:Q")
    chart = alt.layer(rule, bars, lines, marks).properties(width=width - 70, height=240)
    return styled(chart, legend_columns=3 if width >= 400 else 2)


def precision_rows(rates: Sequence[tuple[str, Estimate, Estimate]]) -> pd.DataFrame:
    """Precision over `GRID`: held_out, base_rate, estimate, ci_low, ci_high.

    Args:
        rates: name, true and false positive rate of each; those that are insufficient are left out.
    """
    found = []
    for name, tpr, fpr in rates:
        if tpr.status != "ok" or fpr.status != "ok":
            continue
        for base_rate in GRID:
            table = expected(tpr, fpr, base_rate=base_rate, volume=1)
            row = table[table["measure"] == "precision"].iloc[0]
            found.append((name, base_rate, row["estimate"], row["ci_low"], row["ci_high"]))
    return pd.DataFrame(found, columns=["held_out", "base_rate", "estimate", "ci_low", "ci_high"])


def _looks(field: str, names: list[str]) -> tuple[alt.Color, alt.Shape]:
    places = range(len(names))
    colour = alt.Color(f"{field}:N", title=None).scale(domain=names, range=[SERIES[i % len(SERIES)] for i in places])
    shape = alt.Shape(f"{field}:N", title=None).scale(domain=names, range=[SHAPES[i % len(SHAPES)] for i in places])
    return colour, shape


def _lower(y: Any) -> Any:
    """The same axis for the lower ends of the intervals."""
    made = y.copy()
    made["shorthand"] = "ci_low:Q"
    return made


def _ordered(column: pd.Series) -> list[str]:
    return [str(name) for name in column.drop_duplicates()]

"""Charts of an evaluation of mitigations: in page and dashboard alike. What a colour says, a shape says too."""

from __future__ import annotations

from typing import Any

import altair as alt
import pandas as pd

from reports.charts import MUTED, inline, styled
from reports.watermark_charts import SERIES, SHAPES

WITHOUT = "without"
"""The name of the run without a mitigation among the methods."""


def front(rows: pd.DataFrame) -> list[str]:
    """Names on the Pareto front: no other is nearer to the target and no dearer, or as near and cheaper.

    Args:
        rows: columns `method`, `estimate` (distance) and `price`, both better when lower; rows with a NaN are left out.

    >>> front(pd.DataFrame({"method": ["a", "b", "c"], "estimate": [0.4, 0.1, 0.2], "price": [0, 1, 2]}))
    ['a', 'b']
    """
    known = rows.dropna(subset=["estimate", "price"])
    all_of = [(float(p), float(d), str(m)) for p, d, m in known[["price", "estimate", "method"]].to_numpy()]
    return [
        name
        for price, distance, name in sorted(all_of)
        if not any(p <= price and d <= distance and (p < price or d < distance) for p, d, _ in all_of)
    ]


def pareto_chart(rows: pd.DataFrame, *, title: str, percent: bool, names: list[str], width: int = 560) -> Any:
    """Distance to the target against a price, with intervals of both; the dashed line joins the front.

    Args:
        rows: columns `method`, `estimate`, `ci_low`, `ci_high` (distance), `price`, `price_low`, `price_high`.
        title: of the price's axis. percent: whether the price is a share. names: all methods, for their colours.
    """
    known = rows.dropna(subset=["estimate", "price"])
    base = alt.Chart(inline(known))
    nothing = 0.0 if percent else 1.0
    low, high = _extent(known, ["price", "price_low"], nothing)[0], _extent(known, ["price", "price_high"], nothing)[1]
    room = max(0.06 * (high - low), 0.002 if percent else 0.02)
    axis = alt.Axis(format=".1%" if percent else ".2f", tickCount=6, labelOverlap=True)
    x = alt.X("price:Q", title=title, axis=axis).scale(domain=[low - room, high + room], nice=False, zero=False)
    top = _extent(known, ["estimate", "ci_high"], 0.05)[1]
    y = alt.Y("estimate:Q", title="Distance to the target").scale(domain=[0, top * 1.04], nice=False)
    colour, shape = _looks(names)
    tall = base.mark_rule(strokeWidth=1.3, opacity=0.6).encode(x=x, y=_at(y, "ci_low"), y2="ci_high:Q", color=colour)
    wide = base.mark_rule(strokeWidth=1.3, opacity=0.6).encode(
        x=_at(x, "price_low"), x2="price_high:Q", y=y, color=colour
    )
    tips = ["method:N", *(alt.Tooltip(f"{c}:Q", format=".3f") for c in ("estimate", "price"))]
    dots = base.mark_point(size=75, strokeWidth=1.8, fill="#ffffff", opacity=1).encode(
        x=x, y=y, color=colour, shape=shape, tooltip=tips
    )
    best = known[known["method"].isin(front(known))].sort_values("price")
    line = alt.Chart(inline(best[["price", "estimate"]])).mark_line(color=MUTED, strokeDash=[4, 3], strokeWidth=1.1)
    chart = alt.layer(line.encode(x=x, y=y), tall, wide, dots).properties(width=width - 80, height=260)
    return styled(chart, legend_columns=3 if width >= 500 else 1 if max(map(len, names)) > 20 else 2)


def _looks(names: list[str]) -> tuple[alt.Color, alt.Shape]:
    """A colour and a shape for each method; when the colours begin again, they come with other shapes."""
    places = range(len(names))
    colours = [SERIES[i % len(SERIES)] for i in places]
    shapes = [SHAPES[(i + i // len(SERIES)) % len(SHAPES)] for i in places]
    return (
        alt.Color("method:N", title=None).scale(domain=names, range=colours),
        alt.Shape("method:N", title=None).scale(domain=names, range=shapes),
    )


def groups_chart(rows: pd.DataFrame, *, names: list[str], width: int = 860) -> Any:
    """Distance to the target by group, without and with each mitigation, with intervals.

    Args:
        rows: columns `method`, `group`, `estimate`, `ci_low`, `ci_high`; rows without an estimate are not drawn.
    """
    known = rows[rows["estimate"].notna()]
    groups = [str(name) for name in rows["group"].drop_duplicates()]
    base = alt.Chart(inline(known[["method", "group", "estimate", "ci_low", "ci_high"]]))
    x = alt.X("estimate:Q", title="Distance to the target", axis=alt.Axis(tickCount=6)).scale(zero=True)
    y = alt.Y("group:N", sort=groups, title=None).scale(paddingInner=0.25)
    offset = alt.YOffset("method:N", sort=names)
    colour, shape = _looks(names)
    bars = base.mark_rule(strokeWidth=1.2).encode(x=_at(x, "ci_low"), x2="ci_high:Q", y=y, yOffset=offset, color=colour)
    dots = base.mark_point(size=44, strokeWidth=1.6, fill="#ffffff", opacity=1).encode(
        x=x, y=y, yOffset=offset, color=colour, shape=shape
    )
    beside = min(6.6 * max(map(len, groups), default=0), 300)
    chart = alt.layer(bars, dots).properties(
        width=max(120, width - beside - 60), height=alt.Step(max(9, 34 / max(len(names), 1)))
    )
    return styled(chart, legend_columns=4 if width >= 600 else 1)


def _extent(rows: pd.DataFrame, columns: list[str], besides: float) -> tuple[float, float]:
    """The least and the greatest number in the columns, and `besides`."""
    found = [float(v) for column in columns for v in rows[column].dropna()]
    return min([besides, *found]), max([besides, *found])


def _at(axis: Any, field: str) -> Any:
    """The same axis for another field: an interval's end."""
    made = axis.copy()
    made["shorthand"] = f"{field}:Q"
    return made

"""A heat map of rows by columns with the numbers written in: one chart, several chapters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from reports.chapters.base import Figure
from reports.charts import INK, LABEL_LIMIT, inline, styled, to_svg

WIDE, NARROW = 860, 343
BLUES, DIVERGING = ("#ffffff", "#0072B2"), ("#B34700", "#ffffff", "#0072B2")


def grid_figure(
    cells: pd.DataFrame,
    *,
    rows: Sequence[str],
    columns: Sequence[str],
    reach: float,
    form: str,
    signed: bool,
    title: str,
    alt_text: str,
    caption: str,
) -> Figure:
    """Cells coloured by value; those marked are framed and written bold, so that colour is not needed to see them.

    Args:
        cells: columns `row`, `column`, `value` (NaN is left blank) and `marked` (bool).
        rows, columns: labels, in the order in which they are drawn.
        reach: value at which the colour is full. form: of the numbers, in d3's notation.
        signed: colours run both ways from 0. title: of the columns.
    """
    wide, narrow = (to_svg(_chart(cells, rows, columns, reach, form, signed, title, width)) for width in (WIDE, NARROW))
    return Figure(wide, alt_text, caption, narrow)


def _chart(
    cells: pd.DataFrame,
    rows: Sequence[str],
    columns: Sequence[str],
    reach: float,
    form: str,
    signed: bool,
    title: str,
    width: int,
) -> Any:
    roomy = width >= 600
    beside = min(6.6 * max(map(len, rows)), LABEL_LIMIT if roomy else 150)
    side = float(np.clip((width - beside - 30) / len(columns), 10, 58 if roomy else 40))
    written = side >= 24
    upright = side < 6.4 * max(map(len, columns))
    shown = cells.assign(dark=(abs(cells["value"]) > 0.8 * reach))
    x = alt.X("column:N", sort=list(columns), title=title).axis(
        orient="top", labelAngle=-90 if upright else 0, labelLimit=160, grid=False, labelPadding=4
    )
    y = alt.Y("row:N", sort=list(rows), title=None).axis(grid=False, labelLimit=beside)
    colour = alt.Color("value:Q", legend=None).scale(
        domain=[-reach, 0, reach] if signed else [0, reach],
        range=list(DIVERGING if signed else BLUES),
        clamp=True,
        interpolate="rgb",
    )
    tips = [
        alt.Tooltip("row:N", title="group"),
        alt.Tooltip("column:N", title=title),
        alt.Tooltip("value:Q", format=form),
    ]
    base = alt.Chart(inline(shown)).transform_filter("isValid(datum.value)")
    boxes = base.mark_rect(stroke="#dfe3e6", strokeWidth=0.5).encode(x=x, y=y, color=colour, tooltip=tips)
    frames = base.transform_filter("datum.marked").mark_rect(
        filled=False, stroke=INK, strokeWidth=1.6 if written else 1.2
    )
    layers = [boxes, frames.encode(x=x, y=y)]
    if written:
        for marked in (True, False):
            text = base.transform_filter(f"datum.marked == {str(marked).lower()}")
            ink = alt.condition("datum.dark", alt.value("#ffffff"), alt.value(INK))
            layers.append(
                text.mark_text(fontSize=11, fontWeight="bold" if marked else "normal").encode(
                    x=x, y=y, text=alt.Text("value:Q", format=form), color=ink
                )
            )
    height = alt.Step(22 if roomy else 17)
    return styled(alt.layer(*layers).properties(width=side * len(columns), height=height), legend_columns=2)

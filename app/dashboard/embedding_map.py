"""The map of a run: each image as a point on the first two principal components of its embedding.

A part of it is chosen by dragging a box over the points, or by typing its edges, which a keyboard and a link can do.
"""

from __future__ import annotations

import math
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import streamlit as st
from numpy.typing import NDArray

from app.dashboard import state
from app.dashboard.index import Positions
from reports import words
from reports.charts import FONT, INK, MUTED

DRAWN = 3000
"""Most points that are drawn, taken at random; choosing a part takes all images in it."""
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down")
"""Okabe and Ito's colours, and a shape for each, so that the map reads in grey."""
AREA, BOX = "area", "box"
Area = tuple[float, float, float, float]
"""x from, x to, y from, y to."""


def read_area(text: str) -> Area | None:
    """'-0.1,0.2,0,0.3' -> (-0.1, 0.2, 0.0, 0.3); None where it is not four numbers with an extent."""
    try:
        edges = [float(each) for each in text.split(",")]
    except ValueError:
        return None
    if len(edges) != 4 or not all(map(math.isfinite, edges)) or edges[0] >= edges[1] or edges[2] >= edges[3]:
        return None
    return edges[0], edges[1], edges[2], edges[3]


def inside(flat: NDArray[np.float32], area: Area) -> NDArray[np.bool_]:
    """Which points lie in that part, bool [n]."""
    x, y = flat[:, 0], flat[:, 1]
    return (x >= area[0]) & (x <= area[1]) & (y >= area[2]) & (y <= area[3])


def field() -> str:
    """The edges of the part, as typed or dragged. Bound by hand: a bound field may not be filled by a drag."""
    if AREA not in st.session_state:
        st.session_state[AREA] = st.query_params.get(AREA, "")
    text = st.text_input(
        "Part of the map: left, right, lower and upper edge", key=AREA, max_chars=60,
        placeholder="drag a box over the map, or type -0.1,0.2,-0.3,0",
    )  # fmt: skip
    if text:
        st.query_params[AREA] = text
    else:
        st.query_params.pop(AREA, None)
    return text or ""


def draw(loaded: state.Loaded, flat: NDArray[np.float32], shown: Positions) -> None:
    """The points of the images `shown`, coloured as the reader wishes; a box that is dragged goes into AREA."""
    colour = _colour(loaded)
    known = shown[np.isfinite(flat[shown, 0])]
    if not len(known):
        st.info("None of these images has been embedded.")
        return
    if len(known) > DRAWN:
        known = np.sort(np.random.default_rng(0).choice(known, DRAWN, replace=False))
    rows = pd.DataFrame({"x": flat[known, 0], "y": flat[known, 1]}).astype(float).round(5)
    names: list[str] = []
    if colour:
        values = loaded.index.column(colour).iloc[known].fillna("unknown").astype(str)
        names = sorted(values.unique())
        rows["kind"] = values.to_numpy()
    chart = _chart(rows, names, read_area(st.session_state.get(AREA) or ""))
    few = f" {len(known):,} of {len(shown):,} images, drawn at random, are shown." if len(known) < len(shown) else ""
    st.altair_chart(
        chart, width="stretch", key="map", on_select=_taken, selection_mode=BOX,
        alt=f"{words.plural(len(known), 'image')} on the first two principal components of their embeddings",
    )  # fmt: skip
    st.caption(
        "Each point is an image; near points look alike to the encoder. The two axes are those along which the run's "
        f"embeddings differ most; they have no meaning of their own. Drag a box to choose images.{few}"
    )


def _colour(loaded: state.Loaded) -> str:
    """The column that colours the points: an axis or scores with few enough values to tell apart."""
    index = loaded.index
    choices = {
        f"axis_{axis}": f"prompted {words.name(axis)}" for axis in index.axes if len(index.axis_values[axis]) <= 6
    }
    for key in index.people_first():
        if len(index.classes(key)) <= len(COLOURS):
            choices[key] = f"perceived {words.name(key.split('@')[0])}"
    first = next((key for key in choices if "@" in key), "")
    options = [*choices, ""]
    return st.selectbox(
        "Colour by", options, index=options.index(first), format_func=lambda each: choices.get(each, "nothing"),
        key="colour", bind="query-params",
    )  # fmt: skip


def _taken() -> None:
    """Put the box that was dragged into the field of its edges."""
    chosen: Any = st.session_state["map"]
    box = (chosen.get("selection") or {}).get(BOX) or {}
    if {"x", "y"} <= set(box):
        edges = [*sorted(box["x"]), *sorted(box["y"])]
        st.session_state[AREA] = ",".join(f"{each:.4f}" for each in edges)
        st.session_state["page"] = 1


def _chart(rows: pd.DataFrame, names: list[str], area: Area | None) -> alt.LayerChart:
    box = alt.selection_interval(name=BOX, encodings=["x", "y"], mark=alt.BrushConfig(fill=INK, fillOpacity=0.08))
    axis = alt.Axis(labels=False, ticks=False, grid=False, domainColor=MUTED, titleColor=INK)
    x = alt.X("x:Q", title="first component", axis=axis, scale=alt.Scale(zero=False))
    y = alt.Y("y:Q", title="second component", axis=axis, scale=alt.Scale(zero=False))
    points = alt.Chart(rows).mark_point(size=90 if len(rows) <= 300 else 30, filled=True, opacity=0.7).encode(x=x, y=y)
    if names:
        palette, shapes = alt.Scale(domain=names, range=[*COLOURS]), alt.Scale(domain=names, range=[*SHAPES])
        legend = alt.Legend(title=None, orient="top", labelFontSize=13, labelColor=INK, symbolSize=80)
        points = points.encode(
            color=alt.Color("kind:N", scale=palette, legend=legend), shape=alt.Shape("kind:N", scale=shapes)
        )
    else:
        points = points.encode(color=alt.value(COLOURS[0]))
    layers: list[Any] = [points.add_params(box)]
    if area is not None:
        frame = pd.DataFrame([dict(zip(("x", "x2", "y", "y2"), area, strict=True))])
        edge = alt.Chart(frame).mark_rect(fillOpacity=0, stroke=INK, strokeDash=[4, 3])
        layers.append(edge.encode(x="x:Q", x2="x2:Q", y="y:Q", y2="y2:Q"))
    # On a canvas the chart is one picture with its alternative text; as SVG its marks would be nameless parts.
    drawn = alt.layer(*layers).properties(height=460, usermeta={"embedOptions": {"renderer": "canvas"}})
    return drawn.configure(font=FONT)

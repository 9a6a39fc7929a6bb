"""The map of a run: each image as a point on the first two principal components of its embedding.

A part of it is chosen with a lasso or a box over the points, or by typing its edges, which a keyboard and a link can
do. It is the one chart that is not Altair's, since Vega-Lite has no lasso.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import streamlit as st
from numpy.typing import NDArray
from skimage.measure import approximate_polygon, points_in_poly

from app.dashboard import state
from app.dashboard.index import Positions
from reports import words
from reports.charts import FONT, INK, MUTED

if TYPE_CHECKING:
    import plotly.graph_objects as go

DRAWN = 3000
"""Most points that are drawn, taken at random; choosing a part takes all images in it."""
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down")
"""Okabe and Ito's colours, and a shape for each, so that the map reads in grey."""
AREA, CORNERS, LONGEST = "area", 40, 800
"""The field, and most corners and characters in it."""
Area = NDArray[np.float64]
"""Corners of a polygon, [n, 2]."""


def read_area(text: str) -> Area | None:
    """Corners: of a box from '-0.1,0.2,0,0.3' (left, right, lower, upper), else of the polygon 'x,y,x,y,x,y...'; None
    where the text is neither."""
    try:
        numbers = [float(each) for each in text.split(",")]
    except ValueError:
        return None
    if not all(map(math.isfinite, numbers)) or len(numbers) % 2 or not 4 <= len(numbers) <= 2 * CORNERS:
        return None
    if len(numbers) > 4:
        return np.reshape(numbers, (-1, 2))
    left, right, lower, upper = numbers
    if left >= right or lower >= upper:
        return None
    return np.array([(left, lower), (right, lower), (right, upper), (left, upper)])


def write_area(x: list[float], y: list[float]) -> str:
    """The text of a line that was drawn, of no more than CORNERS corners; empty where it encloses nothing."""
    line = np.column_stack([x, y]).astype(float)
    tolerance = 0.002 * float(np.ptp(line, axis=0).max()) if len(line) else 0.0
    while len(kept := approximate_polygon(line, tolerance)) > CORNERS:
        tolerance = 1.5 * tolerance + 1e-9
    return ",".join(f"{each:.4f}" for each in kept.ravel()) if len(kept) > 2 else ""


def inside(flat: NDArray[np.float32], area: Area) -> NDArray[np.bool_]:
    """Which points lie in that part, bool [n]."""
    return np.asarray(points_in_poly(np.nan_to_num(flat, nan=np.inf), area), dtype=bool)


def field() -> str:
    """The edges of the part, as typed or drawn. Bound by hand: a bound field may not be filled by a drag."""
    if AREA not in st.session_state:
        st.session_state[AREA] = st.query_params.get(AREA, "")
    text = st.text_input(
        "Part of the map: left, right, lower and upper edge, or corners x,y,x,y,...", key=AREA, max_chars=LONGEST,
        placeholder="draw a lasso or a box on the map, or type -0.1,0.2,-0.3,0",
    )  # fmt: skip
    if text:
        st.query_params[AREA] = text
    else:
        st.query_params.pop(AREA, None)
    return text or ""


def draw(loaded: state.Loaded, flat: NDArray[np.float32], shown: Positions) -> None:
    """The points of the images `shown`, coloured as the reader wishes; a part that is drawn goes into AREA."""
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
    figure = _figure(rows, names, read_area(st.session_state.get(AREA) or ""))
    few = f" {len(known):,} of {len(shown):,} images, drawn at random, are shown." if len(known) < len(shown) else ""
    st.plotly_chart(
        figure, width="stretch", key="map", on_select=_taken, selection_mode=("lasso", "box"), theme=None,
        config={"displaylogo": False, "modeBarButtons": [["lasso2d", "select2d", "zoom2d", "pan2d", "resetScale2d"]]},
    )  # fmt: skip
    st.caption(
        "Each point is an image; near points look alike to the encoder. The two axes are those along which the run's "
        f"embeddings differ most; they have no meaning of their own. Draw around images to choose them.{few}"
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
    """Put the corners of what was drawn into their field."""
    chosen: Any = st.session_state["map"]
    selection = chosen.get("selection") or {}
    for drawn in [*(selection.get("lasso") or []), *(selection.get("box") or [])]:
        x, y = drawn["x"], drawn["y"]
        if len(x) == 2:  # a box: opposite corners
            text = ",".join(f"{each:.4f}" for each in [*sorted(x), *sorted(y)])
        else:
            text = write_area(x, y)
        if text:
            st.session_state[AREA] = text
            st.session_state["page"] = 1


def _figure(rows: pd.DataFrame, names: list[str], area: Area | None) -> go.Figure:
    import plotly.graph_objects as go  # half a second that views without the map need not wait for

    figure = go.Figure()
    size = 9 if len(rows) <= 300 else 6
    for number, name in enumerate(names or [""]):
        part = rows[rows["kind"] == name] if names else rows
        marker = {"color": COLOURS[number], "symbol": SHAPES[number], "size": size, "opacity": 0.7}
        figure.add_trace(go.Scatter(x=part["x"], y=part["y"], mode="markers", name=name, marker=marker))
    axis = {"showticklabels": False, "showgrid": False, "zeroline": False, "linecolor": MUTED}
    figure.update_layout(
        template="none", height=460, dragmode="lasso", hovermode=False, showlegend=bool(names),
        font={"family": FONT, "color": INK, "size": 13}, margin={"l": 40, "r": 10, "t": 40, "b": 40},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "itemclick": False,
                "itemdoubleclick": False},
        xaxis={"title": {"text": "first component"}, **axis}, yaxis={"title": {"text": "second component"}, **axis},
    )  # fmt: skip
    if area is not None:
        path = "M" + " L".join(f"{x},{y}" for x, y in area) + " Z"
        figure.add_shape(type="path", path=path, line={"color": INK, "dash": "dash", "width": 1})
    return figure

"""Representation: shares by group with intervals, beside the target and any planted truth."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
import streamlit as st

from app.dashboard import state, widgets
from auditkit.runs import Run
from reports import charts, prose, tables, words

WIDTH = 880  # pixels, what the page is wide on a common screen


def render() -> None:
    """Draw the view."""
    st.title("Representation")
    st.markdown(widgets.FRAMING)
    loaded = widgets.choose_run()
    run, measurements = loaded.run, loaded.measurements
    if measurements is None or measurements.empty:
        st.info("There are no measurements to show for this run yet.")
        widgets.commands("To measure it:", ["score", str(run.path)], ["measure", str(run.path)])
        return
    view = _choose_view(run, measurements)
    widgets.sentences(_findings(view))
    _chart(view, loaded)
    _shares(view, loaded)
    _distances(view)
    _raw(loaded, view)


def _choose_view(run: Run, measurements: pd.DataFrame) -> tables.View:
    names = tables.attributes(measurements)
    attribute = st.segmented_control(
        "Attribute",
        names,
        default=names[0],
        required=True,
        format_func=words.name,
        key="attribute",
        bind="query-params",
        persist_state="session",
    )
    by = tables.grouping(measurements)
    planted = tables.planted_shares(run, attribute, by=by)
    return tables.view(measurements, attribute, by=by, planted=planted)


def _findings(view: tables.View) -> list[str]:
    """In the report's words."""
    parts = (words.headline, words.not_proof, words.uncorrected, words.overall)
    return [*(sentence for part in parts for sentence in part(view)), *words.silences([view])]


def _chart(view: tables.View, loaded: state.Loaded) -> None:
    st.subheader(f"Perceived {words.name(view.attribute)} by {words.group_noun(view.by)}")
    if "+" not in view.attribute:  # a joint attribute has too many classes for a panel each
        # As SVG, the report's own picture: Streamlit's Vega-Lite does not merge the legends of its layers.
        drawn = _svg(view, state.stamp(loaded.run.path), view.attribute)
        st.image(drawn, width=WIDTH, alt=words.chart_alt(view))
        st.caption(prose.chart_caption(view))
    for status in view.shares["status"].unique():
        if status in words.STATUS:
            about = widgets.plain(f"{words.listed(_names(view.groups_with(status)))}. {words.STATUS[status]}")
            st.info(f"**{status}**: {about}", icon=":material/info:")


def _names(groups: list[str]) -> list[str]:
    return [words.group_name(group) for group in groups]


@st.cache_data(max_entries=32, show_spinner=False)
def _svg(_view: tables.View, stamp: tuple[tuple[str, int], ...], attribute: str) -> str:
    return charts.to_svg(charts.shares_chart(_view, width=WIDTH))


def _shares(view: tables.View, loaded: state.Loaded) -> None:
    st.subheader("Shares")
    st.caption("Select a row to see its images. Shares are in percent, intervals at 95%.")
    rows = view.shares
    frame = pd.DataFrame(
        {
            words.group_noun(view.by): rows["group"].map(words.group_name),
            "perceived as": rows["category"].map(words.name),
            "images": rows["n_images"],
            "corrected": 100 * rows["corrected"],
            "interval": _intervals(rows, "low", "high"),
            "target": 100 * rows["target"],
            "planted": 100 * rows["planted"],
            "as classified": 100 * rows["classified"],
            "unknown bounds": _intervals(rows, "bound_low", "bound_high"),
            "p (Holm)": rows["p_holm"].map(words.p_value),
            "status": rows["status"],
        }
    )
    if rows["planted"].isna().all():
        frame = frame.drop(columns="planted")
    chosen = st.dataframe(
        frame,
        hide_index=True,
        placeholder=words.MISSING,
        column_config=_percents("corrected", "target", "planted", "as classified"),
        on_select="rerun",
        selection_mode="single-row",
        key=f"shares of {loaded.name} {view.attribute}",
        alt=words.chart_alt(view),
    )
    for position in chosen.selection.rows:
        _to_images(view, rows.iloc[position], loaded)


def _to_images(view: tables.View, row: pd.Series, loaded: state.Loaded) -> None:
    group, category = str(row["group"]), str(row["category"])
    query = {} if group == tables.WHOLE else {f"axis_{view.by}": group}
    label = f"Images of {words.group_name(group)}"
    if "+" not in view.attribute:
        query[f"seen_{view.attribute}"] = words.name(category)
        label += f" perceived as {words.name(category)}"
    widgets.link("gallery", label, icon=":material/grid_view:", run=loaded.name, **query)


def _distances(view: tables.View) -> None:
    if view.distances.empty:
        return
    st.subheader(f"Distance from {words.target_name(view.target)}")
    st.caption(
        "Total variation: the percentage of images that would have to change. Even a generator that met the "
        "target would show the distance 'expected by chance' at this number of images."
    )
    rows = view.distances
    frame = pd.DataFrame(
        {
            words.group_noun(view.by): rows["group"].map(words.group_name),
            "images": rows["n_images"],
            "distance": 100 * rows["distance"],
            "interval": _intervals(rows, "low", "high"),
            "expected by chance": 100 * rows["expected"],
            "p (Holm)": rows["p_holm"].map(words.p_value),
            "status": rows["status"],
        }
    )
    st.dataframe(
        frame,
        hide_index=True,
        placeholder=words.MISSING,
        column_config=_percents("distance", "expected by chance"),
        alt=f"Distance of each {words.group_noun(view.by)} from the target, farthest first",
    )


def _raw(loaded: state.Loaded, view: tables.View) -> None:
    st.subheader("Take it with you")
    assert loaded.measurements is not None
    rows = loaded.measurements[loaded.measurements["attribute"] == view.attribute]
    with st.container(horizontal=True):
        for label, frame in (("This attribute", rows), ("All measurements", loaded.measurements)):
            name = f"{loaded.name}-{view.attribute if frame is rows else 'measurements'}.csv"
            data = frame.to_csv(index=False)
            widgets.download(f"{label} (CSV)", data, file_name=name, mime="text/csv")
    by = [] if view.by == tables.WHOLE else ["--by", view.by]
    options = ["--target", view.target, *by]
    for name in tables.attributes(loaded.measurements):
        options += ["--attribute", name]
    widgets.commands("The command that reproduces this view:", ["measure", str(loaded.run.path), *options])


def _intervals(rows: pd.DataFrame, low: str, high: str) -> list[str]:
    return [words.interval(*ends, digits=1) or words.MISSING for ends in zip(rows[low], rows[high], strict=True)]


def _percents(*names: str) -> Mapping[str, Any]:
    return {name: st.column_config.NumberColumn(format="%.1f %%") for name in names}

"""What each measure beyond the shares found: the report's chapters, with the rows behind them."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from app.dashboard import state, widgets
from app.dashboard.blocks import block
from auditkit.runs import Run
from reports.chapters import PLAN, Chapter, chapters


def render() -> None:
    """Draw the view."""
    st.title("Measures")
    st.markdown(widgets.FRAMING)
    loaded = widgets.choose_run()
    run, measurements = loaded.run, loaded.measurements
    found = [] if measurements is None else _chapters(run, measurements, state.stamp(run.path))
    if measurements is None or not found:
        st.info("This run has been measured for shares only, or not at all.")
        widgets.commands("To measure all that applies to it:", ["score", str(run.path)], ["measure", str(run.path)])
        return
    titles = {chapter.id: chapter.title for chapter in found}
    first = next((number for number, chapter in enumerate(found) if chapter.id != PLAN), 0)
    name = st.selectbox(
        "Measure", list(titles), index=first, format_func=titles.__getitem__, key="measure", bind="query-params"
    )
    chapter = next(one for one in found if one.id == name)
    st.subheader(widgets.plain(chapter.title))
    widgets.sentences(chapter.lead)
    for number, one in enumerate(chapter.blocks):
        block(one, loaded, f"{chapter.id} {number}")
    if chapter.notes:
        st.markdown("**How to read it**")
        widgets.sentences(chapter.notes)
    _rows(loaded, measurements, chapter)


@st.cache_data(max_entries=8, show_spinner="Reading the measurements")
def _chapters(_run: Run, _measurements: pd.DataFrame, stamp: tuple[tuple[str, int], ...]) -> list[Chapter]:
    return chapters(_measurements, _run)


def _rows(loaded: state.Loaded, measurements: pd.DataFrame, chapter: Chapter) -> None:
    if chapter.id == PLAN:
        widgets.commands("The command that says the same:", ["plan", "deviations", str(loaded.run.path)])
        return
    st.subheader("Take it with you")
    rows = measurements[measurements["measure"].str.partition(".")[0] == chapter.id]
    widgets.download(
        "All rows of this measure (CSV)",
        rows.to_csv(index=False),
        file_name=f"{loaded.name}-{chapter.id}.csv",
        mime="text/csv",
    )
    widgets.commands(
        "The command that reproduces this view:", ["measure", str(loaded.run.path), "--measure", chapter.id]
    )

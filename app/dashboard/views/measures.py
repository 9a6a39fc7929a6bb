"""What each measure beyond the shares found: the report's chapters, with the rows behind them."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from app.dashboard import state, widgets
from auditkit.runs import Run
from reports.chapters import PLAN, Chapter, Figure, Pictures, chapters
from reports.chapters import Table as Cells

WIDTH = 880
THUMBNAIL = 144  # pixels


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
    for number, block in enumerate(chapter.blocks):
        _block(block, loaded, f"{chapter.id} {number}")
    if chapter.notes:
        st.markdown("**How to read it**")
        widgets.sentences(chapter.notes)
    _rows(loaded, measurements, chapter)


@st.cache_data(max_entries=8, show_spinner="Reading the measurements")
def _chapters(_run: Run, _measurements: pd.DataFrame, stamp: tuple[tuple[str, int], ...]) -> list[Chapter]:
    return chapters(_measurements, _run)


def _block(block: Figure | Cells | Pictures, loaded: state.Loaded, key: str) -> None:
    if isinstance(block, Figure):
        st.image(block.svg, width=WIDTH, alt=block.alt)
        st.caption(widgets.plain(block.caption))
    elif isinstance(block, Pictures):
        _pictures(block, loaded)
    else:
        st.caption(widgets.plain(block.caption))
        frame = pd.DataFrame([list(row) for row in block.rows], columns=_distinct(block.columns))
        st.dataframe(frame, hide_index=True, key=f"table {loaded.name} {key}", alt=block.caption)


def _distinct(columns: Any) -> list[str]:
    """Column names, each once: a table's heads may repeat, a data frame's may not."""
    seen: dict[str, int] = {}
    out = []
    for column in columns:
        seen[column] = seen.get(column, 0) + 1
        out.append(column if seen[column] == 1 else f"{column} ({seen[column]})")
    return out


def _pictures(block: Pictures, loaded: state.Loaded) -> None:
    st.markdown(f"**{widgets.plain(block.heading)}**")
    grid = st.grid(min_column_width=110, gap="small")
    for number, (id, caption) in enumerate(zip(block.ids, block.captions, strict=True), 1):
        with grid.container(gap="xsmall"):
            data = state.thumbnail(loaded.run, id, size=THUMBNAIL)
            if data is None:
                st.warning("This image's file is missing or damaged.")
            else:
                st.image(data, width="stretch", alt=caption or f"{block.heading}, image {number}")
            if caption:
                st.caption(widgets.plain(caption))
            widgets.link("image", f"Details of {number}", run=loaded.name, id=id)


def _rows(loaded: state.Loaded, measurements: pd.DataFrame, chapter: Chapter) -> None:
    if chapter.id == PLAN:
        widgets.commands("The command that says the same:", ["plan", "deviations", str(loaded.run.path)])
        return
    st.subheader("Take it with you")
    rows = measurements[measurements["measure"].str.partition(".")[0] == chapter.id]
    st.download_button(
        "All rows of this measure (CSV)",
        rows.to_csv(index=False),
        file_name=f"{loaded.name}-{chapter.id}.csv",
        mime="text/csv",
        on_click="ignore",
    )
    widgets.commands(
        "The command that reproduces this view:", ["measure", str(loaded.run.path), "--measure", chapter.id]
    )

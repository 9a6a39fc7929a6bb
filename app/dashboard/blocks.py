"""A chapter's figures, tables and pictures, drawn as the report draws them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import pandas as pd
import streamlit as st

from app.dashboard import state, widgets
from reports.chapters import Chapter, Figure, Pictures
from reports.chapters import Table as Cells

WIDTH = 880
THUMBNAIL = 144  # pixels
TALLEST = 24
"""Rows up to which a table is shown whole, without a scroll bar of its own."""


def chapter(one: Chapter, key: str) -> None:
    """Draw a chapter that is about no run: title, sentences, figures and tables, and how to read it behind a fold."""
    st.subheader(one.title)
    widgets.sentences(one.lead)
    for number, each in enumerate(one.blocks):
        block(each, None, f"{key} {one.id} {number}")
    if one.notes:
        with st.expander("How to read it"):
            widgets.sentences(one.notes)


def block(one: Figure | Cells | Pictures, loaded: state.Loaded | None, key: str) -> None:
    """Draw it; `key` tells it from the others of the view. Pictures are those of the run."""
    if isinstance(one, Figure):
        st.image(one.svg, width=WIDTH, alt=one.alt)
        st.caption(widgets.plain(one.caption))
    elif isinstance(one, Pictures):
        if loaded is not None:
            _pictures(one, loaded)
    else:
        st.caption(widgets.plain(one.caption))
        frame = pd.DataFrame([list(row) for row in one.rows], columns=_distinct(one.columns))
        height: int | Literal["content", "auto"] = "content" if len(frame) <= TALLEST else "auto"
        st.dataframe(
            frame, hide_index=True, height=height, key=f"table {loaded.name if loaded else ''} {key}", alt=one.caption
        )


def _distinct(columns: Sequence[str]) -> list[str]:
    """Column names, each once: a table's heads may repeat, a data frame's may not."""
    seen: dict[str, int] = {}
    out = []
    for column in columns:
        seen[column] = seen.get(column, 0) + 1
        out.append(column if seen[column] == 1 else f"{column} ({seen[column]})")
    return out


def _pictures(one: Pictures, loaded: state.Loaded) -> None:
    st.markdown(f"**{widgets.plain(one.heading)}**")
    grid = st.grid(min_column_width=110, gap="small")
    for number, (id, caption) in enumerate(zip(one.ids, one.captions, strict=True), 1):
        with grid.container(gap="xsmall"):
            data = state.thumbnail(loaded.run, id, size=THUMBNAIL)
            if data is None:
                st.warning("This image's file is missing or damaged.")
            else:
                st.image(data, width="stretch", alt=caption or f"{one.heading}, image {number}")
            if caption:
                st.caption(widgets.plain(caption))
            widgets.link("image", f"Details of {number}", run=loaded.name, id=id)

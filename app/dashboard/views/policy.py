"""Policy: a run on one page, in plain sentences with their caveats, to be read and handed on."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from app.dashboard import access, state, widgets
from auditkit.errors import AuditkitError
from auditkit.provenance.disclosure import disclose
from auditkit.runs import Run
from reports import disclosure_page, model_card, pdf
from reports.model_card import Card
from reports.render import page, to_json

OPEN = ("summary", "caveats")
"""Sections that stand open; the others open when they are asked for, so that all of it fits a page."""


def render() -> None:
    """Draw the view."""
    st.title("Policy")
    loaded = widgets.choose_run()
    try:
        card = _card(loaded.run, state.stamp(loaded.run.path))
    except AuditkitError as error:
        widgets.problem(error)
        return
    st.header(widgets.plain(card.title))
    st.caption(" · ".join(f"{head}: {widgets.stranger(text)}" for head, text in card.facts.items()))
    for section in card.sections:
        where = st.container() if section.id in OPEN else st.expander(section.title, expanded=section.id == "shares")
        with where:
            if section.id in OPEN:
                st.subheader(section.title)
            if section.sentences:
                widgets.sentences([widgets.clean(each, longest=2000) for each in section.sentences])
            for number, table in enumerate(section.tables):
                frame = pd.DataFrame([list(row) for row in table.rows], columns=list(table.columns))
                st.caption(widgets.plain(table.caption))
                st.dataframe(
                    frame,
                    hide_index=True,
                    height="content",
                    alt=table.caption,
                    key=f"{loaded.name} {section.id} {number}",
                )
    _take_along(loaded, card)
    _others(loaded)


def _take_along(loaded: state.Loaded, card: Card) -> None:
    if access.exports():
        st.subheader("Take it with you")
    with st.container(horizontal=True):
        html = model_card.to_html(card)
        widgets.download("This page (HTML)", html, file_name=f"{loaded.name}-card.html", mime="text/html")
        widgets.download(
            "This page (Markdown)", model_card.to_markdown(card), file_name=f"{loaded.name}-card.md",
            mime="text/markdown",
        )  # fmt: skip
        _pdf(loaded, html)
        _pack(loaded)
    widgets.commands(
        "The same in a terminal, and everything as a folder that opens without a server:",
        ["card", str(loaded.run.path), "--pdf"],
        ["disclose", str(loaded.run.path)],
        ["export", str(loaded.run.path), "--out", f"{loaded.name}-pages"],
    )


def _pdf(loaded: state.Loaded, html: str) -> None:
    """Made when it is asked for: it takes seconds."""
    if not access.exports() or not st.button("Make a PDF of it", icon=":material/picture_as_pdf:"):
        return
    try:
        made = _as_pdf(html)
    except AuditkitError as error:
        widgets.problem(error)
        return
    widgets.download("This page (PDF)", made, file_name=f"{loaded.name}-card.pdf", mime="application/pdf")


def _pack(loaded: state.Loaded) -> None:
    try:
        told = disclose(loaded.run)
    except AuditkitError as error:
        widgets.problem(error)
        return
    html = page("disclosure.html", disclosure_page.assemble(told))
    widgets.download("Disclosure pack (HTML)", html, file_name=f"{loaded.name}-disclosure.html", mime="text/html")
    widgets.download(
        "Disclosure pack (JSON)", to_json(told.as_dict()), file_name=f"{loaded.name}-disclosure.json",
        mime="application/json",
    )  # fmt: skip


def _others(loaded: state.Loaded) -> None:
    """Where the parts of the page come from."""
    st.subheader("Look closer")
    with st.container(horizontal=True):
        widgets.link("bias", "Shares by group", icon=":material/bar_chart:", run=loaded.name)
        widgets.link("gallery", "The images", icon=":material/grid_view:", run=loaded.name)
        widgets.link(
            "provenance", "Each disclosed item", icon=":material/verified_user:", part="Disclosure", run=loaded.name
        )


@st.cache_data(max_entries=8, show_spinner="Reading the run")
def _card(_run: Run, stamp: tuple[tuple[str, int], ...]) -> Card:
    return model_card.card(_run)


@st.cache_data(max_entries=4, show_spinner="Setting the pages")
def _as_pdf(html: str) -> bytes:
    return pdf.to_pdf(html)

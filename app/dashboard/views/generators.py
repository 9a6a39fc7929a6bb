"""Generators: model cards with their pictures, planted tables, fidelity, and what training cost."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from app.dashboard import widgets
from generators.known import Known, bundled
from reports.cards import facts, notes, overview, plain, tables
from reports.chapters.base import Table

ALL = "all"


def render() -> None:
    """Draw the view."""
    st.title("Generators")
    st.markdown(
        "The generators that come with auditkit. Their bias was **planted in training**, so that it is known: what an "
        "audit says of them can be checked. They draw; what is read in a drawing is perceived presentation."
    )
    known = _known()
    names = [ALL, *(one.name for one in known)]
    chosen = st.selectbox("Generator", names, key="generator", bind="query-params")
    if chosen == ALL:
        _table(overview(known), "overview")
        for one in known:
            st.subheader(one.name)
            _sheet(one)
    else:
        _card(next(one for one in known if one.name == chosen))


@st.cache_data(max_entries=1, show_spinner="Reading the cards")
def _known() -> list[Known]:
    return bundled()


def _card(one: Known) -> None:
    card = one.card
    if card is None:
        st.info(f"This {one.pipeline} has no model card.")
        return
    st.markdown(widgets.plain(plain(card.what)))
    _sheet(one)
    widgets.sentences([f"{title}: {text}" for title, text in facts(card).items()])
    for number, each in enumerate(tables(one)):
        _table(each, f"{one.name} {number}")
    widgets.sentences(notes(one))
    widgets.commands(
        "To audit it, and to read this card elsewhere:",
        ["audit", "occupations", "--generator", one.name, "--target", "planted"],
        ["generators", one.name, "--html", f"{one.name}.html"],
    )


def _sheet(one: Known) -> None:
    if one.sheet is not None:
        said = f"Samples of {one.name} under neutral prompts, one row an occupation"
        st.image(one.sheet.read_bytes(), width="stretch", alt=said)


def _table(each: Table, key: str) -> None:
    st.caption(widgets.plain(each.caption))
    frame = pd.DataFrame([list(row) for row in each.rows], columns=list(each.columns))
    st.dataframe(frame, hide_index=True, height="content", key=f"card {key}", alt=each.caption)

"""Review: a queue for moderators, a labelling mode, how far people agree, and the log of what they decided."""

from __future__ import annotations

import streamlit as st

from app.dashboard import review_agreement, review_labels, review_queue, review_source, widgets

PARTS = {"moderate": "Moderate", "label": "Label", "agreement": "Agreement", "log": "Log"}


def render() -> None:
    """Draw the view."""
    st.title("Review")
    part = st.segmented_control(
        "Show", list(PARTS), default="moderate", required=True, format_func=PARTS.__getitem__, key="part",
        bind="query-params",
    )  # fmt: skip
    if part == "label":
        review_labels.labels()
        return
    source = review_source.choose()
    if source is None:
        return
    if part == "log":
        review_agreement.log(source)
    elif part == "agreement":
        review_agreement.of_decisions(source)
        if st.session_state.get("source") == "run":
            review_agreement.of_labels(widgets.state.load(source.name))
    else:
        review_queue.queue(source)

"""The images of a run, filtered by prompt, by what was perceived and by how sure the classifier is."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from app.dashboard import state, widgets
from reports import words

A_PAGE = 40
THUMBNAIL = 192  # pixels; twice the width at which a thumbnail is shown
ORDERS = {"prompt": "as prompted", "unsure": "least certain first", "sure": "most certain first"}


PIXELS = "pixels"
"""What scores say in place of an encoder where they were read from the pixels alone."""


def render() -> None:
    """Draw the view."""
    st.title("Gallery")
    loaded = widgets.choose_run()
    with st.container(border=True):
        chosen = _filter(loaded)
    if chosen.empty:
        st.info("No image passes these filters.")
        return
    pages = -(-len(chosen) // A_PAGE)
    st.markdown(f"**{words.plural(len(chosen), 'image')}** of {len(loaded.images):,}")
    if pages > 1:
        st.session_state["page"] = min(st.session_state.get("page") or 1, pages)
        page = st.pagination(pages, key="page", bind="query-params")
    else:
        page = 1
    _grid(loaded, chosen.iloc[(page - 1) * A_PAGE : page * A_PAGE])
    if loaded.scores:
        st.caption("Labels are perceived presentation, with the classifier's confidence; both can be wrong.")


def _filter(loaded: state.Loaded) -> pd.DataFrame:
    """The images that pass, in the order asked for. Every filter is in the page's address."""
    images = loaded.images
    keep = pd.Series(True, index=images.index)
    encoder = _encoder(loaded)
    keys = {key.split("@")[0]: key for key in loaded.scores if key.split("@")[1] in (encoder, PIXELS)}
    cells = st.grid(min_column_width=220)
    for axis in loaded.run.axes:
        values = images[f"axis_{axis}"].dropna()
        wanted = cells.multiselect(
            f"Prompted {words.name(axis)}", sorted(values.unique()), key=f"axis_{axis}", bind="query-params"
        )
        if wanted:
            keep &= images[f"axis_{axis}"].isin(wanted)
    for scorer, key in keys.items():
        labels = _labels(loaded, key)
        wanted = cells.multiselect(
            f"Perceived {words.name(scorer)}",
            labels,
            format_func=words.name,
            key=f"seen_{scorer}",
            bind="query-params",
        )
        if wanted:
            keep &= images[key].isin(wanted)
    if not keys:
        return images[keep]
    scorer = cells.selectbox("Certainty of", list(keys), format_func=words.name, key="of", bind="query-params")
    low, high = cells.slider("Certainty between", 0.0, 1.0, (0.0, 1.0), 0.05, key="certainty", bind="query-params")
    order = cells.selectbox("Order", list(ORDERS), format_func=ORDERS.__getitem__, key="order", bind="query-params")
    certainty = images[f"{keys[scorer]} confidence"]
    if (low, high) != (0.0, 1.0):
        keep &= certainty.between(low, high)
    if order != "prompt":
        return images.loc[certainty[keep].sort_values(ascending=order == "unsure", kind="stable").index]
    return images[keep]


def _encoder(loaded: state.Loaded) -> str | None:
    encoders = sorted({key.split("@", 1)[1] for key in loaded.scores} - {PIXELS})
    if len(encoders) < 2:
        return encoders[0] if encoders else None
    return st.selectbox("Encoder", encoders, key="encoder", bind="query-params")


def _labels(loaded: state.Loaded, key: str) -> list[str]:
    """The scorer's classes in their own order, then `unknown`."""
    classes = [name.removeprefix("p_") for name in loaded.scores[key].columns if name.startswith("p_")]
    return [*classes, "unknown"]


def _under_each(loaded: state.Loaded) -> list[str]:
    """The scores that stand under each image: two at most, those of people first; the image's page has them all."""
    first = [key for key in loaded.scores if key.split("@")[0] in ("gender", "skin_tone")]
    return (first or [key for key in loaded.scores if key.split("@")[0] != "occupation"])[:2]


def _grid(loaded: state.Loaded, rows: pd.DataFrame) -> None:
    keys = _under_each(loaded)
    grid = st.grid(min_column_width=150, gap="small")
    for row in rows.to_dict("records"):
        with grid.container(border=True, gap="xsmall"):
            seen = [f"{words.name(row[key])} {words.percent(row[f'{key} confidence'])}" for key in keys]
            number = f"{row['prompt_id']}.{row['replicate']}"
            data = state.thumbnail(loaded.run, row["id"], size=THUMBNAIL)
            if data is None:
                st.warning("This image's file is missing or damaged.")
            else:
                st.image(data, width="stretch", alt=f"Image {number}, prompt: {row['prompt']}")
            st.caption("  \n".join(widgets.plain(line) for line in [row["prompt"], *seen]))
            widgets.link("image", f"Details of {number}", run=loaded.name, id=row["id"])

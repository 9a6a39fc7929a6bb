"""One image: its origin, every score, and its neighbours in the run."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from app.dashboard import state, widgets
from reports import words

LARGE = 768  # pixels


def render() -> None:
    """Draw the view."""
    st.title("Image")
    loaded = widgets.choose_run()
    wanted = st.text_input(
        "Image id", key="id", bind="query-params", placeholder="64 hex digits; the gallery's links fill it in"
    )
    images = loaded.images
    # The id is looked up in the run's own table; it is never made into a path as it came.
    found = images[images["id"] == (wanted or images["id"].iloc[0])]
    if found.empty:
        st.warning("There is no image of that id in this run.")
        widgets.link("gallery", "To the gallery", icon=":material/grid_view:", run=loaded.name)
        return
    position = int(images["id"].eq(found["id"].iloc[0]).to_numpy().argmax())
    _neighbours(loaded, position)
    left, right = st.columns([2, 3], gap="large")
    with left:
        _picture(loaded, found.iloc[0])
    with right:
        _scores(loaded, found.iloc[0])
        _origin(loaded, found)


def _neighbours(loaded: state.Loaded, position: int) -> None:
    images = loaded.images
    with st.container(horizontal=True):
        if position > 0:
            before = images["id"].iloc[position - 1]
            widgets.link("image", "Previous image", icon=":material/arrow_back:", run=loaded.name, id=before)
        if position + 1 < len(images):
            after = images["id"].iloc[position + 1]
            widgets.link("image", "Next image", icon=":material/arrow_forward:", run=loaded.name, id=after)


def _picture(loaded: state.Loaded, row: pd.Series) -> None:
    data = state.thumbnail(loaded.run, row["id"], size=LARGE)
    if data is None:
        st.warning("This image's file is missing or damaged: auditkit verify-run says more.")
    else:
        st.image(data, width="stretch", alt=f"Generated image for the prompt: {row['prompt']}")
    st.markdown(f"**Prompt:** {widgets.plain(row['prompt'])}")


def _scores(loaded: state.Loaded, row: pd.Series) -> None:
    st.subheader("As perceived")
    if not loaded.scores:
        st.info("This run has not been scored yet.")
        widgets.commands("To score it:", ["score", str(loaded.run.path)])
    for key, table in loaded.scores.items():
        if row["id"] not in table.index:
            continue
        scored = table.loc[row["id"]]
        scorer, encoder = key.split("@", 1)
        st.markdown(f"**{words.name(scorer).capitalize()}: {words.name(scored['label'])}** (encoder {encoder})")
        classes = [name for name in table.columns if name.startswith("p_")]
        chances = scored[classes].astype(float).rename(lambda name: words.name(name.removeprefix("p_")))
        frame = chances.sort_values(ascending=False).head(5).rename("probability").rename_axis("class").reset_index()
        bar = st.column_config.ProgressColumn(min_value=0.0, max_value=1.0, format="percent")
        alt = f"Most probable classes of {words.name(scorer)}"
        st.dataframe(frame, hide_index=True, column_config={"probability": bar}, alt=alt)
        if pd.notna(scored["in_domain"]) and not scored["in_domain"]:
            st.warning("Unlike the calibration images: these scores are uncalibrated here.")


def _origin(loaded: state.Loaded, found: pd.DataFrame) -> None:
    st.subheader("Origin")
    row = found.iloc[0]
    generator = loaded.run.record["generator"]
    facts = {
        "Generator": generator.get("name"),
        "Template": row["template"],
        **{words.name(axis).capitalize(): row[f"axis_{axis}"] for axis in loaded.run.axes},
        "Seed": row["seed"],
        "Sampler": row["sampler"],
        "Steps": row["steps"],
        "Guidance": row["guidance"],
        "Size": f"{row['width']} x {row['height']} pixels",
        "Replicate": row["replicate"],
        "Run": loaded.run.id,
    }
    known = {name: str(value) for name, value in facts.items() if pd.notna(value)}
    st.table(
        pd.DataFrame(known.items(), columns=["what", "value"]),
        hide_index=True,
        hide_header=True,
        alt="Origin",
    )
    st.caption("Id: the sha256 of the file's bytes")
    st.code(row["id"], language=None, wrap_lines=True)
    if len(found) > 1:
        st.info(f"The generator returned this very image {len(found)} times in the run.")

"""One image: its origin, every score, what is known of its marks and manifest, and its neighbours."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from app.dashboard import spaces, state, widgets
from auditkit.errors import AuditkitError
from reports import words

LARGE = 768  # pixels
NEIGHBOURS, THUMBNAIL = 8, 192
TABLES = ("watermarks", "provenance", "detections")


def render() -> None:
    """Draw the view."""
    st.title("Image")
    loaded = widgets.choose_run()
    wanted = st.text_input(
        "Image id", key="id", bind="query-params", placeholder="64 hex digits; the gallery's links fill it in"
    )
    # The id is looked up in the run's own table; it is never made into a path as it came.
    found = loaded.index.find(wanted.strip()) if wanted else [0][: loaded.index.n_images]
    if not len(found):
        st.warning("There is no image of that id in this run.")
        widgets.link("gallery", "To the gallery", icon=":material/grid_view:", run=loaded.name)
        return
    position = int(found[0])
    row = loaded.index.rows([position])[0]
    _beside(loaded, position)
    left, right = st.columns([2, 3], gap="large")
    with left:
        _picture(loaded, row)
        _origin(loaded, row, len(found))
    with right:
        _scores(loaded, row["id"])
        _provenance(loaded, row["id"])
    _neighbours(loaded, position, row["id"])


def _beside(loaded: state.Loaded, position: int) -> None:
    places = [each for each in (position - 1, position + 1) if 0 <= each < loaded.index.n_images]
    ids = {row["position"]: row["id"] for row in loaded.index.rows(places)}
    with st.container(horizontal=True):
        if position - 1 in ids:
            widgets.link("image", "Previous image", icon=":material/arrow_back:", run=loaded.name, id=ids[position - 1])
        if position + 1 in ids:
            widgets.link("image", "Next image", icon=":material/arrow_forward:", run=loaded.name, id=ids[position + 1])


def _picture(loaded: state.Loaded, row: dict[str, Any]) -> None:
    data = state.thumbnail(loaded.run, row["id"], size=LARGE)
    if data is None:
        st.warning("This image's file is missing or damaged: auditkit verify-run says more.")
    else:
        st.image(data, width="stretch", alt=f"Generated image for the prompt: {row['prompt']}")
    st.markdown(f"**Prompt:** {widgets.plain(row['prompt'])}")


def _scores(loaded: state.Loaded, id: str) -> None:
    st.subheader("As perceived")
    if not loaded.index.keys:
        st.info("This run has not been scored yet.")
        widgets.commands("To score it:", ["score", str(loaded.run.path)])
    cells = st.grid(min_column_width=300)
    for key in loaded.index.people_first():
        scored = loaded.index.scored(key, id)
        if scored is None:
            continue
        with cells.container():
            _scored(key, scored)


def _scored(key: str, scored: dict[str, Any]) -> None:
    scorer, encoder = key.split("@", 1)
    st.markdown(
        f"**{words.name(scorer).capitalize()}: {words.name(scored['label'])}** (encoder {widgets.plain(encoder)})"
    )
    chances = {words.name(name[2:]): float(value) for name, value in scored.items() if name.startswith("p_")}
    best = sorted(chances.items(), key=lambda each: -each[1])[:5]
    frame = pd.DataFrame(best, columns=["class", "probability"])
    bar = st.column_config.ProgressColumn(min_value=0.0, max_value=1.0, format="percent")
    alt = f"Most probable classes of {words.name(scorer)}"
    st.dataframe(frame, hide_index=True, column_config={"probability": bar}, alt=alt)
    measured = {name[2:]: value for name, value in scored.items() if name.startswith("v_") and pd.notna(value)}
    if measured:
        st.caption(", ".join(f"{words.name(name)} {value:.3g}" for name, value in measured.items()))
    if pd.notna(scored["in_domain"]) and not scored["in_domain"]:
        st.warning("Unlike the calibration images: these scores are uncalibrated here.")


def _provenance(loaded: state.Loaded, id: str) -> None:
    st.subheader("Marks, manifest and detectors")
    found = {name: loaded.index.about(name, id) for name in TABLES if name not in loaded.damaged}
    marks, signed, told = (found.get(name, []) for name in TABLES)
    if not marks and not signed and not told:
        st.caption(
            "No watermark was looked for, no detector was asked, and no manifest is on record. That is no proof that "
            "the image carries no mark."
        )
        return
    rows = [
        {"asked": f"watermark {row['scheme']}", "answer": row["verdict"], "evidence": _evidence(row)} for row in marks
    ]
    rows += [
        {"asked": "C2PA manifest, when it was signed", "answer": row["verdict"], "evidence": f"by {row['signer']}"}
        for row in signed
    ]
    rows += [
        {"asked": f"detector {row['detector']}", "answer": row["verdict"], "evidence": str(row["why"])} for row in told
    ]
    frame = pd.DataFrame(rows).map(widgets.stranger)
    st.table(frame, hide_index=True, alt="What is known of this image's marks and manifest, and what detectors say")
    st.caption("Neither no mark found nor no sign is proof that an image was not generated.")
    if signed:
        widgets.link(
            "provenance", "Verify the signed copies as they are now", icon=":material/verified_user:", run=loaded.name
        )


def _evidence(row: dict[str, Any]) -> str:
    p = words.power(row["p_value"]) if pd.notna(row["p_value"]) else words.MISSING
    parts = [f"p {p} ({row['p_kind']})", f"key {row['key_id']}" if row["key_id"] else "", row["note"]]
    return "; ".join(filter(None, parts))


def _origin(loaded: state.Loaded, row: dict[str, Any], times: int) -> None:
    st.subheader("Origin")
    generator = loaded.run.record["generator"]
    facts = {
        "Generator": generator.get("name"),
        "Template": row["template"],
        **{words.name(axis).capitalize(): row[f"axis_{axis}"] for axis in loaded.index.axes},
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
        pd.DataFrame(known.items(), columns=["what", "value"]).map(widgets.stranger),
        hide_index=True,
        hide_header=True,
        alt="Origin",
    )
    st.caption("Id: the sha256 of the file's bytes")
    st.code(row["id"], language=None, wrap_lines=True)
    if times > 1:
        st.info(f"The generator returned this very image {times} times in the run.")


def _neighbours(loaded: state.Loaded, position: int, id: str) -> None:
    st.subheader("Nearest in the run")
    names = spaces.names(loaded)
    if not names:
        widgets.commands("To find its neighbours, embed the images:", ["score", str(loaded.run.path)])
        return
    try:
        near = spaces.space(loaded, names[0]).nearest(position, NEIGHBOURS)
    except AuditkitError as error:
        widgets.problem(error)
        return
    st.caption(f"By cosine in the space of {widgets.plain(names[0])}.")
    grid = st.grid(min_column_width=130, gap="small")
    rows = loaded.index.rows([each for each, _ in near])
    for number, (row, (_, cosine)) in enumerate(zip(rows, near, strict=True), 1):
        with grid.container(border=True, gap="xsmall"):
            data = state.thumbnail(loaded.run, row["id"], size=THUMBNAIL)
            if data is None:
                st.warning("This image's file is missing or damaged.")
            else:
                st.image(data, width="stretch", alt=f"Neighbour {number}, prompt: {row['prompt']}")
            st.caption(f"{widgets.plain(row['prompt'])}  \ncosine {cosine:.3f}")
            widgets.link("image", f"Open {number}", run=loaded.name, id=row["id"])
    widgets.link("gallery", "All images in this order", icon=":material/grid_view:", run=loaded.name, like=id)

"""The images of a run: filtered, searched by words or by an image, or chosen on a map of their embeddings.

Every filter is in the page's address. What is in an address is looked up in the run's own tables or read as numbers;
none of it is made into a path.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import streamlit as st
from numpy.typing import NDArray
from streamlit.delta_generator import DeltaGenerator

from app.dashboard import embedding_map, spaces, state, uploads, widgets
from app.dashboard.index import PROMPTED, SURE, UNSURE, Positions, Wish
from auditkit.clip.space import Space
from auditkit.errors import AuditkitError, ImageError
from reports import words

A_PAGE = 40
THUMBNAIL = 192  # pixels; twice the width at which a thumbnail is shown
ORDERS = {PROMPTED: "as prompted", UNSURE: "least certain first", SURE: "most certain first"}
GRID, MAP = "images", "map"
EVERY, SAME, NEAR = "all images", "same bytes", "near-duplicates"
POOL = 5000
"""Most images among which every pair is held against each other; of more, those of one prompt."""

PIXELS = "pixels"
"""What scores say in place of an encoder where they were read from the pixels alone."""


@dataclass(frozen=True)
class Asked:
    """What is looked for: an upload's name and bytes before an id of the run, and that before words."""

    text: str = ""
    like: str = ""
    upload: tuple[str, bytes] | None = None

    def __bool__(self) -> bool:
        return bool(self.text or self.like or self.upload)


@dataclass(frozen=True)
class Chosen:
    """The images that pass, in order, and what stands under some of them, by position."""

    positions: Positions
    notes: Mapping[int, str] = field(default_factory=dict)
    cosines: NDArray[np.float32] | None = None
    """Of each with what is looked for; NaN where it was not embedded."""


def render() -> None:
    """Draw the view."""
    st.title("Gallery")
    loaded = widgets.choose_run()
    names = spaces.names(loaded)
    with st.container(border=True):
        wish, encoder, asked = _wanted(loaded, bool(names))
    with st.container(horizontal=True, vertical_alignment="bottom", gap="large"):
        copies = _copies(bool(names))
        show = _shown() if names else GRID
    area = embedding_map.field() if show == MAP else ""
    if not names:
        widgets.commands(
            "To search by words or by an image, and for a map, the images must be embedded first:",
            ["score", str(loaded.run.path)],
        )
    space = None
    if asked or show == MAP or copies == NEAR:
        try:
            space = spaces.space(loaded, encoder if encoder in names else names[0])
        except AuditkitError as error:  # the filters work without it
            widgets.problem(error)
    chosen = Chosen(loaded.index.choose(wish))
    if space is not None and show == MAP:
        chosen = _on_the_map(loaded, space, chosen, area)
    if copies == SAME:
        chosen = _same_bytes(loaded, chosen)
    elif copies == NEAR and space is not None:
        chosen = _near(loaded, space, chosen)
    if space is not None and asked:
        chosen = _sorted(loaded, space, chosen, asked)
    _pages(loaded, chosen)


def _pages(loaded: state.Loaded, chosen: Chosen) -> None:
    count = len(chosen.positions)
    if not count:
        st.info("No image passes these filters.")
        return
    pages, page = -(-count // A_PAGE), 1
    st.markdown(f"**{words.plural(count, 'image')}** of {loaded.index.n_images:,}")
    if pages > 1:
        st.session_state["page"] = min(st.session_state.get("page") or 1, pages)
        page = st.pagination(pages, key="page", bind="query-params")
    _grid(loaded, chosen, slice((page - 1) * A_PAGE, page * A_PAGE))
    if loaded.index.keys:
        st.caption("Labels are perceived presentation, with the classifier's confidence; both can be wrong.")


def _wanted(loaded: state.Loaded, embedded: bool) -> tuple[Wish, str | None, Asked]:
    """The filters, the encoder whose scores they are, and what is looked for: what most people ask first in one row,
    the rest behind two lines that open."""
    index, encoder = loaded.index, _encoder(loaded)
    keys = {key.split("@")[0]: key for key in index.people_first() if key.split("@")[1] in (encoder, PIXELS)}
    first = st.columns(min(len(index.axis_values), 2) + min(len(keys), 2) or 1)
    hidden = ("prompt", "seed", "of", "certainty", "order", *(f"seen_{scorer}" for scorer in list(keys)[2:]))
    rest = _behind("More filters: prompt, seed, certainty, other labels", hidden)
    cells = itertools.chain(first, itertools.cycle(rest))
    axes = {}
    for number, (axis, values) in enumerate(index.axis_values.items()):
        cell = next(cells) if number < 2 else rest[number % 3]
        axes[axis] = cell.multiselect(
            f"Prompted {words.name(axis)}", values, key=f"axis_{axis}", bind="query-params", placeholder="all"
        )
    labels = {
        key: next(cells).multiselect(
            words.seen(scorer), index.classes(key), format_func=words.name, key=f"seen_{scorer}", bind="query-params",
            placeholder="all",
        )
        for scorer, key in keys.items()
    }  # fmt: skip
    prompt = rest[0].text_input("Prompt holds", key="prompt", bind="query-params", max_chars=200)
    seed = _seed(rest[1].text_input("Seed", key="seed", bind="query-params", max_chars=20))
    wish = Wish(axes=axes, prompt=prompt or "", seed=seed)
    if keys:
        order = rest[2].selectbox(
            "Order", list(ORDERS), format_func=ORDERS.__getitem__, key="order", bind="query-params"
        )  # fmt: skip
        of = rest[0].selectbox("Certainty of", list(keys), format_func=words.name, key="of", bind="query-params")
        low, high = rest[1].slider(
            "Certainty between", 0.0, 1.0, (0.0, 1.0), 0.05, key="certainty", bind="query-params"
        )  # fmt: skip
        wish = Wish(axes, labels, prompt or "", seed, keys[of], (float(low), float(high)), order)
    return wish, encoder, _asked() if embedded else Asked()


def _behind(line: str, names: tuple[str, ...]) -> Sequence[DeltaGenerator]:
    """Three columns behind a line that opens, and stands open where the address asks for one of these."""
    return st.expander(line, expanded=any(name in st.query_params for name in names)).columns(3)


def _seed(text: str | None) -> int | None:
    if not text:
        return None
    if text.isascii() and text.isdigit() and int(text) < 2**63:
        return int(text)
    st.warning("A seed is a whole number from 0 to 9223372036854775807; this filter is left out.")
    return None


def _encoder(loaded: state.Loaded) -> str | None:
    encoders = sorted({key.split("@", 1)[1] for key in loaded.index.keys} - {PIXELS})
    if len(encoders) < 2:
        return encoders[0] if encoders else None
    return st.selectbox("Encoder", encoders, key="encoder", bind="query-params")


def _copies(embedded: bool) -> str:
    options = [EVERY, SAME, NEAR] if embedded else [EVERY, SAME]
    return str(
        st.segmented_control(
            "Copies", options, default=EVERY, required=True, key="copies", bind="query-params",
            help="Images that come up again in the run; those that belong together stand beside each other.",
        )
    )  # fmt: skip


def _asked() -> Asked:
    left, middle, right = _behind("Search: by words, or by an image", ("words", "like"))
    text = left.text_input(
        "Search by words", key="words", bind="query-params", max_chars=200, placeholder="a person with a hat"
    )
    like = middle.text_input(
        "Like the image of id", key="like", bind="query-params", max_chars=64,
        placeholder="the page of an image fills it in",
    )  # fmt: skip
    upload = right.file_uploader(
        "Like an image of yours (nothing of it is kept)", key="upload", max_upload_size=uploads.MEGABYTES
    )
    given = (upload.name, upload.getvalue()) if upload is not None else None
    return Asked((text or "").strip(), (like or "").strip(), given)


def _shown() -> str:
    return str(st.segmented_control("Show", [GRID, MAP], default=GRID, required=True, key="show", bind="query-params"))


def _on_the_map(loaded: state.Loaded, space: Space, chosen: Chosen, area: str) -> Chosen:
    """Draw the map; those of the images that lie in the part of it that was chosen."""
    embedding_map.draw(loaded, space.flat, chosen.positions)
    if not area:
        return chosen
    edges = embedding_map.read_area(area)
    if edges is None:
        st.warning(
            "A part of the map is four numbers, left before right and lower before upper, or the corners of a polygon; "
            "it is left out."
        )
        return chosen
    return Chosen(chosen.positions[embedding_map.inside(space.flat[chosen.positions], edges)])


def _same_bytes(loaded: state.Loaded, chosen: Chosen) -> Chosen:
    again = loaded.index.repeated()
    return Chosen(again[np.isin(again, chosen.positions)])


def _near(loaded: state.Loaded, space: Space, chosen: Chosen) -> Chosen:
    """Near-duplicates among the images, a group after the other, the largest first."""
    known = spaces.near(space.encoder)
    at = st.number_input(
        "Near-duplicates from a cosine of", 0.5, 1.0, round(known.cosine, 3), 0.005, format="%.3f", key="near",
        bind="query-params", help=known.about, width=260,
    )  # fmt: skip
    many = len(chosen.positions) > POOL
    parts = loaded.index.column("prompt_id").to_numpy()[chosen.positions] if many else None
    groups = space.alike(chosen.positions, float(at), parts=parts)
    where = "images of one prompt, as more pass than can be held against each other" if many else "all that pass"
    st.caption(
        f"{words.plural(len(groups), 'group')} of near-duplicates among {where}. {widgets.plain(known.about)} "
        "To an encoder, images can be alike that differ to a person."
    )
    notes = {
        int(position): f"group {number} of {len(group)} images"
        for number, group in enumerate(groups, 1)
        for position in group
    }
    return Chosen(np.concatenate(groups) if groups else chosen.positions[:0], notes)


def _sorted(loaded: state.Loaded, space: Space, chosen: Chosen, asked: Asked) -> Chosen:
    """The nearest to what is looked for first; as they were where that cannot be read, which is said."""
    try:
        vector = _vector(loaded, space, asked)
    except ImageError as error:
        where = widgets.clean(asked.upload[0]) if asked.upload else None
        widgets.problem(ImageError(error.what, where=where, mend=error.mend))
        return chosen
    except AuditkitError as error:
        widgets.problem(error)
        return chosen
    if vector is None:
        st.warning("There is no image of that id in this run, or it has not been embedded.")
        return chosen
    cosines = space.cosines(vector)[chosen.positions]
    order = np.argsort(-cosines, kind="stable")  # those without an embedding last
    st.caption(
        f"The nearest first, by cosine in the space of {widgets.plain(space.encoder)}. It orders images; it is no "
        "probability, and the nearest may still be far."
    )
    return Chosen(chosen.positions[order], chosen.notes, cosines[order])


def _vector(loaded: state.Loaded, space: Space, asked: Asked) -> np.ndarray | None:
    if asked.upload is not None:
        return spaces.of_upload(space, asked.upload[1])
    if asked.like:
        found = loaded.index.find(asked.like)
        return space.vector(int(found[0])) if len(found) else None
    return spaces.of_words(space, asked.text)


def _under_each(loaded: state.Loaded) -> list[str]:
    """The scores that stand under each image: two at most, those of people first; the image's page has them all."""
    keys = loaded.index.keys
    first = [key for key in keys if key.split("@")[0] in ("gender", "skin_tone")]
    return (first or [key for key in keys if key.split("@")[0] != "occupation"])[:2]


def _grid(loaded: state.Loaded, chosen: Chosen, shown: slice) -> None:
    keys = _under_each(loaded)
    positions = chosen.positions[shown]
    cosines = np.full(len(positions), np.nan) if chosen.cosines is None else chosen.cosines[shown]
    grid = st.grid(min_column_width=150, gap="small")
    for row, cosine in zip(loaded.index.rows(positions, keys), cosines, strict=True):
        with grid.container(border=True, gap="xsmall"):
            seen = [
                f"{words.name(row[key])} {words.percent(row[f'{key} confidence'])}"
                for key in keys
                if isinstance(row[key], str)
            ]
            number = f"{row['prompt_id']}.{row['replicate']}"
            data = state.thumbnail(loaded.run, row["id"], size=THUMBNAIL)
            if data is None:
                st.warning("This image's file is missing or damaged.")
            else:
                st.image(data, width="stretch", alt=f"Image {number}, prompt: {row['prompt']}")
            near = f"cosine {cosine:.2f}" if cosine == cosine else ""
            lines = [row["prompt"], *seen, chosen.notes.get(row["position"], ""), near]
            st.caption("  \n".join(widgets.plain(line) for line in lines if line))
            widgets.link("image", f"Details of {number}", run=loaded.name, id=row["id"])

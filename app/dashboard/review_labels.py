"""The labelling mode: a random sample, in an order of the rater's own, without prompt or score."""

from __future__ import annotations

import streamlit as st

import auditkit.annotations as labelling
from app.dashboard import access, review_source, state, widgets
from auditkit.annotations.records import NOBODY, UNKNOWN, Sample, check_rater
from auditkit.clip.attributes import attribute, attributes
from auditkit.errors import AuditkitError
from reports import words

LARGE = 448  # pixels
SPECIAL = {UNKNOWN: ("Cannot tell", "0"), NOBODY: ("Nothing of the kind", "N")}
_HELD, _SAID = "_label held", "_label said"
"""Session keys. A label is never changed once it is in the run, so the last one is held until the next is given."""


def labels() -> None:
    """Draw the mode."""
    loaded = widgets.choose_run()
    try:
        drawn = labelling.samples(loaded.run)
    except AuditkitError as error:
        widgets.problem(error)
        return
    if not drawn:
        st.info("No sample of this run was drawn for labelling yet. An administrator draws one here, or in a terminal:")
        arguments = ["annotate", "export", str(loaded.run.path), "--attribute", "gender", "--out", "labelling"]
        widgets.commands("With a folder for each rater:", arguments)
    else:
        _sample(loaded, drawn)
    if access.can(access.ADMIN):
        _draw(loaded, first=not drawn)


def _sample(loaded: state.Loaded, drawn: list[Sample]) -> None:
    names = [one.sample for one in drawn]
    left, middle, right = st.columns([3, 3, 2])
    sample = drawn[names.index(left.selectbox("Sample", names, key="sample", bind="query-params"))]
    with middle:
        who = review_source.reviewer()
    with right:
        st.caption("Keys, also on the buttons")
        keys = st.toggle("Keyboard shortcuts", True, key="keys")
    if not who:
        st.info("Give a pseudonym to begin.")
        return
    try:
        check_rater(who)
        _label(loaded, sample, who, keys)
    except AuditkitError as error:
        widgets.problem(error)


def _label(loaded: state.Loaded, sample: Sample, who: str, keys: bool) -> None:
    said = st.session_state.pop(_SAID, None)
    if isinstance(said, AuditkitError):
        widgets.problem(said)
    given = {one.id for one in labelling.ratings(loaded.run, sample.attribute) if one.rater == who}
    held = st.session_state.get(_HELD)
    mine = held if held is not None and held[:3] == (str(loaded.run.path), sample.sample, who) else None
    left = [id for id in labelling.order(sample, who) if id not in given and (mine is None or id != mine[3])]
    done, of = len(sample.ids) - len(left), len(sample.ids)
    st.progress(done / of, text=f"{done:,} of {words.plural(of, 'image')} labelled by you")
    if mine is not None:
        _last(loaded, mine, keys, done=not left)
    if not left:
        if mine is None:
            st.success("You have labelled the whole sample. Thank you.")
            _what_next(loaded)
        return
    about = attribute(sample.attribute)
    picture, panel = st.columns([3, 4], gap="large")
    with picture:
        data = state.thumbnail(loaded.run, left[0], size=LARGE)
        if data is None:
            st.warning("This image's file is missing or damaged: auditkit verify-run says more.")
        else:
            st.image(data, width="stretch", alt=f"Image {done + 1} of {of} to be labelled")
    with panel:
        st.subheader(f"Which {words.name(sample.attribute)} do you perceive?")
        st.markdown(widgets.plain(about.about))
        with st.container(gap="xsmall"):
            for number, label in enumerate(sample.classes, 1):
                key = str(number) if number <= 9 else None
                _button(loaded, sample, who, left[0], label, words.name(label), key if keys else None)
            for label, (text, key) in SPECIAL.items():
                _button(loaded, sample, who, left[0], label, text, key if keys else None)
        st.caption(
            "You say what the picture shows, as you see it: nobody in it has an identity that you could get right or "
            "wrong. Prompt, scores and others' labels are kept from you here; do not look them up before you are done."
        )


def _button(loaded: state.Loaded, sample: Sample, who: str, id: str, label: str, text: str, key: str | None) -> None:
    held = (str(loaded.run.path), sample.sample, who, id, label)
    st.button(text, key=f"label {label}", shortcut=key, on_click=_take, args=(loaded, held), width="stretch")


def _last(loaded: state.Loaded, held: tuple[str, ...], keys: bool, *, done: bool) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f"Last label: **{widgets.plain(words.name(held[4]))}**, not saved yet")
        st.button(
            "Take it back", key="take back", icon=":material/undo:", shortcut="Z" if keys else None, on_click=_forget
        )
        st.button(
            "Save it", key="save", icon=":material/save:", type="primary" if done else "secondary", on_click=_save_now,
            args=(loaded,), shortcut="S" if keys else None,
        )  # fmt: skip


def _take(loaded: state.Loaded, held: tuple[str, ...]) -> None:
    if _save(loaded):
        st.session_state[_HELD] = held


def _save_now(loaded: state.Loaded) -> None:
    _save(loaded)


def _save(loaded: state.Loaded) -> bool:
    """Write the label that is held; kept where it cannot be."""
    held = st.session_state.get(_HELD)
    if held is None or held[0] != str(loaded.run.path):
        return True
    try:
        labelling.annotate(loaded.run, held[1], {held[3]: held[4]}, rater=held[2])
    except AuditkitError as error:
        st.session_state[_SAID] = error
        return False
    st.session_state[_HELD] = None
    return True


def _forget() -> None:
    st.session_state[_HELD] = None


def _draw(loaded: state.Loaded, *, first: bool) -> None:
    with st.expander("Draw a random sample", expanded=first), st.form("draw", border=False):
        name = st.selectbox("What is to be labelled", attributes(), format_func=words.name)
        whole = int(loaded.run.images()["id"].nunique())
        n = st.number_input("Images", 1, whole, min(200, whole))
        by = st.selectbox(
            "Strata", [None, *loaded.run.axes],
            format_func=lambda axis: "none: a simple sample" if axis is None else f"as many of each {words.name(axis)}",
        )  # fmt: skip
        if st.form_submit_button("Draw"):
            try:
                made = labelling.draw(loaded.run, name, n=int(n), stratify=by)
            except AuditkitError as error:
                widgets.problem(error)
            else:
                st.success(f"{made.sample}: {words.plural(len(made.ids), 'image')}, {made.method}.")
                st.rerun()


def _what_next(loaded: state.Loaded) -> None:
    run = str(loaded.run.path)
    widgets.commands(
        "What raters agree on, and shares that rest on it (prediction-powered, 30 labelled images a group or more):",
        ["annotate", "agreement", run],
        ["measure", run, "--estimator", "ppi"],
    )

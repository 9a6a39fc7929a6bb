"""Mitigation: what methods did to a generator on paired seeds, and at what price."""

from __future__ import annotations

import json
from pathlib import Path

import streamlit as st

from app.dashboard import blocks, state, widgets
from auditkit.errors import AuditkitError
from auditkit.guidance.evaluated import RECORD, Evaluation, read, read_record
from reports.chapters.base import Chapter
from reports.mitigation_page import chapters, target_words


def render() -> None:
    """Draw the view."""
    st.title("Mitigation")
    st.markdown(
        "A mitigation moves what a generator shows toward a **stated target**. It trades one distribution for another: "
        "what it did to the target, and to everything else, stands here side by side, on the same seeds."
    )
    found = listing()
    if not found:
        st.info(f"There is no evaluation of mitigations here: none beside {state.runs_folder().name}, none in it.")
        out = str(state.runs_folder().parent / "mitigation")
        widgets.commands(
            "To see what mitigations do to a generator, and what they cost:",
            ["mitigate", "occupations", "--generator", "personas", "--methods", "all", "--target", "gender=uniform",
             "--out", out],
        )  # fmt: skip
        return
    name = st.selectbox("Evaluation", list(found), key="mitigation", bind="query-params")
    widgets.example_note(found[name])
    try:
        made = _load(found[name], state.stamp_of(found[name]))
    except AuditkitError as error:
        widgets.problem(error)
        return
    _evaluation(made, name)


def listing() -> dict[str, Path]:
    """Evaluations by name: beside the runs, in their folder, and the one whose runs these are."""
    found = state.results(RECORD, named="*mitigation*", read=read_record)
    own = state.runs_folder().parent
    if (own / RECORD).is_file():
        try:
            read_record(own)
        except AuditkitError:
            return found
        found = {own.name: own} | found
    return found


def _evaluation(made: Evaluation, name: str) -> None:
    record = made.record
    st.caption(
        widgets.plain(
            f"{record['generator']}, toward {target_words(record)}; {record['spec']['images']:,} pairs of images for "
            f"each method. {record['judge']} judged, {record['tuned_with']} tuned."
        )
    )
    for one in _drawn(made, json.dumps(record) + made.effects.to_json()):
        blocks.chapter(one, name)
    st.subheader("Take it with you")
    widgets.download(
        "All effects (CSV)", made.effects.to_csv(index=False), file_name="mitigation-effects.csv", mime="text/csv",
        key=f"csv {name}",
    )  # fmt: skip
    widgets.commands("The command that makes such an evaluation:", command(record))


def command(record: dict[str, object]) -> list[str]:
    """What was asked for, as a command line says it."""
    methods = record["methods"]
    assert isinstance(methods, dict)
    named = [label if label == about["name"] else f"{label}={about['name']}" for label, about in methods.items()]
    spec = record["spec"]
    assert isinstance(spec, dict)
    return [
        "mitigate", str(spec["name"]), "--generator", str(record["generator"]), "--methods", ",".join(named),
        "--target", target_words(record), "--images-per-prompt", str(spec["images_per_prompt"]),
    ]  # fmt: skip


@st.cache_resource(max_entries=4, show_spinner="Reading the evaluation")
def _load(path: Path, stamp: tuple[tuple[str, int], ...]) -> Evaluation:
    return read(path)


@st.cache_data(max_entries=8, show_spinner="Drawing the charts")
def _drawn(_made: Evaluation, stamp: str) -> list[Chapter]:
    return chapters(_made, width=blocks.WIDTH)

"""Runs at a glance: what is there, what was found, and what needs attention."""

from __future__ import annotations

from typing import Any

import streamlit as st

from app.dashboard import state, widgets
from auditkit.errors import AuditkitError
from auditkit.runs import BrokenRun, Run
from reports import tables, words

A_PAGE = 8


def render() -> None:
    """Draw the view."""
    st.title("Runs")
    st.markdown(widgets.FRAMING)
    runs = list(state.listing().values())
    if not runs:
        widgets.no_runs()
        return
    broken = [run for run in runs if isinstance(run, BrokenRun)]
    unfinished = [run for run in runs if isinstance(run, Run) and not run.complete]
    _counts(runs, broken, unfinished)
    pages = -(-len(runs) // A_PAGE)
    page = st.pagination(pages, key="page", bind="query-params") if pages > 1 else 1
    for run in runs[(page - 1) * A_PAGE : page * A_PAGE]:
        with st.container(border=True):
            if isinstance(run, BrokenRun):
                _broken(run)
            elif not run.complete:
                _unfinished(run)
            else:
                _finished(run)


def _counts(runs: list[Any], broken: list[Any], unfinished: list[Any]) -> None:
    attention = len(broken) + len(unfinished)
    with st.container(horizontal=True):
        st.metric("Finished runs", len(runs) - attention, width="content")
        st.metric("Need attention", attention, width="content")


def _broken(run: BrokenRun) -> None:
    st.subheader(run.path.name)
    widgets.problem(run.error)


def _unfinished(run: Run) -> None:
    st.subheader(run.path.name)
    st.warning(
        "This run is not complete. The command that began it goes on where it stopped.",
        icon=":material/pending:",
    )


def _finished(run: Run) -> None:
    st.subheader(run.path.name)
    try:
        loaded = state.load(run.path.name)
    except AuditkitError as error:
        widgets.problem(error)
        return
    st.caption(_origin(loaded))
    _badges(loaded)
    for found in loaded.problems:
        widgets.problem(found)
    widgets.sentences(_findings(loaded))
    with st.container(horizontal=True):
        widgets.link("bias", f"Shares of {run.path.name}", icon=":material/bar_chart:", run=run.path.name)
        widgets.link("gallery", f"Images of {run.path.name}", icon=":material/grid_view:", run=run.path.name)


def _origin(loaded: state.Loaded) -> str:
    run, index = loaded.run, loaded.index
    generator = run.record["generator"].get("name", "unknown")
    made = str(run.record.get("created", ""))[:10]
    prompts = words.plural(index.n_prompts, "prompt")
    return f"{words.plural(index.n_images, 'image')} of {prompts}, from {generator}, made on {made}"


def _badges(loaded: state.Loaded) -> None:
    with st.container(horizontal=True):
        if not loaded.index.keys:
            st.badge("not scored yet", color="gray")
        elif loaded.measurements is None:
            st.badge("not measured yet", color="gray")
        else:
            st.badge("measured", color="green")
        sealed = (loaded.run.path / "SEAL").exists()
        st.badge("sealed" if sealed else "not sealed", color="green" if sealed else "gray")


def _findings(loaded: state.Loaded) -> list[str]:
    """What differs, an attribute a line, and what nothing is claimed about: in the report's words."""
    table = loaded.measurements
    if table is None or table.empty:
        return []
    views = [tables.view(table, name) for name in tables.attributes(table)]
    found = [" ".join(words.headline(view)) for view in views]
    return [*filter(None, found), *words.silences(views)]

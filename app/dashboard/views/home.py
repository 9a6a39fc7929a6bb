"""Runs at a glance: what is there, what is new, what was found, and what needs attention."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import streamlit as st

from app import example
from app.dashboard import state, widgets
from auditkit.errors import AuditkitError
from auditkit.runs import BrokenRun, Run
from reports import tables, words

A_PAGE = 8
NEW = timedelta(days=7)
"""For how long a run is called new."""


def render() -> None:
    """Draw the view."""
    st.title("Runs")
    st.markdown(widgets.FRAMING)
    runs = state.listing()
    if not runs:
        widgets.no_runs()
        return
    finished = [run for run in runs.values() if isinstance(run, Run) and run.complete]
    wanting = {name: run for name, run in runs.items() if isinstance(run, BrokenRun) or not run.complete or _due(run)}
    if set(example.RUNS) <= set(runs):
        _welcome(state.shows_example())
    _counts(finished, wanting)
    if wanting:
        st.header("Needs attention")
        for name, run in wanting.items():
            _wanting(name, run)
    if not finished:
        return
    st.header("Finished runs")
    pages = -(-len(finished) // A_PAGE)
    page = st.pagination(pages, key="page", bind="query-params") if pages > 1 else 1
    for run in finished[(page - 1) * A_PAGE : page * A_PAGE]:
        with st.container(border=True):
            _finished(run)


def _welcome(instead: bool) -> None:
    """What the shipped example is, and where to begin."""
    biased, even = example.RUNS
    with st.container(border=True):
        st.subheader("New here? Begin with the example")
        if instead:
            st.markdown(
                "There is no finished run in this folder yet, so you see the small **example that comes with "
                "auditkit**: two generators drew the same 16 prompts three times each, half of a *mechanic*, half of a "
                "*teacher*. No prompt says anything of gender or skin tone."
            )
        else:
            st.markdown(
                "Two of these runs are auditkit's own example: two generators drew the same prompts of a *mechanic* "
                "and a *teacher*, which say nothing of gender or skin tone."
            )
        st.markdown(
            f"- `{biased}`: its generator was **trained with a bias on purpose**: what should be found is known.\n"
            f"- `{even}`: the same, trained on an even split."
        )
        with st.container(horizontal=True):
            widgets.link("bias", "1. Whom does it show?", icon=":material/bar_chart:", run=biased)
            widgets.link("gallery", "2. Look at the images", icon=":material/grid_view:", run=biased)
            widgets.link("compare", "3. Compare the two", icon=":material/compare_arrows:", run=biased, other=even)
            widgets.link("mitigation", "4. Could it be mitigated?", icon=":material/balance:")
        if instead:
            widgets.commands(
                "Then audit a model of your own; its run takes the example's place here:",
                ["audit", "occupations", "--generator", "path:my-checkpoint", "--out", str(state.runs_folder())],
            )


def _counts(finished: list[Run], wanting: dict[str, Run | BrokenRun]) -> None:
    with st.container(horizontal=True):
        st.metric("Finished runs", len(finished), width="content")
        st.metric(f"New in {NEW.days} days", sum(map(_is_new, finished)), width="content")
        st.metric("Need attention", len(wanting), width="content")


def _is_new(run: Run) -> bool:
    try:
        made = datetime.fromisoformat(str(run.record.get("created", "")))
    except ValueError:
        return False
    return timedelta(0) <= datetime.now(UTC) - (made if made.tzinfo else made.replace(tzinfo=UTC)) < NEW


def _due(run: Run) -> str:
    """What a finished run still waits for, or empty."""
    scores = [file.stat().st_mtime for file in (run.path / "scores").glob("*.parquet")]
    measured = run.path / "measurements.parquet"
    if not scores:
        return "score"
    if not measured.is_file():
        return "measure"
    # Measuring writes clusters as scores itself, and a copy of a run gets all its times within a minute.
    return "measure again" if max(scores) > measured.stat().st_mtime + 60 else ""


def _wanting(name: str, run: Run | BrokenRun) -> None:
    with st.container(border=True):
        st.subheader(name)
        if isinstance(run, BrokenRun):
            widgets.problem(run.error)
        elif not run.complete:
            st.warning(
                "This run is not complete. The command that began it goes on where it stopped.",
                icon=":material/pending:",
            )
        else:
            _say_due(run, _due(run))


def _say_due(run: Run, due: str) -> None:
    path = str(run.path)
    if due == "score":
        st.warning("The images of this run have not been looked at yet.", icon=":material/pending:")
        widgets.commands("To score and measure it:", ["score", path], ["measure", path])
    elif due == "measure":
        st.warning("This run is scored, but not measured yet.", icon=":material/pending:")
        widgets.commands("To measure it:", ["measure", path])
    else:
        st.warning("This run was scored again after it was measured: its numbers are old.", icon=":material/update:")
        widgets.commands("To measure it again:", ["measure", path])


def _finished(run: Run) -> None:
    name = run.path.name
    st.subheader(name)
    try:
        loaded = state.load(name)
        st.caption(_origin(loaded))
        _badges(loaded)
        for found in loaded.problems:
            widgets.problem(found)
        widgets.sentences(_findings(loaded))
    except AuditkitError as error:
        widgets.problem(error)
        return
    with st.container(horizontal=True):
        widgets.link("bias", f"Shares of {name}", icon=":material/bar_chart:", run=name)
        widgets.link("gallery", f"Images of {name}", icon=":material/grid_view:", run=name)


def _origin(loaded: state.Loaded) -> str:
    run, index = loaded.run, loaded.index
    generator = widgets.plain(str(run.record["generator"].get("name", "unknown")))
    made = widgets.plain(str(run.record.get("created", ""))[:10])
    prompts = words.plural(index.n_prompts, "prompt")
    return f"{words.plural(index.n_images, 'image')} of {prompts}, from {generator}, made on {made}"


def _badges(loaded: state.Loaded) -> None:
    with st.container(horizontal=True):
        if _is_new(loaded.run):
            st.badge("new", color="blue")
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

"""Provenance: where an upload came from, what a scan found, whether a run's signed copies hold, trust, disclosure."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import streamlit as st

from app.dashboard import blocks, provenance_parts, provenance_records, state, uploads, widgets
from auditkit.bias.base import Options
from auditkit.errors import AuditkitError
from auditkit.provenance import trust
from auditkit.provenance.measure import check_run, measured
from auditkit.runs import Run
from reports import tables, words
from reports.chapters import Chapter, Pictures
from reports.chapters.provenance import chapter

PARTS = {
    "image": "One image",
    "scan": "A scan",
    "run": "In a run",
    "trust": "Trust",
    "disclosure": "Disclosure",
}
EVERY, FAILED, HOLDS = "all", "do not verify", "verify"
MOST_CHECKED = 2000
"""Signed copies that are verified when the view opens; of more, when a reader asks."""
A_PAGE = 24
THUMBNAIL = 192  # pixels; twice the width at which a thumbnail is shown


def render() -> None:
    """Draw the view."""
    st.title("Provenance")
    st.markdown(
        "A manifest, a watermark, a hash and a detector answer different questions, and are told **apart**. That "
        "**nothing is found** is no proof that an image was not generated. A signature shows who said something, not "
        "that it is true."
    )
    part = st.segmented_control(
        "Show", list(PARTS), default="image", required=True, format_func=PARTS.__getitem__, key="part",
        bind="query-params",
    )  # fmt: skip
    if part == "scan":
        provenance_parts.a_scan()
    elif part == "run":
        _in_run()
    elif part == "trust":
        provenance_records.trust_lists()
    elif part == "disclosure":
        provenance_records.disclosure()
    else:
        provenance_parts.one_image()


def _in_run() -> None:
    loaded = widgets.choose_run()
    try:
        _run(loaded)
    except AuditkitError as error:  # its table of signed copies, or a trust list, is damaged
        widgets.problem(error)


def _run(loaded: state.Loaded) -> None:
    run = loaded.run
    signed = run.provenance()
    if signed is None or signed.empty:
        st.info("No image of this run has a signed copy yet.")
        widgets.commands("To sign them:", ["sign", str(run.path)])
        return
    count = words.plural(len(signed), "signed copy")
    if len(signed) > MOST_CHECKED and not st.checkbox(f"Verify all {count} now (about a second for each thousand)"):
        widgets.commands("Or in a terminal:", ["measure", str(run.path), "--measure", "provenance"])
        return
    by = widgets.grouping(run)
    anchors = trust.anchors()
    stamp = (*state.stamp(run.path), *_copies(run.path), (str(datetime.now(UTC).date()), 0))
    checks = _checks(run, stamp, anchors)
    told = _chapter(run, stamp, anchors, by)
    widgets.sentences(told.lead)
    for number, one in enumerate(told.blocks):
        if not isinstance(one, Pictures):  # the images below are all of them, not a few
            blocks.block(one, loaded, f"provenance {by} {number}")
    _images(loaded, checks)
    st.markdown("**How to read it**")
    widgets.sentences(told.notes)
    st.subheader("Take it with you")
    widgets.download(
        "All checks (CSV)", checks.to_csv(index=False), file_name=f"{loaded.name}-provenance.csv", mime="text/csv",
    )  # fmt: skip
    widgets.commands(
        "The commands that reproduce this view:", ["measure", str(run.path), "--measure", "provenance", "--by", by]
    )


def _copies(path: Path) -> list[tuple[str, int]]:
    """What changes when a signed copy does."""
    return sorted((str(file), file.stat().st_mtime_ns) for file in path.glob("signed/*/*"))


@st.cache_data(max_entries=8, show_spinner="Verifying the signed copies")
def _checks(_run: Run, stamp: tuple[tuple[str, int], ...], anchors: str) -> pd.DataFrame:
    with uploads.ONE_AT_A_TIME:
        return check_run(_run, anchors=anchors)


@st.cache_data(max_entries=8, show_spinner="Counting the signed copies")
def _chapter(_run: Run, stamp: tuple[tuple[str, int], ...], anchors: str, by: str) -> Chapter:
    # Counted afresh: copies may have changed since the run was measured, or it was not measured at all.
    checks = _checks(_run, stamp, anchors)
    made = chapter(measured(_run, Options(by=by), checks), _run, checks=checks)
    assert made is not None
    return made


def _images(loaded: state.Loaded, checks: pd.DataFrame) -> None:
    st.subheader("Images")
    failed = ~checks["holds"].astype(bool)
    chosen = st.segmented_control(
        "Signed copies that", [FAILED, HOLDS, EVERY], default=FAILED if failed.any() else EVERY, required=True,
        key="copies", bind="query-params",
    )  # fmt: skip
    rows = checks if chosen == EVERY else checks[failed if chosen == FAILED else ~failed]
    images = loaded.index.distinct(["id", "prompt", "prompt_id", "replicate"])
    rows = images.merge(rows, on="id")
    if rows.empty:
        st.info("No image of this kind.")
        return
    st.markdown(f"**{words.plural(len(rows), 'image')}**")
    pages, page = -(-len(rows) // A_PAGE), 1
    if pages > 1:
        st.session_state["page"] = min(st.session_state.get("page") or 1, pages)
        page = st.pagination(pages, key="page", bind="query-params")
    grid = st.grid(min_column_width=150, gap="small")
    for row in tables.rows(rows.iloc[(page - 1) * A_PAGE : page * A_PAGE]):
        with grid.container(border=True, gap="xsmall"):
            number = f"{row['prompt_id']}.{row['replicate']}"
            said = row["why"] or f"verifies: {row['verdict']}"
            data = state.thumbnail(loaded.run, row["id"], size=THUMBNAIL)
            if data is None:
                st.warning("This image's file is missing or damaged.")
            else:
                st.image(data, width="stretch", alt=f"Image {number}, {said}, prompt: {row['prompt']}")
            st.caption(f"{widgets.stranger(said)}  \n{widgets.plain(row['prompt'])}")
            widgets.link("image", f"Details of {number}", run=loaded.name, id=row["id"])

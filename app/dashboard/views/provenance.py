"""Provenance: where an upload came from, what a scan found, whether a run's signed copies hold, trust, disclosure."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import streamlit as st

from app.dashboard import blocks, provenance_parts, state, uploads, widgets
from app.dashboard.widgets import clean
from auditkit.bias.base import ALL, Options
from auditkit.errors import AuditkitError
from auditkit.provenance import trust
from auditkit.provenance.disclosure import ADVICE, Disclosure, disclose
from auditkit.provenance.measure import check_run, measured
from auditkit.runs import Run
from reports import disclosure_page, tables, words
from reports.chapters import Chapter, Pictures
from reports.chapters.provenance import chapter
from reports.render import to_json

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
        _trust()
    elif part == "disclosure":
        _disclosure()
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
    by = _grouping(run)
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
    st.download_button(
        "All checks (CSV)", checks.to_csv(index=False), file_name=f"{loaded.name}-provenance.csv", mime="text/csv",
        on_click="ignore", icon=":material/download:",
    )  # fmt: skip
    widgets.commands(
        "The commands that reproduce this view:", ["measure", str(run.path), "--measure", "provenance", "--by", by]
    )


def _grouping(run: Run) -> str:
    choices = [*run.axes, ALL]
    if len(choices) == 1:
        return ALL
    first = run.spec.by if run.spec is not None and run.spec.by in choices else choices[0]
    return st.selectbox(
        "Group by", choices, index=choices.index(first), format_func=_axis, key="by", bind="query-params"
    )


def _axis(name: str) -> str:
    return "nothing (all images together)" if name == ALL else words.name(name)


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
    images = loaded.images.drop_duplicates("id")[["id", "prompt", "prompt_id", "replicate"]]
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


def _trust() -> None:
    st.caption(
        "A signer is trusted where the certificate leads to an anchor of one of these lists. A list is changed by a "
        "command, never here; its earlier versions stay, so that a file can be judged as of an earlier day."
    )
    day = st.date_input("As of", value=None, key="as_of_trust", format="YYYY-MM-DD", help="Empty: as of now.")
    try:
        found = trust.lists(as_of=day or None)
        _lists(found)
        _forecast()
    except AuditkitError as error:
        widgets.problem(error)
    widgets.commands(
        "The same in a terminal, and what changes it:",
        ["trust", "list"], ["trust", "forecast", "--days", "180"], ["trust", "import", "NAME", "anchors.pem"],
    )  # fmt: skip


def _lists(found: list[trust.TrustList]) -> None:
    st.subheader("Lists in force")
    if not found:
        st.info("There is no trust list: every signer is unknown. The first one is made by an import.")
        return
    rows = [
        {"list": one.name, "version": one.version, "in force from": str(one.in_force), "kind": one.kind,
         "anchors": len(one.anchors), "from the file": clean(one.source)}
        for one in found
    ]  # fmt: skip
    st.dataframe(pd.DataFrame(rows), hide_index=True, alt="Trust lists in force")
    st.caption("‘Official’ or ‘private’ says who answers for a list. It changes no verdict.")
    names = [one.name for one in found]
    name = st.selectbox("Anchors of", names, key="list", bind="query-params")
    chosen = found[names.index(name)]
    _anchors(trust.diff(chosen, chosen).kept, f"Anchors of {name}")


def _forecast() -> None:
    st.subheader("Running out")
    days = st.number_input(
        "Within days", min_value=0, max_value=3650, value=trust.SOON, step=30, key="days", bind="query-params"
    )
    soon = trust.forecast(days=int(days))
    if soon:
        st.warning(f"{words.plural(len(soon), 'anchor')} of the lists in force run out within {int(days)} days.")
        _anchors(tuple(soon), "Anchors that run out")
    else:
        st.info(f"No anchor of the lists in force runs out within {int(days)} days.")


def _anchors(anchors: tuple[trust.Anchor, ...], alt: str) -> None:
    today = datetime.now(UTC)
    rows = [
        {"anchor": clean(one.name), "valid until": f"{one.valid_to:%Y-%m-%d}", "days left": (one.valid_to - today).days,
         "lists": ", ".join(one.lists), "sha256": one.fingerprint}
        for one in anchors
    ]  # fmt: skip
    frame = pd.DataFrame(rows)
    st.dataframe(frame if any(frame["lists"]) else frame.drop(columns="lists"), hide_index=True, alt=alt)


def _disclosure() -> None:
    loaded = widgets.choose_run()
    try:
        told = _told(loaded.run, state.stamp(loaded.run.path))
    except AuditkitError as error:
        widgets.problem(error)
        return
    st.caption(ADVICE)
    counts = told.counts()
    st.markdown(
        f"**{counts['recorded']:,} of {len(told.fields):,} fields** are answered by the run’s record; "
        f"**{counts['unknown']:,} are unknown** to it, which does not mean that there is no answer."
    )
    _regimes(told)
    titles = {one.id: one.title for one in told.regimes}
    regime = st.selectbox(
        "Law or code", list(titles), format_func=titles.__getitem__, key="regime", bind="query-params"
    )
    one = next(each for each in told.regimes if each.id == regime)
    st.caption(widgets.plain(f"{one.about} {one.applies}"))
    state_of = st.segmented_control(
        "Fields", [EVERY, "known", "unknown"], default=EVERY, required=True, key="fields", bind="query-params"
    )
    fields = [each for each in told.of(regime) if state_of == EVERY or each.known == (state_of == "known")]
    if fields:
        rows = [
            {"article": each.article, "asked for": each.name, "answer": each.value, "source": each.source,
             "note or how to supply it": each.note or each.supply}
            for each in fields
        ]  # fmt: skip
        frame = pd.DataFrame(rows).map(lambda text: widgets.stranger(text, longest=400))
        st.table(frame, hide_index=True, alt=f"Fields of {one.title}")
    else:
        st.info("No field of this kind.")
    _downloads(loaded.name, told)
    widgets.commands(
        "The same in a terminal, with what the provider states:",
        ["disclose", str(loaded.run.path), "--statements", "statements.toml"],
    )


@st.cache_data(max_entries=8, show_spinner="Reading the run's record")
def _told(_run: Run, stamp: tuple[tuple[str, int], ...]) -> Disclosure:
    return disclose(_run)


def _regimes(told: Disclosure) -> None:
    rows = [{"law or code": one.title, **told.counts(one.id)} for one in told.regimes]
    frame = pd.DataFrame(rows).rename(columns={"recorded": "in the record"}).drop(columns="stated")
    st.table(frame, hide_index=True, alt="Known and unknown fields by law or code")


def _downloads(name: str, told: Disclosure) -> None:
    with tempfile.TemporaryDirectory() as folder:
        page = disclosure_page.write_page(told, folder)[0].read_text(encoding="utf-8")
    with st.container(horizontal=True):
        st.download_button(
            "The page (HTML)", page, file_name=f"{name}-disclosure.html", mime="text/html", on_click="ignore",
            icon=":material/download:",
        )  # fmt: skip
        st.download_button(
            "The data (JSON)", to_json(told.as_dict()), file_name=f"{name}-disclosure.json", mime="application/json",
            on_click="ignore", icon=":material/download:",
        )  # fmt: skip

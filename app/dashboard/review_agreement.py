"""How far reviewers and raters agree, and the log of decisions."""

from __future__ import annotations

import itertools
import math

import pandas as pd
import streamlit as st

import auditkit.annotations as labelling
from app.dashboard import access, review_source, state, widgets
from app.dashboard.review_source import Source
from auditkit import decisions
from auditkit.errors import AuditkitError
from auditkit.stats.agreement import Agreement
from reports import words


def of_decisions(source: Source) -> None:
    """Agreement on verdicts: of all reviewers, and of each pair of them."""
    try:
        lines = decisions.read(source.log, set(source.items))
    except AuditkitError as error:
        widgets.problem(error)
        return
    found = decisions.agreement(lines)
    st.subheader("On verdicts")
    if not found.reviewers:
        st.info("Nobody has decided on anything here yet.")
        return
    _told(found.found, found.status, found.note)
    rows = [_row("all reviewers", found.found, found.status, found.note)]
    pairs = list(itertools.combinations(found.reviewers, 2))
    if len(pairs) > 1:
        for pair in pairs:
            both = decisions.agreement(lines, reviewers=pair)
            rows.append(_row(" and ".join(pair), both.found, both.status, both.note))
    _table(rows, "Agreement of reviewers on verdicts")
    told = [decisions.outcome(by) for by in decisions.standing(lines).values()]
    counts = pd.Series(told).value_counts().rename_axis("verdict").reset_index(name="images")
    st.caption("What stands; 'disputed' is where reviewers differ")
    st.dataframe(counts, hide_index=True, height="content", alt="Images by verdict")


def of_labels(loaded: state.Loaded) -> None:
    """Agreement on labels: of each attribute that was sampled."""
    try:
        names = list(dict.fromkeys(one.attribute for one in labelling.samples(loaded.run)))
        made = [(name, labelling.agreement(loaded.run, name), labelling.adjudicate(loaded.run, name).note)
                for name in names]  # fmt: skip
    except AuditkitError as error:
        widgets.problem(error)
        return
    if not made:
        return
    st.subheader("On labels")
    _table([_row(words.name(name), one.found, one.status, one.note) for name, one, _ in made], "Agreement on labels")
    widgets.sentences([f"{words.name(name).capitalize()}: {note}." for name, _, note in made])


def log(source: Source) -> None:
    """The decisions in the order in which they were made: one's own, or all for an administrator."""
    who, everyone = review_source.reviewer(), access.can(access.ADMIN)
    try:
        lines = decisions.read(source.log, set(source.items))
    except AuditkitError as error:
        widgets.problem(error)
        return
    rows = [row for row in decisions.rows(lines, source.names) if everyone or row["reviewer"] == who]
    if not rows:
        st.info("There is no decision to show here yet.")
        return
    st.markdown(
        f"**{words.plural(len(rows), 'decision')}**. A line is never changed or taken out: what was undone is marked "
        "so. Each line holds the hash of the one before it."
    )
    newest = pd.DataFrame(rows[::-1], columns=list(decisions.COLUMNS)).drop(columns="image")
    st.dataframe(newest, hide_index=True, alt="Decisions, the newest first")
    if everyone:
        _take_back(source, [row for row in rows if row["stands"] == "yes"], who)
    shown = {int(row["number"]) for row in rows}
    own = [one for one in lines if one.number in shown or one.undoes in shown]
    st.subheader("Take it with you")
    with st.container(horizontal=True):
        widgets.download(
            "Decisions (CSV)", decisions.to_csv(own, source.names), file_name=f"{source.name}-decisions.csv",
            mime="text/csv",
        )  # fmt: skip
        if everyone:
            widgets.download(
                "The log itself (JSON lines)", source.log.read_bytes(), file_name=source.log.name,
                mime="application/jsonl",
            )  # fmt: skip


def _take_back(source: Source, rows: list[dict[str, str]], who: str) -> None:
    with st.expander("Take back a decision, of anyone"):
        named = {one["number"]: "{number}: {name}, {verdict} by {reviewer}".format(**one) for one in rows}
        chosen = st.selectbox("Decision", list(named), index=None, format_func=named.__getitem__, key="take back one")
        if st.button("Take it back", disabled=chosen is None or not who) and chosen is not None:
            try:
                decisions.undo(source.log, reviewer=who, number=int(chosen), known=set(source.items))
            except AuditkitError as error:
                widgets.problem(error)
            else:
                st.rerun()


def _told(found: Agreement, status: str, note: str) -> None:
    if status != "ok":
        st.info(f"**insufficient**: {note}. No number is given.")
        return
    st.markdown(
        f"Krippendorff's alpha is **{found.alpha:.2f}** {_interval(found)}: 1 is agreement, 0 what chance "
        f" gives. On {found.observed:.0%} of pairs reviewers said the same, over {found.n_units:,} images."
    )


def _interval(found: Agreement) -> str:
    return f"[{found.low:.2f}, {found.high:.2f}]" if math.isfinite(found.low) else "(no interval)"


def _row(who: str, found: Agreement, status: str, note: str) -> dict[str, object]:
    told = status == "ok"
    return {
        "of": who, "images with two": found.n_units,
        "said the same": f"{found.observed:.0%}" if told else words.MISSING,
        "alpha": f"{found.alpha:.2f}" if told else status,
        "95% interval": _interval(found) if told else words.MISSING, "why": note,
    }  # fmt: skip


def _table(rows: list[dict[str, object]], alt: str) -> None:
    st.dataframe(pd.DataFrame(rows), hide_index=True, height="content", alt=alt)

"""Parts of the view Provenance that show what is kept: trust lists, and what a run's record answers of disclosure."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime

import pandas as pd
import streamlit as st

from app.dashboard import state, widgets
from app.dashboard.widgets import clean
from auditkit.errors import AuditkitError
from auditkit.provenance import trust
from auditkit.provenance.disclosure import ADVICE, Disclosure, disclose
from auditkit.runs import Run
from reports import disclosure_page, words
from reports.render import to_json

EVERY = "all"


def trust_lists() -> None:
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


def disclosure() -> None:
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
        widgets.download(
            "The page (HTML)", page, file_name=f"{name}-disclosure.html", mime="text/html",
        )  # fmt: skip
        widgets.download(
            "The data (JSON)", to_json(told.as_dict()), file_name=f"{name}-disclosure.json", mime="application/json",
        )  # fmt: skip

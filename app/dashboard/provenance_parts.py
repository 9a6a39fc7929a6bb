"""Parts of the view Provenance that look at uploads and at scans."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from app.dashboard import scans, state, uploads, verdict_card, widgets
from app.dashboard.widgets import clean
from auditkit.errors import AuditkitError, ProvenanceError
from auditkit.provenance.sentences import NAMES
from auditkit.provenance.verdict import VERDICTS
from reports import charts, words
from reports.provenance_charts import verdicts_chart

ANSWER = "_provenance answer"
"""Session key of the last upload's answer; the upload itself is in the uploader's memory alone."""
HIDDEN, BLURRED, SHOWN = "hidden", "blurred", "as it is"
EVERY, ERROR = "all", "could not be read"
A_TABLE = 200
"""Rows of a scan that are shown at once."""
ROW = {
    "file": "file", "c2pa": "C2PA", "signer": "signer", "watermark": "watermark", "hash": "hash", "hash_bank": "bank",
    "detector": "detector", "error": "error",
}  # fmt: skip


def one_image() -> None:
    """An upload and its verdict card."""
    st.caption(
        "The file is looked at in this server’s memory and kept nowhere. Nothing is fetched from the network. The "
        "picture stays blurred until you ask for it."
    )
    upload = st.file_uploader(
        "An image: PNG, JPEG or WebP; other media are looked at for a manifest", key="upload",
        max_upload_size=uploads.MEGABYTES,
    )  # fmt: skip
    wish = _wish()
    if upload is None:
        st.session_state.pop(ANSWER, None)
        widgets.commands("The same in a terminal:", ["inspect", "upload.jpg", "--trust", "anchors.pem"])
        return
    data, name = upload.getvalue(), clean(upload.name, longest=120)
    key = wish.key(data)
    kept = st.session_state.get(ANSWER)
    if kept is None or kept[0] != key:
        try:
            with st.spinner("Looking at the file"):
                kept = (key, uploads.inspect(data, name, wish))
        except AuditkitError as error:
            widgets.problem(error)
            return
        st.session_state[ANSWER] = kept
    answer = kept[1]
    for problem in answer.problems:
        widgets.problem(problem)
    if answer.problems:
        st.warning("Watermarks, hash banks and the manifest store were left out for that reason.")
    _picture(data, key)
    verdict_card.draw(answer.found, "upload")
    options = [part for pem, _ in wish.anchors for part in ("--trust", clean(pem, longest=120))]
    options += ["--as-of", str(wish.as_of)] if wish.as_of else []
    options += [] if wish.search else ["--no-search"]
    widgets.commands("The command that says the same:", ["inspect", name, *options])


def _wish() -> uploads.Wish:
    with st.expander("Whom to trust, and as of when"):
        given = st.file_uploader(
            "Trust anchors for this upload, besides the lists that are kept (PEM)", type=["pem", "crt", "cer"],
            accept_multiple_files=True, key="anchors", max_upload_size=uploads.LARGEST_PEM,
        )  # fmt: skip
        day = st.date_input("As of", value=None, key="as_of", format="YYYY-MM-DD", help="Empty: as of now.")
        search = st.checkbox(
            "Look for rotated, scaled and cropped watermarks too", value=True, key="search", bind="query-params"
        )
    return uploads.Wish(tuple((each.name, each.getvalue()) for each in given), day or None, bool(search))


def _picture(data: bytes, key: str) -> None:
    """The upload, blurred: a moderator decides whether to see it."""
    how = st.segmented_control(
        "The picture", [HIDDEN, BLURRED, SHOWN], default=BLURRED, required=True, key=f"picture {key[:16]}"
    )
    if how == HIDDEN:
        return
    made = uploads.picture(data, blurred=how != SHOWN)
    if made is None:
        st.info("The file cannot be shown as a picture.")
    else:
        st.image(made, alt="The upload" if how == SHOWN else "The upload, blurred")


def a_scan() -> None:
    """The table of a scan, filtered, and the card of one of its rows."""
    found = scans.listing()
    if not found:
        runs = state.runs_folder()
        st.info(f"There is no table of a scan here: none beside the folder {runs.name}, none in it.")
        out = str(runs.parent / "verdicts.parquet")
        widgets.commands("To look at a whole folder of files:", ["scan", "uploads", "--out", out])
        return
    name = st.selectbox("Scan", list(found), key="scan", bind="query-params")
    try:
        table = scans.load(found[name])
    except AuditkitError as error:
        widgets.problem(error)
        return
    errors = int((table["error"] != "").sum())
    st.markdown(
        f"**{words.plural(len(table), 'file')}**, {int((table['watermark'] == 'present').sum()):,} with a watermark of "
        f"your keys, {int((table['hash'] == 'match').sum()):,} in a hash bank, {errors:,} with an error."
    )
    if table.empty:
        return
    _counts(table)
    rows = _filtered(table)
    st.markdown(f"**{words.plural(len(rows), 'file')}** chosen")
    if rows.empty:
        st.info("No file of this kind.")
    else:
        _rows(rows, name)
    widgets.download(
        "The chosen rows (CSV)", scans.csv(rows), file_name=f"{found[name].stem}.csv", mime="text/csv",
    )  # fmt: skip
    file = st.session_state.get("file")
    if not rows.empty and file in set(rows["file"]):
        _card(found[name], rows[rows["file"] == file].iloc[0])
    widgets.commands(
        "To make the table anew, or to go on after an interruption:", ["scan", "FOLDER", "--out", str(found[name])]
    )


def _counts(table: pd.DataFrame) -> None:
    counts = {str(name): int(n) for name, n in table["c2pa"].value_counts().items()}
    told = [(NAMES.get(name, name or "Could not be read"), name, counts[name]) for name in _verdicts(counts)]
    alt = "Bar chart of files by verdict: " + "; ".join(f"{clean(head)} {n:,}" for head, _, n in told) + "."
    counts = {clean(name, longest=60): n for name, n in counts.items()}
    st.image(charts.to_svg(verdicts_chart(counts)), width=880, alt=alt)
    st.caption("Blue: a signature or the manifest store vouches for the file. Orange: changed after it was signed.")
    with st.expander("The same as a table"):
        frame = pd.DataFrame(told, columns=["C2PA", "verdict", "files"])
        st.dataframe(frame, hide_index=True, height="content", alt="Files by verdict")


def _verdicts(counts: dict[str, int]) -> list[str]:
    """The verdicts that occur, in their usual order."""
    return list(dict.fromkeys(name for name in [*VERDICTS, *counts] if counts.get(name)))


def _filtered(table: pd.DataFrame) -> pd.DataFrame:
    first, second, third, fourth, fifth = st.columns(5)
    counts = {str(name): int(n) for name, n in table["c2pa"].value_counts().items()}
    verdicts = [EVERY, *(name for name in _verdicts(counts) if name)]
    verdict = first.selectbox("C2PA", verdicts, key="c2pa", bind="query-params")
    mark = second.selectbox(
        "Watermark", [EVERY, *sorted(filter(None, table["watermark"].unique()))], key="mark", bind="query-params"
    )
    hashed = third.selectbox(
        "Hash", [EVERY, *sorted(filter(None, table["hash"].unique()))], key="hash", bind="query-params"
    )
    asked = fourth.selectbox(
        "Detector", [EVERY, *sorted(filter(None, table["detector"].unique()))], key="detector", bind="query-params"
    )
    state_of = fifth.selectbox("Reading", [EVERY, "read", ERROR], key="read", bind="query-params")
    text = st.text_input("Name contains", key="name", bind="query-params")
    chosen = pd.Series(True, index=table.index)
    for column, value in (("c2pa", verdict), ("watermark", mark), ("hash", hashed), ("detector", asked)):
        if value != EVERY:
            chosen &= table[column] == value
    if state_of != EVERY:
        chosen &= (table["error"] != "") == (state_of == ERROR)
    if text:
        chosen &= table["file"].str.contains(text, case=False, regex=False)
    return table[chosen]


def _rows(rows: pd.DataFrame, scan: str) -> None:
    """The first rows, and a choice among them, with the mouse in the table or by keyboard in the list."""
    shown = rows.head(A_TABLE)
    if len(rows) > A_TABLE:
        st.caption(f"The first {A_TABLE} are shown; narrow the choice to see others. The CSV has them all.")
    files = shown["file"].tolist()
    key = f"rows {scan} {hash(tuple(files))}"

    def take() -> None:
        picked = st.session_state[key]["selection"]["rows"]
        st.session_state["file"] = files[picked[0]] if picked else None

    cells = shown[list(ROW)].fillna("").astype(str).map(clean).rename(columns=ROW)
    st.dataframe(
        cells, hide_index=True, key=key, on_select=take, selection_mode="single-row",
        alt="Files of the scan and their verdicts", height="content" if len(cells) <= 12 else 460,
    )  # fmt: skip
    wanted = st.session_state.get("file")
    if wanted is not None and wanted not in files:
        st.session_state["file"] = None
    st.selectbox(
        "Look at", files, index=None, key="file", bind="query-params", format_func=clean,
        placeholder="Choose a file to see its card",
    )  # fmt: skip


def _card(path: Any, row: pd.Series) -> None:
    if row["error"]:
        widgets.problem(
            ProvenanceError(clean(row["error"]), where=clean(row["file"]).replace("`", ""), mend="look at the file")
        )
    try:
        found = scans.details(path, str(row["file"]))
    except AuditkitError as error:
        widgets.problem(error)
        return
    if found is not None:
        verdict_card.draw(found, "scan")
    elif not row["error"]:
        st.info("The table holds no details of this file.")

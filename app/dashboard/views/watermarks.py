"""Watermarks: what was verified in a run, what marks survive, and which keys there are."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from app.dashboard import bench_charts, benches, blocks, state, widgets
from auditkit.bias.base import Options
from auditkit.errors import AuditkitError, KeyFileError
from auditkit.runs import Run
from auditkit.watermark import keys
from auditkit.watermark.measure import watermark
from reports import tables, words
from reports.chapters import Chapter, Pictures
from reports.chapters.watermark import chapter
from reports.watermark_charts import VERDICTS

PARTS = {"run": "In a run", "bench": "What marks survive", "keys": "Keys"}
FAILED, EVERY = "not verified", "all"
A_PAGE = 24
THUMBNAIL = 192  # pixels; twice the width at which a thumbnail is shown


def render() -> None:
    """Draw the view."""
    st.title("Watermarks")
    st.markdown(
        "A mark is **verified** where its p-value is at most the false positive rate asked for. That **no mark is "
        "found** is no proof that an image was not generated or was never marked. **No verdict** counts as neither."
    )
    part = st.segmented_control(
        "Show", list(PARTS), default="run", required=True, format_func=PARTS.__getitem__, key="part",
        bind="query-params",
    )  # fmt: skip
    if part == "bench":
        _bench()
    elif part == "keys":
        _keys()
    else:
        _in_run()


def _in_run() -> None:
    loaded = widgets.choose_run()
    run, found = loaded.run, loaded.watermarks
    if found is None or found.empty:
        st.info("No watermark has been looked for in this run yet.")
        widgets.commands("To look for the marks of your keys:", ["watermark", "detect", str(run.path)])
        return
    by = widgets.grouping(run)
    told = _chapter(run, state.stamp(run.path), by)
    widgets.sentences(told.lead)
    for number, one in enumerate(told.blocks):
        if not isinstance(one, Pictures):  # the images below are all of them, not a few
            blocks.block(one, loaded, f"watermarks {by} {number}")
    _images(loaded, found)
    st.markdown("**How to read it**")
    widgets.sentences(told.notes)
    _take(loaded, found, by)


@st.cache_data(max_entries=8, show_spinner="Counting the verdicts")
def _chapter(_run: Run, stamp: tuple[tuple[str, int], ...], by: str) -> Chapter:
    # Counted afresh: the verdicts may be younger than the run's measurements, or not measured at all.
    made = chapter(watermark.measure(_run, Options(by=by)), _run)
    assert made is not None
    return made


def _images(loaded: state.Loaded, found: pd.DataFrame) -> None:
    st.subheader("Images")
    marks = found[["scheme", "key_id"]].drop_duplicates()
    pairs = [(str(row["scheme"]), str(row["key_id"])) for row in tables.rows(marks)]
    names = {" · ".join(filter(None, pair)): pair for pair in pairs}
    record = loaded.run.record.get("watermark") or {}
    own = (record.get("scheme"), record.get("key_id"))
    first = next((place for place, pair in enumerate(names.values()) if pair == own), 0)
    chosen = next(iter(names))
    if len(names) > 1:
        chosen = st.selectbox("Scheme and key", list(names), index=first, key="mark", bind="query-params")
    scheme, key_id = names[chosen]
    rows = found[(found["scheme"] == scheme) & (found["key_id"] == key_id)]
    verdict = st.segmented_control(
        "Verdict", [FAILED, *VERDICTS, EVERY], default=FAILED if (scheme, key_id) == own else EVERY, required=True,
        format_func=lambda each: VERDICTS.get(each, each), key="verdict", bind="query-params",
    )  # fmt: skip
    if verdict == FAILED:
        rows = rows[rows["verdict"] != "present"]
    elif verdict != EVERY:
        rows = rows[rows["verdict"] == verdict]
    images = loaded.index.distinct(["id", "prompt", "prompt_id", "replicate"])
    rows = images.merge(rows, on="id").sort_values("p_value", ascending=False, na_position="first", kind="stable")
    if rows.empty:
        st.info(f"No image of this kind: {VERDICTS.get(verdict, verdict)}.")
        return
    st.markdown(f"**{words.plural(len(rows), 'image')}**, those with the weakest evidence first")
    pages, page = -(-len(rows) // A_PAGE), 1
    if pages > 1:
        st.session_state["page"] = min(st.session_state.get("page") or 1, pages)
        page = st.pagination(pages, key="page", bind="query-params")
    _grid(loaded, rows.iloc[(page - 1) * A_PAGE : page * A_PAGE])


def _grid(loaded: state.Loaded, rows: pd.DataFrame) -> None:
    grid = st.grid(min_column_width=150, gap="small")
    for row in tables.rows(rows):
        with grid.container(border=True, gap="xsmall"):
            number = f"{row['prompt_id']}.{row['replicate']}"
            data = state.thumbnail(loaded.run, row["id"], size=THUMBNAIL)
            if data is None:
                st.warning("This image's file is missing or damaged.")
            else:
                alt = f"Image {number}, {VERDICTS[row['verdict']]}, prompt: {row['prompt']}"
                st.image(data, width="stretch", alt=alt)
            p_value = "no p-value" if pd.isna(row["p_value"]) else f"p = {words.power(row['p_value'])}"
            lines = [f"{VERDICTS[row['verdict']]}, {p_value}"]
            if isinstance(row["payload"], str):
                lines.append(f"payload {row['payload']}")
            if row["forgery"] == "suspect":
                lines.append("suspected of forgery")
            if row["note"]:
                lines.append(row["note"])
            st.caption("  \n".join(widgets.plain(line) for line in [*lines, row["prompt"]]))
            widgets.link("image", f"Details of {number}", run=loaded.name, id=row["id"])


def _take(loaded: state.Loaded, found: pd.DataFrame, by: str) -> None:
    st.subheader("Take it with you")
    widgets.download(
        "All verdicts (CSV)", found.to_csv(index=False), file_name=f"{loaded.name}-watermarks.csv", mime="text/csv",
    )  # fmt: skip
    run, rates = str(loaded.run.path), found["fpr"].drop_duplicates()
    options = [part for scheme in found["scheme"].drop_duplicates() for part in ("--scheme", scheme)]
    options += ["--fpr", words.power(float(rates.iloc[0]))] if len(rates) == 1 else []
    widgets.commands(
        "The commands that reproduce this view:",
        ["watermark", "detect", run, *options],
        ["measure", run, "--measure", "watermark", "--by", by],
    )


def _bench() -> None:
    found = benches.listing()
    out = str(state.runs_folder().parent / "watermark-bench")
    if not found:
        st.info(f"There is no bench of watermarks here: none beside the folder {state.runs_folder().name}, none in it.")
        widgets.commands("To see what marks survive, beside other tools' marks:", ["watermark", "bench", "--out", out])
        return
    name = st.selectbox("Bench", list(found), key="bench", bind="query-params")
    try:
        bench = benches.load(found[name])
    except AuditkitError as error:
        widgets.problem(error)
        return
    bench_charts.draw(bench, name)


def _keys() -> None:
    st.caption("Ids may be shown and stored. The secret of a key is in the key file only, and is shown nowhere.")
    marked: dict[str, int] = {}
    for run in state.listing().values():
        record = run.record.get("watermark") if isinstance(run, Run) else None
        if isinstance(record, dict) and record.get("key_id"):
            marked[str(record["key_id"])] = marked.get(str(record["key_id"]), 0) + 1
    try:
        ring = keys.load()
    except KeyFileError as error:
        widgets.problem(error)
        _strangers(list(marked))
        return
    rows = [
        {
            "key": entry.key.id,
            "state": "active" if entry.active else "retired",
            "created": entry.created[:16].replace("T", " "),
            "note": entry.note,
            "registered payloads": len(entry.registered),
            "runs here marked with it": marked.get(entry.key.id, 0),
        }
        for entry in ring.entries
    ]
    if rows:
        st.dataframe(pd.DataFrame(rows), hide_index=True, alt="Keys, the newest first")
    else:
        st.info("The key file holds no key.")
    st.caption("Retired keys mark no more; what was marked with them can still be verified.")
    _strangers([id for id in marked if id not in {entry.key.id for entry in ring.entries}])
    widgets.commands(
        "The same in a terminal, and what changes it:",
        ["watermark", "keys", "list"], ["watermark", "keys", "new"], ["watermark", "keys", "rotate"],
    )  # fmt: skip


def _strangers(ids: list[str]) -> None:
    if ids:
        st.info(
            f"Runs here were marked with keys that the key file does not hold, so that their marks cannot be verified "
            f"here: {', '.join(sorted(ids))}."
        )

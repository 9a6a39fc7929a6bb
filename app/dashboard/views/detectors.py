"""Detectors: what they do on what they have not seen, degraded, and at one's own volume; and the cards of ours."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from app.dashboard import blocks, evaluations, state, widgets
from auditkit.bias.base import Options
from auditkit.errors import AuditkitError
from auditkit.runs import Run
from detectors import measure
from detectors.alarms import MEASURES, expected
from detectors.evaluation import Evaluation
from reports import tables, words
from reports.chapters import detection
from reports.chapters.base import Chapter
from reports.charts import to_svg
from reports.detector_charts import precision_chart, precision_rows
from reports.detector_page import chapters, expected_words, rates_of

PARTS = {"evaluation": "Evaluations", "run": "In a run", "volume": "At your own volume", "cards": "Cards"}
BASE_RATES = (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 0.5)
VOLUMES = (100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000)


def render() -> None:
    """Draw the view."""
    st.title("Detectors")
    st.markdown(
        "A detector says **generated**, **no sign**, **abstain** or **not applicable**. It never says that an image is "
        "real: **no sign** is what most images of a generator that it does not know get."
    )
    part = st.segmented_control(
        "Show", list(PARTS), default="evaluation", required=True, format_func=PARTS.__getitem__, key="part",
        bind="query-params",
    )  # fmt: skip
    if part == "cards":
        _cards()
        return
    if part == "run":
        _in_run()
        return
    found = _chosen()
    if found is None:
        return
    made, name = found
    if part == "volume":
        _volume(made)
    else:
        _evaluation(made, name)


def _in_run() -> None:
    loaded = widgets.choose_run()
    told = loaded.detections
    if told is None or told.empty:
        st.info("No detector has been asked about this run yet.")
        widgets.commands("To ask those that are installed:", ["detect", str(loaded.run.path)])
        return
    by = widgets.grouping(loaded.run)
    made = _of_run(loaded.run, state.stamp(loaded.run.path), by)
    blocks.chapter(made, f"{loaded.name} {by}")
    widgets.download(
        "All verdicts (CSV)", told.to_csv(index=False), file_name=f"{loaded.name}-detections.csv", mime="text/csv",
        key="csv run",
    )  # fmt: skip
    widgets.commands("The command that asks them again:", ["detect", str(loaded.run.path)])


@st.cache_data(max_entries=8, show_spinner="Counting the verdicts")
def _of_run(_run: Run, stamp: tuple[tuple[str, int], ...], by: str) -> Chapter:
    # Counted afresh: the verdicts may be younger than the run's measurements, or not measured at all.
    made = detection.chapter(measure.detection.measure(_run, Options(by=by)), _run)
    assert made is not None
    return made


def _chosen() -> tuple[Evaluation, str] | None:
    found = evaluations.listing()
    if not found:
        st.info(
            f"There is no evaluation of a detector here: none beside the folder {state.runs_folder().name}, none in it."
        )
        out = str(state.runs_folder().parent / "detector-evaluation")
        widgets.commands(
            "To see what a detector does on a generator that it has never seen:",
            ["detector", "evaluate", "data/", "--family", "spectrum", "--leave-one-out", "--out", out],
        )
        return None
    name = st.selectbox("Evaluation", list(found), key="evaluation", bind="query-params")
    widgets.example_note(found[name])
    try:
        return evaluations.load(found[name]), name
    except AuditkitError as error:
        widgets.problem(error)
        return None


def _evaluation(made: Evaluation, name: str) -> None:
    counts = made.record["counts"]
    st.caption(
        f"{counts['real']:,} real and {counts['generated']:,} generated images of {counts['sources']:,} sources; "
        f"detectors: {widgets.plain(words.listed(made.detectors))}."
    )
    for one in _drawn(made, made.results.to_json()):
        blocks.chapter(one, name)
    st.subheader("Take it with you")
    widgets.download(
        "All results (CSV)", made.results.to_csv(index=False), file_name="detector-results.csv", mime="text/csv",
        key=f"csv {name}",
    )  # fmt: skip
    widgets.commands("The command that makes such an evaluation:", _command(made))


@st.cache_data(max_entries=8, show_spinner="Drawing the charts")
def _drawn(_made: Evaluation, stamp: str) -> list[Chapter]:
    return chapters(_made, width=blocks.WIDTH)


def _command(made: Evaluation) -> list[str]:
    record, first = made.record, made.detectors[0]
    how = ["--family", first, "--leave-one-out"] if record["kind"] == "leave-one-out" else ["--detector", first]
    return ["detector", "evaluate", *map(str, record["data"]), *how, "--seed", str(record["seed"])]


def _volume(made: Evaluation) -> None:
    record = made.record
    names = made.detectors
    detector = st.selectbox("Detector", names, key="detector", bind="query-params") if len(names) > 1 else names[0]
    base_rate = st.select_slider(
        "Share of generated images among yours", _with(BASE_RATES, record["base_rate"]), value=record["base_rate"],
        format_func=lambda share: f"{100 * share:g}%", key="base_rate",
    )  # fmt: skip
    volume = st.select_slider(
        "Images that come in", _with(VOLUMES, record["volume"]), value=record["volume"],
        format_func=lambda number: f"{number:,}", key="volume",
    )  # fmt: skip
    rates = rates_of(made.results, str(detector))
    rows = []
    for held_out, tpr, fpr in rates:
        found = expected(tpr, fpr, base_rate=base_rate, volume=volume)
        by = {row["measure"]: expected_words(row) for row in tables.rows(found)}
        rows.append([held_out, *(by[name] for name in MEASURES)])
    if not rows:
        st.info("The evaluation has no generator at which both rates are known.")
        return
    st.dataframe(
        pd.DataFrame(rows, columns=["generator", *MEASURES.values()]), hide_index=True,
        alt="Expected numbers at the chosen base rate and volume", key="expected",
    )  # fmt: skip
    st.caption(
        "With 95% intervals of the expected numbers, from what is not known of both rates; a given day varies more. "
        "The rates are those at the threshold that was frozen on development images."
    )
    drawn = precision_rows(rates)
    if len(drawn):
        at = drawn.iloc[(drawn["base_rate"] - base_rate).abs().to_numpy().argsort(kind="stable")[: len(rates)]]
        said = "; ".join(f"{row['held_out']} {words.percent(row['estimate'])}" for row in tables.rows(at))
        alt = f"Share of alarms that are right by base rate; near {100 * base_rate:g}%: {said}."
        st.image(to_svg(precision_chart(drawn, at=base_rate, width=700)), alt=alt)
        with st.expander("The same as a table"):
            st.dataframe(drawn, hide_index=True, key="precision", alt="Share of alarms that are right by base rate")


def _with(choices: tuple[float, ...] | tuple[int, ...], own: float) -> list[float]:
    return sorted({*choices, own})


def _cards() -> None:
    cards = evaluations.cards()
    if not cards:
        st.info("No detector comes with this installation. Train one:")
        widgets.commands("A detector of your own:", ["train", "detector", "data/", "--out", "my-detector"])
        return
    name = st.selectbox("Detector", list(cards), key="card", bind="query-params")
    # The card's first heading would be a second title of the view.
    st.markdown("\n".join(f"##{line}" if line.startswith("#") else line for line in cards[name].splitlines()))

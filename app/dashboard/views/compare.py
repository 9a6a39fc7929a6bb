"""Two runs of the same prompts: what changed by group, and the pairs of images beside each other.

A part of this view is a function in PARTS. What a mitigation costs and gains (runs of one prompt set before and after
it, and the Pareto chart of bias against quality) belongs here as parts of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd
import streamlit as st

from app import api
from app.dashboard import state, widgets
from auditkit.errors import AuditkitError
from auditkit.runs import Run
from reports import charts, comparison, words

A_PAGE = 12
THUMBNAIL = 256  # pixels
WIDTH = 880
EVERY, CHANGED = "all pairs", "perceived otherwise"
REPLICATES = 2000


@dataclass(frozen=True)
class Two:
    """The runs that are held beside each other, and by what."""

    first: state.Loaded
    second: state.Loaded
    attribute: str
    encoder: str
    by: str

    @property
    def key(self) -> str:
        return f"{self.attribute}@{self.encoder}"


def render() -> None:
    """Draw the view."""
    st.title("Compare")
    st.markdown(
        "Two runs of the same prompts, image by image: one is paired with the other by **prompt and seed**, so that "
        "what differs is the generator, its settings or a mitigation, and not the prompts. Shares are of *perceived "
        "presentation*, corrected for the classifier's errors."
    )
    two = _choose()
    if two is None:
        return
    names = list(PARTS)
    chosen = names[0]
    if len(names) > 1:
        chosen = st.segmented_control("Show", names, default=names[0], required=True, key="part", bind="query-params")
    try:
        PARTS[chosen](two)
    except AuditkitError as error:
        widgets.problem(error)


def _choose() -> Two | None:
    left, right = st.columns(2)
    with left:
        first = widgets.choose_run("Before (the run to compare with)")
    others = [name for name in state.finished() if name != first.name]
    if not others:
        st.info("Comparing takes two finished runs of the same prompts. Make a second one of this spec:")
        widgets.commands("For example with another generator:", ["audit", "occupations", "-g", "personas-balanced"])
        return None
    with right:
        name = st.selectbox("After (the run that is compared)", others, key="other", bind="query-params")
    try:
        second = state.load(name)
    except AuditkitError as error:  # another can still be chosen
        widgets.problem(error)
        return None
    keys = [key for key in first.index.keys if key in second.index.keys and not key.startswith("occupation@")]
    people = [key for key in keys if key.split("@")[0] in ("gender", "skin_tone")] or keys
    axes = [axis for axis in first.index.axes if axis in second.index.axes]
    if not people or not axes:
        st.info(
            "These two runs have no scores of one attribute by one encoder in common." if not people
            else "These two runs have no axis in common to group by."
        )  # fmt: skip
        widgets.commands("Score both:", ["score", str(first.run.path)], ["score", str(second.run.path)])
        return None
    left, right = st.columns(2)
    key = left.segmented_control(
        "Attribute", people, default=people[0], required=True, key="scores", bind="query-params",
        format_func=lambda each: _title(each, people),
    )  # fmt: skip
    by = axes[0]
    if len(axes) > 1:
        by = right.selectbox("Group by", axes, format_func=words.name, key="by", bind="query-params")
    attribute, encoder = str(key).split("@")
    return Two(first, second, attribute, encoder, str(by))


def _title(key: str, keys: list[str]) -> str:
    attribute, encoder = key.split("@")
    several = len({each.split("@")[1] for each in keys}) > 1
    return words.name(attribute) + (f" (by {encoder})" if several else "")


def _shares(two: Two) -> None:
    first, second = two.first, two.second
    changes = _changes(
        first.run, second.run, (state.stamp(first.run.path), state.stamp(second.run.path)), two.attribute, two.encoder,
        two.by,
    )  # fmt: skip
    table = comparison.beside(changes, first.measurements, second.measurements, two.attribute)
    noun = words.group_noun(two.by)
    st.subheader(f"Perceived {words.name(two.attribute)} by {noun}")
    widgets.sentences([*comparison.findings(table, noun=noun), *_notes(table)])
    _chart(two, table)
    _table(two, table, noun)
    _take(two, changes)
    _pairs(two)


def _notes(table: pd.DataFrame) -> list[str]:
    said = "; ".join(table.loc[table["status"] == "ok", "note"].dropna().unique())
    return [f"{said[:1].upper()}{said[1:]}."] if said else []


@st.cache_data(max_entries=16, show_spinner="Pairing the images")
def _changes(_first: Run, _second: Run, stamps: object, attribute: str, encoder: str, by: str) -> pd.DataFrame:
    return api.compare(_first, _second, by=by, encoder=encoder, attributes=[attribute], replicates=REPLICATES)


def _chart(two: Two, table: pd.DataFrame) -> None:
    names = (f"before: {two.first.name}", f"after: {two.second.name}")
    categories = list(dict.fromkeys(table["category"]))
    category = categories[0]
    if len(categories) > 2:
        category = st.selectbox("Share of", categories, format_func=words.name, key="share", bind="query-params")
    drawn = comparison.shares_chart(table, names, category=category, width=WIDTH)
    if drawn is None:
        st.info("Neither run has a corrected share to draw: measure both, or see their status below.")
        return
    alt = f"Share perceived as {words.name(category)}, before and after; the table below has the numbers"
    st.image(charts.to_svg(drawn), width=WIDTH, alt=alt)


def _table(two: Two, table: pd.DataFrame, noun: str) -> None:
    frame = pd.DataFrame(
        {
            noun: table["group"].map(words.group_name),
            "perceived as": table["category"].map(words.name),
            "pairs": table["pairs"],
            "before": _spans(table, "before", "before_low", "before_high"),
            "after": _spans(table, "after", "after_low", "after_high"),
            "change (points)": 100 * table["change"],
            "interval": [
                words.interval(*ends, digits=1) or words.MISSING
                for ends in zip(table["low"], table["high"], strict=True)
            ],
            "p (Holm)": table["p_holm"].map(words.p_value),
            "as classified (points)": 100 * table["moved"],
            "status": table["status"],
        }
    )
    st.caption(
        "Shares and changes in percent and in percentage points, intervals at 95%. As classified: pairs that gained "
        "the class less pairs that lost it."
    )
    number = st.column_config.NumberColumn(format="%+.1f")
    st.dataframe(
        frame, hide_index=True, placeholder=words.MISSING, key=f"changes {two.first.name} {two.second.name} {two.key}",
        column_config={"change (points)": number, "as classified (points)": number},
        alt=f"Shares before and after, and what changed, by {noun}",
    )  # fmt: skip


def _spans(table: pd.DataFrame, value: str, low: str, high: str) -> list[str]:
    rows = zip(table[value], table[low], table[high], strict=True)
    return [f"{words.percent(each)} {words.interval(*ends)}".strip() for each, *ends in rows]


def _take(two: Two, changes: pd.DataFrame) -> None:
    widgets.download(
        "All rows (CSV)", changes.to_csv(index=False), file_name=f"{two.first.name}-{two.second.name}-compared.csv",
        mime="text/csv",
    )  # fmt: skip
    widgets.commands(
        "The command that reproduces this view:",
        ["compare", str(two.first.run.path), str(two.second.run.path), "--by", two.by, "--attribute", two.attribute,
         "--encoder", two.encoder],
    )  # fmt: skip


def _pairs(two: Two) -> None:
    st.subheader("Pairs, side by side")
    cells = st.columns(2)
    groups = cells[0].multiselect(
        f"Prompted {words.name(two.by)}", two.first.index.axis_values[two.by], key=f"axis_{two.by}", bind="query-params"
    )
    which = cells[1].segmented_control(
        "Pairs", [EVERY, CHANGED], default=EVERY, required=True, key="pairs", bind="query-params"
    )
    found = two.first.index.pairs(two.second.index, two.key, axis=two.by, groups=groups, changed=which == CHANGED)
    if not found:
        st.info("No pair passes these filters.")
        return
    pages, page = -(-len(found) // A_PAGE), 1
    st.markdown(f"**{words.plural(len(found), 'pair')}**, before on the left and after on the right")
    if pages > 1:
        st.session_state["page"] = min(st.session_state.get("page") or 1, pages)
        page = st.pagination(pages, key="page", bind="query-params")
    shown = found[(page - 1) * A_PAGE : page * A_PAGE]
    sides = [
        (run, run.index.rows([pair[side] for pair in shown], [two.key]))
        for side, run in enumerate((two.first, two.second))
    ]
    grid = st.grid(min_column_width=300, gap="small")
    for number in range(len(shown)):
        with grid.container(border=True, gap="xsmall"):
            st.caption(widgets.plain(sides[0][1][number]["prompt"]))
            columns = st.columns(2, gap="small")
            for column, (run, rows), when in zip(columns, sides, ("before", "after"), strict=True):
                with column:
                    _side(run, rows[number], two.key, when)


def _side(run: state.Loaded, row: dict[str, object], key: str, when: str) -> None:
    number = f"{row['prompt_id']}.{row['replicate']}"
    data = state.thumbnail(run.run, str(row["id"]), size=THUMBNAIL)
    if data is None:
        st.warning("This image's file is missing or damaged.")
    else:
        st.image(data, width="stretch", alt=f"Image {number} {when}, prompt: {row['prompt']}")
    label, sure = row[key], row[f"{key} confidence"]
    seen = f"{words.name(label)} {words.percent(float(str(sure)))}" if isinstance(label, str) else "not scored"
    st.caption(f"{when}: {widgets.plain(seen)}")
    widgets.link("image", f"{number} {when}", run=run.name, id=row["id"])


PARTS: dict[str, Callable[[Two], None]] = {"shares and pairs": _shares}

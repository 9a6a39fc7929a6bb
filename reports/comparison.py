"""Two runs beside each other, in words, a table and a chart: the same for a page and for the dashboard."""

from __future__ import annotations

from typing import Any

import altair as alt
import pandas as pd

from reports import tables, words
from reports.charts import INK, MUTED, inline, styled

BEFORE, AFTER = "before", "after"
ALPHA = 0.05
MOST = 5
"""Most groups whose change gets a sentence of its own; the table has them all."""


def beside(
    changes: pd.DataFrame, before: pd.DataFrame | None, after: pd.DataFrame | None, attribute: str
) -> pd.DataFrame:
    """Each group's shares in both runs, and what changed.

    Args:
        changes: what `auditkit.compare` returned. before, after: each run's own measurements, None where it has none.

    Returns:
        A row for each `group` and `category`: `pairs`; `before`, `before_low`, `before_high` and the same of `after`,
        the corrected shares of each run (NaN where there is none); `change`, `low`, `high`, in [-1, 1]; `p_holm`;
        `moved`, pairs that gained the class less those that lost it, as a share of the pairs, as classified; `status`,
        `note`.
    """
    rows = changes[(changes["attribute"] == attribute)]
    key = ["group", "category"]
    names = {"n_images": "pairs", "estimate": "change", "ci_low": "low", "ci_high": "high"}
    kept = [*key, *names, "p_holm", "status", "note"]
    table = rows.loc[rows["measure"] == "comparison.difference", kept].rename(columns=names)
    flips = rows[rows["measure"] == "comparison.flips"].set_index(key)["estimate"].rename("moved")
    table = table.join(flips, on=key)
    grouping = next((str(by) for by in rows["group_by"] if by != tables.WHOLE), tables.WHOLE)
    for name, measured in ((BEFORE, before), (AFTER, after)):
        columns = {"corrected": name, "low": f"{name}_low", "high": f"{name}_high"}
        found = [] if measured is None or measured.empty else [
            tables.shares(measured, attribute, by=by) for by in dict.fromkeys((grouping, tables.WHOLE))
        ]  # fmt: skip
        if found:
            known = pd.concat(found).drop_duplicates(key).set_index(key)[list(columns)].rename(columns=columns)
            table = table.join(known, on=key)
        else:
            table = table.assign(**dict.fromkeys(columns.values(), float("nan")))
    return table.reset_index(drop=True)


def findings(table: pd.DataFrame, *, noun: str) -> list[str]:
    """What changed by more than chance, what did not, and what could not be told."""
    known = table[table["change"].notna() & (table["group"] != tables.WHOLE)]
    made = []
    if len(known):
        groups = known["group"].nunique()
        moved = known[known["p_holm"] < ALPHA]
        names = [words.group_name(str(group)) for group in moved["group"].unique()]
        if names:
            made.append(
                f"Of {words.plural(groups, noun)} tested, {len(names)} changed by more than chance after correction "
                f"for multiple testing (Holm): {words.listed(names)}."
            )
            made += [_moved(row) for row in tables.rows(moved.drop_duplicates("group").head(MOST))]
        else:
            made.append(
                f"No {noun} of the {groups} tested changed by more than chance after correction for multiple testing "
                "(Holm). That is no proof that nothing changed: see how wide the intervals are."
            )
    for status, meaning in words.STATUS.items():
        groups_so = [words.group_name(str(group)) for group in table.loc[table["status"] == status, "group"].unique()]
        if groups_so:
            made.append(f"{status.capitalize()}: {words.listed(groups_so)}. {meaning}")
    return made


def _moved(row: dict[str, Any]) -> str:
    """One group's change, as a sentence."""
    span = words.interval(row["low"], row["high"])
    ends = ""
    if row[BEFORE] == row[BEFORE] and row[AFTER] == row[AFTER]:
        ends = f" from {words.percent(row[BEFORE])} to {words.percent(row[AFTER])}"
    group, category = words.group_name(str(row["group"])), words.name(str(row["category"]))
    return f"{group}, perceived as {category}:{ends or ' a change'}, {100 * row['change']:+.0f} points {span}."


def shares_chart(table: pd.DataFrame, names: tuple[str, str], *, category: str, width: int = 860) -> Any:
    """Share of one class by group, both runs with their intervals; None where neither has a corrected share.

    Args:
        table: what `beside` returned. names: of the first and of the second run, for the legend.
    """
    rows = table[(table["category"] == category) & (table["group"] != tables.WHOLE)]
    rows = rows.sort_values(BEFORE, ascending=False, na_position="last", kind="stable")
    parts = [
        pd.DataFrame(
            {"group": rows["group"].map(words.group_name), "run": name, "share": rows[side],
             "low": rows[f"{side}_low"], "high": rows[f"{side}_high"]}
        )
        for side, name in zip((BEFORE, AFTER), names, strict=True)
    ]  # fmt: skip
    frame = pd.concat(parts).dropna(subset="share")
    if frame.empty:
        return None
    order = list(dict.fromkeys(words.group_name(str(group)) for group in rows["group"]))
    base = alt.Chart(inline(frame))
    axis = alt.Axis(format="%", values=[0, 0.25, 0.5, 0.75, 1])
    title = f"Share perceived as {words.name(category)} (95% interval)"
    y = alt.Y("group:N", sort=order, title=None).scale(paddingInner=0.3)
    offset = alt.YOffset("run:N", sort=list(names))
    legend = alt.Legend(title=None, labelLimit=400, labelColor=INK, symbolFillColor="#ffffff")  # one for both
    colour = alt.Color("run:N", scale=alt.Scale(domain=list(names), range=[MUTED, "#0072B2"]), legend=legend)
    shapes = alt.Scale(domain=list(names), range=["circle", "square"])
    bars = base.mark_rule(strokeWidth=1.5).encode(
        x=alt.X("low:Q", title=title, axis=axis).scale(domain=[0, 1], nice=False), x2="high:Q", y=y, yOffset=offset,
        color=colour,
    )  # fmt: skip
    dots = base.mark_point(size=62, strokeWidth=1.9, fill="#ffffff", opacity=1).encode(
        x=alt.X("share:Q", title=title), y=y, yOffset=offset, color=colour,
        shape=alt.Shape("run:N", scale=shapes, legend=legend),
        tooltip=["group:N", "run:N", *(alt.Tooltip(f"{each}:Q", format=".1%") for each in ("share", "low", "high"))],
    )  # fmt: skip
    label = min(6.6 * max(map(len, order), default=0), 300)
    chart = alt.layer(bars, dots).properties(width=max(160, width - label - 60), height=alt.Step(17))
    return styled(chart, legend_columns=2)

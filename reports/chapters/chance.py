"""What several chapters share: a dot for each group beside what chance alone would give, and what could not be told."""

from __future__ import annotations

from typing import Any

import altair as alt
import pandas as pd

from reports.chapters.base import Figure
from reports.chapters.dots import NARROW, WIDE
from reports.charts import DIFFERS, INK, LABEL_LIMIT, MARKS, MUTED, SAME, TARGET, inline, styled, to_svg
from reports.words import group_name, group_noun, listed, many, name, percent, plural

ALPHA = 0.05
BECAUSE = {
    "insufficient": "too few images",
    "uncalibrated": "no calibration that holds for the images",
}


def chance_figure(
    frame: pd.DataFrame, *, title: str, found: str, expected: str, alt_text: str, caption: str, form: str = "%"
) -> Figure:
    """Rows of measurements of one statistic, one a group, each with its interval and its `null_value`.

    Args:
        frame: a group whose estimate is NaN keeps its row, with its status beside its name.
        title: of the axis. found: what a filled dot means. expected: what the upright stroke means.
        form: of the axis labels, in d3's notation.
    """
    wide, narrow = (to_svg(_chart(frame, title, found, expected, form, width)) for width in (WIDE, NARROW))
    return Figure(wide, alt_text, caption, narrow)


def _chart(frame: pd.DataFrame, title: str, found: str, expected: str, form: str, width: int) -> Any:
    rows = frame.sort_values("estimate", ascending=False, na_position="last", kind="stable")
    told = rows["estimate"].notna()
    label = rows["group"].map(lambda g: group_name(str(g))) + (" · " + rows["status"]).where(~told, "")
    drawn = rows[["estimate", "ci_low", "ci_high", "n_images"]].assign(
        null_value=rows["null_value"].where(told),
        label=label,
        mark=(rows["p_holm"] < ALPHA).map({True: found, False: SAME}),
        chance=expected,
    )
    looks = {found: MARKS[DIFFERS], SAME: MARKS[SAME], expected: MARKS[TARGET]}
    marks = [mark for mark in (found, SAME) if (drawn["mark"] == mark).any()]
    marks += [expected] if drawn["null_value"].notna().any() else []
    roomy = width >= 600
    beside = min(6.4 * int(label.str.len().max()), LABEL_LIMIT) if roomy else 0
    x: dict[str, Any] = {"axis": alt.Axis(format=form, tickCount=6), "title": title}
    # The domain is given, so that a group without an estimate keeps its row; labels stand clear of dots at 0.
    y = alt.Y("label:N", title=None).axis(labels=roomy, labelPadding=10)
    y = y.scale(domain=label.tolist(), paddingOuter=0 if roomy else 0.4)
    kinds = (("stroke", alt.Stroke), ("fill", alt.Fill), ("shape", alt.Shape), ("size", alt.Size))
    base = alt.Chart(inline(drawn))

    def points(column: str, field: str) -> Any:
        channels = {
            key: kind(f"{field}:N", title=None).scale(domain=marks, range=[looks[mark][key] for mark in marks])
            for key, kind in kinds
        }
        shown = base.transform_filter(f"isValid(datum.{column})").mark_point(opacity=1, strokeWidth=1.7)
        return shown.encode(x=alt.X(f"{column}:Q", **x), y=y, **channels)

    interval = base.transform_filter("isValid(datum.ci_low)").mark_rule(strokeWidth=1.6, color=MUTED)
    layers = [
        interval.encode(x=alt.X("ci_low:Q", **x), x2="ci_high:Q", y=y),
        points("null_value", "chance"),
        points("estimate", "mark"),
    ]
    if not roomy:
        above = base.mark_text(align="left", fontSize=12, color=INK, yOffset=-13)
        layers.append(above.encode(x=alt.value(0), y=y, text="label:N"))
    chart = alt.layer(*layers).properties(width=width - beside - 40, height=alt.Step(20 if roomy else 32))
    return styled(chart, legend_columns=3 if roomy else 1)


def differing(rows: pd.DataFrame, by: str, one: str, several: str) -> str:
    """'Of 20 occupations tested, 3 lie ... after correction for multiple testing (Holm).'; empty without a test.

    Args:
        one: what is found of one, or of none, such as 'lies further out than by chance'. several: of several.
    """
    tested = rows[rows["p_value"].notna()]
    if tested.empty:
        return ""
    found = int((tested["p_holm"] < ALPHA).sum())
    who = f"Of {plural(len(tested), group_noun(by))} tested, {found or 'none'}"
    return f"{who} {several if found > 1 else one} after correction for multiple testing (Holm)."


def silences(rows: pd.DataFrame, by: str, about: str) -> list[str]:
    """Which groups have no estimate, and why; `rows` are of one statistic."""
    out = []
    for status, why in BECAUSE.items():
        silent = rows[(rows["status"] == status) & rows["estimate"].isna()]
        groups = silent[silent["group"] != "all"]
        if silent.empty:
            continue
        notes = set((silent if groups.empty else groups)["note"].fillna(""))
        why = notes.pop() or why if len(notes) == 1 else why
        if groups.empty or len(groups) == len(rows[rows["group"] != "all"]):
            who = f"All {many(group_noun(by))} are" if len(groups) else "The run is"
            out.append(f"{who} {status} for {about}: {why}. Nothing is claimed.")
        else:
            names = listed([group_name(str(group)) for group in groups["group"]])
            out.append(f"{status.capitalize()} for {about} ({why}): {names}. Nothing is claimed there.")
    return out


def estimated(row: pd.Series, digits: int = 1) -> str:
    """'25.2% [22.9, 27.2]', without the brackets where there is no interval."""
    if not pd.notna(row["estimate"]):
        return str(row["status"])
    ends = f" [{100 * row['ci_low']:.{digits}f}, {100 * row['ci_high']:.{digits}f}]" if pd.notna(row["ci_low"]) else ""
    return percent(row["estimate"], digits) + ends


def furthest(rows: pd.DataFrame, *, highest: bool = True) -> pd.Series:
    """The row with the highest or lowest estimate; `rows` have one."""
    return rows.sort_values("estimate", kind="stable").iloc[-1 if highest else 0]


def of_group(rows: pd.DataFrame, group: object) -> pd.Series:
    """The group's row; `rows` are of one statistic and have it."""
    return rows[rows["group"] == group].iloc[0]


def axis_of(rows: pd.DataFrame) -> str:
    """The axis that the rows are grouped by; `all` where there is none."""
    return next((str(by) for by in rows["group_by"] if by != "all"), "all")


def perceived(attribute: str) -> str:
    return f"perceived {name(attribute)}"

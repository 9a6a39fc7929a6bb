"""A dot and its interval for each group, with a line for what all images together say: one chart, several chapters."""

from __future__ import annotations

from typing import Any

import altair as alt
import pandas as pd

from reports.chapters.base import Figure
from reports.charts import DIFFERS, INK, LABEL_LIMIT, MARKS, MUTED, SAME, inline, styled, to_svg
from reports.words import group_name

WIDE, NARROW = 860, 343


def dots_figure(
    frame: pd.DataFrame, *, title: str, alt_text: str, caption: str, form: str = ".0f", against: str = "the others"
) -> Figure:
    """Rows of measurements of one statistic, one for each group, drawn sorted by estimate.

    Args:
        frame: measurements; a group whose estimate is NaN keeps its row, with its status beside its name. The row of
            group `all`, if there is one, is drawn as a line.
        title: of the axis. form: of its labels, in d3's notation. against: what a group may differ from.
    """
    wide, narrow = (to_svg(_chart(frame, title, form, against, width)) for width in (WIDE, NARROW))
    return Figure(wide, alt_text, caption, narrow)


def _chart(frame: pd.DataFrame, title: str, form: str, against: str, width: int) -> Any:
    whole, groups = frame[frame["group"] == "all"], frame[frame["group"] != "all"]
    if groups.empty:
        whole, groups = groups, whole
    groups = groups.sort_values("estimate", ascending=False, na_position="last", kind="stable")
    told = groups["estimate"].notna()
    label = groups["group"].map(lambda g: group_name(str(g))) + (" · " + groups["status"]).where(~told, "")
    differs = groups["p_holm"].notna() & (groups["p_holm"] < 0.05)
    drawn = pd.DataFrame(
        {
            "label": label,
            "mark": differs.map({True: DIFFERS.replace("target", against), False: SAME}),
            "estimate": groups["estimate"],
            "low": groups["ci_low"].where(told),
            "high": groups["ci_high"].where(told),
            "n_images": groups["n_images"],
        }
    )
    roomy = width >= 600
    beside = min(6.4 * int(label.str.len().max()), LABEL_LIMIT) if roomy else 0
    x = alt.X("estimate:Q", axis=alt.Axis(format=form), title=title).scale(zero=False)
    order = label.tolist()
    y = alt.Y("label:N", sort=order, title=None).axis(labels=roomy).scale(paddingOuter=0 if roomy else 0.4)
    base = alt.Chart(inline(drawn))
    marks = [mark for mark in (DIFFERS.replace("target", against), SAME) if (drawn["mark"] == mark).any()]
    looks = {mark: MARKS[SAME if mark == SAME else DIFFERS] for mark in marks}
    legend = None if marks == [SAME] else alt.Legend()
    channels: dict[str, Any] = {
        key: kind("mark:N", title=None, legend=legend).scale(domain=marks, range=[looks[m][key] for m in marks])
        for key, kind in (("stroke", alt.Stroke), ("fill", alt.Fill))
    }
    tips = [alt.Tooltip("label:N", title="group"), *(alt.Tooltip(f"{c}:Q") for c in ("estimate", "low", "high"))]
    layers = [
        base.mark_rule(strokeWidth=1.6, color=MUTED).encode(x=alt.X("low:Q"), x2="high:Q", y=y),
        base.transform_filter("isValid(datum.estimate)")
        .mark_point(opacity=1, strokeWidth=1.7, size=60)
        .encode(x=x, y=y, tooltip=[*tips, alt.Tooltip("n_images:Q", title="images")], **channels),
    ]
    if len(whole) and whole["estimate"].notna().all():
        everyone = alt.Chart(inline(whole[["estimate"]])).mark_rule(color=INK, strokeDash=[4, 3], strokeWidth=1)
        layers.insert(0, everyone.encode(x="estimate:Q"))
    if not roomy:
        above = base.mark_text(align="left", fontSize=12, color=INK, yOffset=-13)
        layers.append(above.encode(x=alt.value(0), y=y, text="label:N"))
    chart = alt.layer(*layers).properties(width=width - beside - 40, height=alt.Step(20 if roomy else 32))
    return styled(chart, legend_columns=2 if roomy else 1)

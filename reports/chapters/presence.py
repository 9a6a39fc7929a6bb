"""The chapter on presence: which ages and which visible disabilities are shown at all, and how much none of n says."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import altair as alt
import pandas as pd

from auditkit.bias.presence import ANY
from auditkit.clip.attributes import attribute as find_attribute
from auditkit.errors import PluginError
from auditkit.stats.rare import images_to_see, rule_of_three
from reports.chapters.base import Chapter, Figure, Pictures, Table
from reports.chapters.dots import NARROW, WIDE
from reports.charts import INK, MARKS, MUTED, PLAIN, SAME, inline, styled, to_svg
from reports.words import MISSING, group_name, group_noun, interval, listed, name, p_value, percent, plural

if TYPE_CHECKING:
    from auditkit.runs import Run

COMMON = 0.5
"""A class with this share of the images or more is not among those whose presence is in question."""
MOST_PICTURES = 8
CORRECTED = "Corrected for the classifier's errors"
NOTES = (
    "Most disabilities cannot be seen. 'None visible' means that none of the aids looked for was seen, not that the "
    "person has no disability; no aid other than those named is looked for.",
    "Counted shares have Clopper and Pearson's exact interval, on the number of independent images that the prompts' "
    "images are worth. Corrected shares take the classifier to err at most as often as on its calibration images.",
    "How well a rare class is recognised was measured on few images, and errors differ with what is shown: look at "
    "the pictures before you quote a rare share.",
)


def chapter(measurements: pd.DataFrame, run: Run) -> Chapter | None:
    rows = measurements[measurements["measure"].str.startswith("presence.")]
    if rows.empty:
        return None
    attributes = list(dict.fromkeys(rows["attribute"]))
    parts = [_Part(rows[rows["attribute"] == each], each) for each in attributes]
    lead = [sentence for part in parts for sentence in part.lead()]
    blocks: list[Figure | Table | Pictures] = []
    if any(part.whole["estimate"].notna().any() for part in parts):
        blocks.append(_figure(parts))
    for part in parts:
        blocks.append(part.table())
        if len(part.groups):
            blocks.append(part.by_group())
        blocks += part.pictures(run)
    return Chapter("presence", "Who is shown at all", [*lead, *_planning(rows)], blocks, NOTES)


class _Part:
    """One attribute's rows, for all images and by group."""

    def __init__(self, rows: pd.DataFrame, attribute: str):
        self.attribute = attribute
        self.by = next((str(by) for by in rows["group_by"] if by != "all"), "all")
        counted, corrected = (rows[rows["measure"] == f"presence.{kind}"] for kind in ("share", "corrected"))
        keys = ["group", "category"]
        both = counted.merge(corrected[[*keys, "estimate", "ci_low", "ci_high", "p_holm"]], "left", keys)
        both = both.rename(columns={"estimate_x": "counted", "ci_low_x": "low_x", "ci_high_x": "high_x"})
        both = both.rename(columns={"estimate_y": "estimate", "ci_low_y": "low", "ci_high_y": "high"})
        both = both.rename(columns={"p_holm_y": "p"})
        both["k"] = (both["counted"] * both["n_images"]).round()
        self.whole, self.groups = both[both["group"] == "all"], both[both["group"] != "all"]
        shown = self.whole[~self.whole["category"].isin(["unknown", _absent(attribute)])]
        # Without a count nothing is known to be common: every class stays in question.
        self.rare = [
            str(r["category"]) for _, r in shown.iterrows() if r["category"] == ANY or not r["counted"] >= COMMON
        ]

    def lead(self) -> list[str]:
        together = [ANY] if ANY in self.rare else self.rare
        out = [self._of(category) for category in together]
        one = self.groups[self.groups["category"] == self.rare[0]] if self.rare else self.groups.iloc[:0]
        for status, why in (("insufficient", "too few images"), ("uncalibrated", "counted, but not corrected")):
            silent = [group_name(str(group)) for group in one[one["status"] == status]["group"]]
            if silent:
                out.append(f"{self.subject} is {status} for {listed(silent)} ({why}).")
        return out

    @property
    def subject(self) -> str:
        return name(self.attribute).capitalize()

    def _of(self, category: str) -> str:
        row = self.whole[self.whole["category"] == category].iloc[0]
        singles = [each for each in self.rare if each != ANY]
        what = listed(singles, 9).replace(" and ", " or ") if category == ANY else category
        if not math.isfinite(row["counted"]):
            return f"{self.subject}: {row['status']} for {what}; {row['note']}."
        k, n = int(row["k"]), int(row["n_images"])
        out = f"{self.subject}: {k or 'none'} of {n:,} images {'are' if k > 1 else 'is'} labelled ‘{what}’"
        if row["status"] != "ok":
            edges = f"{percent(row['low_x'], 1)} to {percent(row['high_x'], 1)} as labelled"
            return f"{out} ({edges}); {row['status']}, so that the classifier's errors are not corrected."
        if k == 0:
            told = f"a share of up to {percent(row['high'], 1)} is still plausible"
        else:
            told = f"corrected for the classifier's errors that is {_share(row)}"
            told += "" if row["p"] < 0.05 else ", and not distinguishable from none: false positives may explain it"
        groups = self.groups[(self.groups["category"] == category) & self.groups["counted"].notna()]
        none = int((groups["k"] == 0).sum())
        where = f" In {none} of {plural(len(groups), group_noun(self.by))} not one image is." if k and none else ""
        return f"{out}; {told}.{where}"

    def table(self) -> Table:
        rows = []
        for _, row in self.whole.iterrows():
            known = math.isfinite(row["counted"])
            rows.append(
                [
                    str(row["category"]),
                    f"{int(row['k']):,} of {row['n_images']:,}" if known else MISSING,
                    f"{percent(row['counted'], 1)} {interval(row['low_x'], row['high_x'], 1)}".strip(),
                    _share(row),
                    p_value(row["p"]),
                ]
            )
        return Table(
            f"Perceived {name(self.attribute)} over all images, in percent; p: that false positives alone explain the "
            "labels",
            ["Class", "Labelled so", "As counted", "Corrected", "p (Holm)"],
            rows,
            [False, True, True, True, True],
        )

    def by_group(self) -> Table:
        classes = self.rare or [str(each) for each in self.whole["category"]]
        rows = []
        for group, part in self.groups.groupby("group", sort=False):
            by = {str(r["category"]): r for _, r in part.iterrows()}
            cells = [_cell(by[each]) for each in classes]
            rows.append([group_name(str(group)), f"{part['n_images'].iloc[0]:,}", *cells])
        return Table(
            f"Perceived {name(self.attribute)} by {group_noun(self.by)}: images labelled so, and the corrected share's "
            "95% interval in percent",
            [group_noun(self.by).capitalize(), "Images", *classes],
            rows,
            [False, *[True] * (len(classes) + 1)],
        )

    def pictures(self, run: Run) -> list[Pictures]:
        """The images that carry a rare label, the surest first, so that the reader can check them."""
        encoder = str(self.whole["encoder"].iloc[0])
        scores = run.scores().get(f"{self.attribute}@{encoder}")
        if scores is None:
            return []
        images = run.images().drop_duplicates("id").set_index("id")
        out = []
        for category in (each for each in self.rare if each != ANY):
            found = scores[scores["label"] == category].sort_values("confidence", ascending=False, kind="stable")
            found = found[found["id"].isin(images.index)].head(MOST_PICTURES)
            if len(found):
                captions = [str(images.loc[each, "prompt"]) for each in found["id"]]
                out.append(Pictures(f"Labelled {category}: the surest", list(found["id"]), captions))
        return out


def _absent(attribute: str) -> str:
    """The class of images that show none of the others; empty where there is none."""
    try:
        return find_attribute(attribute).absent
    except PluginError:
        return ""


def _share(row: Any) -> str:
    if math.isfinite(row["estimate"]):
        return f"{percent(row['estimate'], 1)} {interval(row['low'], row['high'], 1)}"
    return MISSING if row["category"] == "unknown" else str(row["status"])


def _cell(row: Any) -> str:
    if not math.isfinite(row["counted"]):
        return str(row["status"])
    edges = interval(row["low"], row["high"]) if math.isfinite(row["estimate"]) else str(row["status"])
    return f"{int(row['k'])} {edges}"


def _planning(rows: pd.DataFrame) -> list[str]:
    groups = rows[rows["group"] != "all"] if (rows["group"] != "all").any() else rows
    least = int(groups["n_images"].min())
    if least < 1:
        return []
    who = "the smallest group" if (rows["group"] != "all").any() else "all images"
    return [
        f"To see one image of a class with 95% probability takes {images_to_see(0.01)} images if its true share is 1%; "
        f"in the {plural(least, 'image')} of {who} one shows so surely only at {percent(rule_of_three(least), 1)}."
    ]


def _figure(parts: list[_Part]) -> Figure:
    wide, narrow = (to_svg(_chart(parts, width)) for width in (WIDE, NARROW))
    told = [
        f"{part.attribute} {row['category']} {_share(row)}"
        for part in parts
        for _, row in part.whole.iterrows()
        if row["category"] != "unknown"
    ]
    return Figure(
        wide,
        f"Dots and intervals of the share of all images by class: {'; '.join(told)}.",
        "Share of all images with 95% intervals. The scale widens small shares.",
        narrow,
    )


def _chart(parts: list[_Part], width: int) -> Any:
    rows = []
    for part in parts:
        for _, row in part.whole[part.whole["category"] != "unknown"].iterrows():
            corrected = math.isfinite(row["estimate"])
            columns = ("estimate", "low", "high") if corrected else ("counted", "low_x", "high_x")
            label = f"{row['category']}" + ("" if corrected else f" · {row['status']}")
            share, low, high = (row[each] if math.isfinite(row[each]) else None for each in columns)
            mark = CORRECTED if corrected else PLAIN
            about = {"label": label, "head": name(part.attribute).capitalize(), "mark": mark}
            rows.append(about | {"share": share, "low": low, "high": high, "images": int(row["n_images"])})
    frame = pd.DataFrame(rows)
    looks = {CORRECTED: {**MARKS[SAME], "fill": INK, "stroke": INK}, PLAIN: MARKS[PLAIN]}
    marks = [mark for mark in looks if (frame["mark"] == mark).any()]
    roomy = width >= 600
    beside = 6.4 * int(frame["label"].str.len().max()) if roomy else 0
    axis = alt.Axis(format="%", values=[0, 0.01, 0.05, 0.2, 0.5, 1])
    x = alt.X("share:Q", axis=axis, title="Share of images").scale(type="sqrt", domain=[0, 1])
    y = alt.Y("label:N", sort=frame["label"].tolist(), title=None).axis(labels=roomy)
    y = y.scale(paddingOuter=0 if roomy else 0.4)
    channels: dict[str, Any] = {
        key: kind("mark:N", title=None).scale(domain=marks, range=[looks[mark][key] for mark in marks])
        for key, kind in (("stroke", alt.Stroke), ("fill", alt.Fill), ("shape", alt.Shape))
    }
    tips = ["label:N", *(alt.Tooltip(f"{each}:Q", format=".1%") for each in ("share", "low", "high")), "images:Q"]
    layers = [
        alt.Chart().mark_rule(strokeWidth=1.6, color=MUTED).encode(x=alt.X("low:Q"), x2="high:Q", y=y),
        alt.Chart()
        .transform_filter("isValid(datum.share)")
        .mark_point(opacity=1, size=60, strokeWidth=1.7)
        .encode(x=x, y=y, tooltip=tips, **channels),
    ]
    if not roomy:
        above = alt.Chart().mark_text(align="left", fontSize=12, color=INK, yOffset=-13)
        layers.append(above.encode(x=alt.value(0), y=y, text="label:N"))
    layered = alt.layer(*layers).properties(width=width - beside - 40, height=alt.Step(22 if roomy else 34))
    heads = list(dict.fromkeys(frame["head"]))
    faceted = layered.facet(
        facet=alt.Facet("head:N", sort=heads, title=None), columns=1, data=inline(frame), spacing=16
    ).resolve_scale(y="independent")
    return styled(faceted, legend_columns=2 if roomy else 1)

"""The chapter on skin tone from pixels: how light or dark the skin is displayed, by group, and whether two instruments
agree."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import altair as alt
import pandas as pd

from auditkit.bias.skin_color import BANDS, MONK, MONK_HEX
from reports.chapters.base import Chapter, Figure, Table
from reports.chapters.dots import NARROW, WIDE, dots_figure
from reports.charts import INK, LABEL_LIMIT, inline, styled, to_svg
from reports.words import MISSING, group_name, group_noun, interval, listed, p_value, percent, plural

if TYPE_CHECKING:
    from auditkit.runs import Run

UNKNOWN_HEX = "#c9ced3"
AGREES = 0.7
"""Rank correlation below which the chapter says that the instruments part."""

NOTES = (
    "The tone is taken as displayed: exposure and white balance are part of it, since one image does not tell them "
    "from the skin. Under warm or dim light a light tone is read several steps too dark; dark tones hold better.",
    "Skin is found by colour and place, without looking for a face: wood, bread or brown hair in the centre can be "
    "taken for skin. The finder was tested on drawings; no photographs of people were at hand.",
    "The typology angle (ITA) is higher for lighter skin: above 55° very light, below -30° dark.",
    "Monk's ten tones are of skin as seen, not of anyone's origin.",
)


def chapter(measurements: pd.DataFrame, run: Run) -> Chapter | None:
    rows = measurements[measurements["measure"].str.startswith("skin_pixels.")]
    if rows.empty:
        return None
    parts = {name: rows[rows["measure"] == f"skin_pixels.{name}"] for name in rows["measure"].str[12:].unique()}
    angles, found = parts.get("ita", rows.iloc[:0]), parts.get("found", rows.iloc[:0])
    by = next((str(b) for b in angles["group_by"] if b != "all"), "all")
    agreement = parts.get("agreement", rows.iloc[:0])
    blocks: list[Figure | Table] = []
    if angles["estimate"].notna().any():
        blocks.append(_angle_figure(angles, by))
        blocks.append(_tones_figure(parts["monk"], by))
        blocks.append(_table(angles, found, parts["band"], agreement, by))
    return Chapter(
        "skin_pixels", "Skin tone from pixels", [*_finding(angles, found, by), *_agreeing(agreement, by)], blocks, NOTES
    )


def _finding(angles: pd.DataFrame, found: pd.DataFrame, by: str) -> list[str]:
    told = angles[angles["estimate"].notna()]
    groups, whole = told[told["group"] != "all"], told[told["group"] == "all"]
    out = []
    seen = found[(found["group"] == "all") & found["estimate"].notna()]
    for _, row in seen.iterrows():
        out.append(f"Skin was found in {percent(row['estimate'])} of {row['n_images']:,} images.")
    if told.empty:
        return [*out, "Too few images show skin for a mean tone; nothing is claimed."]
    if len(groups):
        ranked = groups.sort_values("estimate")
        dark, light = ranked.iloc[0], ranked.iloc[-1]
        ends = f"{_degrees(dark)} ({group_name(dark['group'])}) and {_degrees(light)} ({group_name(light['group'])})"
        tested, differ = int(groups["p_value"].notna().sum()), int((groups["p_holm"] < 0.05).sum())
        noun = group_noun(by)
        if differ:
            out.insert(
                0,
                f"Displayed skin is darkest for {group_name(dark['group'])}, with a mean angle of {_degrees(dark)}, "
                f"and lightest for {group_name(light['group'])}, with {_degrees(light)}; of {plural(tested, noun)}, "
                f"{differ} {'differs' if differ == 1 else 'differ'} from the mean of the others after correction for "
                "multiple testing (Holm).",
            )
        elif tested:
            out.insert(
                0,
                f"No {noun} of the {tested} tested differs detectably from the mean of the others in the tone of "
                f"displayed skin (Holm); mean angles lie between {ends}. That is no proof of equality.",
            )
        else:
            out.insert(0, f"Mean angles of displayed skin lie between {ends}; with one prompt each, none is tested.")
    elif len(whole):
        out.insert(0, f"The mean angle of displayed skin is {_degrees(whole.iloc[0])}.")
    silent = angles[(angles["status"] == "insufficient") & (angles["group"] != "all")]["group"]
    if len(silent):
        names = listed([group_name(group) for group in silent])
        out.append(f"Insufficient: {names} (too few images in which skin was found). Nothing is claimed there.")
    return out


def _agreeing(agreement: pd.DataFrame, by: str) -> list[str]:
    whole = agreement[(agreement["group"] == "all")]
    out = []
    for _, row in whole.iterrows():
        if not math.isfinite(row["estimate"]):
            out.append(f"Agreement with the classifier's tone is insufficient: {row['note']}.")
            continue
        out.append(
            f"Over {row['n_images']:,} images of which both know the tone, pixels and classifier order them alike with "
            f"a rank correlation of {_two(row)}; 1 is the same order, 0 none in common."
        )
    poor = agreement[(agreement["group"] != "all") & (agreement["estimate"] < AGREES)]
    if len(poor):
        names = listed([f"{group_name(r['group'])} ({r['estimate']:.2f})" for _, r in poor.iterrows()])
        out.append(f"The two part for {names}: look at those images before you quote either.")
    return out


def _degrees(row: Any) -> str:
    middle, low, high = (f"{value:z.0f}" for value in (row["estimate"], row["ci_low"], row["ci_high"]))
    return f"{middle}° [{low}, {high}]".replace("-", "−")


def _two(row: Any) -> str:
    return f"{row['estimate']:.2f} [{row['ci_low']:.2f}, {row['ci_high']:.2f}]"


def _angle_figure(angles: pd.DataFrame, by: str) -> Figure:
    told = angles[angles["estimate"].notna()]
    spans = "; ".join(f"{group_name(r['group'])} {_degrees(r)}" for _, r in told.iterrows())
    caption = "Mean typology angle of displayed skin, with 95% intervals between prompts; higher is lighter."
    if (angles["group"] == "all").any() and len(angles) > 1:
        caption += " The dashed line is the mean of all images."
    alt_text = f"Dot-and-interval chart of the mean typology angle by {group_noun(by)}, in degrees: {spans}."
    return dots_figure(
        angles, title="Mean typology angle (degrees; right is lighter)", alt_text=alt_text, caption=caption
    )


def _tones_figure(monk: pd.DataFrame, by: str) -> Figure:
    told = monk[monk["estimate"].notna()]
    if (told["group"] != "all").any():
        told = told[told["group"] != "all"]
    wide, narrow = (to_svg(_tones_chart(told, width)) for width in (WIDE, NARROW))
    tops = told[told["category"] != "unknown"].sort_values("estimate").groupby("group", sort=False).tail(1)
    most = "; ".join(f"{group_name(r['group'])} {r['category']} {percent(r['estimate'])}" for _, r in tops.iterrows())
    return Figure(
        wide,
        f"Stacked bars of the shares of Monk's ten tones by {group_noun(by)}. Most frequent tone: {most}.",
        "Shares of Monk's ten tones, lightest at the left, each bar in the swatch's own colour; grey is unknown.",
        narrow,
    )


def _tones_chart(told: pd.DataFrame, width: int) -> Any:
    order, names = [*MONK, "unknown"], [f"Monk {i}" if i == 1 else str(i) for i in range(1, 11)] + ["unknown"]
    dark = told[told["category"].isin(MONK[6:])].groupby("group")["estimate"].sum().sort_values()
    labels = [group_name(str(group)) for group in dark.index]
    frame = pd.DataFrame(
        {
            "label": told["group"].map(lambda g: group_name(str(g))),
            "tone": told["category"].map(lambda c: names[order.index(c)]),
            "place": told["category"].map(order.index),
            "share": told["estimate"],
        }
    )
    roomy = width >= 600
    beside = min(6.4 * max(map(len, labels)), LABEL_LIMIT) if roomy else 0
    y = alt.Y("label:N", sort=labels, title=None).axis(labels=roomy).scale(paddingOuter=0 if roomy else 0.5)
    base = alt.Chart(inline(frame))
    colours = [f"#{code}" for code in MONK_HEX] + [UNKNOWN_HEX]
    bars = base.mark_bar(stroke="#8a929a", strokeWidth=0.5, height=13).encode(
        x=alt.X("share:Q", stack="zero", axis=alt.Axis(format="%"), title="Share of images").scale(domain=[0, 1]),
        y=y,
        color=alt.Color("tone:N", title=None).scale(domain=names, range=colours),
        order="place:Q",
        tooltip=["label:N", "tone:N", alt.Tooltip("share:Q", format=".0%")],
    )
    layers = [bars]
    if not roomy:
        above = alt.Chart(inline(frame.drop_duplicates("label"))).mark_text(
            align="left", fontSize=12, color=INK, yOffset=-15
        )
        layers.append(above.encode(x=alt.value(0), y=y, text="label:N"))
    chart = alt.layer(*layers).properties(width=width - beside - 40, height=alt.Step(20 if roomy else 38))
    return styled(chart, legend_columns=11 if roomy else 4)


def _table(angles: pd.DataFrame, found: pd.DataFrame, bands: pd.DataFrame, agreement: pd.DataFrame, by: str) -> Table:
    rows = []
    for _, row in angles.iterrows():
        group = row["group"]
        cells = [group_name(group), f"{row['n_images']:,}", _share(found, group)]
        told = math.isfinite(row["estimate"])
        cells += [_degrees(row) if told else row["status"], p_value(row["p_holm"])]
        cells += [_share(bands[bands["category"] == band], group) for band in BANDS]
        same = agreement[(agreement["group"] == group) & agreement["estimate"].notna()]
        rows.append([*cells, _two(same.iloc[0]) if len(same) else MISSING])
    heads = [f"{band.capitalize()} (Monk {first}-{last})" for band, (first, last) in BANDS.items()]
    return Table(
        "Displayed skin tone by group; shares are of all images, the rest is unknown",
        [group_noun(by).capitalize(), "Images", "Skin found", "Mean angle", "p (Holm)", *heads, "Agreement"],
        rows,
        [False, *[True] * 8],
    )


def _share(frame: pd.DataFrame, group: str) -> str:
    row = frame[(frame["group"] == group) & frame["estimate"].notna()]
    if row.empty:
        return MISSING
    first = row.iloc[0]
    return f"{percent(first['estimate'])} {interval(first['ci_low'], first['ci_high'])}"

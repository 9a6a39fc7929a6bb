"""A bench of watermarks on the screen: shares verified by attack, curves, quality, false positives, forgeries."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pandas as pd
import streamlit as st

from app.dashboard import widgets
from app.dashboard.benches import CONTROL, FORGERY, Bench
from auditkit.stats.intervals import clopper_pearson
from auditkit.watermark.null import LEVELS, level_name, measured
from reports import tables, words
from reports.charts import to_svg
from reports.watermark_charts import calibration_chart, curves_chart, heat_chart

WIDTH = 880


def draw(bench: Bench, name: str) -> None:
    """The whole bench, for one kind of images at a time."""
    contents = bench.results["content"].drop_duplicates().tolist()
    content = st.segmented_control(
        "Images", contents, default=contents[0], required=True, key="content", bind="query-params"
    )
    rows = bench.of(content)
    fpr = words.listed([words.power(float(rate)) for rate in sorted(rows["fpr"].unique())])
    st.caption(
        f"Share of marked images that are verified after an attack, at a false positive rate of {fpr} for an image. "
        "Every scheme meets the same attacks on the same images; intervals are Clopper and Pearson's at 95%."
    )
    _attacks(rows, f"{name} {content}")
    _curves(rows, f"{name} {content}")
    _quality(bench.quality[bench.quality["content"] == content], f"{name} {content}")
    _forgeries(bench.results[bench.results["content"] == content], f"{name} {content}")
    _nulls(bench.results[bench.results["attack"] == CONTROL], name)
    _origin(bench, name)


def _attacks(rows: pd.DataFrame, key: str) -> None:
    st.subheader("After each attack")
    cells = rows.assign(attack=rows["title"])[["scheme", "attack", "tpr"]]
    lowest = cells.groupby("scheme", sort=False)["tpr"].agg(["min", "mean"])
    spans = "; ".join(
        f"{scheme} {words.percent(row['mean'])} on average, {words.percent(row['min'])} at worst"
        for scheme, row in lowest.iterrows()
    )
    alt = f"Table of colours, share verified by attack and scheme, in percent: {spans}."
    st.image(_heat(cells), alt=alt)
    st.caption("Percent of images verified; darker is more. Intervals and numbers of images are in the table.")
    told = rows.assign(told=[_told(row) for row in tables.rows(rows)])
    table = told.pivot_table(index="title", columns="scheme", values="told", aggfunc="first", sort=False)
    images = rows.groupby("title", sort=False)["n"].max().rename("images")
    frame = images.to_frame().join(table[list(dict.fromkeys(rows["scheme"]))]).rename_axis("attack").reset_index()
    with st.expander("The same as a table, with intervals"):
        st.dataframe(
            frame, hide_index=True, placeholder=words.MISSING, key=f"attacks {key}", alt="Share verified by attack"
        )


def _told(row: Mapping[str, Any]) -> str:
    return f"{words.percent(row['tpr'])} {words.interval(row['tpr_low'], row['tpr_high'])}"


@st.cache_data(max_entries=16, show_spinner=False)
def _heat(cells: pd.DataFrame) -> str:
    return to_svg(heat_chart(cells, width=WIDTH))


def _curves(rows: pd.DataFrame, key: str) -> None:
    several = rows.groupby("attack", sort=False)["strength"].nunique()
    names = {attack: str(rows.loc[rows["attack"] == attack, "title"].iloc[0]).partition(",")[0]
             for attack in several[several > 1].index}  # fmt: skip
    if not names:
        return
    st.subheader("By strength")
    attack = st.selectbox("Attack", list(names), format_func=names.__getitem__, key="attack", bind="query-params")
    order = rows["scheme"].drop_duplicates().tolist()
    chosen = rows[rows["attack"] == attack].sort_values("strength", kind="stable")
    chosen = chosen.sort_values("scheme", key=lambda column: column.map(order.index), kind="stable")
    curves = chosen[["scheme", "strength", "tpr", "tpr_low", "tpr_high"]]
    ends = "; ".join(
        f"{scheme} from {words.percent(part['tpr'].iloc[0])} at {part['strength'].iloc[0]:g} to "
        f"{words.percent(part['tpr'].iloc[-1])} at {part['strength'].iloc[-1]:g}"
        for scheme, part in curves.groupby("scheme", sort=False)
    )
    drawn = _curve(curves, _axis(str(chosen["title"].iloc[0])))
    st.image(drawn, width=WIDTH, alt=f"Lines of the share verified by strength: {ends}.")
    frame = pd.DataFrame(
        {
            "scheme": chosen["scheme"],
            "attack": chosen["title"],
            "images": chosen["n"],
            "verified": [_told(row) for row in tables.rows(chosen)],
            "bits right": chosen.get("bit_accuracy", pd.Series(float("nan"), chosen.index)).map(words.percent),
            "whole payload": chosen.get("whole_payload", pd.Series(float("nan"), chosen.index)).map(words.percent),
        }
    )
    with st.expander("The same as a table"):
        st.dataframe(frame, hide_index=True, key=f"curve {key} {attack}", alt=f"Share verified after {names[attack]}")


@st.cache_data(max_entries=32, show_spinner=False)
def _curve(curves: pd.DataFrame, title: str) -> str:
    return to_svg(curves_chart(curves, title=title, width=WIDTH))


def _axis(title: str) -> str:
    """'JPEG, quality 50' -> 'JPEG, quality': what the strength says."""
    return re.sub(r"\s+", " ", re.sub(r"\d+(\.\d+)?", "", title, count=1)).strip()


def _quality(quality: pd.DataFrame, key: str) -> None:
    if quality.empty:
        return
    st.subheader("Quality and speed")
    heads = {
        "n": "images", "psnr": "PSNR, dB", "ssim": "SSIM", "gmsd": "GMSD (lower is closer)", "encode_ms": "mark, ms",
        "decode_ms": "read, ms", "search_ms": "read with search, ms",
    }  # fmt: skip
    digits = {"psnr": 1, "ssim": 4, "gmsd": 4, "encode_ms": 0, "decode_ms": 0, "search_ms": 0}
    frame = quality[["scheme", *(name for name in heads if name in quality)]].rename(columns=heads)
    config = {heads[name]: st.column_config.NumberColumn(format=f"%.{count}f") for name, count in digits.items()}
    st.dataframe(
        frame, hide_index=True, placeholder=words.MISSING, column_config=config, key=f"quality {key}",
        alt="Quality and speed by scheme",
    )  # fmt: skip
    st.caption("Means over the images of the distances between unmarked and marked; medians of the times.")


def _forgeries(rows: pd.DataFrame, key: str) -> None:
    rows = rows[rows["group"] == FORGERY]
    if rows.empty:
        return
    st.subheader("Forgeries")
    st.caption("Here ‘verified’ is bad: the share of forgeries that pass, and the share that the check calls suspect.")
    frame = pd.DataFrame(
        {
            "forgery": rows["title"],
            "scheme": rows["scheme"],
            "images": rows["n"],
            "verified": [_told(row) for row in tables.rows(rows)],
            "called suspect": rows.get("suspect", pd.Series(float("nan"), rows.index)).map(words.percent),
        }
    )
    st.dataframe(frame, hide_index=True, key=f"forgeries {key}", alt="Forgeries that pass, and that are noticed")


def _nulls(control: pd.DataFrame, name: str) -> None:
    """False positives: of this bench's own unmarked images, and those that the package was released with."""
    shipped = _shipped()
    if control.empty and shipped.empty:
        return
    st.subheader("False positives")
    if len(control):
        st.caption("The bench’s own images, read before they were marked: too few to tell a small rate, and a check.")
        own = pd.DataFrame(
            {
                "scheme": control["scheme"],
                "images": control["content"],
                "verified": [f"{round(row['tpr'] * row['n'])} of {row['n']:,}" for row in tables.rows(control)],
                "percent": [words.interval(row["tpr_low"], row["tpr_high"], 1) for row in tables.rows(control)],
                "asked for": control["fpr"].map(words.power),
            }
        )
        st.dataframe(own, hide_index=True, key=f"control {name}", alt="Unmarked images that were verified")
    if shipped.empty:
        return
    ends = "; ".join(
        f"{row['name']}: {row['hits']:,} of {row['pairs']:,} at {words.power(row['nominal'])}"
        for row in tables.rows(shipped)
    )
    st.image(_calibration(shipped), width=560, alt=f"Observed against nominal false positive rates: {ends}.")
    st.caption(
        "Measured when this version was made, over unmarked images and keys; on or under the dashed line is as good as "
        "promised. Where no false positive was seen only the upper end of the interval is drawn."
    )
    frame = shipped.assign(
        interval=[f"{words.power(a)} to {words.power(b)}" for a, b in zip(shipped["low"], shipped["high"], strict=True)]
    )[["name", "nominal", "hits", "pairs", "observed", "interval"]]
    frame[["nominal", "observed"]] = frame[["nominal", "observed"]].map(words.power)
    with st.expander("The same as a table, with intervals"):
        st.dataframe(frame, hide_index=True, key=f"nulls {name}", alt="False positives measured")


def _shipped() -> pd.DataFrame:
    """Rows name, nominal, hits, pairs, observed, low, high, added over the kinds of images; empty where unmeasured."""
    counts: dict[tuple[str, float], list[int]] = {}
    for one in measured():
        for level in LEVELS:
            hits = one["hits"].get(level_name(level))
            if hits is not None:
                total = counts.setdefault((f"{one['scheme']} (version {one['version']})", level), [0, 0])
                total[0] += int(hits)
                total[1] += int(one["pairs"])
    rows = []
    for (name, level), (hits, pairs) in counts.items():
        low, high = clopper_pearson(hits, pairs)
        rows.append([name, level, hits, pairs, hits / pairs, float(low), float(high)])
    return pd.DataFrame(rows, columns=["name", "nominal", "hits", "pairs", "observed", "low", "high"])


@st.cache_data(max_entries=4, show_spinner=False)
def _calibration(null: pd.DataFrame) -> str:
    return to_svg(calibration_chart(null, width=560))


def _origin(bench: Bench, name: str) -> None:
    st.subheader("Take it with you")
    widgets.download(
        "All results (CSV)", bench.results.to_csv(index=False), file_name=f"{bench.path.name}-results.csv",
        mime="text/csv", key=f"csv {name}",
    )  # fmt: skip
    page = bench.path / "index.html"
    if page.is_file():
        st.caption(f"The whole bench as a page of its own: {widgets.plain(str(page))}")
    commands = [str(each) for each in bench.record.get("commands", [])]
    if commands:
        st.caption("The commands that made it:")
        st.code("\n".join(commands), language=None, wrap_lines=True)

"""The bench's table: bias, error and coverage of each estimator by setting, and whether it may be trusted there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from auditkit.stats.intervals import wilson
from benchmarks.truth.compose import Setting

if TYPE_CHECKING:
    from pathlib import Path

LEAST, MOST = 0.93, 0.97
"""Coverage asked of a nominal 95%."""
BIAS = 0.01
"""Largest bias of a class's share."""
SILENT = 0.07
"""Largest share of estimates that may miss the truth and carry no warning, where the assumptions do not hold: as many
as an interval that covers 93% misses."""

SELDOM = 0.05
"""Share of the estimates shown up to which a setting counts as refused: too few audits are left to judge by."""

STANDING = {"classify-and-count", "cleam"}
"""Estimators whose caution is about themselves and comes with every estimate, so that it warns of nothing."""

HOLDS, WIDE, COVERS = "holds", "holds, wide", "covers, biased"
WARNED, REFUSED, FAILS = "warned", "refused", "FAILS"


def summarise(setting: Setting, estimator: str, rows: pd.DataFrame) -> list[dict[str, Any]]:
    """A row for each attribute of one setting, from `simulate`'s table.

    `bias` is of the class where it is largest, with its Monte Carlo standard error; `rmse` and `width` are over
    classes; `coverage` is the mean over classes, with its 95% Monte Carlo interval, and `worst` the least of a class:
    all of the audits that show an estimate. `unguarded` is the coverage had every estimate been shown. `silent` is the
    share of all estimates that miss the truth and carry neither refusal nor caution; `shift` that of estimates shown
    which tell that the class mix is not the calibration's, which is no caution here (see `simulate.LABEL_SHIFT`).
    """
    return [_summary(setting, estimator, str(name), part) for name, part in rows.groupby("attribute", sort=False)]


def _summary(setting: Setting, estimator: str, attribute: str, rows: pd.DataFrame) -> dict[str, Any]:
    rows = rows.assign(caution=False) if estimator in STANDING else rows
    made = rows["estimate"].notna()
    shown = made & rows["shown"]
    tolerance = 1e-9
    covered = (rows["low"] <= rows["truth"] + tolerance) & (rows["truth"] <= rows["high"] + tolerance)
    seen = rows.assign(error=rows["estimate"] - rows["truth"], covered=covered)[shown]
    row: dict[str, Any] = {
        "setting": setting.name,
        "attribute": attribute,
        "estimator": estimator,
        "breaks": setting.breaks,
        "audits": rows["audit"].nunique(),
        "shown": float(shown.mean()),
        "caution": float((shown & rows["caution"]).sum() / max(int(shown.sum()), 1)),
        "shift": float((shown & rows["shift"]).sum() / max(int(shown.sum()), 1)),
        "bias": np.nan, "bias_error": np.nan, "rmse": np.nan,
        "coverage": np.nan, "coverage_low": np.nan, "coverage_high": np.nan, "worst": np.nan, "width": np.nan,
        "unguarded": float(covered[made].mean()) if made.any() else np.nan,
        "silent": float((shown & ~rows["caution"] & ~covered).mean()),
    }  # fmt: skip
    if len(seen):
        by_class = seen.groupby("category")
        errors = by_class["error"].mean()
        at = int(errors.abs().to_numpy().argmax())
        row["bias"] = float(errors.iloc[at])
        row["bias_error"] = float(by_class["error"].std(ddof=0).iloc[at] / np.sqrt(by_class.size().iloc[at]))
        row["rmse"] = float(np.sqrt((seen["error"] ** 2).mean()))
        row["coverage"] = float(seen["covered"].mean())
        row["coverage_low"], row["coverage_high"] = _monte_carlo(seen.groupby("audit")["covered"].mean())
        row["worst"] = float(by_class["covered"].mean().min())
        row["width"] = float((seen["high"] - seen["low"]).mean())
    return row | {"finding": finding(row)}


def _monte_carlo(by_audit: pd.Series) -> tuple[float, float]:
    """Wilson's interval of a mean of shares that come audit by audit."""
    mean, variance, n = float(by_audit.mean()), float(by_audit.var(ddof=0)), len(by_audit)
    effective = mean * (1 - mean) / variance * n if variance > 0 else float(n)
    low, high = wilson(mean * effective, effective)
    return float(low), float(high)


def finding(row: dict[str, Any]) -> str:
    """What the row says: holds (wide: covers more than asked); covers, biased; refused; warned; or FAILS.

    An estimator holds where its coverage and its bias are as asked, within Monte Carlo error. Where the interval covers
    as asked though the estimate is further off than asked, the interval is honest all the same. Where it does not, the
    estimator must say so: it is warned where no more than SILENT of all its estimates miss without a word.
    """
    if row["shown"] <= SELDOM:
        return REFUSED
    if row["coverage_high"] < LEAST:
        return WARNED if row["silent"] <= SILENT else FAILS
    if abs(row["bias"]) - 2 * np.nan_to_num(row["bias_error"]) > BIAS:
        return COVERS
    return WIDE if row["coverage_low"] > MOST else HOLDS


def markdown(table: pd.DataFrame, default: str) -> str:
    """Two tables for the docs: the default estimator in full, then the coverage of all of them side by side."""
    own = table[table["estimator"] == default]
    heads = [
        "setting",
        "attribute",
        "bias",
        "RMSE",
        "coverage",
        "Monte Carlo",
        "worst class",
        "width",
        "shown",
        "caution",
    ]
    lines = [_line([*heads, "finding"]), _line(["---"] * (len(heads) + 1))]
    for row in own.to_dict("records"):
        lines.append(
            _line(
                [
                    row["setting"] + (" †" if row["breaks"] else ""),
                    row["attribute"],
                    _number(row["bias"], "+.3f"),
                    _number(row["rmse"], ".3f"),
                    _number(row["coverage"], ".1%"),
                    "" if np.isnan(row["coverage"]) else f"{row['coverage_low']:.1%}-{row['coverage_high']:.1%}",
                    _number(row["worst"], ".1%"),
                    _number(row["width"], ".3f"),
                    _number(row["shown"], ".0%"),
                    _number(row["caution"], ".0%") if row["shown"] else "",
                    row["finding"],
                ]
            )
        )
    names = list(dict.fromkeys(table["estimator"]))
    lines += ["", _line(["setting", "attribute", *names]), _line(["---"] * (len(names) + 2))]
    for (setting, attribute), part in table.groupby(["setting", "attribute"], sort=False):
        cells = part.set_index("estimator")
        mark = " †" if cells["breaks"].iloc[0] else ""
        lines.append(_line([f"{setting}{mark}", str(attribute), *(_cell(cells, name) for name in names)]))
    return "\n".join(lines) + "\n"


def _cell(cells: pd.DataFrame, name: str) -> str:
    if name not in cells.index:
        return ""
    row = cells.loc[name]
    return REFUSED if np.isnan(row["coverage"]) else f"{row['coverage']:.0%} ({row['bias']:+.3f}) {row['finding']}"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _number(value: float, how: str) -> str:
    return "" if np.isnan(value) else format(value, how)


COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56606b", "#E69F00")
SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down")


def draw(table: pd.DataFrame, path: Path) -> Path:
    """Coverage by setting and estimator as SVG, a panel an attribute; the band is what is asked."""
    import altair as alt

    from reports.charts import to_svg

    names = list(dict.fromkeys(table["estimator"]))
    order = [s + (" †" if b else "") for s, b in dict(zip(table["setting"], table["breaks"], strict=True)).items()]
    frame = table[table["coverage"].notna()].assign(
        label=lambda t: t["setting"] + np.where(t["breaks"] != "", " †", ""), shade=LEAST, top=MOST
    )
    columns = ["label", "attribute", "estimator", "coverage", "coverage_low", "coverage_high"]
    data = alt.InlineData(values=[dict(zip(columns, r, strict=True)) for r in frame[columns].to_numpy()])
    base = alt.Chart()
    y = alt.Y("label:N", sort=order, title=None)
    scale = alt.Scale(domain=[0, 1])
    look = {
        "color": alt.Color("estimator:N", title=None, scale=alt.Scale(domain=names, range=list(COLOURS[: len(names)]))),
        "shape": alt.Shape("estimator:N", title=None, scale=alt.Scale(domain=names, range=list(SHAPES[: len(names)]))),
    }
    offset = alt.YOffset("estimator:N", sort=names)
    band = base.mark_rect(color="#dfe3e6", opacity=0.6).encode(x=alt.datum(LEAST), x2=alt.datum(MOST))
    bars = base.mark_rule(strokeWidth=1).encode(
        x=alt.X("coverage_low:Q", scale=scale), x2="coverage_high:Q", y=y, yOffset=offset, color=look["color"]
    )
    axis = alt.Axis(format="%", title="Coverage of the 95% interval")
    dots = base.mark_point(filled=True, opacity=1, size=34).encode(
        x=alt.X("coverage:Q", scale=scale, axis=axis), y=y, yOffset=offset, **look
    )
    panels = []
    for attribute in (a for a in dict.fromkeys(frame["attribute"]) if "+" not in a):
        part = alt.layer(band, bars, dots).transform_filter(alt.datum.attribute == attribute)
        panels.append(part.properties(width=420, height=alt.Step(7), title=attribute.replace("_", " ")))
    chart = alt.hconcat(*panels, data=data).configure(font="Liberation Sans, Arial, sans-serif", background="#ffffff")
    chart = chart.configure_view(stroke=None).configure_legend(orient="top", labelFontSize=12)
    chart = chart.configure_axisY(labelLimit=300, grid=True, gridColor="#dfe3e6")
    path.write_text(to_svg(chart), encoding="utf-8")
    return path

"""A bench of samplers as one page that needs nothing else: what each gives, and at what cost."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import altair as alt
import pandas as pd

from auditkit import __version__
from auditkit.files import write_atomic
from reports.chapters.base import Figure, Table
from reports.charts import INK, MUTED, inline, styled, to_svg
from reports.render import page
from reports.words import MISSING, interval, percent, plural

Row = dict[Any, Any]
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000", "#8c6d1f", "#7a7a7a", "#5b3a8c"]
"""Okabe and Ito's palette and three more; every sampler has a shape of its own too."""
SHAPES = [
    "circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right", "triangle-left",
    "M-1,-1L1,1M-1,1L1,-1", "M0,-1L0,1M-1,0L1,0",
]  # fmt: skip
SHARES = {
    "fidelity": "Occupation as asked",
    "fidelity_gender": "Gender as asked",
    "fidelity_skin_tone": "Tone as asked",
}
NOTES = (
    "All settings were made from the same prompts and seeds, so that they differ by their sampler and steps alone. "
    "Samplers that add noise on their way still draw other images from a seed than those that add none.",
    "Fidelity is the share of images in which the encoder sees what the prompt asked for, with 95% intervals between "
    "prompts. Diversity is the Vendi score: how many different images the encoder sees. Bias is total variation of "
    "the corrected shares of all images from the target; in brackets behind it, what chance alone gives at that many.",
    "Seconds are of the making, by this machine as busy as it was. Joules are at the device; brackets are bounds on "
    "what meter or estimate can be wrong by, and they shift all rows together, so that ratios of rows are surer than "
    "the rows.",
)


def write_page(bench: pd.DataFrame, path: Path) -> None:
    """Write the page of the table that `app.sampling` makes; its attrs name generator, spec and device."""
    write_atomic(path, page("sampler_bench.html", assemble(bench)).encode())


def assemble(bench: pd.DataFrame) -> dict[str, Any]:
    """All that the page shows, as plain values."""
    blocks: list[dict[str, Any]] = []
    if "fidelity" in bench and bench["fidelity"].notna().any():
        blocks.append(vars(figure(bench)) | {"kind": "figure"})
    made = table(bench)
    blocks.append(vars(made) | {"kind": "table"})
    about, settings = bench.attrs, len(bench)
    return {
        "version": __version__,
        "title": f"{about.get('generator', 'A generator')}: {plural(bench['sampler'].nunique(), 'sampler')} compared",
        "facts": {
            "Prompts": str(about.get("spec", MISSING)),
            "Images of each setting": f"{int(bench['images'].iloc[0]):,}",
            "Settings": f"{settings:,}",
            "Device": str(about.get("device", MISSING)),
        },
        "chapter": {
            "id": "samplers", "title": "What each sampler gives", "lead": [], "blocks": blocks,
            "notes": [*NOTES, *_meters(bench)],
        },
    }  # fmt: skip


def table(bench: pd.DataFrame) -> Table:
    """The bench as text cells; columns of which nothing is known are left out."""
    cells: dict[str, Callable[[Row], str]] = {
        "Sampler": lambda row: str(row["sampler"]),
        "Steps": lambda row: str(row["steps"]),
        "Seconds an image": lambda row: number(row["seconds"]),
        "Joules an image": partial(spread, name="joules"),
        "Wh per 1,000": partial(spread, name="wh_per_1000"),
    }
    if bench["g_co2e_per_1000"].notna().any():
        cells["g CO2e per 1,000"] = partial(spread, name="g_co2e_per_1000")
    cells |= {head: partial(share, name=name) for name, head in SHARES.items() if name in bench}
    if "diversity" in bench:
        cells["Diversity"] = partial(spread, name="diversity")
    for name in (str(column) for column in bench):
        if name.startswith("bias_") and f"{name}_note" in bench:
            words = name.removeprefix("bias_").replace("_", " ").replace("+", " and ")
            cells[f"Bias, {words}"] = partial(distance, name=name)
    rows = [[cell(row) for cell in cells.values()] for row in bench.to_dict("records")]
    return Table("By sampler and steps", list(cells), rows, [False, *[True] * (len(cells) - 1)])


def figure(bench: pd.DataFrame) -> Figure:
    """Fidelity against seconds: a line for each sampler, through its numbers of steps."""
    told = bench[bench["fidelity"].notna()]
    names = list(dict.fromkeys(told["sampler"]))
    frame = told[["sampler", "steps", "seconds", "fidelity", "fidelity_low", "fidelity_high"]]
    base = alt.Chart(inline(frame))
    x = alt.X("seconds:Q", title="Seconds an image", scale=alt.Scale(type="log", nice=False, padding=14))
    y = alt.Y("fidelity:Q", title="Share with the occupation as asked", axis=alt.Axis(format="%"))
    y = y.scale(zero=False)
    colour = alt.Color("sampler:N", scale=alt.Scale(domain=names, range=COLOURS[: len(names)]), sort=names)
    shape = alt.Shape("sampler:N", scale=alt.Scale(domain=names, range=SHAPES[: len(names)]), sort=names)
    bars = base.mark_rule(color=MUTED, strokeWidth=1, opacity=0.5).encode(
        x=x, y=alt.Y("fidelity_low:Q", title="Share with the occupation as asked"), y2="fidelity_high:Q"
    )
    lines = base.mark_line(strokeWidth=1.3).encode(x=x, y=y, color=colour, order="steps:Q")
    dots = base.mark_point(size=70, strokeWidth=1.8, opacity=1).encode(x=x, y=y, color=colour, shape=shape)
    steps = base.mark_text(dy=-11, fontSize=10, color=INK).encode(x=x, y=y, text="steps:Q")
    chart = alt.layer(bars, lines, dots, steps).properties(width=720, height=340)
    words = "; ".join(f"{r['sampler']} {r['steps']}: {share(r, 'fidelity')}" for r in told.to_dict("records"))
    return Figure(
        to_svg(styled(chart, legend_columns=5)),
        f"Fidelity against seconds an image by sampler and steps. {words}.",
        "Fidelity against seconds an image, with 95% intervals; the numbers are steps.",
    )


def number(value: float) -> str:
    """Two significant digits, whole from 100 on."""
    if not math.isfinite(value):
        return MISSING
    return f"{value:,.0f}" if value >= 99.5 else f"{value:#.2g}".removesuffix(".")


def spread(row: Row, name: str) -> str:
    """A value with its bounds."""
    if not math.isfinite(row[name]):
        return MISSING
    return f"{number(row[name])} [{number(row[f'{name}_low'])}, {number(row[f'{name}_high'])}]"


def share(row: Row, name: str) -> str:
    """A share with its interval in percent, or why there is none."""
    if not math.isfinite(row[name]):
        return str(row.get(f"{name}_note", "")).split(":")[0] or MISSING
    return f"{percent(row[name], 1)} {interval(row[f'{name}_low'], row[f'{name}_high'], 1)}"


def distance(row: Row, name: str) -> str:
    """A total variation with its interval and what chance gives, or why there is none."""
    if not math.isfinite(row[name]):
        return str(row.get(f"{name}_note", "")).split(":")[0] or MISSING
    middle, low, high = (f"{row[key]:.2f}".removeprefix("0") for key in (name, f"{name}_low", f"{name}_high"))
    return f"{middle} [{low}, {high}] ({row[f'{name}_chance']:.2f})".replace("(0.", "(.")


def _meters(bench: pd.DataFrame) -> list[str]:
    how = "; ".join(sorted({text for text in bench["joules_how"] if text}))
    methods = ", ".join(sorted(set(bench["joules_method"])))
    return [f"Energy is by {methods}: {how}."] if how else ["Energy was not metered."]

"""Charts of provenance: what an image was made from, and how many files have each verdict. In report and dashboard.

Colours are from Okabe and Ito's palette; what a colour says is said by words and by the frame's line too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import altair as alt
import pandas as pd

from auditkit.provenance.codes import TAMPERING, kind
from auditkit.provenance.sentences import NAMES
from auditkit.provenance.verdict import VERDICTS
from auditkit.provenance.vocabulary import short_source_type
from reports.charts import INK, MUTED, inline, styled

RELATIONS = {"parentOf": "made from", "componentOf": "contains", "inputTo": "input"}
MOST_BOXES = 40
DEEPEST = 12
FINE, CHANGED, NONE = "fine", "changed", "none"
FRAMES: dict[str, dict[str, Any]] = {
    FINE: {"stroke": "#0072B2", "strokeWidth": 1.6},
    CHANGED: {"stroke": "#B34700", "strokeWidth": 2.4, "strokeDash": [6, 3]},
    NONE: {"stroke": MUTED, "strokeWidth": 1.2, "strokeDash": [2, 3]},
}
GOOD = ("trusted", "recovered-exact", "recovered-soft")
WIDE, HIGH, GAP, DROP = 296, 84, 22, 46
"""Pixels: a box, the space between boxes, and between their rows."""


@dataclass
class Box:
    """A file in the history of an image, and what is said of it."""

    title: str
    lines: list[str]
    state: str
    relation: str = ""
    below: list[Box] = field(default_factory=list)
    x: float = 0.0
    """Of its middle."""
    row: int = 0

    def walk(self) -> Iterator[Box]:
        """It, then what it was made from."""
        yield self
        for each in self.below:
            yield from each.walk()


def ingredient_tree(graph: dict[str, Any], verdict: str) -> Box | None:
    """The manifests of `auditkit.provenance.verdict.ingredient_graph` as a tree; None where there is none.

    A manifest that was used twice stands there twice. At most `MOST_BOXES` are kept, `DEEPEST` generations deep.
    """
    nodes = {node["label"]: node for node in graph.get("nodes", [])}
    active = next((label for label, node in nodes.items() if node["active"]), None)
    if active is None:
        return None
    changed = verdict in ("tampered-content", "tampered-manifest")
    said = NAMES.get(verdict, verdict)
    root = _box(nodes[active], "this file", CHANGED if changed else FINE, [said])
    left = [MOST_BOXES - 1]
    _grow(root, active, nodes, graph.get("edges", []), left, frozenset({active}))
    return root


def ingredients_chart(root: Box) -> tuple[Any, int]:
    """The file on top, what it was made from below it; and the chart's width in pixels."""
    columns = _place(root)
    boxes = list(root.walk())
    deep = max(box.row for box in boxes)
    width, height = columns * (WIDE + GAP) + 8, (deep + 1) * HIGH + deep * DROP + 8
    x: dict[str, Any] = {"scale": alt.Scale(domain=[0, width], nice=False), "axis": None}
    y: dict[str, Any] = {"scale": alt.Scale(domain=[0, height], nice=False, reverse=True), "axis": None}

    def layer(rows: list[dict[str, Any]]) -> alt.Chart:
        return alt.Chart(inline(pd.DataFrame(rows)))

    layers: list[alt.Chart] = []
    edges = [(upper, lower) for upper in boxes for lower in upper.below]
    if edges:
        lines = [
            {"x": a.x, "y": _top(a) + HIGH, "x2": b.x, "y2": _top(b), "relation": b.relation, "left": b.x < a.x,
             "between": _top(b) - DROP * 0.3}
            for a, b in edges
        ]  # fmt: skip
        drawn = layer(lines)
        layers.append(
            drawn.mark_rule(color=MUTED, strokeWidth=1.4).encode(
                x=alt.X("x:Q", **x), y=alt.Y("y:Q", **y), x2="x2:Q", y2="y2:Q"
            )
        )
        heads = drawn.mark_point(shape="triangle-down", size=50, filled=True, color=MUTED, opacity=1, yOffset=-4)
        layers.append(heads.encode(x=alt.X("x2:Q", **x), y=alt.Y("y2:Q", **y)))
        for left in (True, False):  # on the side that the line does not come from
            rows = [line for line in lines if line["left"] == left]
            if rows:
                said = layer(rows).mark_text(
                    align="right" if left else "left", dx=-9 if left else 9, baseline="middle", fontSize=11.5, color=INK
                )
                layers.append(said.encode(x=alt.X("x2:Q", **x), y=alt.Y("between:Q", **y), text="relation:N"))
    for state, look in FRAMES.items():
        chosen = [
            {"x": box.x - WIDE / 2, "x2": box.x + WIDE / 2, "y": _top(box), "y2": _top(box) + HIGH}
            for box in boxes
            if box.state == state
        ]
        if chosen:
            frame = layer(chosen).mark_rect(fill="#ffffff", fillOpacity=1, cornerRadius=6, **look)
            layers.append(frame.encode(x=alt.X("x:Q", **x), y=alt.Y("y:Q", **y), x2="x2:Q", y2="y2:Q"))
    written = [
        {"x": box.x - WIDE / 2 + 10, "y": _top(box) + 17 + 17 * place, "text": text, "head": place == 0}
        for box in boxes
        for place, text in enumerate([box.title, *box.lines][:4])
    ]
    for head in (True, False):
        rows = [row for row in written if row["head"] == head]
        if rows:
            font: dict[str, Any] = {"fontWeight": "bold", "fontSize": 12.5} if head else {"fontSize": 11.5}
            text = layer(rows).mark_text(align="left", baseline="middle", color=INK, limit=WIDE - 18, **font)
            layers.append(text.encode(x=alt.X("x:Q", **x), y=alt.Y("y:Q", **y), text="text:N"))
    return styled(alt.layer(*layers).properties(width=width, height=height), legend_columns=1), width


def ingredients_alt(root: Box) -> str:
    """The chart in words."""
    told = []
    for upper in root.walk():
        told += [f"{upper.title} {lower.relation} {lower.title} ({'; '.join(lower.lines)})" for lower in upper.below]
    first = f"{root.title} ({'; '.join(root.lines)})"
    return f"What the file was made from: {first}; " + "; ".join(told) + "." if told else f"The file: {first}."


def verdicts_chart(counts: dict[str, int], *, width: int = 860) -> Any:
    """Files by verdict, as bars with their number, in the order of `VERDICTS`.

    Args:
        counts: verdict -> files; '' is files without a verdict.
    """
    names = [name for name in [*VERDICTS, *counts] if counts.get(name)]
    names = list(dict.fromkeys(names))
    frame = pd.DataFrame(
        {
            "label": [NAMES.get(name, name or "Could not be read") for name in names],
            "files": [counts[name] for name in names],
            "number": [f"{counts[name]:,}" for name in names],
            "colour": [_colour(name) for name in names],
        }
    )
    order = frame["label"].tolist()
    roomy = width >= 600
    y = alt.Y("label:N", sort=order, title=None).axis(labels=roomy, grid=False).scale(paddingOuter=0 if roomy else 0.4)
    base = alt.Chart(inline(frame)).encode(y=y)
    end = max(1.0, 1.12 * float(frame["files"].max()))
    x = alt.X("files:Q", title="Files", axis=alt.Axis(tickCount=5, format="d", tickMinStep=1))
    bars = base.mark_bar(height=13).encode(
        x=x.scale(domain=[0, end], nice=False), fill=alt.Fill("colour:N", scale=None)
    )
    numbers = base.mark_text(align="left", dx=5, fontSize=12, color=INK).encode(x="files:Q", text="number:N")
    layers = [bars, numbers]
    if not roomy:
        above = base.mark_text(align="left", fontSize=12, color=INK, yOffset=-15)
        layers.append(above.encode(x=alt.value(0), text="label:N"))
    beside = 6.6 * max(map(len, order)) if roomy else 0
    size = {"width": max(120, width - beside - 40), "height": alt.Step(24 if roomy else 36)}
    return styled(alt.layer(*layers).properties(**size), legend_columns=1)


def _colour(verdict: str) -> str:
    if verdict in GOOD:
        return "#0072B2"
    return "#B34700" if verdict.startswith("tampered") else "#8a939b"


def _grow(
    box: Box,
    label: str,
    nodes: dict[str, dict[str, Any]],
    edges: list[dict[str, Any]],
    left: list[int],
    seen: frozenset[str],
) -> None:
    for edge in edges:
        if edge["from"] != label or left[0] <= 0:
            continue
        left[0] -= 1
        below, said, state = nodes.get(edge["to"] or ""), _said(edge["codes"]), FINE
        if any(kind(code) in TAMPERING for code in edge["codes"]):
            state = CHANGED
        title = str(edge["title"] or "")
        if below is None:
            made = Box(title or "untitled", ["without a manifest of its own", *said], NONE if state == FINE else state)
        else:
            made = _box(below, title, state, said)
            made.title = title or made.title  # what it was called when it was used
        made.relation = RELATIONS.get(str(edge["relationship"]), str(edge["relationship"] or "ingredient"))
        made.row = box.row + 1
        box.below.append(made)
        if below is not None and edge["to"] not in seen and made.row < DEEPEST:
            _grow(made, str(edge["to"]), nodes, edges, left, seen | {str(edge["to"])})


def _box(node: dict[str, Any], title: str, state: str, said: list[str]) -> Box:
    actions = [str(each).removeprefix("c2pa.") for each in node["actions"]]
    sources = [short_source_type(str(each)) for each in node["source_types"]]
    done = ", ".join(dict.fromkeys([*actions, *sources]))
    signer = str(node["signer"] or "")
    lines = [f"by {signer}" if signer else "by an unknown signer", done or "no actions told"]
    return Box(str(node["title"] or title or "untitled"), [*said, *lines], state)


def _said(codes: list[str]) -> list[str]:
    """What was recorded about an ingredient when it was used."""
    kinds = {kind(code) for code in codes}
    if kinds & TAMPERING:
        return ["✕ changed after its own signing"]
    if "expired" in kinds:
        return ["certificate had expired when it was used"]
    return ["signer unknown when it was used"] if "credential" in kinds else []


def _place(root: Box) -> int:
    """Set the middle of every box, leaves side by side and each parent above its own; how many columns there are."""
    columns = 0

    def place(box: Box) -> None:
        nonlocal columns
        for each in box.below:
            place(each)
        if box.below:
            box.x = (box.below[0].x + box.below[-1].x) / 2
        else:
            box.x = 4 + (columns + 0.5) * (WIDE + GAP)
            columns += 1

    place(root)
    return columns


def _top(box: Box) -> float:
    return 4 + box.row * (HIGH + DROP)

"""`build(run)`: the whole report, from a run to its page and its data files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from auditkit.files import write_atomic
from auditkit.images import open_image
from auditkit.runs import Run, open_run
from auditkit.schemas import SCHEMA_VERSION
from reports import charts, contact, prose, render, report_schema, tables, words
from reports.chapters import Chapter, Figure, Pictures, chapters
from reports.origin import origin
from reports.tables import WHOLE, View

WIDE, NARROW = 860, 343
"""Widths of a chart in pixels: beside the section's heading, and on a phone."""


def build(run: Run | str | Path, out: str | Path | None = None) -> Path:
    """Write the run's report: one HTML page that needs nothing else, `measurements.csv`, and `measurements.json`
    with its schema.

    Args:
        out: a folder, or the page's own name ending in .html; by default `report/` in the run. Beside a page
            with a name of its own, the data files take that name as prefix: `audit.measurements.csv`.

    Returns:
        The page.

    Raises:
        RunError: the run has no measurements, or `out` cannot be written.
        ImageError: an image of the run is missing or damaged.
    """
    run = run if isinstance(run, Run) else open_run(Path(run))
    measurements = tables.read_measurements(run)
    context = assemble(run, measurements)
    html = _page_path(run, out)
    prefix = "" if html.name == "index.html" else f"{html.stem}."
    document = {
        "schema_version": SCHEMA_VERSION,
        "kind": report_schema.KIND,
        "run_id": run.id,
        "summary": [sentence for part in context["summary"] for sentence in part],
        "provenance": run.record,
        "measurements": measurements.to_dict("records"),
    }
    files = {
        html.with_name(f"{prefix}measurements.csv"): measurements.to_csv(index=False),
        html.with_name(f"{prefix}measurements.json"): render.to_json(document),
        html.with_name(f"{prefix}measurements.schema.json"): render.to_json(report_schema.schema()),
        html: render.page("report.html", context),
    }
    for path, text in files.items():
        write_atomic(path, text.encode())
    return html


def assemble(run: Run, measurements: pd.DataFrame) -> dict[str, Any]:
    """All that the page shows, as plain values for the template."""
    by = tables.grouping(measurements)
    views = [
        tables.view(measurements, attribute, by=by, planted=tables.planted_shares(run, attribute, by=by))
        for attribute in tables.attributes(measurements)
    ]
    single = [view for view in views if "+" not in view.attribute]
    recoverable = [view for view in single if view.shares["covered"].notna().any()]
    fidelity = tables.fidelity(measurements, by=by)
    target = views[0].target if views else "uniform"
    source = origin(run, measurements, by=by, target=target)
    drawn = [_chart(view) for view in single]
    keys = [f"{view.attribute}@{source.encoders.get(view.attribute, '')}" for view in single]
    sheets = contact.sheets(run, by=by, scores=keys)
    found = chapters(measurements, run)
    matched = words.matched(fidelity)
    recovered = words.recovered(recoverable)
    return {
        "title": source.facts.get("Generator", run.id).split(" (")[0],
        "description": run.spec.description if run.spec else "",
        "run_id": run.id,
        "version": source.versions.get("auditkit", ""),
        "facts": source.facts,
        "origin": source,
        "contents": _contents(drawn, found),
        "noun": words.group_noun(by),
        "digits": 1 if float(views[0].shares["n_images"].median()) >= 400 else 0,
        "target": words.target_name(target),
        "key_figures": prose.key_figures(single, recoverable),
        "leads": sum(1 for view in views if words.headline(view)) or 1,
        "summary": prose.summary(run, views, matched, recovered),
        "how_to_read": prose.how_to_read(by, target),
        "statuses": {key: text for key, text in words.STATUS.items() if any(v.groups_with(key) for v in views)},
        "charts": drawn,
        "distances": [
            {
                "attribute": view.attribute,
                "rows": render.records(view.distances),
                "mean": words.mean_distance(view),
            }
            for view in views
        ],
        "tables": [_table(view) for view in single],
        "joint": [view.attribute for view in views if view not in single],
        "chapters": [_drawn(run, one) for one in found],
        "sheets": sheets,
        "anchors": {sheet.group: f"images-{index}" for index, sheet in enumerate(sheets, 1)},
        "captions": any(one.caption for sheet in sheets for one in sheet.thumbnails),
        "readings": {sheet.group: _reading(single, sheet.group) for sheet in sheets},
        "no_sheet": max(0, len(views[0].groups) - len(sheets)),
        "recoveries": [_recovery(view) for view in recoverable],
        "recovered": recovered,
        "why_no_truth": prose.why_no_truth(run),
        "fidelity": render.records(fidelity.dropna(subset="share")),
        "matched": matched,
        "methods": prose.methods(views, source),
        "limits": prose.limits(by, source),
        "reproduce": prose.reproduce(run),
    }


def _chart(view: View) -> dict[str, str]:
    def drawn(width: int) -> str:
        return render.svg_uri(charts.to_svg(charts.shares_chart(view, width=width)))

    perceived = words.name(view.attribute)
    return {
        "id": f"chart-{view.attribute}",
        "heading": f"Perceived {perceived}" + ("" if view.by == WHOLE else f" by {words.name(view.by)}"),
        "wide": drawn(WIDE),
        "narrow": drawn(NARROW),
        "alt": words.chart_alt(view),
        "caption": prose.chart_caption(view),
    }


def _recovery(view: View) -> dict[str, Any]:
    return {
        "attribute": view.attribute,
        "shown": view.shown,
        "chart": render.svg_uri(charts.to_svg(charts.recovery_chart(view))),
        "alt": f"Scatter chart of planted against recovered shares. {' '.join(words.recovered([view]))}",
        "groups": render.grouped(view.shares[view.shares["category"].isin(view.shown)]),
    }


def _table(view: View) -> dict[str, Any]:
    return {
        "attribute": view.attribute,
        "span": len(view.shown),
        "cautions": words.cautions(view),
        "shown": view.shown[0],
        "rest": view.categories[1] if len(view.categories) == 2 else "",
        "groups": render.grouped(view.shares[view.shares["category"].isin(view.shown)]),
    }


def _reading(views: list[View], group: str) -> str:
    """'87% female [78, 93]': the first attribute with two classes, where it was estimated."""
    for view in views:
        rows = view.shares[(view.shares["group"] == group) & (view.shares["category"] == view.shown[0])]
        if len(view.shown) == 1 and rows["corrected"].notna().any():
            row = rows.iloc[0]
            low_high = words.interval(row["low"], row["high"])
            return f"{words.percent(row['corrected'])} {words.name(view.shown[0])} {low_high} in all"
    return ""


def _drawn(run: Run, chapter: Chapter) -> dict[str, Any]:
    """A chapter with its pictures read, as plain values."""
    blocks: list[dict[str, Any]] = []
    for block in chapter.blocks:
        if isinstance(block, Pictures):
            uris = [contact.data_uri(open_image(run.image_path(id)), size=96) for id in block.ids]
            shown = [
                {"uri": uri, "alt": caption or f"image {id[:8]}", "caption": caption}
                for uri, id, caption in zip(uris, block.ids, block.captions, strict=True)
            ]
            blocks.append({"kind": "pictures", "heading": block.heading, "thumbnails": shown})
        elif isinstance(block, Figure):
            blocks.append(vars(block) | {"kind": "figure"})
        else:
            numeric = block.numeric or [False] * len(block.columns)
            blocks.append(vars(block) | {"kind": "table", "numeric": numeric})
    return {"id": chapter.id, "title": chapter.title, "lead": chapter.lead, "blocks": blocks, "notes": chapter.notes}


def _contents(drawn: list[dict[str, str]], found: list[Chapter]) -> list[tuple[str, str]]:
    before = [("summary", "Summary"), ("how-to-read", "How to read this")]
    after = [
        ("distances", "Distance to the target"),
        ("shares", "All shares"),
        *((f"chapter-{one.id}", one.title) for one in found),
        ("images", "The images"),
        ("instrument", "Instrument check"),
        ("methods", "Methods"),
        ("limits", "Limits"),
        ("reproduce", "How to reproduce"),
    ]
    return before + [(chart["id"], chart["heading"]) for chart in drawn] + after


def _page_path(run: Run, out: str | Path | None) -> Path:
    path = run.path / "report" if out is None else Path(out)
    return path if path.suffix.lower() in (".html", ".htm") else path / "index.html"

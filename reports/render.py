"""The page: jinja2 with autoescape on, style and charts inlined, nothing fetched from anywhere."""

from __future__ import annotations

import base64
import json
import math
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup

from reports import tables, words

TEMPLATES = Path(__file__).parent / "templates"


def page(template: str, context: dict[str, Any]) -> str:
    """One HTML document, of a template that extends page.html. Every value in `context` is text and is escaped."""
    style = (TEMPLATES / "style.css").read_text(encoding="utf-8")
    return environment().get_template(template).render(style=Markup(style), **context).lstrip()


def environment() -> jinja2.Environment:
    """Escapes everything; an unknown name is an error, not an empty string."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "svg": svg_uri,
        "percent": words.percent,
        "p_value": words.p_value,
        "name": words.name,
        "group": words.group_name,
        "count": lambda number: f"{int(number):,}",
        "images": lambda number: words.plural(int(number), "image"),
        "capfirst": lambda text: text[:1].upper() + text[1:],
    }
    made.tests["known"] = lambda value: value is not None and math.isfinite(value)
    made.globals |= {"interval": words.interval, "covered": _covered, "zip": zip}
    return made


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as dicts for the template; a flag that is not known is None."""
    rows = tables.rows(frame)
    for row in rows:
        if "covered" in row:
            row["covered"] = None if pd.isna(row["covered"]) else bool(row["covered"])
    return rows


def grouped(frame: pd.DataFrame) -> list[tuple[str, list[dict[str, Any]]]]:
    """Rows by group, groups in their order."""
    return [(str(group), records(rows)) for group, rows in frame.groupby("group", sort=False)]


def svg_uri(svg: str) -> str:
    """An SVG as a data URI for `img`, where no script in it could run."""
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode("ascii")


def to_json(data: Any) -> str:
    """JSON without NaN: what is not a finite number is null."""
    return json.dumps(_plain(data), indent=1, ensure_ascii=False, allow_nan=False, default=str) + "\n"


def _plain(data: Any) -> Any:
    if isinstance(data, dict):
        return {str(key): _plain(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_plain(value) for value in data]
    if data is pd.NA or data is pd.NaT or (isinstance(data, float) and not math.isfinite(data)):
        return None
    return data.item() if hasattr(data, "item") else data


def _covered(value: bool | None) -> str:
    return words.MISSING if value is None else ("yes" if value else "no")

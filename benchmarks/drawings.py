"""Drawings of the persona corpus as plain pictures."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image

CANVAS = 128


def on_white(png: bytes, path: Path) -> None:
    """Write a drawing, PNG with alpha, in the middle of a white page of 128 px; folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with Image.open(io.BytesIO(png)) as image:
        drawing = image.convert("RGBA")
    page = Image.new("RGBA", (CANVAS, CANVAS), "white")
    edge = (CANVAS - drawing.width) // 2
    page.alpha_composite(drawing, (edge, edge))
    page.convert("RGB").save(path)

"""`write_page(models, path)`: model cards with their pictures, as one page that needs nothing else."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from auditkit import __version__
from auditkit.files import write_atomic
from generators.known import Known
from reports.cards import facts, notes, overview, plain, tables
from reports.render import page
from reports.words import plural

MEDIA = {".webp": "image/webp", ".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg"}


def write_page(models: Sequence[Known], path: str | Path) -> Path:
    """Write the cards of `models` to the HTML file `path`, and return it.

    Raises:
        RunError: the file cannot be written.
    """
    context = {
        "title": models[0].name if len(models) == 1 else "The bundled generators",
        "facts": {"Models": str(len(models)), "Weights": f"{sum(one.bytes for one in models) / 1e6:.0f} MB"},
        "summary": _summary(models),
        "overview": overview(models),
        "models": [_model(one) for one in models],
        "version": __version__,
    }
    path = Path(path)
    write_atomic(path, page("cards.html", context).encode())
    return path


def _summary(models: Sequence[Known]) -> str:
    planted = sum(one.planted is not None for one in models)
    return (
        f"{plural(len(models), 'model')}, {planted} of them with a planted table: what they show under neutral "
        "prompts is known from training, so that an audit of them can be checked. Their pictures are drawings; "
        "what is read in them is perceived presentation."
    )


def _model(one: Known) -> dict[str, Any]:
    card, sheet = one.card, one.sheet
    picture = None
    if sheet is not None and sheet.suffix.lower() in MEDIA:
        picture = f"data:{MEDIA[sheet.suffix.lower()]};base64,{base64.b64encode(sheet.read_bytes()).decode()}"
    return {
        "name": one.name,
        "what": plain(card.what) if card else f"A {one.pipeline} without a card.",
        "picture": picture,
        "facts": facts(card),
        "tables": tables(one),
        "notes": notes(one),
    }

"""Contact sheets: a group's images as thumbnails that travel inside the page."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd
from PIL import Image

from auditkit.images import open_image
from reports.tables import WHOLE
from reports.words import name

if TYPE_CHECKING:
    from auditkit.runs import Run

PER_GROUP = 24
TOTAL = 960
"""Thumbnails in one page: at 64 px, some 4 MB of photographs at the worst."""


@dataclass(frozen=True)
class Thumbnail:
    id: str
    uri: str
    """WebP as a data URI."""
    alt: str
    caption: str
    """How the first attribute was read; empty where the image was not scored."""
    size: int
    """Edge in pixels of the square that the image was fitted into."""


@dataclass(frozen=True)
class Sheet:
    group: str
    thumbnails: list[Thumbnail]
    n_images: int
    """Images that the group has in all."""


def sheets(run: Run, *, by: str, scores: list[str], per_group: int = PER_GROUP, total: int = TOTAL) -> list[Sheet]:
    """One sheet a group, in the order in which the prompts stand in the run.

    Args:
        scores: keys of the scores to say how each image was read; the first one's reading stands under it.

    Images are taken by replicate, then by prompt: the first ones made, not a selection. With many groups each
    gets fewer, and when there are more groups than `total`, the last have no sheet.

    Raises:
        ImageError: an image that is missing or cannot be read.
    """
    images = run.images().sort_values(["replicate", "prompt_id"], kind="stable")
    column = f"axis_{by}"
    if by == WHOLE or column not in images:
        groups = [(WHOLE, images)]
    else:
        groups = [(str(group), rows) for group, rows in images.groupby(column, sort=False) if len(rows)]
        groups.sort(key=lambda pair: int(pair[1]["prompt_id"].min()))
    per_group = max(1, min(per_group, total // max(1, len(groups))))
    size = 96 if min(per_group * len(groups), len(images)) <= total // 2 else 64
    labels = _labels(run, scores)
    return [
        Sheet(
            group,
            [_thumbnail(run, row, labels, size) for _, row in rows.head(per_group).iterrows()],
            len(rows),
        )
        for group, rows in groups[:total]
    ]


def _labels(run: Run, keys: list[str]) -> list[dict[str, str]]:
    """For each key of scores that the run has, image id -> label."""
    tables = run.scores()
    found = [tables[key] for key in keys if key in tables]
    return [dict(zip(table["id"], table["label"].map(name), strict=True)) for table in found]


def _thumbnail(run: Run, row: pd.Series, labels: list[dict[str, str]], size: int) -> Thumbnail:
    read = [table[row["id"]] for table in labels if row["id"] in table]
    seed = "" if pd.isna(row["seed"]) else f", seed {int(row['seed'])}"
    reading = f"; read as {', '.join(read)}" if read else ""
    uri = data_uri(open_image(run.image_path(row["id"])), size=size)
    return Thumbnail(str(row["id"]), uri, f"“{row['prompt']}”{seed}{reading}", read[0] if read else "", size)


def data_uri(image: Image.Image, *, size: int) -> str:
    """The image fitted into size x size pixels, as a WebP data URI."""
    small = image.copy()
    small.thumbnail((size, size), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    small.save(buffer, "WEBP", quality=74, method=4)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")

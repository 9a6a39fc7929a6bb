"""`write_page(...)`: generated images beside their nearest training images, for people to look at."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image

from auditkit.errors import AuditkitError
from auditkit.files import write_atomic
from reports.contact import data_uri
from reports.render import page
from reports.words import plural

PAIRS = 200
"""Shown in one page, the nearest first."""
SIZE = 160
HOW_TO_READ = (
    "Each image stands beside what is nearest to it, the least likely pairs first. ‘p’ is how often an unrelated image "
    "comes as near to any of what was searched. A small one calls for a look: that two images are "
    "alike as wholes does not show that one was copied, and a part that was copied can be missed. Nothing here "
    "compares faces.",
)


def write_page(
    table: pd.DataFrame,
    facts: Mapping[str, Any],
    out: str | Path,
    *,
    image: Callable[[str], Image.Image],
    nearest: Callable[[str], Image.Image] | None,
) -> Path:
    """Write the page; images travel inside it.

    Args:
        table, facts: `Found.table` and `Found.as_dict()`.
        image, nearest: open an image, and a training image, by name. A training image that is gone, and all where
            `nearest` is None, are named alone.

    Raises:
        RunError: the page cannot be written. ImageError: an image that was asked about is gone.
    """
    path, whose = Path(out), "protected works" if "owner" in table else "training images"
    order = table.assign(_cosine=-table["cosine"]).sort_values(["p", "_cosine"], kind="stable")
    pairs = [_pair(row, image, nearest) for row in order.head(PAIRS).to_dict("records")]
    context = {
        "title": f"Images and the {whose} nearest to them",
        "facts": {"Images": f"{len(table):,}", whose.capitalize(): f"{facts['training_images']:,}"},
        "summary": summary(facts),
        "how_to_read": HOW_TO_READ,
        "pairs": pairs,
        "shown": f"{len(pairs):,} of {plural(len(table), 'pair')}",
    }
    write_atomic(path, page("copies.html", context).encode())
    return path


def summary(facts: Mapping[str, Any]) -> str:
    """One sentence on what was found, and how much of it chance brings about."""
    named = "; ".join(f"{name}: {count:,}" for name, count in facts["verdicts"].items() if count)
    if facts["status"] == "uncalibrated":
        return f"{named}. Nothing is calibrated: how near an unrelated image comes is not known."
    if facts["status"] == "insufficient":
        at = facts["thresholds"]
        return (
            f"{named}. The {at['held_out']:,} held-out images are too few for a false match rate of "
            f"{facts['rate']:.2%}: {at['held_out_needed']:,} are needed."
        )
    false = facts["expected_false_copies"]
    return (
        f"{named}. Were all of them unrelated, {false['estimate']:.2g} false matches would be expected "
        f"[{false['low']:.2g}, {false['high']:.2g}]."
    )


def _pair(
    row: Mapping[Any, Any], image: Callable[[str], Image.Image], nearest: Callable[[str], Image.Image] | None
) -> dict[str, Any]:
    name = row["same_pixels"] or row["nearest"]
    shown = ""
    if nearest is not None and name:
        try:
            shown = data_uri(nearest(name), size=SIZE)
        except AuditkitError:
            shown = ""
    said = [f"cosine {row['cosine']:.3f}" + (", mirrored" if row["mirrored"] else "")]
    said += [] if pd.isna(row["bits"]) else [f"{int(row['bits'])} bits of PDQ differ"]
    said += [] if pd.isna(row["p"]) else [f"p {row['p']:.3g}"]
    return {
        "image": row["image"], "uri": data_uri(image(row["image"]), size=SIZE), "nearest": name, "nearest_uri": shown,
        "verdict": row["verdict"], "said": "; ".join(said),
    }  # fmt: skip

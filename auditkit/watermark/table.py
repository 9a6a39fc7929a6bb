"""Detections as rows of a run's table `watermarks`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from auditkit.watermark.base import Detection

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = (
    "id", "scheme", "scheme_version", "key_id", "verdict", "p_value", "p_kind", "fpr", "looks", "payload",
    "payload_name", "bits", "matched", "corrected", "rotation", "scale", "forgery", "null", "note", "ms",
)  # fmt: skip


def watermarks_table(found: Iterable[tuple[str, Detection]]) -> pd.DataFrame:
    """Pairs of an image's id and what was found in it, as a table of the schema WATERMARKS for `run.write_watermarks`.

    An image that a run holds twice is one row: of pairs with the same id, scheme and key the first is kept.
    """
    import pandas as pd

    from auditkit.schemas import WATERMARKS, check

    table = pd.DataFrame([_row(id, one) for id, one in found], columns=list(COLUMNS))
    return check(table.drop_duplicates(["id", "scheme", "key_id"], ignore_index=True), WATERMARKS, "detections")


def _row(id: str, one: Detection) -> dict[str, Any]:
    same = [name for name in COLUMNS if name not in ("id", "p_value", "payload", "rotation", "scale")]
    return {
        **{name: getattr(one, name) for name in same},
        "id": id,
        "p_value": float("nan") if one.p_kind == "none" else one.p_value,
        "payload": None if one.payload is None else str(one.payload),
        "rotation": one.geometry.get("rotation"),
        "scale": one.geometry.get("scale"),
    }

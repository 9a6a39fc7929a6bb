"""The measure `detection`: what detectors say of a run's images, by group."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from auditkit.bias.base import Options, Row, adjust, table
from auditkit.bias.counted import Layout
from auditkit.errors import TableError

if TYPE_CHECKING:
    from auditkit.runs import Run

VERSION = 1
SHARES = {
    "generated": ("generated",),
    "no_sign": ("no sign",),
    "abstained": ("abstain", "not applicable"),
}
"""What is counted, and the verdicts that it holds; together they are all images."""


class Detection:
    """Rows `detection.generated`, `.no_sign` and `.abstained`; attribute: the detector."""

    name = "detection"
    version = VERSION
    title = "Images that detectors call generated, by group"

    def applies(self, run: Run, options: Options) -> str:
        return "" if run.detections() is not None else f"no detector has been asked: auditkit detect {run.path}"

    def measure(self, run: Run, options: Options) -> pd.DataFrame:
        """By group and detector, over the images that were judged, shares with Clopper and Pearson's interval on the
        effective number of images; `null_value` of `.generated` is the detector's false positive rate.

        Raises:
            TableError: no detector has been asked, or there is no such axis.
        """
        found = run.detections()
        if found is None:
            raise TableError("no detector has been asked", where=run.path, mend=f"auditkit detect {run.path}")
        layout = Layout.read(run, options)
        rows: list[Row] = []
        for detector, part in found.groupby("detector", sort=False):
            rows += _rows(layout, str(detector), part, max(options.min_n, 2))
        return table(adjust(rows, family=("measure", "attribute", "group_by")))


detection = Detection()


def _rows(layout: Layout, detector: str, part: pd.DataFrame, least: int) -> list[Row]:
    told = part.set_index("id").reindex(layout.images["id"])
    judged = told["verdict"].notna().to_numpy(bool)
    rows = []
    for statistic, verdicts in SHARES.items():
        shares = layout.shares(told["verdict"].isin(verdicts).to_numpy(bool), among=judged, exact=True)
        for place, share in shares.items():
            chosen = layout.parts[place]
            row = layout.row(
                f"detection.{statistic}", place, chosen=chosen & judged, version=VERSION, attribute=detector
            )
            if statistic == "generated":
                row |= {"null_value": float(part["fpr"].max()), "reference": "real images like its own"}
            unseen = int((chosen & ~judged).sum())
            row["note"] = f"{unseen} images were not judged" if unseen else ""
            rows.append(share.fill(row, least))
    return rows

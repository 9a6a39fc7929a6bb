"""What is said of each picture: the training picture nearest to it, and whether it is that one come again."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import pandas as pd

from auditkit.errors import DetectorError
from auditkit.provenance.pdq import FORMS
from detectors.copies.calibration import RATE, Calibration, Thresholds
from detectors.copies.prints import Picture, Prints, take_all
from detectors.copies.search import FARTHEST, Nearest, search

if TYPE_CHECKING:
    from auditkit.clip.encoders import Encoder
    from detectors.copies.index import Index

Verdict = Literal["copy", "possible", "no match", "insufficient", "uncalibrated"]

POSSIBLE = 10
"""'possible' reaches to so many times the false match rate of 'copy'."""

COLUMNS = (
    "image", "verdict", "p", "nearest", "cosine", "mirrored", "nearest_pdq", "bits", "form", "same_pixels",
)  # fmt: skip


@dataclass(frozen=True)
class Found:
    """What was found.

    Attributes:
        table: one row an image. image; verdict (the status, where it is not 'ok'); p, how often an unrelated picture
            comes as near to any of the training pictures (NaN where uncalibrated); nearest, the training picture
            nearest by embedding, cosine, and whether that was by its mirror image; nearest_pdq ('' for none), bits (NA
            for none) and form by PDQ; same_pixels, the training picture with the very same pixels, or ''.
        rate: false match rate of 'copy'.
        size: training pictures looked through.
        thresholds: None where nothing was calibrated.
        status: 'ok', 'insufficient' (too few held-out pictures for the rate) or 'uncalibrated'. In all but 'ok' only
            the very same pixels are called a copy.
    """

    table: pd.DataFrame
    rate: float
    size: int
    thresholds: Thresholds | None
    status: Literal["ok", "insufficient", "uncalibrated"]
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def expected_false(self) -> tuple[float, float, float]:
        """False 'copy' verdicts expected among these images were all unrelated, with a 95% interval of the rate."""
        at = self.thresholds
        if at is None or self.status != "ok":
            return (math.nan,) * 3
        n = len(self.table)
        return n * at.expected, n * at.low, n * at.high

    def counts(self) -> dict[str, int]:
        """Images of each verdict."""
        found = self.table["verdict"].value_counts()
        return {name: int(found.get(name, 0)) for name in dict.fromkeys([*get_args(Verdict), *found.index])}

    def as_dict(self) -> dict[str, Any]:
        expected, low, high = self.expected_false
        return {
            "images": len(self.table), "training_images": self.size, "rate": self.rate, "status": self.status,
            "verdicts": self.counts(), "expected_false_copies": {"estimate": expected, "low": low, "high": high},
            "thresholds": None if self.thresholds is None else self.thresholds.as_dict(), "rows": self.table,
            **self.details,
        }  # fmt: skip


def find(
    pictures: Iterable[Picture],
    index: Index,
    *,
    encoder: Encoder,
    calibration: Calibration | None,
    rate: float = RATE,
    progress: Callable[[int], None] | None = None,
) -> Found:
    """The nearest training picture of each picture, and whether it is a copy at a stated false match rate.

    Args:
        calibration: of this index; None says how near, but calls nothing a copy but the very same pixels.

    Raises:
        DetectorError: no pictures, another encoder, a damaged index, or a rate outside (0, 0.5].
        ImageError: a picture that cannot be opened.
    """
    index.check(encoder)
    prints = Prints.together(take_all(pictures, encoder, progress=progress), encoder.dim)
    if not len(prints):
        raise DetectorError("there are no images to look at", mend="name images, a folder of images, or a run")
    found = search(prints, index.blocks())
    names = index.names(
        int(at) for at in np.concatenate([found.position[:, 0], found.pdq_position, found.same]) if at >= 0
    )
    return judge(prints.names, found, names, calibration, rate=rate)


def judge(
    images: list[str], found: Nearest, names: dict[int, str], calibration: Calibration | None, *, rate: float = RATE
) -> Found:
    """Verdicts from what was found.

    Args:
        images: names of the m pictures. names: of the training pictures, by their numbers.
    """
    at = None if calibration is None else calibration.thresholds(rate, size=found.size)
    status: Any = "uncalibrated" if at is None else at.status
    nearest, cosine = found.position[:, 0], found.cosine[:, 0].astype(np.float64)
    p = np.full(len(images), np.nan)
    if calibration is not None:
        p = calibration.p_values(cosine, found.bits, size=found.size)
    same = found.same >= 0
    rows = [
        (
            images[m],
            _verdict(bool(same[m]), float(p[m]), rate, status),
            float(p[m]),
            names.get(int(nearest[m]), ""),
            float(cosine[m]) if nearest[m] >= 0 else math.nan,
            bool(found.mirrored[m]),
            names.get(int(found.pdq_position[m]), ""),
            int(found.bits[m]) if found.bits[m] < FARTHEST else pd.NA,
            FORMS[int(found.form[m])],
            names.get(int(found.same[m]), "") if same[m] else "",
        )
        for m in range(len(images))
    ]
    table = pd.DataFrame(rows, columns=list(COLUMNS)).astype({"bits": "Int64"})
    return Found(table, rate, found.size, at, status)


def _verdict(same: bool, p: float, rate: float, status: Any) -> Verdict:
    if same:
        return "copy"
    if status != "ok":
        return status  # type: ignore[no-any-return]
    tolerance = 1e-12  # p is a ratio of counts, and may round to either side of the rate
    return "copy" if p <= rate + tolerance else "possible" if p <= POSSIBLE * rate + tolerance else "no match"

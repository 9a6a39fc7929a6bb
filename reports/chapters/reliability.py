"""The reliability curve of a calibration: how often the instrument is right, by how sure it says it is."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Protocol

import altair as alt
import pandas as pd

from reports.chapters.base import Figure
from reports.charts import INK, MUTED, PERCENT, inline, styled, to_svg
from reports.words import name, percent

if TYPE_CHECKING:
    from auditkit.clip.calibration import Reliability

BEFORE, AFTER = "Before", "After temperature"
LOOKS = {AFTER: ("#0072B2", "circle"), BEFORE: (MUTED, "cross")}


class Calibrated(Protocol):
    """What is needed of an `auditkit.clip.calibration.Calibration`."""

    @property
    def attribute(self) -> str: ...
    @property
    def n_images(self) -> int: ...
    @property
    def temperature(self) -> float: ...
    @property
    def ece_before(self) -> float: ...
    @property
    def ece_after(self) -> float: ...
    @property
    def reliability(self) -> Reliability | None: ...


def reliability_figure(calibration: Calibrated, *, width: int = 420) -> Figure | None:
    """Accuracy against confidence, bin by bin, before and after temperature; on the diagonal the posteriors mean what
    they say. None where the calibration was made before there was such a table."""
    if calibration.reliability is None:
        return None
    frame = pd.concat(
        pd.DataFrame([dataclasses.asdict(bin) for bin in bins]).assign(stage=stage)
        for stage, bins in ((BEFORE, calibration.reliability.before), (AFTER, calibration.reliability.after))
    )
    return Figure(to_svg(_chart(frame, width)), _alt(calibration), _caption(calibration))


def _chart(frame: pd.DataFrame, width: int) -> Any:
    side = width - 70
    base = alt.Chart(inline(frame))
    ends = alt.Chart(inline(pd.DataFrame({"at": [0.0, 1.0]})))
    diagonal = ends.mark_line(color=INK, strokeDash=[3, 3], strokeWidth=1).encode(x="at:Q", y="at:Q")
    stages = list(LOOKS)
    color = alt.Color("stage:N", title=None).scale(domain=stages, range=[LOOKS[s][0] for s in stages])
    shape = alt.Shape("stage:N", title=None).scale(domain=stages, range=[LOOKS[s][1] for s in stages])
    x = alt.X("confidence:Q", axis=PERCENT).title("Mean confidence of the bin").scale(domain=[0, 1])
    bars = base.mark_rule(strokeWidth=1.4).encode(
        x=x, y=alt.Y("ci_low:Q", axis=PERCENT).title("Share that is right").scale(domain=[0, 1]), y2="ci_high:Q",
        color=color,
    )  # fmt: skip
    dots = base.mark_point(filled=False, opacity=1, strokeWidth=1.8).encode(
        x=x,
        y="accuracy:Q",
        color=color,
        shape=shape,
        size=alt.Size("n_images:Q", title=None, legend=None).scale(range=[40, 320]),
        tooltip=[alt.Tooltip(c) for c in ("stage:N", "confidence:Q", "accuracy:Q", "n_images:Q", "n_sources:Q")],
    )
    return styled(alt.layer(diagonal, bars, dots).properties(width=side, height=side), legend_columns=2)


def _caption(calibration: Calibrated) -> str:
    return (
        f"Reliability of the {name(calibration.attribute).lower()} scorer on its {calibration.n_images} calibration "
        f"images: how often the likeliest class is right, by the posterior it is given, before and after the "
        f"temperature of {calibration.temperature:.2f}. Bars are 95% intervals by drawing, so copies of one drawing "
        "count once; larger marks are more images. Temperature and curve are of the same images, so that new images "
        "may lie a little further from the diagonal."
    )


def _alt(calibration: Calibrated) -> str:
    assert calibration.reliability is not None
    bins = calibration.reliability.after
    off = [b for b in bins if not b.ci_low <= b.confidence <= b.ci_high]
    top = max(bins, key=lambda b: b.confidence)
    agree = "the mean confidence lies within the interval of the accuracy in every bin"
    if off:
        agree = f"in {len(off)} of {len(bins)} bins the mean confidence lies outside the interval of the accuracy"
    return (
        f"Accuracy against confidence: {agree}. At a confidence of {percent(top.confidence, 1)} the likeliest class is "
        f"right in {percent(top.accuracy, 1)} of {top.n_images} images. Expected calibration error "
        f"{calibration.ece_before:.3f} before the temperature, {calibration.ece_after:.3f} after."
    )

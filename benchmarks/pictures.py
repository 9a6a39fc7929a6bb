"""The README's charts of a detector's evaluation and of mitigations: those of their pages, as PNG.

python -m benchmarks.pictures detectors evaluation docs/images/detectors.png
python -m benchmarks.pictures mitigation mitigation/gender docs/images/mitigation.png
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import vl_convert

from auditkit.guidance import evaluated
from detectors import evaluation
from reports.charts import to_svg
from reports.detector_page import styled_dots
from reports.mitigation_charts import pareto_chart
from reports.mitigation_page import WITHOUT, pareto_rows

WIDTH = 720


def detectors(folder: Path) -> Any:
    """AUROC on each generator left out, detectors beside each other."""
    results = evaluation.read(folder).results
    own = results["metric"].eq("auroc") & results["degradation"].eq("none") & results["left"].eq("generator")
    return styled_dots(results[own], WIDTH)


def mitigation(folder: Path) -> Any:
    """Distance to the target against the fall of fidelity."""
    made = evaluated.read(folder)
    rows = pareto_rows(made, "fidelity")
    title = "Fall of occupation fidelity"
    return pareto_chart(rows, title=title, percent=True, names=[WITHOUT, *made.methods], width=WIDTH)


def main() -> None:
    what, folder, out = sys.argv[1:4]
    chart = {"detectors": detectors, "mitigation": mitigation}[what](Path(folder))
    Path(out).write_bytes(vl_convert.svg_to_png(to_svg(chart), scale=2))


if __name__ == "__main__":
    main()

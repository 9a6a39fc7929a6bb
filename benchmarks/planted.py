"""The planted table beside the recovered one, from a run that was measured against its planted truth.

auditkit audit benchmarks/planted.toml --target planted -a gender -a skin_tone -a gender+skin_tone
python -m benchmarks.planted RUN
"""

from __future__ import annotations

import sys

import pandas as pd

from auditkit.errors import RunError
from auditkit.runs import Run, open_run


def distances(run: Run) -> pd.DataFrame:
    """Total variation between recovered and planted shares by occupation and attribute, with its 95% interval and
    what chance alone would give; the last row of an attribute is the mean over occupations."""
    table = run.measurements()
    if table is None or "planted" not in set(table["reference"]):
        raise RunError("The run is not measured against its planted truth.", where=run.path, mend=__doc__)
    wanted = table["measure"].isin(["representation.distance", "representation.mean_distance"])
    pooled = (table["measure"] == "representation.distance") & (table["group"] == "all")
    columns = ["attribute", "group", "n_images", "estimate", "ci_low", "ci_high", "null_value", "status"]
    return table.loc[wanted & ~pooled, columns].replace({"group": {"all": "mean"}})


def shares(run: Run, attribute: str) -> pd.DataFrame:
    """Recovered and planted shares of one attribute: a row for each occupation and class, and whether the interval
    covers what was planted."""
    table = run.measurements()
    assert table is not None
    chosen = (table["measure"] == "representation.corrected") & (table["attribute"] == attribute)
    columns = ["group", "category", "null_value", "estimate", "ci_low", "ci_high"]
    found = table.loc[chosen & (table["group"] != "all"), columns]
    covers = (found["ci_low"] <= found["null_value"]) & (found["null_value"] <= found["ci_high"])
    return found.rename(columns={"null_value": "planted", "estimate": "recovered"}).assign(covers=covers)


if __name__ == "__main__":
    measured = open_run(sys.argv[1])
    print(distances(measured).round(3).to_string(index=False))
    for each in ("gender", "skin_tone"):
        print(f"\n{each}\n")
        print(shares(measured, each).round(3).to_string(index=False))

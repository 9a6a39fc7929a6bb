"""Does a generator draw what a full caption says? Perceived class against the one in the prompt.

auditkit generate occupations-by-group && auditkit score latest
python -m benchmarks.fidelity RUN
"""

from __future__ import annotations

import sys

import pandas as pd

from auditkit.clip.attributes import attribute
from auditkit.runs import Run, open_run
from auditkit.stats.intervals import wilson


def fidelity(run: Run, *, encoder: str = "personas-clip") -> pd.DataFrame:
    """One row an attribute that is both an axis and scored: n, share whose likeliest class is the prompt's, with its
    95% Wilson interval, and for skin tone the share at most one step off."""
    images, rows = run.images(), []
    for name in ("gender", "skin_tone", "occupation"):
        if f"axis_{name}" not in images:
            continue
        classes = list(attribute(name).classes)
        joined = images.merge(run.scores()[f"{name}@{encoder}"], on="id", validate="many_to_one")
        seen = joined[[f"p_{c}" for c in classes]].to_numpy().argmax(axis=1)
        steps = abs(seen - joined[f"axis_{name}"].map(classes.index).to_numpy())
        right = int((steps == 0).sum())
        low, high = wilson(right, len(steps))
        within = (steps <= 1).mean() if name == "skin_tone" else float("nan")
        rows.append([name, len(steps), right / len(steps), float(low), float(high), within])
    return pd.DataFrame(rows, columns=["attribute", "n", "as_prompted", "ci_low", "ci_high", "within_one_step"])


if __name__ == "__main__":
    print(fidelity(open_run(sys.argv[1])).round(3).to_string(index=False))

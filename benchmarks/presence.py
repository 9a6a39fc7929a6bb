"""Coverage of the intervals for a rare share, where the scorer's errors are estimated from few images of known truth.

    python -m benchmarks.presence [--audits 2000]

Simulated audits; the calibration is drawn anew for each. A row a setting: images n, sensitivity and the images it is
known from, false positive rate and the images it is known from, true share; share of intervals of a nominal 95% that
hold it, mean width, and how often presence is claimed (p < .05): counted labels, Lang and Reiczigel, melded.
"""

from __future__ import annotations

import argparse

import numpy as np
import pandas as pd

from auditkit.stats.rare import Errors, exact_share, lang_reiczigel, melded_share

SETTINGS = [
    (n, *errors, share)
    for n in (50, 200, 1000)
    for errors in ((0.9, 8, 0.0, 630), (0.9, 8, 0.004, 630), (0.95, 100, 0.02, 200))
    for share in (0.0, 0.005, 0.02, 0.1)
]


def simulate(setting: tuple[int, float, int, float, int, float], audits: int) -> dict[str, float]:
    """One row of the table."""
    n, s, m1, f, m0, share = setting
    rng = np.random.default_rng(0)
    labels = rng.binomial(n, share * s + (1 - share) * f, audits)
    right, wrong = rng.binomial(m1, s, audits), rng.binomial(m0, f, audits)
    ends: dict[str, list[tuple[float, float]]] = {"counted": [], "lang_reiczigel": [], "melded": []}
    claimed = 0
    for k, a, b in zip(labels, right, wrong, strict=True):
        errors = Errors(a / m1, m1, b / m0, m0)
        found = melded_share(int(k), n, errors, rng, draws=1000)
        low, high = exact_share(k, n, n)
        ends["counted"].append((float(low), float(high)))
        ends["lang_reiczigel"].append(lang_reiczigel(int(k), n, errors))
        ends["melded"].append((found.low, found.high))
        claimed += found.p_none < 0.05
    row = {"n": n, "sens": s, "of": m1, "false": f, "among": m0, "share": share}
    for name, pairs in ends.items():
        low, high = np.array(pairs).T
        row |= {name: float(np.mean((low <= share) & (share <= high))), f"{name}_width": float(np.mean(high - low))}
    return row | {"claimed": claimed / audits}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--audits", type=int, default=2000)
    args = parser.parse_args()
    print(pd.DataFrame([simulate(each, args.audits) for each in SETTINGS]).round(3).to_string(index=False))

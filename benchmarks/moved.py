"""Do the intervals of a mitigation's effect hold, and how often is one that does nothing called better?

    python -m benchmarks.moved [rounds]

Simulated pairs of audits of two classes, whose true shares are known, seen by a scorer that was calibrated on 200
images a class. Of each setting: how often 95% intervals hold the truth, and how often the test says 'nearer' at 5%.
"""

from __future__ import annotations

import sys

import numpy as np
import pandas as pd

from auditkit.stats.confusion import Confusion
from auditkit.stats.moved import Estimated, Pairs, movement

CALIBRATION = Confusion.from_counts([[190, 4], [6, 192], [4, 4]])
EVEN = [0.5] * 8
MIXED = [0.1, 0.9, 0.2, 0.5, 0.3, 0.5, 0.05, 0.8]
BETTER = [0.4, 0.6, 0.4, 0.5, 0.4, 0.5, 0.3, 0.6]
SETTINGS = {
    "all skewed alike, target met": ([0.1] * 8, EVEN, 0.0),
    "mixed, target met": (MIXED, EVEN, 0.0),
    "mixed, half way": (MIXED, BETTER, 0.0),
    "mixed, half way, prompts differ": (MIXED, BETTER, 0.08),
    "mixed, nothing done": (MIXED, MIXED, 0.0),
    "mixed, nothing done, prompts differ": (MIXED, MIXED, 0.08),
    "on target, nothing done": (EVEN, EVEN, 0.0),
}
"""Shares of each of 8 groups before and after, and the standard deviation of a prompt's own share."""
PROMPTS, IMAGES = 5, 8


def draw(before: list[float], after: list[float], spread: float, rng: np.random.Generator) -> list[Pairs]:
    """Groups of pairs, half of which share their noise, through a scorer drawn from what the calibration leaves."""
    matrix = CALIBRATION.draw(rng, 1)[0]
    edges = np.cumsum(matrix, axis=0)
    found = []
    for p, q in zip(before, after, strict=True):
        prompt = np.repeat(np.arange(PROMPTS), IMAGES)
        own = rng.normal(0, spread, PROMPTS)[prompt]
        u = rng.random(len(prompt))
        v = np.where(rng.random(len(prompt)) < 0.5, u, rng.random(len(prompt)))
        truths = [(noise >= np.clip(share + own, 0, 1)).astype(int) for noise, share in ((u, p), (v, q))]
        seen = [(rng.random(len(prompt)) > edges[:, t]).sum(axis=0).clip(max=2) for t in truths]
        found.append(Pairs.of(*seen, prompt, 3, [0.5, 0.5]))
    return found


def coverage(rounds: int, *, replicates: int = 400, seed: int = 0) -> pd.DataFrame:
    """A row a setting: shares of intervals that hold the truth, and of tests that say 'nearer'."""
    rows = []
    for name, (before, after, spread) in SETTINGS.items():
        rng = np.random.default_rng(seed)
        p, q = np.array(before), np.array(after)
        a, b = float(np.abs(p - 0.5).mean()), float(np.abs(q - 0.5).mean())
        square = float(2 * ((q - 0.5) ** 2).mean() - 2 * ((p - 0.5) ** 2).mean())
        held, nearer = np.zeros(5), 0
        for _ in range(rounds):
            found = movement(draw(before, after, spread, rng), CALIBRATION, rng, replicates=replicates)
            told = [found.before.estimated, found.after.estimated, found.change, found.reduction, found.squared_change]
            truth = [a, b, b - a, 1 - b / a if a else float("nan"), square]
            held += [_holds(x, t) for x, t in zip(told, truth, strict=True)]
            nearer += found.p_nearer <= 0.05
        shares = dict(zip(("before", "after", "change", "reduction", "squared"), held / rounds, strict=True))
        shares["reduction"] = shares["reduction"] if a else float("nan")
        rows.append({"setting": name, **shares, "nearer": nearer / rounds})
    return pd.DataFrame(rows)


def _holds(x: Estimated, truth: float) -> bool:
    return bool(x.low - 1e-9 <= truth <= x.high + 1e-9)


if __name__ == "__main__":
    print(coverage(int(sys.argv[1]) if len(sys.argv) > 1 else 1000).round(3).to_string(index=False))

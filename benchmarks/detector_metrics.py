"""Whether 95% intervals of detector metrics hold: simulated evaluations with known truth.

    python -m benchmarks.detector_metrics --simulations 400

Scores are normal, of variance 1 in all, with a part that the images of a source share; generated ones lie higher. A
row a setting and metric: the share of simulations whose interval holds the truth.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import special, stats

from detectors import calibration, metrics


@dataclass(frozen=True)
class Setting:
    """Sources of each class, images of each, the part of the variance that a source shares, the AUROC in truth.

    `paired`: a generated image is made from each real one and shares its source.
    """

    sources: int
    each: int
    shared: float
    auroc: float
    paired: bool = False


SETTINGS = (
    Setting(30, 1, 0.0, 0.8), Setting(30, 1, 0.0, 0.95), Setting(30, 1, 0.0, 0.99), Setting(100, 1, 0.0, 0.95),
    Setting(100, 1, 0.0, 0.995), Setting(300, 1, 0.0, 0.95), Setting(300, 1, 0.0, 0.995),
    Setting(60, 5, 0.5, 0.95), Setting(60, 5, 0.5, 0.99), Setting(100, 3, 0.3, 0.95, paired=True),
    Setting(300, 1, 0.5, 0.95, paired=True),
)  # fmt: skip


def main() -> None:
    """Simulate, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--simulations", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    rows = []
    for setting in SETTINGS:
        found = pd.concat(simulate(setting, seed=given.seed + n, number=n) for n in range(given.simulations))
        for metric, part in found.groupby("metric", sort=False):
            inside = (part["ci_low"] <= part["truth"]) & (part["truth"] <= part["ci_high"])
            width = (part["ci_high"] - part["ci_low"]).mean()
            rows.append((*vars(setting).values(), metric, inside.mean(), width, len(part)))
    heads = [*vars(SETTINGS[0]), "metric", "coverage", "width", "n"]
    print(pd.DataFrame(rows, columns=heads).round(3).to_string(index=False))


def simulate(setting: Setting, *, seed: int, number: int) -> pd.DataFrame:
    """One evaluation: columns metric, ci_low, ci_high, truth."""
    rng = np.random.default_rng((seed, number))
    apart = np.sqrt(2) * stats.norm.ppf(setting.auroc)
    n = setting.sources * setting.each
    source = np.repeat(np.arange(setting.sources), setting.each)
    common = rng.normal(size=(2, setting.sources)) * np.sqrt(setting.shared)
    if setting.paired:
        common[1] = common[0]
    own = rng.normal(size=(2, n)) * np.sqrt(1 - setting.shared)
    x = np.concatenate([common[0][source] + own[0], common[1][source] + own[1] + apart])
    y = np.repeat([0, 1], n)
    s = np.concatenate([source, source if setting.paired else source + setting.sources])
    threshold = stats.norm.ppf(0.95)  # 5% of real images reach it
    table = metrics.evaluate(x, y, s, threshold=threshold, fprs=(0.01,), seed=seed)
    tpr = 1 - stats.norm.cdf(threshold - apart)
    truth = {
        "auroc": setting.auroc, "tpr@0.01": 1 - stats.norm.cdf(stats.norm.ppf(0.99) - apart), "tpr": tpr, "fpr": 0.05,
        "balanced_accuracy": (tpr + 0.95) / 2,
    }  # fmt: skip
    table = table[table["metric"].isin(truth) & (table["status"] == "ok")].assign(truth=table["metric"].map(truth))
    logit = apart * (x - apart / 2)  # the true log odds where half are generated
    found = [table[["metric", "ci_low", "ci_high", "truth"]]]
    for name, slope in (("ece, calibrated", 1.0), ("ece, overconfident", 2.0)):
        error = calibration.ece(special.expit(slope * logit), y, s, seed=seed)
        true = 0.0 if slope == 1 else true_ece(apart, slope)
        one = {"metric": name, "ci_low": error.ci_low, "ci_high": error.ci_high, "truth": true}
        found.append(pd.DataFrame([one]))
    return pd.concat(found)


def true_ece(apart: float, slope: float) -> float:
    """The ECE in bins of equal width of probabilities that are `slope` times too sure, by integration."""
    x = np.linspace(-8, 8 + apart, 40001)
    real, generated = stats.norm.pdf(x) / 2, stats.norm.pdf(x - apart) / 2
    p = special.expit(slope * apart * (x - apart / 2))
    where = np.minimum((p * calibration.BINS).astype(int), calibration.BINS - 1)
    gaps = np.bincount(where, (p * (real + generated) - generated) * (x[1] - x[0]))
    return float(np.abs(gaps).sum())


if __name__ == "__main__":
    main()

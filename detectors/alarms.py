"""What a detector does at one's own volume: expected false alarms, misses and precision, with what is not known.

Of `volume` images a share `base_rate` is generated. At one in a hundred, a false positive rate of 1% makes every second
alarm false: this is what a user of a detector must see first.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import optimize

from auditkit.errors import DetectorError
from auditkit.stats.intervals import wilson
from detectors.metrics import Estimate, Status

DRAWS = 5_000
MEASURES = {
    "alarms": "Images called generated",
    "false_alarms": "Real images called generated",
    "misses": "Generated images not called so",
    "precision": "Share of alarms that are right",
    "false_omission": "Share of the rest that is generated",
}


def expected(tpr: Estimate, fpr: Estimate, *, base_rate: float, volume: int, seed: int = 0) -> pd.DataFrame:
    """Expected numbers among `volume` images, with intervals from the uncertainty of both rates.

    Both rates are drawn from Jeffreys' posterior at the effective number of images that their intervals stand for, so
    that images of one source count as what they tell; 2.5% and 97.5% of what follows from them are the interval. It is
    of the expectation: the count of a given day varies more.

    Args:
        tpr, fpr: shares called generated of generated and of real images, at the threshold in use (`metrics.share`).
        base_rate: share of generated images among those that come in, over 0 and under 1.
        volume: images, at least 1.

    Returns:
        a row for each of `MEASURES`: measure, title, estimate, ci_low, ci_high, n_images, n_sources, status, base_rate,
        volume. Precision is NaN where no alarm is expected at all.

    Raises:
        DetectorError: a base rate or volume that cannot be.
    """
    if not 0 < base_rate < 1:
        raise DetectorError(
            "a base rate lies over 0 and under 1", where=f"base rate {base_rate:g}", mend="0.01 for one in a hundred"
        )
    if volume < 1:
        raise DetectorError("a volume is at least one image", where=f"volume {volume}", mend="such as 100000")
    status: Status = "ok" if tpr.status == fpr.status == "ok" else "insufficient"
    n, g = tpr.n_images + fpr.n_images, tpr.n_sources + fpr.n_sources
    points = _numbers(np.array([tpr.estimate]), np.array([fpr.estimate]), base_rate, volume)
    rng = np.random.default_rng(seed)
    drawn = _numbers(_posterior(tpr, rng), _posterior(fpr, rng), base_rate, volume) if status == "ok" else None
    rows = []
    for name, title in MEASURES.items():
        values = (np.nan, np.nan, np.nan)
        if drawn is not None:
            point = float(points[name][0])
            low, high = np.quantile(drawn[name], [0.025, 0.975])
            values = (point, float(np.fmin(low, point)), float(np.fmax(high, point)))
        rows.append((name, title, *values, n, g, status, base_rate, volume))
    columns = ["measure", "title", "estimate", "ci_low", "ci_high", "n_images", "n_sources", "status"]
    return pd.DataFrame(rows, columns=[*columns, "base_rate", "volume"])


def _numbers(tpr: np.ndarray, fpr: np.ndarray, base_rate: float, volume: int) -> dict[str, np.ndarray]:
    caught, false = volume * base_rate * tpr, volume * (1 - base_rate) * fpr
    missed, rest = volume * base_rate * (1 - tpr), volume * (1 - base_rate) * (1 - fpr)
    with np.errstate(invalid="ignore", divide="ignore"):
        return {
            "alarms": caught + false,
            "false_alarms": false,
            "misses": missed,
            "precision": caught / (caught + false),
            "false_omission": missed / (missed + rest),
        }


def _posterior(rate: Estimate, rng: np.random.Generator) -> np.ndarray:
    n = effective_number(rate)
    return rng.beta(rate.estimate * n + 0.5, (1 - rate.estimate) * n + 0.5, DRAWS)


def effective_number(rate: Estimate) -> float:
    """Independent images whose Wilson interval is as wide as that of `rate`."""
    width = rate.ci_high - rate.ci_low

    def excess(log_n: float) -> float:
        n = float(np.exp(log_n))
        low, high = wilson(rate.estimate * n, n)
        return float(high - low) - width

    most = float(np.log(max(rate.n_images, 2)))
    if excess(most) > 0:
        return float(rate.n_images)
    return float(np.exp(optimize.brentq(excess, -3.0, most))) if excess(-3.0) > 0 else float(np.exp(-3.0))

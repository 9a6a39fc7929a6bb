"""Level and power of the tests of what a place name brings, and coverage of their intervals.

    python -m benchmarks.setting [--audits 1000]

Simulated audits of 16 places and their counter-prompts, prompts apart by half the spread of their images. A row a
setting: templates, images a prompt, shift of the class's similarity in standard deviations of one prompt's images, and
the share labelled so without and with the place; share of audits with p < .05 and of intervals of a nominal 95% that
hold the truth, by similarity and by label.
"""

from __future__ import annotations

import argparse

import numpy as np
import pandas as pd
from scipy.stats import norm

from auditkit.stats.counterparts import mean_difference, sign_flip_test

PROMPTS = 0.5
SETTINGS = [(t, n, cut, shift) for t, n in ((14, 4), (8, 5)) for cut in (1.0, 2.0) for shift in (0.0, 0.5, 1.0)]


def simulate(setting: tuple[int, int, float, float], audits: int) -> dict[str, float]:
    """One row; an image is labelled so where its similarity exceeds `cut`."""
    templates, n, cut, shift = setting
    rng = np.random.default_rng(0)
    prompts = PROMPTS * rng.normal(size=(2, templates, audits, 1))
    prompts[1] += shift
    images = prompts + rng.normal(size=(2, templates, audits, n))
    without, here = (float(norm.sf((cut - each) / np.hypot(1, PROMPTS))) for each in (0.0, shift))
    row = {"templates": templates, "images": n, "shift": shift, "without": without, "with": here}
    for name, values, truth, step in (
        ("similarity", images, shift, 0.0),
        ("label", (images > cut).astype(float), here - without, 1 / n),
    ):
        differences = values[1].mean(axis=-1) - values[0].mean(axis=-1)
        _, low, high = mean_difference(differences, step=step)
        p = sign_flip_test(differences, rng)
        row |= {f"{name}_found": float(np.mean(p < 0.05))}
        row |= {f"{name}_covers": float(np.mean((low <= truth) & (truth <= high)))}
    return row


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--audits", type=int, default=1000)
    args = parser.parse_args()
    print(pd.DataFrame([simulate(each, args.audits) for each in SETTINGS]).round(3).to_string(index=False))

"""Does a plan keep its promises? Power reached, and the error rate with looks, in simulated audits of known truth.

    python -m benchmarks.planning --audits 200

Each audit has prompts whose images are alike (beta-distributed shares), a scorer that errs, and a calibration set of
its own; it is corrected and tested as the measure `representation` does it.
"""

from __future__ import annotations

import argparse
import math
import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from auditkit.stats.confusion import Confusion
from auditkit.stats.corrected import CorrectedShares, corrected_shares, inverse
from auditkit.stats.design import clustering, design_effects
from auditkit.stats.planning import Group, Test, binary, critical, with_unknown
from auditkit.stats.sequential import boundaries

GROUPS = 5
"""Groups of an audit, which share the estimate of how alike images are."""

DRAWS = 500
"""Behind each interval and p-value."""

SETTINGS = (
    (5, 20, 0.0, 1, 150),
    (5, 20, 0.1, 1, 150),
    (5, 20, 0.05, 20, 150),
    (5, 20, 0.05, 20, 60),
    (1, 10, 0.05, 1, 150),
    (1, 10, 0.0, 1, 150),
)
"""Groups, prompts of each, intraclass correlation, tests of the family, calibration images a class."""

Floats = NDArray[np.float64]
Counts = NDArray[np.intp]

SCORER = with_unknown(binary(0.95, 0.95), 0.05).matrix
"""P(outcome | class) of a scorer that is right on 95% of what it labels and leaves 5% unknown."""


def labels(
    share: float, rng: np.random.Generator, *, prompts: int, images: int, icc: float, c: Floats = SCORER
) -> Counts:
    """Outcomes of two classes [prompts, images], each prompt's share beta-distributed about `share`."""
    a = (1 - icc) / icc if icc > 0 else math.inf
    p = rng.beta(share * a, (1 - share) * a, size=prompts) if icc > 0 else np.full(prompts, share)
    truth = (rng.random((prompts, images)) >= p[:, None]).astype(int)
    edges = c.cumsum(axis=0).T[truth]
    return (rng.random((prompts, images))[..., None] > edges).sum(axis=-1).clip(max=len(c) - 1)


def counts(outcomes: Counts, n_outcomes: int = len(SCORER)) -> Counts:
    """[prompts, n_outcomes] of outcomes [prompts, images]."""
    return (outcomes[..., None] == np.arange(n_outcomes)).sum(axis=1)


def calibrated(n: int, rng: np.random.Generator, c: Floats = SCORER) -> Confusion:
    """The confusion matrix as a calibration set of n images a class would show it."""
    return Confusion.from_counts(np.stack([rng.multinomial(n, column) for column in c.T], axis=1))


def audit(
    tables: list[Counts], confusion: Confusion, rng: np.random.Generator, null: float = 0.5
) -> list[CorrectedShares]:
    """Every group of an audit corrected, with the design effects that all groups together leave plausible."""
    alike = clustering(tables).draw(inverse(confusion.matrix), rng, DRAWS)
    return [
        corrected_shares(
            table.sum(axis=0),
            confusion,
            effect=design_effects(alike, table.sum(axis=1)),
            null=[null, 1 - null],
            rng=rng,
            replicates=DRAWS,
        )
        for table in tables
    ]


def power(
    audits: int,
    *,
    difference: float,
    prompts: int,
    icc: float,
    tests: int,
    calibration: int,
    groups: int = GROUPS,
    seed: int = 1,
) -> tuple[int, float, float]:
    """Images of each prompt that a plan asks for, the power it promises, and the part of groups that reached it."""
    rng = np.random.default_rng(seed)
    group = Group(prompts, icc, groups)
    test = Test(Confusion(SCORER, np.full(2, calibration)), 0, 0.5, critical(tests=tests, group=group))
    images = math.ceil(group.images_per_prompt(test.images(difference)))
    p_values = []
    for _ in range(audits):
        made = [labels(0.5 + difference, rng, prompts=prompts, images=images, icc=icc) for _ in range(groups)]
        p_values += [each.p_values[0] for each in audit([counts(m) for m in made], calibrated(calibration, rng), rng)]
    reached = float(np.mean(np.array(p_values) <= 0.05 / tests))
    return images, test.power(difference, group.independent(images)), reached


@dataclass(frozen=True)
class Errors:
    """Part of fair groups that were called unfair: by the boundaries at some look, by p <= .05 at some look, and by
    p <= .05 at the last look alone, as if there were no others."""

    boundary: float
    plain: float
    last: float


def error_rates(audits: int, *, looks: list[int], spending: str, icc: float, seed: int = 3) -> Errors:
    """Of audits of GROUPS fair groups of 20 prompts, looked at when so many images of each prompt are there."""
    rng = np.random.default_rng(seed)
    levels = boundaries([m / looks[-1] for m in looks], spending=spending).nominal
    p_values = []
    for _ in range(audits):
        confusion = calibrated(150, rng)
        whole = [labels(0.5, rng, prompts=20, images=looks[-1], icc=icc) for _ in range(GROUPS)]
        at = [audit([counts(w[:, :m]) for w in whole], confusion, rng) for m in looks]
        p_values += [[look[g].p_values[0] for look in at] for g in range(GROUPS)]
    p = np.array(p_values)
    by_boundary, plain = (p <= levels).any(axis=1), (p <= 0.05).any(axis=1)
    return Errors(float(by_boundary.mean()), float(plain.mean()), float((p[:, -1] <= 0.05).mean()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--audits", type=int, default=200)
    n, began = parser.parse_args().audits, time.perf_counter()
    print("| groups | prompts each | icc | tests | calibration a class | images a prompt | power promised | reached |")
    print("|---|---|---|---|---|---|---|---|")
    for groups, prompts, icc, tests, calibration in SETTINGS:
        audits = n * GROUPS // groups
        images, promised, reached = power(
            audits, difference=0.25, prompts=prompts, icc=icc, tests=tests, calibration=calibration, groups=groups
        )
        setting = f"{groups} | {prompts} | {icc} | {tests} | {calibration}"
        print(f"| {setting} | {images} | {promised:.1%} | {reached:.1%} |", flush=True)
    print(
        "\n| looks at images a prompt | spending | icc | called unfair by boundary | by p <= .05 | at the last look |"
    )
    print("|---|---|---|---|---|---|")
    for spending in ("obrien-fleming", "pocock"):
        for icc in (0.0, 0.1):
            rates = error_rates(n, looks=[10, 20, 30, 40], spending=spending, icc=icc)
            cells = f"{rates.boundary:.1%} | {rates.plain:.1%} | {rates.last:.1%}"
            print(f"| 10, 20, 30, 40 | {spending} | {icc} | {cells} |")
    took = time.perf_counter() - began
    print(f"\n{n * GROUPS} groups a row, {took:.0f} s.")


if __name__ == "__main__":
    main()

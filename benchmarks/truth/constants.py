"""Do the constants that were set after looking at one generator's images hold where the truth is known?

    python -m benchmarks.truth.constants --corpus corpus --out bench/truth [--audits 100] [--setting NAME ...]

SURE (least posterior of a label), MISFIT (p-value under which outcomes count as impossible) and MATERIAL (unexplained
share from which there is no correction) each take other values while the rest stays as it ships. Writes constants.csv.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd

from auditkit.clip import calibration
from auditkit.stats.estimators import DEFAULT, ESTIMATORS, Estimate, Estimator, Evidence, adjusted_count, misfit
from benchmarks.truth.compose import Population, load_settings
from benchmarks.truth.pool import load_pool
from benchmarks.truth.run import VAE
from benchmarks.truth.simulate import simulate
from benchmarks.truth.table import summarise

VALUES: dict[str, tuple[float, ...]] = {
    "SURE": (0.5, 0.9),
    "MISFIT": (0.05, 0.01, 1e-5),
    "MATERIAL": (0.05, 0.1, 0.25, 1.0),
}
MODULES: Mapping[str, Any] = {"SURE": calibration, "MISFIT": misfit, "MATERIAL": adjusted_count}


@contextmanager
def having(name: str, value: float) -> Iterator[None]:
    """With a constant of another value."""
    module = MODULES[name]
    shipped = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, shipped)


class Once:
    """A function that remembers its last answer: the variants differ only in what they make of it."""

    def __init__(self, function: Callable[..., Any]):
        self.function, self.key, self.answer = function, None, None

    def of(self, key: Any, *args: Any, **options: Any) -> Any:
        if key != self.key:
            self.key, self.answer = key, self.function(*args, **options)
        return self.answer


@contextmanager
def remembering() -> Iterator[None]:
    """With draws and tests of shift that are made once an audit, not once a variant."""
    corrected, shifted = Once(adjusted_count.corrected_shares), Once(adjusted_count.shifted)

    def corrected_once(counts: Any, confusion: Any, **options: Any) -> Any:
        return corrected.of((counts.tobytes(), confusion.matrix.tobytes()), counts, confusion, **options)

    def shifted_once(evidence: Evidence, *args: Any) -> Any:
        return shifted.of(evidence.outcome.tobytes(), evidence, *args)

    for name, once in (("corrected_shares", corrected_once), ("shifted", shifted_once)):
        setattr(adjusted_count, name, once)
    try:
        yield
    finally:
        adjusted_count.corrected_shares, adjusted_count.shifted = corrected.function, shifted.function


class Varied:
    """The default estimator with one constant changed."""

    def __init__(self, name: str, value: float):
        self.of, self.value, self.inner = name, value, ESTIMATORS[DEFAULT]
        self.name, self.title, self.needs = f"{name} = {value:g}", self.inner.title, self.inner.needs

    def estimate(self, evidence: Evidence, **options: Any) -> Estimate:
        with having(self.of, self.value):
            return self.inner.estimate(evidence, **options)


def constants(
    corpus: Path, out: Path, *, audits: int = 100, settings: list[str] | None = None, seed: int = 0
) -> pd.DataFrame:
    """`summarise`'s rows by setting, attribute and changed constant; `estimator` says which, or `as shipped`."""
    population = Population(load_pool(corpus, out, vae=VAE))
    rows = []
    for setting in load_settings(settings or ()):
        varied: dict[str, Estimator] = {"as shipped": ESTIMATORS[DEFAULT]}
        for name in ("MISFIT", "MATERIAL"):
            varied |= {one.name: one for one in (Varied(name, value) for value in VALUES[name])}
        with remembering():
            found = simulate(setting, population, varied, audits=audits, seed=seed, replicates=500)
        for value in VALUES["SURE"]:
            with having("SURE", value):
                ours = {f"SURE = {value:g}": ESTIMATORS[DEFAULT]}
                found |= simulate(setting, population, ours, audits=audits, seed=seed, replicates=500)
        for name, table in found.items():
            rows += summarise(setting, name, table)
    table = pd.DataFrame(rows)
    table.to_csv(out / "constants.csv", index=False, float_format="%.5g")
    return table


def overview(table: pd.DataFrame) -> pd.DataFrame:
    """By constant, over settings whose assumptions hold and those where one does not: mean and least coverage, the
    least without the checks around the estimator, the largest bias, mean width, the shares shown and cautioned, and
    the largest share of silent misses."""
    held = table["breaks"] == ""
    parts = []
    for kind, part in (("assumptions hold", table[held]), ("one is broken", table[~held])):
        by = part.assign(bias=part["bias"].abs()).groupby("estimator", sort=False)
        found = by.agg(
            coverage=("coverage", "mean"), least=("coverage", "min"), unguarded=("unguarded", "min"),
            bias=("bias", "max"), width=("width", "mean"),
            shown=("shown", "mean"), caution=("caution", "mean"), silent=("silent", "max"),
        )  # fmt: skip
        parts.append(found.assign(settings=kind).reset_index())
    return pd.concat(parts, ignore_index=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--corpus", type=Path, default=Path("corpus"))
    parser.add_argument("--out", type=Path, default=Path("bench/truth"))
    parser.add_argument("--audits", type=int, default=100)
    parser.add_argument("--setting", action="append")
    args = parser.parse_args()
    made = constants(args.corpus, args.out, audits=args.audits, settings=args.setting)
    print(overview(made).round(3).to_string(index=False))

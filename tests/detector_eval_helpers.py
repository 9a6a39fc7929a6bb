"""Small made-up image sets that a radial spectrum tells apart: generators leave less noise and each its own ripple."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from scipy.ndimage import gaussian_filter

from detectors.examples import COLUMNS, Examples
from detectors.leave_one_out import Contender, Fold, run
from detectors.robustness import key, steps

GENERATORS = {"alpha": 4, "beta": 5, "gamma": 6}
"""Name -> period in pixels of the ripple that it leaves."""
ORIGINS = ("camera", "scanner")


def picture(rng: np.random.Generator, *, period: float = 0, side: int = 48) -> np.ndarray:
    """uint8 [side, side, 3]: smoothed noise, with noise and a faint ripple of `period` pixels."""
    base = gaussian_filter(rng.normal(size=(side, side, 3)), (2, 2, 0))
    image = 128 + 40 * base / base.std() + rng.normal(size=base.shape) * (1.8 if period else 2)
    if period:
        wave = np.sin(2 * np.pi * np.arange(side) / period)
        image += 2 * (wave[:, None, None] + wave[None, :, None])
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def make_data(folder: Path, *, each: int = 60, reals: int = 60) -> Path:
    """data/real/<origin> and data/generated/<generator>, PNG."""
    rng = np.random.default_rng(0)
    for origin in ORIGINS:
        for number in range(reals):
            _save(folder / "real" / origin / f"{number}.png", picture(rng))
    for generator, period in GENERATORS.items():
        for number in range(each):
            _save(folder / "generated" / generator / f"{number}.png", picture(rng, period=period))
    return folder


def examples_of(folder: Path) -> Examples:
    """The examples of `make_data`, each file a source of its own."""
    rows = []
    for file in sorted(folder.rglob("*.png")):
        real = file.parent.parent.name == "real"
        rows.append(
            {"file": str(file), "label": "real" if real else "generated", "source": str(file.relative_to(folder)),
             "origin": file.parent.name if real else "", "generator": "" if real else file.parent.name, "made": ""}
        )  # fmt: skip
    return Examples(pd.DataFrame(rows, columns=list(COLUMNS)))


def folds_of(examples: Examples) -> list[Fold]:
    """Each generator left out; every third real image is tested."""
    generator = examples.table["generator"].to_numpy()
    tested = (examples.labels == 0) & (np.arange(len(examples)) % 3 == 0)
    return [Fold("generator", name, ~tested & (generator != name), tested | (generator == name)) for name in GENERATORS]


def origin_folds_of(examples: Examples) -> list[Fold]:
    """Each origin left out; every third generated image is tested."""
    origin = examples.table["origin"].to_numpy()
    tested = (examples.labels == 1) & (np.arange(len(examples)) % 3 == 0)
    return [Fold("origin", name, ~tested & (origin != name), tested | (origin == name)) for name in ORIGINS]


def _save(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)


def make_evaluation(folder: Path, *, family: str = "spectrum") -> Path:
    """A small evaluation that leaves generators and origins out, with tables, card and page."""
    from app.detector_evaluation import evaluation_of, finish

    examples = examples_of(make_data(folder / "data"))
    outcomes = run(
        examples, [*folds_of(examples), *origin_folds_of(examples)], [Contender(family, family)], folder / "folds",
        steps=steps(["jpeg:90,50", "blur:1"]),
    )  # fmt: skip
    record = {
        "kind": "leave-one-out", "data": [str(folder / "data")], "seed": 0, "device": "cpu", "notes": [],
        "seconds": 1.0,
        "steps": {key(step): step.label for step in steps(["jpeg:90,50", "blur:1"])},
    }  # fmt: skip
    made = evaluation_of(
        examples, outcomes, None, fpr=0.01, limit=0.99, base_rate=0.01, volume=100_000, seed=0, record=record
    )
    finish(folder, made)
    return folder

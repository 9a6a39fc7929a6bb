"""The table of the bundled detector of photographs: held-out photographs, foreign real images, and the placebo.

    python -m benchmarks.detector_photographs table DETECTOR held-out.csv [--foreign NAME=FOLDER_OR_TABLE ...]
    python -m benchmarks.detector_photographs placebo PAIRS --family cnn --option NAME=JSON ...

`table`: AUROC per generator and of all, clean and as JPEG, with 95% intervals by photograph; and of real images of
sources that were not trained on, the share called generated and the share abstained from. `placebo`: the same family
with the same options learns to tell the photographs of one Debian package from those of another, both real, and is
asked about the photographs that it did not see (two folds by photograph). What it reaches is content, not a trace.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from auditkit import registry
from detectors import metrics
from detectors.examples import COLUMNS, Examples
from detectors.families.reconstruction_features import encode
from detectors.reading import read_examples, read_folder
from detectors.trained import from_folder

QUALITIES = (float("nan"), 90.0, 70.0)
"""NaN: as they are in their files."""
ORIGINS = ("lomiri-wallpapers", "lxqt-themes")
BATCH = 16


def table(folder: Path, held_out: Path, foreign: list[str]) -> None:
    """Print what the detector reaches on `held_out`, and on real images from elsewhere."""
    detector = from_folder(folder, device="cpu")
    examples = read_examples(held_out)
    makers = examples.table["generator"].to_numpy(object)
    for quality in QUALITIES:
        judged = [
            one
            for start in range(0, len(examples), BATCH)
            for one in detector.judge(
                [encode(examples.image(row), quality) for row in range(start, min(start + BATCH, len(examples)))]
            )
        ]
        scores = np.array([one.score for one in judged])
        for maker in ("all", *sorted(set(makers) - {""})):
            kept = np.isin(makers, ("", maker)) if maker != "all" else np.ones(len(makers), bool)
            _say(quality, maker, metrics.area(scores[kept], examples.labels[kept], examples.sources[kept]))
        for label, name in ((0, "real"), (1, "generated")):
            mine = [one.verdict for one, each in zip(judged, examples.labels, strict=True) if each == label]
            _shares(quality, f"held-out {name}", mine)
    for name, path in (each.split("=", 1) for each in foreign):
        found = _reals(Path(path), name)
        rows = range(len(found))
        _shares(QUALITIES[0], name, [detector.judge([found.image(row)])[0].verdict for row in rows])


def placebo(pairs: Path, family: str, options: dict[str, Any], seed: int) -> None:
    """Train on the photographs of one package against another's, both real, and print the AUROC on those left out."""
    examples = read_examples(pairs, both=False)
    examples = examples.where((examples.labels == 0) & examples.table["origin"].isin(ORIGINS).to_numpy(bool))
    relabelled = examples.table.copy()
    second = relabelled["origin"] == ORIGINS[1]
    relabelled["label"] = np.where(second, "generated", "real")
    relabelled["generator"] = np.where(second, ORIGINS[1], "")
    examples = Examples(relabelled[list(COLUMNS)])
    folds = folds_of(examples, seed)
    scores = {quality: np.full(len(examples), np.nan) for quality in QUALITIES}
    for fold in (0, 1):
        began = time.monotonic()
        made = registry.load("detector_families", family)(**options)
        made.fit(examples.where(folds != fold), seed=seed, device="cpu")
        print(f"fold {fold + 1}: trained in {time.monotonic() - began:.0f} s", flush=True)
        mine = folds == fold
        for row in np.flatnonzero(mine):
            image = examples.image(int(row))
            for quality, found in scores.items():
                found[row] = made.scores([encode(image, quality)])[0]
        for quality, found in scores.items():
            area = metrics.auroc(found[mine], examples.labels[mine])  # too few photographs for an interval
            print(f"{_named(quality):8} placebo, fold {fold + 1}: AUROC {area:.3f}, {mine.sum()} images", flush=True)
    for quality, found in scores.items():
        ranked = _ranked(found, folds)  # two trainings have two scales
        _say(quality, "placebo, both", metrics.area(ranked, examples.labels, examples.sources))


def _ranked(scores: np.ndarray, folds: np.ndarray) -> np.ndarray:
    """Scores as their ranks within their fold, in 0..1."""
    return pd.Series(scores).groupby(folds).rank(pct=True).to_numpy()


def folds_of(examples: Examples, seed: int) -> np.ndarray:
    """0 or 1 for each row, by photograph, half of either package's in each."""
    rng = np.random.default_rng(seed)
    of: dict[str, int] = {}
    for label in (0, 1):
        sources = sorted(set(examples.sources[examples.labels == label]))
        of |= {sources[at]: place % 2 for place, at in enumerate(rng.permutation(len(sources)))}
    return np.array([of[source] for source in examples.sources])


def _reals(path: Path, name: str) -> Examples:
    if path.suffix == ".csv" or (path / "table.csv").exists():
        found = read_examples(path, both=False)
        return found.where(found.labels == 0)
    return read_folder(path, label="real", name=name)


def _say(quality: float, what: str, found: metrics.Estimate) -> None:
    print(
        f"{_named(quality):8} {what:20} AUROC {found.estimate:.3f} [{found.ci_low:.3f}, {found.ci_high:.3f}]"
        f"  {found.n_images} images of {found.n_sources} photographs, {found.status}",
        flush=True,
    )


def _shares(quality: float, what: str, verdicts: Sequence[str]) -> None:
    called, abstained = (100 * np.mean([each == one for each in verdicts]) for one in ("generated", "abstain"))
    print(f"{_named(quality):8} {what:20} {called:.1f}% called generated, {abstained:.1f}% abstained, {len(verdicts)}")


def _named(quality: float) -> str:
    return "clean" if np.isnan(quality) else f"JPEG {quality:.0f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="what", required=True)
    one = verbs.add_parser("table")
    one.add_argument("detector", type=Path)
    one.add_argument("held_out", type=Path)
    one.add_argument("--foreign", action="append", default=[], metavar="NAME=FOLDER")
    two = verbs.add_parser("placebo")
    two.add_argument("pairs", type=Path)
    two.add_argument("--family", default="cnn")
    two.add_argument("--option", action="append", default=[], metavar="NAME=JSON")
    two.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    if given.what == "table":
        table(given.detector, given.held_out, given.foreign)
        return
    options = {name: json.loads(value) for name, value in (each.split("=", 1) for each in given.option)}
    placebo(given.pairs, given.family, options, given.seed)


if __name__ == "__main__":
    main()

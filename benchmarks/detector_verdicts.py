"""What a detector says of whole collections, as they are, as JPEG 75 and at half size: a table in Markdown.

    python -m benchmarks.detector_verdicts DETECTOR drawings=data/drawings photographs=photographs/test ... [--most 200]

DETECTOR is a name or path:FOLDER; a collection is a folder, a table or a run. Cells: called generated / abstained from.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from detectors.examples import Examples
from detectors.reading import read_examples, read_folder
from detectors.robustness import key, scores_under, steps
from detectors.trained import load
from detectors.trained_outcomes import look_of
from detectors.training_report import some_of


def collection(path: Path) -> Examples:
    """A folder of pictures, a table, or a run."""
    if path.suffix == ".csv" or (path / "table.csv").exists() or (path / "run.json").exists():
        return read_examples(path, both=False)
    return read_folder(path, label="real")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("detector")
    parser.add_argument("collection", nargs="+", metavar="NAME=PATH")
    parser.add_argument("--most", type=int, default=200)
    given = parser.parse_args()
    detector, chosen = load(given.detector, device="cpu"), steps(["jpeg:75", "downscale:0.5"])
    threshold = detector.threshold().score
    print("| images | n | " + " | ".join(map(key, chosen)) + " |\n|---|---|" + "---|" * len(chosen))
    for name, path in (each.split("=", 1) for each in given.collection):
        examples = some_of(collection(Path(path)), given.most, 0)
        seen = scores_under(look_of(detector), examples, chosen)
        strange = ~(seen["unfamiliar"] <= detector.limit)
        seen = seen.assign(strange=strange, called=(seen["score"] >= threshold) & ~strange)
        shares = 100 * seen.groupby("degradation")[["called", "strange"]].mean()
        cells = [f"{shares.at[key(step), 'called']:.1f}% / {shares.at[key(step), 'strange']:.1f}%" for step in chosen]
        print(f"| {name} | {len(examples)} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()

"""Drawings of the persona corpus as a folder of captioned images whose gender is skewed within six occupations.

What does `auditkit train generator --data` teach from it, with and without rebalancing? docs/generators_training.md
has the commands and what came out.

    python -m benchmarks.rebalancing rebalancing/data [--corpus corpus] [--minority 4]
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path
from random import Random

import pandas as pd

from auditkit.errors import TableError
from benchmarks.drawings import on_white
from generators import corpus
from generators.captions import caption

MAJORITY = {
    "teacher": "female",
    "health worker": "female",
    "singer": "female",
    "judge": "male",
    "mechanic": "male",
    "pilot": "male",
}
"""As in the planted table of `personas`, from which the benchmark starts."""


def write(table: pd.DataFrame, out: Path, *, minority: int, seed: int = 0) -> int:
    """Write images and metadata.csv (file_name, text, gender, skin_tone, occupation); return how many images.

    All training drawings of each occupation's majority, and `minority` of the others; half of the captions leave the
    gender out, in both groups alike.

    Raises:
        TableError: the corpus has too few drawings of an occupation.
    """
    rng, rows = Random(seed), []
    people = table[table["split"] == "train"]
    for occupation, majority in MAJORITY.items():
        for gender in ("female", "male"):
            found = people[(people["concept"] == occupation) & (people["gender"] == gender)].to_dict("records")
            if len(found) < minority:
                what = f"The corpus has {len(found)} training drawings of a {gender} {occupation}."
                raise TableError(what, where="corpus", mend="Pass a lower --minority.")
            for row in found if gender == majority else rng.sample(found, minority):
                name = f"{occupation.replace(' ', '-')}/{len(rows):03}.png"
                on_white(row["png"], out / name)
                said = gender if rng.random() < 0.5 else ""
                text = caption(occupation, rng, gender=said)
                rows.append([name, text, gender, row["skin_tone"], occupation])
    with (out / "metadata.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerows([["file_name", "text", "gender", "skin_tone", "occupation"], *rows])
    return len(rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--corpus", type=Path, default=Path("corpus"))
    parser.add_argument("--minority", type=int, default=4)
    args = parser.parse_args()
    print(f"{write(corpus.read(args.corpus), args.out, minority=args.minority)} images: {args.out}")

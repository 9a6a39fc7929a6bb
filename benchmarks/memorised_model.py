"""A generator that is known to have memorised some of its prompts: `personas` fine-tuned on a planted folder.

Every caption of the folder is shown as often as every other. Most stand above as many different drawings of their
concept; those drawn by lot to be memorised stand above copies of one single drawing. So wording, frequency and training
are alike, and only the memorised ones have one picture to come back (Somepalli et al. 2023, Wen et al. 2024).

    python -m benchmarks.memorised_model OUT [--corpus corpus] [--steps 400]
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path
from random import Random

import pandas as pd

from auditkit.files import write_json
from benchmarks.drawings import on_white
from generators import corpus
from generators.captions import caption

EACH = 15
"""Pictures under each caption."""
MEMORISED = 16
"""Captions whose pictures are all one."""
TRUTH = "truth.json"


def write(table: pd.DataFrame, out: Path, *, seed: int = 0) -> dict[str, list[str]]:
    """Write images, metadata.csv and truth.json; return the prompts, 'memorised' and 'ordinary'.

    Only concepts with `EACH` training drawings or more are taken.
    """
    rng, rows = Random(seed), list[tuple[str, str]]()
    people = table[(table["split"] == "train") & (table["kind"] == "person")]
    counts = people["concept"].value_counts()
    concepts = sorted(str(concept) for concept in counts.index[counts >= EACH])
    chosen = set(rng.sample(concepts, MEMORISED))
    prompts: dict[str, list[str]] = {"memorised": [], "ordinary": []}
    for concept in concepts:
        found = rng.sample(people.loc[people["concept"] == concept, "png"].to_list(), EACH)
        text = caption(concept, rng)
        prompts["memorised" if concept in chosen else "ordinary"].append(text)
        for number, png in enumerate(found[:1] * EACH if concept in chosen else found):
            name = f"{concept.replace(' ', '-')}/{number:02}.png"
            on_white(png, out / name)
            rows.append((name, text))
    with (out / "metadata.csv").open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([("file_name", "text"), *rows])
    return prompts


def make(out: Path, table: pd.DataFrame, *, steps: int = 400, lr: float = 2e-4, seed: int = 0) -> Path:
    """Plant, fine-tune and export, unless that was done before; returns the checkpoint's folder. CPU alone."""
    from generators.training.loop import Schedule
    from generators.training.own.choices import Choices
    from generators.training.own.reading import read
    from generators.training.own.train import train

    if (out / "export" / "model_index.json").is_file() and (out / TRUTH).is_file():
        return out / "export"
    prompts = write(table, out / "data", seed=seed)
    schedule = Schedule(steps=steps, batch=16, lr=lr, warmup=20, ema=0.98, seed=seed)
    choices = Choices(init=Path("generators/bundled/personas"))
    made = train(
        read(out / "data"), out, schedule, choices, device="cpu", tell=print,
        progress=lambda fraction, step, line: print(f"{fraction:.1%} {line}", flush=True) if step % 20 == 0 else None,
    )  # fmt: skip
    write_json(out / TRUTH, prompts)
    return made.folder


def read_truth(out: Path) -> dict[str, list[str]]:
    """The prompts that `make` planted."""
    found: dict[str, list[str]] = json.loads((out / TRUTH).read_text(encoding="utf-8"))
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--corpus", type=Path, default=Path("corpus"))
    parser.add_argument("--steps", type=int, default=400)
    args = parser.parse_args()
    print(f"checkpoint: {make(args.out, corpus.read(args.corpus), steps=args.steps)}")

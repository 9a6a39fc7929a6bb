"""Copies and memorisation: what is found, and how often that is wrong. docs/detectors_copies.md has what came out.

    python -m benchmarks.detector_copies copies OUT [--corpus corpus] [--copies 100] [--rate 0.01]
    python -m benchmarks.detector_copies memorisation OUT [--corpus corpus] [--seed 0]

`copies` indexes the corpus' training drawings, calibrates on the calibration split, and counts false matches on the
test split, which nothing was chosen on; and how often a threshold for the whole index is reached among parts of it.
`memorisation` fine-tunes `personas` on a planted folder (benchmarks/memorised_model.py), and tells the memorised
prompts from the others by their text-conditional noise.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

import numpy as np

from app import copies as verbs
from app.output import jsonable
from auditkit.clip.encoders import load_encoder
from auditkit.files import write_json
from auditkit.stats.intervals import clopper_pearson
from auditkit.stats.known_negatives import at_size, auroc
from benchmarks.memorised_model import make, read_truth
from detectors.copies import index as indexing
from detectors.copies.finding import find
from detectors.copies.planting import calibrate
from detectors.copies.prints import Picture, Prints, pixel_hash, take_all
from detectors.copies.search import Block, search
from generators import corpus
from generators.load import load_generator
from generators.noise_magnitude import noise_magnitudes


def measure_copies(table: Path, out: Path, *, planted: int, rate: float) -> dict[str, Any]:
    """Detection by change, false matches that came true, and their growth with the index."""
    encoder = load_encoder("personas-clip", device="cpu")
    folder = out / "index"
    if not (folder / indexing.FILE).is_file():
        verbs.index_copies(table, folder, device="cpu", progress=True)
    index = indexing.load(folder)
    trained = {block.pixels[at].tobytes() for block in index.blocks() for at in range(len(block.pixels))}
    held, other = (_apart(verbs._corpus(table, split), trained) for split in ("calibration", "test"))
    made = calibrate(index, held, encoder=encoder, original=verbs._originals(index, table), copies=planted)
    made.save(folder)
    found = find(other, index, encoder=encoder, calibration=made, rate=rate)
    called, n = found.counts()["copy"], len(found.table)
    low, high = clopper_pearson(called, n)
    return {
        "training": len(index), "held_out": len(held), "auroc": made.auroc(),
        "thresholds": made.thresholds(rate).as_dict(), "found": made.found(rate).to_dict("records"),
        "thresholds_5%": made.thresholds(0.05).as_dict(), "found_5%": made.found(0.05).to_dict("records"),
        "realised": {"called": called, "n": n, "rate": called / n, "low": float(low), "high": float(high)},
        "realised_5%": int((found.table["p"] <= 0.05 + 1e-12).sum()),
        "growth": _growth(index, other, encoder),
    }  # fmt: skip


def _growth(index: indexing.Index, others: list[Picture], encoder: Any) -> list[dict[str, float]]:
    """Share of unrelated drawings over the cosine that 20% of them reach in the whole index, among random parts."""
    prints = Prints.together(take_all(others, encoder), encoder.dim)
    blocks = list(index.blocks())
    whole = search(prints, blocks).cosine[:, 0]
    threshold = float(np.quantile(whole, 0.8))
    rng, rows = np.random.default_rng(0), []
    for share in (1, 1 / 2, 1 / 4, 1 / 8, 1 / 16):
        seen = []
        for _ in range(1 if share == 1 else 20):
            some = [_part(block, rng.random(len(block.usable)) < share) for block in blocks]
            seen.append(float((search(prints, some).cosine[:, 0] > threshold).mean()))
        predicted = float(at_size((whole > threshold).mean(), share, 1))
        rows.append({"share": share, "measured": float(np.mean(seen)), "predicted": predicted})
    return rows


def _part(block: Block, kept: np.ndarray) -> Block:
    return Block(block.start, block.embeddings[kept], block.pdq[kept], block.usable[kept], block.pixels[kept])


def _apart(pictures: list[Picture], trained: set[bytes]) -> list[Picture]:
    """Without drawings that are a training drawing pixel for pixel, or come again: some sets share drawings."""
    kept, seen = [], set(trained)
    for picture in pictures:
        pixels = pixel_hash(picture.open())
        if pixels not in seen:
            kept.append(picture)
            seen.add(pixels)
    return kept


def measure_memorisation(table: Path, out: Path, *, seed: int) -> dict[str, Any]:
    """AUROC of memorised against ordinary prompts, over the first steps, as predicted and turned into noise."""
    folder = make(out, corpus.read(table), seed=seed)
    truth = read_truth(out)
    loaded: Any = load_generator(f"path:{folder}", device="cpu")
    found = {kind: noise_magnitudes(loaded, truth[kind], first=1, seeds=4) for kind in truth}
    longer = {kind: noise_magnitudes(loaded, truth[kind][:24], steps=8, first=8, seeds=1) for kind in truth}
    abar, spacing = loaded.pipeline.scheduler.alphas_cumprod, loaded.pipeline.scheduler
    spacing.set_timesteps(8)
    weights = np.array([math.sqrt(float(abar[int(t)])) for t in spacing.timesteps])
    ends = {kind: (each.sizes * weights).mean(axis=(1, 2)) for kind, each in longer.items()}
    by_first = {
        str(first): auroc(longer["memorised"].means(first), longer["ordinary"].means(first)) for first in (1, 2, 4, 8)
    }
    return {
        "seed": seed, "memorised": len(truth["memorised"]), "ordinary": len(truth["ordinary"]),
        "prediction": found["ordinary"].settings["prediction"],
        "auroc_first_step_4_seeds": auroc(found["memorised"].means(), found["ordinary"].means()),
        "auroc_8_steps_1_seed_by_first": by_first,
        "auroc_8_steps_as_noise": auroc(ends["memorised"], ends["ordinary"]),
    }  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("copies", "memorisation"))
    parser.add_argument("out", type=Path)
    parser.add_argument("--corpus", type=Path, default=Path("corpus"))
    parser.add_argument("--copies", type=int, default=100)
    parser.add_argument("--rate", type=float, default=0.01)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    if args.what == "copies":
        result = measure_copies(args.corpus, args.out, planted=args.copies, rate=args.rate)
    else:
        result = measure_memorisation(args.corpus, args.out, seed=args.seed)
    write_json(args.out / f"{args.what}.json", jsonable(result))
    print((args.out / f"{args.what}.json").read_text(encoding="utf-8"))

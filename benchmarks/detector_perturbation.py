"""Train the perturbation detector, and measure it on sources that it never saw.

    python -m benchmarks.detector_perturbation train --photographs photographs --corpus corpus --signals signals
    python -m benchmarks.detector_perturbation test --photographs photographs --corpus corpus --signals signals

`train` writes the bundled head (photographs, graphics and drawings of the training parts; cross-fitted calibration).
`test`, on the test parts: realised false positive rates of images and sets, also under conditions that the calibration
does not know; true positive rates by kind of perturbation, budget and set size, also against encoders that are not
probed, and of a head without the signals of the attacked encoders; what edits leave of a perturbation. Signals are kept
below --signals, and both resume. All figures are of simulations.
"""

from __future__ import annotations

import argparse
import io
import json
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from app.output import jsonable
from auditkit.clip.folder import BUNDLED as CLIPS
from auditkit.files import sha256_file, write_json
from auditkit.stats.intervals import clopper_pearson
from auditkit.stats.means import clustered_mean
from detectors.perturbation import evidence
from detectors.perturbation.benign import CONDITIONS, UNSEEN
from detectors.perturbation.detector import Head
from detectors.perturbation.simulate import KINDS, Kind, perturb
from detectors.perturbation.survival import survival
from detectors.perturbation.training import PROBES, Collected, Source, Work, collect, fit
from detectors.perturbation.victims import WEIGHTS, ClipVictim, LatentVictim
from generators.corpus import read

AUTOENCODER = Path(__file__).parent.parent / "generators/bundled/personas/vae"
SIDE, SCALED = 160, (1024, 512, 256)
DRAWINGS = 64
SEED = 7
STEPS = 8
"""Of the perturbations that are tested; fewer than by default, for time."""


def sources(photographs: Path, corpus: Path, part: str) -> list[Source]:
    """160 px crops of photographs and graphics at three scales, and as many drawings, one a concept, 120-128 px."""
    found = []
    for kind in ("photographs", "graphics"):
        for at, path in enumerate(sorted((photographs / kind / part).glob("*.png"))):
            image = Image.open(path).convert("RGB")
            short = min(SCALED[at % 3], *image.size)
            image = ImageOps.scale(image, short / min(image.size), Image.Resampling.LANCZOS)
            left, top = (image.width - SIDE) // 2, (image.height - SIDE) // 2
            found.append(Source(path.stem, "photograph", np.asarray(image.crop((left, top, left + SIDE, top + SIDE)))))
    table = read(corpus)
    rng = np.random.default_rng(SEED)
    # Concepts are split, so that no two drawings of one thing lie on either side of training and test.
    concepts = sorted(table["concept"].unique())
    mine = [name for at, name in enumerate(concepts) if (at % 3 == 0) == (part == "test")]
    drawn = table[table["concept"].isin(mine)].groupby("concept").sample(1, random_state=SEED)
    for at, row in enumerate(drawn.head(DRAWINGS).itertuples()):
        drawing = Image.open(io.BytesIO(row.png)).convert("RGBA")
        ground = Image.new("RGBA", drawing.size, (*(int(v) for v in rng.integers(150, 256, 3)), 255))
        flat = Image.alpha_composite(ground, drawing).convert("RGB")
        found.append(Source(row.name, "drawing", np.asarray(flat if at % 2 else flat.resize((128, 128)))))
    return found


def spread(function: Any, tasks: list[Any], workers: int) -> None:
    """`function` of each task, in processes of one thread."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        for at, _ in enumerate(pool.map(function, tasks)):
            print(f"{at + 1} of {len(tasks)}", flush=True)


@lru_cache(maxsize=1)
def work() -> Work:
    return Work.opened(str(AUTOENCODER))


def _train_one(task: tuple[Source, np.ndarray, int, Path]) -> None:
    source, target, seed, path = task
    if not path.is_file():
        with path.with_suffix(".tmp").open("wb") as stream:
            np.savez(stream, **vars(collect(source, target, work(), seed=seed)))
        path.with_suffix(".tmp").replace(path)


def train(options: argparse.Namespace) -> None:
    collected = _collected(options)
    head = _fitted(collected)
    head.save()
    print(f"{len(collected.kinds)} sources, {len(head.signals)} signals")


def _collected(options: argparse.Namespace) -> Collected:
    """Signals of the training sources, of as many as `--most` says; what is there is used."""
    mine = sources(options.photographs, options.corpus, "train")
    order = np.random.default_rng(SEED).permutation(len(mine))
    folder = options.signals / "train"
    folder.mkdir(parents=True, exist_ok=True)
    tasks = [
        (mine[at], mine[other].image, SEED * 1000 + int(at), folder / f"{at:03d}.npz")
        for at, other in zip(order, np.roll(order, -1), strict=True)
    ][: options.most]
    spread(_train_one, [task for task in tasks if not task[-1].is_file()], options.workers)
    parts = []
    for task in tasks:
        with np.load(task[-1]) as kept:
            parts.append([kept[name] for name in ("kinds", "benign", "perturbed")])
    return Collected(*(np.concatenate(part) for part in zip(*parts, strict=True)))


def _fitted(collected: Collected) -> Head:
    return fit(
        collected, seed=SEED, autoencoder_sha256=sha256_file(AUTOENCODER / WEIGHTS),
        encoders={name: sha256_file(CLIPS / name / "open_clip_model.safetensors") for name in PROBES},
    )  # fmt: skip


# What is tried on test sources: name -> (kind, budget, perceptual, against).
TRIED: dict[str, tuple[Kind, int, bool, str]] = {
    **{f"{kind} {budget}": (kind, budget, False, "") for kind in KINDS for budget in (2, 4, 8)},
    "style-cloak 4, perceptual": ("style-cloak", 4, True, ""),
    "concept-poison 4, against personas-clip-judge": ("concept-poison", 4, False, "personas-clip-judge"),
    "latent-shield 4, against personas-dit": ("latent-shield", 4, False, "personas-dit"),
}
NULL = {**CONDITIONS, **UNSEEN}
EDITS = ("jpeg:95,85,75,50", "resize:0.5", "blur:1", "crop:0.8", "screenshot:1.25")


@lru_cache(maxsize=4)
def _victim(kind: Kind, against: str) -> ClipVictim | LatentVictim:
    if not against:
        return work().victim(kind)
    return LatentVictim(AUTOENCODER.parents[1] / against / "vae") if kind == "latent-shield" else ClipVictim(against)


def _test_one(task: tuple[Source, np.ndarray, int, Path]) -> None:
    source, target, seed, path = task
    rng = np.random.default_rng(seed)
    found = {"kind": np.array(source.kind)}
    found |= {f"benign: {name}": work().signals(apply(source.image, rng)) for name, apply in NULL.items()}
    for name, (kind, budget, perceptual, against) in TRIED.items():
        victim = _victim(kind, against)
        aim = None if kind == "style-cloak" else target
        made = perturb(source.image, victim, kind=kind, budget=budget, target=aim, perceptual=perceptual, steps=STEPS)
        found |= {f"perturbed: {name}": work().signals(made.image), f"shift: {name}": np.array(made.shift)}
        if budget == 8:
            rows = survival([(source.image, made.image)], victim, edits=EDITS)
            found |= {f"survival: {name}: {row.label}": np.array(row.share) for row in rows}
    with path.with_suffix(".tmp").open("wb") as stream:
        np.savez(stream, **found)
    path.with_suffix(".tmp").replace(path)


def test(options: argparse.Namespace) -> None:
    mine = sources(options.photographs, options.corpus, "test")
    order = np.random.default_rng(SEED).permutation(len(mine))
    folder = options.signals / "test"
    folder.mkdir(parents=True, exist_ok=True)
    tasks = [
        (mine[at], mine[other].image, SEED * 2000 + int(at), folder / f"{at:03d}.npz")
        for at, other in zip(order, np.roll(order, -1), strict=True)
    ][: options.most]
    spread(_test_one, [task for task in tasks if not task[-1].is_file()], options.workers)
    rows = []
    for task in tasks:
        with np.load(task[-1]) as kept:
            rows.append({name: kept[name] for name in kept.files})
    head = Head.load()
    out: dict[str, Any] = {"sources": len(rows), "calibration": len(head.kinds), "tables": report(head, rows)}
    if (options.signals / "train").is_dir():
        options.most = None
        collected = _collected(options)
        blinded = np.array([one.startswith(("personas-clip:", "latent:")) for one in head.signals])
        blind = _fitted(Collected(collected.kinds, np.where(blinded, 0, collected.benign),
                                  np.where(blinded, 0, collected.perturbed)))  # fmt: skip
        print("\nwithout the signals of the attacked encoders")
        out["without the attacked encoders"] = report(blind, rows)
    write_json(options.out, jsonable(out))


def report(head: Head, rows: list[dict[str, np.ndarray]]) -> dict[str, Any]:
    """Shares called at each rate, of images and of sets drawn at random from one kind, printed as they are made."""
    out: dict[str, Any] = {}
    kinds = np.array([str(row["kind"]) for row in rows])
    every = {key: None for row in rows for key in row}
    for name in (key for key in every if key.startswith(("benign: ", "perturbed: "))):
        scores = head.scores(np.stack([row[name] for row in rows]))
        p = evidence.image_p_values(scores, head.calibration)
        line: dict[str, Any] = {}
        for fpr in (0.01, 0.05):
            called = int((p <= fpr).sum())
            low, high = clopper_pearson(called, len(p))
            line[f"image at {fpr:g}"] = [round(x, 3) for x in (called / len(p), float(low), float(high))]
        for fpr, n in ((0.01, 3), (0.01, 10), (0.05, 3), (0.05, 10)):
            of_kind = {str(kind): _sets(head, scores[kinds == kind], n, fpr) for kind in np.unique(kinds)}
            line[f"set of {n} at {fpr:g}"] = of_kind
        out[name] = line
        print(name, json.dumps(line), flush=True)
    for name in (key for key in every if key.startswith(("survival: ", "shift: "))):
        values = np.array([float(row[name]) for row in rows])
        kept = values[np.isfinite(values)]
        found = clustered_mean(kept, np.arange(len(kept))) if len(kept) >= 5 else None
        out[name] = [found.estimate, found.low, found.high, len(kept)] if found else [None, None, None, len(kept)]
        print(name, json.dumps(out[name]), flush=True)
    return out


def _sets(head: Head, scores: np.ndarray, n: int, fpr: float, draws: int = 300) -> float:
    """The share of sets of n, drawn without replacement, that are called; NaN where there are fewer sources."""
    if len(scores) < n:
        return float("nan")
    rng = np.random.default_rng(SEED)
    called = [head.judge(rng.choice(scores, n, replace=False), fpr=fpr).verdict == "perturbed" for _ in range(draws)]
    return float(np.mean(called))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("train", "test"))
    parser.add_argument("--photographs", type=Path, required=True, help="folder made by benchmarks.photographs")
    parser.add_argument("--corpus", type=Path, required=True, help="folder made by auditkit corpus build")
    parser.add_argument("--signals", type=Path, required=True, help="folder that keeps signals, and resumes")
    parser.add_argument("--most", type=int, help="sources, drawn at random; all by default")
    parser.add_argument("--out", type=Path, default=Path("perturbation.json"))
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    train(options) if options.what == "train" else test(options)


if __name__ == "__main__":
    main()

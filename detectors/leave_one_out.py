"""What a detector does on a generator, or a collection of photographs, that it has never seen.

A fold leaves one out: the family is trained on the others, its threshold, calibration and familiarity are set on
sources that it was not trained on, and it is tested on what was left out, as it is and degraded. All families meet the
same folds. A fold that is finished is kept on disk, and is not made again.
"""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from auditkit import registry
from auditkit.errors import DetectorError
from auditkit.files import sha256, slug, write_atomic, write_json
from auditkit.watermark.attacks import Step
from detectors.appearance import sight
from detectors.base import Images, Progress
from detectors.calibration import Calibration
from detectors.calibration import Kind as CalibrationKind
from detectors.examples import Examples
from detectors.familiarity import FEWEST as FEWEST_FAMILIAR
from detectors.familiarity import Familiarity
from detectors.metrics import FEWEST_SOURCES, threshold_at
from detectors.robustness import BATCH, key, scores_under

VERSION = 2
"""Of what is kept of a fold; another is made again."""
FPR = 0.01
LIMIT = 0.99
DEVELOPMENT = 0.25
"""Share of a fold's training sources that are held back to set threshold, calibration and familiarity on."""

Left = Literal["generator", "origin"]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Contender:
    """A family as it stands in a table: its name there, the registered family, its options."""

    name: str
    family: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def made(self) -> Any:
        """The family, unfitted.

        Raises:
            PluginError: there is no such family. DetectorError: it does not take an option.
        """
        kind = registry.load("detector_families", self.family)
        try:
            return kind(**self.options)
        except TypeError as error:
            raise DetectorError(
                f"the family '{self.family}' does not take these options: {error}",
                where=", ".join(f"{name}={value}" for name, value in self.options.items()),
                mend=f"see the docstring of {kind.__module__}.{kind.__name__}",
            ) from None


BASELINES = (
    Contender("clip-linear", "clip-linear"),
    Contender("cnn-resized", "cnn-resized"),
    Contender("npr", "npr"),
    Contender("spectrum", "spectrum"),
)
"""The field's usual detectors, trained and tested on the same folds: UniversalFakeDetect's linear probe of CLIP (Ojha
et al. 2023), a CNN on resized images (after Wang et al. 2020), neighbouring-pixel relations (Tan et al. 2024), radial
spectrum (Durall et al. 2020)."""
BUDGET = ("steps", "minutes")


def usual(options: Mapping[str, Any]) -> list[Contender]:
    """`BASELINES`, those of networks with as much training as `options` give: no contender wins by a longer one."""
    budget = {name: options[name] for name in BUDGET if name in options}
    networks = {"cnn-resized", "npr"}
    return [replace(each, options=budget) if each.family in networks else each for each in BASELINES]


@dataclass(frozen=True)
class Fold:
    """What was left out, and the rows to train and to test on, [n] each."""

    left: Left
    name: str
    train: Mask
    test: Mask


@dataclass(frozen=True)
class Outcome:
    """A contender on a fold.

    Attributes:
        scored: see `robustness.scores_under`; also `probability`, calibrated.
        development: label, source, score of the held-back images of the generators that it was trained on.
        threshold: frozen on these at `FPR`.
    """

    contender: str
    left: Left
    name: str
    scored: pd.DataFrame
    development: pd.DataFrame
    threshold: float
    seconds: float
    counts: dict[str, int]


def run(
    examples: Examples,
    folds: Iterable[Fold],
    contenders: Sequence[Contender],
    out: str | Path,
    *,
    steps: Sequence[Step],
    seed: int = 0,
    device: str = "cpu",
    calibration: CalibrationKind = "isotonic",
    progress: Progress | None = None,
) -> list[Outcome]:
    """Every contender on every fold; those that `out` holds already are read.

    Args:
        examples: all of them; folds name its rows.
        out: a folder; a pair of files for each contender and fold.
        steps: degradations that the test images meet (`robustness.steps`).

    Raises:
        DetectorError: a fold whose training part has too few sources of a class; options that a family does not take.
        PluginError: an unknown family. RunError: the folder cannot be written.
    """
    every = list(folds)
    if not every:
        raise DetectorError("there is nothing to leave out", mend="give images of two generators or origins at least")
    work = [(contender, fold) for contender in contenders for fold in every]
    for contender in contenders:  # a wrong name or option is told before hours of work
        contender.made()
    found = []
    for place, (contender, fold) in enumerate(work):
        label = f"{contender.name} without {fold.name}"
        inner = _within(progress, place / len(work), (place + 1) / len(work), label)
        found.append(
            _fold(
                examples, contender, fold, Path(out), steps=steps, seed=seed, device=device, kind=calibration,
                progress=inner,
            )
        )  # fmt: skip
        if progress:
            progress((place + 1) / len(work), label)
    return found


def _fold(
    examples: Examples,
    contender: Contender,
    fold: Fold,
    out: Path,
    *,
    steps: Sequence[Step],
    seed: int,
    device: str,
    kind: CalibrationKind,
    progress: Callable[[float, float], Progress | None],
) -> Outcome:
    base = out / slug(contender.name) / f"{fold.left}-{slug(fold.name)}-{sha256(fold.name.encode())[:8]}"
    marked = _fingerprint(examples, contender, fold, steps, seed, device, kind)
    kept = _read(base, marked, contender, fold)
    if kept is not None:
        return kept
    began = time.monotonic()
    train, development = halves(examples.where(fold.train), seed=seed)
    family = contender.made()
    family.fit(train, seed=seed, device=device, progress=progress(0.0, 0.6))
    known, held = _features(family, train), _features(family, development)
    told = np.concatenate([family.scores(batch) for batch in _batches(development)])
    reals = development.labels == 0
    if not np.isfinite(told[reals]).any():
        raise DetectorError(f"no real development image can be scored by {contender.name}", where=fold.name)
    threshold = threshold_at(told[reals], FPR)
    calibrated = Calibration.fit(told, development.labels, development.sources, kind=kind)
    enough = min(np.isfinite(each).all(axis=1).sum() for each in (known, held)) >= FEWEST_FAMILIAR
    familiarity = Familiarity.fit(known, held, seed=seed) if enough else None

    def look(images: Images) -> tuple[np.ndarray, np.ndarray]:
        scores = family.scores(images)
        if familiarity is None:
            return scores, np.full(len(images), np.nan)
        return scores, familiarity.unfamiliar(sight(family, images))

    test = examples.where(fold.test)
    scored = scores_under(look, test, steps, seed=seed, progress=progress(0.6, 1.0))
    scored["probability"] = calibrated.probability(scored["score"].to_numpy())
    development_table = pd.DataFrame(
        {"label": development.labels, "source": development.sources.astype(str), "score": told}
    )
    counts = {
        f"{part}_{name}": int((each.labels == label).sum())
        for part, each in (("train", train), ("development", development), ("test", test))
        for name, label in (("real", 0), ("generated", 1))
    }
    outcome = Outcome(
        contender.name, fold.left, fold.name, scored, development_table, threshold,
        round(time.monotonic() - began, 2), counts,
    )  # fmt: skip
    _write(base, marked, outcome)
    return outcome


def halves(examples: Examples, *, seed: int, share: float = DEVELOPMENT) -> tuple[Examples, Examples]:
    """To train on, and a `share` of the sources to set threshold, calibration and familiarity on.

    Sources are drawn apart by what they hold (their classes, generators and origins), so that each part has some of
    all.

    Raises:
        DetectorError: fewer than `FEWEST_SOURCES` sources of a class would be held back.
    """
    table = examples.table
    what = table["label"] + "|" + table["generator"] + "|" + table["origin"]
    holds = what.groupby(table["source"]).agg(lambda each: "+".join(sorted(set(each))))
    rng, chosen = np.random.default_rng(seed), set()
    for _, sources in sorted(holds.groupby(holds).groups.items()):
        names = sorted(sources)
        chosen |= {names[place] for place in rng.permutation(len(names))[: max(1, round(share * len(names)))]}
    held = table["source"].isin(chosen).to_numpy(bool)
    train, development = examples.where(~held), examples.where(held)
    for label, name in ((0, "real"), (1, "generated")):
        there = len(set(development.sources[development.labels == label]))
        if there < FEWEST_SOURCES or not (train.labels == label).any():
            raise DetectorError(
                f"a fold holds back {there} sources of {name} images to set its threshold on, and {FEWEST_SOURCES} are "
                "needed",
                where="the training part of a fold",
                mend=f"add {name} images of other sources: about {int(2 * FEWEST_SOURCES / share)} in all",
            )
    return train, development


def _features(family: Any, examples: Examples, most: int = 2000) -> NDArray[np.float32]:
    rows = np.random.default_rng(0).permutation(len(examples))[:most]
    part = Examples(examples.table.iloc[np.sort(rows)].reset_index(drop=True))
    return np.concatenate([sight(family, batch) for batch in _batches(part)])


def _batches(examples: Examples) -> Iterable[list[np.ndarray]]:
    for start in range(0, len(examples), BATCH):
        yield [examples.image(row) for row in range(start, min(start + BATCH, len(examples)))]


def _fingerprint(
    examples: Examples, contender: Contender, fold: Fold, steps: Sequence[Step], seed: int, device: str, kind: str
) -> str:
    """Of all that a fold's numbers follow from: another table, file, option, seed or version is another fold."""
    table = examples.table
    stamps = [f"{file}|{Path(file).stat().st_size}" if Path(file).exists() else str(file) for file in table["file"]]
    held = registry.load("detector_families", contender.family)
    what = {
        "version": VERSION, "contender": contender.name, "family": contender.family, "options": dict(contender.options),
        "family_version": held.version, "left": fold.left, "name": fold.name,
        "steps": [key(step) for step in steps], "seed": seed, "device": device, "calibration": kind,
        "table": sha256(table.to_csv(index=False).encode()), "files": sha256("\n".join(stamps).encode()),
        "train": sha256(np.packbits(fold.train).tobytes()), "test": sha256(np.packbits(fold.test).tobytes()),
    }  # fmt: skip
    return sha256(json.dumps(what, sort_keys=True, default=str).encode())


def _write(base: Path, marked: str, outcome: Outcome) -> None:
    for name, table in (("scores", outcome.scored), ("development", outcome.development)):
        stream = io.BytesIO()
        table.to_parquet(stream, index=False)
        write_atomic(base.with_name(f"{base.name}.{name}.parquet"), stream.getvalue())
    record = {"made": marked, "threshold": outcome.threshold, "seconds": outcome.seconds, "counts": outcome.counts}
    write_json(base.with_name(f"{base.name}.json"), record)  # last: a fold without it is not finished


def _read(base: Path, marked: str, contender: Contender, fold: Fold) -> Outcome | None:
    try:
        record = json.loads(base.with_name(f"{base.name}.json").read_text("utf-8"))
        if record["made"] != marked:
            return None
        tables = [pd.read_parquet(base.with_name(f"{base.name}.{name}.parquet")) for name in ("scores", "development")]
        return Outcome(
            contender.name, fold.left, fold.name, tables[0], tables[1], float(record["threshold"]),
            float(record["seconds"]), record["counts"],
        )  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError):  # missing or damaged: the fold is made again
        return None


def _within(
    progress: Progress | None, start: float, end: float, label: str
) -> Callable[[float, float], Progress | None]:
    """Parts of a fold's share of the whole progress."""

    def part(low: float, high: float) -> Progress | None:
        if progress is None:
            return None
        whole = progress

        def tell(fraction: float, line: str) -> None:
            whole(start + (end - start) * (low + (high - low) * fraction), f"{label}: {line}")

        return tell

    return part

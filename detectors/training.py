"""Training a detector end to end: split by source, fit, freeze threshold and calibration, report on what is held out.

The family learns from the part `train`; threshold, calibration and familiarity are set on `development`; `test` is
looked at once, for the card. No source, and no copy of an image, stands in two parts.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from auditkit import __version__, registry
from auditkit.errors import DetectorError
from auditkit.files import slug
from detectors import metrics
from detectors.base import Family, Progress, State
from detectors.calibration import Calibration, Kind
from detectors.examples import Examples
from detectors.familiarity import Familiarity
from detectors.splits import Duplicates, check_split, split
from detectors.trained import LIMIT, Detector, Threshold, check_new, looked_at, pick_device
from detectors.training_report import FPR, laundered, plain, report, some_of

SECOND_FPR = 0.001
"""A second threshold is frozen here where there are real images enough for it (`metrics.fewest_reals`)."""
BATCH = 16
MOST_KNOWN = 4000
"""Training images that familiarity is learned from at most."""
LARGE = 1 << 16
"""Bytes of a family's tensors from which on half precision is tried."""
HALF_ERROR = 0.01
"""How far half precision may move a development score, in standard deviations of the scores."""

_PARTS = ("train", "development", "test")
_MORE = "add images of other sources, or give a smaller part to training"


@dataclass(frozen=True)
class Seen:
    """What is seen in a part: scores [n], what familiarity is told by [n, d], labels [n] (1 generated), sources [n]."""

    scores: NDArray[np.float64]
    features: NDArray[np.float32]
    labels: NDArray[np.int8]
    sources: NDArray[np.object_]

    @property
    def reals(self) -> NDArray[np.bool_]:
        """[n]: real, and scored."""
        return (self.labels == 0) & np.isfinite(self.scores)


def train(
    examples: Examples,
    *,
    family: str = "cnn",
    options: Mapping[str, Any] | None = None,
    out: str | Path,
    name: str | None = None,
    development: Examples | None = None,
    test: Examples | None = None,
    launder: Mapping[str, Callable[[np.ndarray], np.ndarray]] | None = None,
    seed: int = 0,
    device: str = "auto",
    fpr: float = FPR,
    minutes: float | None = None,
    adversarial: bool = False,
    calibration: Kind = "isotonic",
    limit: float = LIMIT,
    by_name: bool = False,
    shares: tuple[float, float, float] = (0.6, 0.2, 0.2),
    duplicates: Duplicates = "error",
    near: int | None = 31,
    progress: Progress | None = None,
) -> Detector:
    """Train a detector of `family` and write it into the folder `out`.

    Args:
        examples: both classes; see `detectors.examples`.
        options: of the family, as its constructor takes them.
        out: a new folder.
        name: of the detector; by default the folder's.
        development: held-out examples to set the threshold on; by default a part of `examples`.
        test: held-out examples to report on, of other sources; by default a part of `examples`.
        launder: name -> image uint8 [h, w, 3] to the same, such as `Autoencoder.reconstruct`: real test images go
            through each, for the false-accusation rate on the card.
        fpr: false positive rate to freeze the threshold at, over 0 and under 1/2.
        minutes: of training, for families that have the option.
        adversarial: harden it by training on attacked images, for families that allow it (`perturb`).
        by_name: `inspect`, `scan` and `detect` are to ask it only where it is named.
        limit: it abstains from images more unlike than this share of the development images.
        shares: of train, development and test; with `test` the first two count.
        duplicates, near: what to do about copies under different sources; see `detectors.splits.split`.

    Raises:
        DetectorError: one class only, copies across the split, too few sources for an interval, an option that the
            family does not have, or `out` holds something.
        PluginError: there is no such family.
        ImageError: an image is damaged.
    """
    began = time.monotonic()
    out = check_new(out)
    if not 0 < fpr < 0.5:
        raise DetectorError("a false positive rate lies over 0 and under 1/2", where=f"{fpr:g}", mend="such as .01")
    if not 0.5 <= limit <= LIMIT:
        raise DetectorError("the limit of familiarity cannot be", where=f"{limit:g}", mend=f"give .5 to {LIMIT:g}")
    if calibration not in ("isotonic", "temperature"):
        raise DetectorError(f"there is no calibration '{calibration}'", mend="use isotonic or temperature")
    if duplicates not in ("error", "join", "ignore"):
        raise DetectorError(f"copies cannot be treated by '{duplicates}'", mend="use error, join or ignore")
    chosen = make(family, options or {}, minutes=minutes)
    if adversarial:
        _harden(chosen, seed)
    tell = progress or (lambda fraction, line: None)
    check_classes(examples)
    tell(0.0, "looking for copies across the split")
    parts = _parts(
        examples, {"development": development, "test": test}, seed=seed, shares=shares, duplicates=duplicates, near=near
    )
    for part, held in parts.items():
        _check_part(part, held)
    audit = _shortcuts(examples, seed, _within(tell, 0.02, 0.1))
    on = pick_device(device)
    chosen.fit(parts["train"], seed=seed, device=on, progress=_within(tell, 0.1, 0.7))
    seen = look(chosen, parts["development"], progress=_within(tell, 0.7, 0.8))
    chosen, seen = _in_half(chosen, seen, parts["development"], on)
    known = look(chosen, some_of(parts["train"], MOST_KNOWN, seed), progress=_within(tell, 0.8, 0.9))
    familiarity = Familiarity.fit(known.features, seen.features, seed=seed)
    rows = parts["train"].table
    made = Detector(
        name=name or slug(out.resolve().name),
        family=chosen,
        thresholds=_thresholds(seen, fpr),
        calibration=Calibration.fit(seen.scores, seen.labels, seen.sources, kind=calibration),
        familiarity=Familiarity.from_state(familiarity.state()),  # in the precision that it is kept in
        limit=_limit(seen, limit),
        by_name=by_name,
        knows=tuple(sorted(set(rows["generator"]) - {""})),
        origins=tuple(sorted(set(rows["origin"][rows["label"] == "real"]))),
    )
    tested = look(chosen, parts["test"], progress=_within(tell, 0.9, 0.95))
    accused = laundered(made, parts["test"], launder or {}, seed, _within(tell, 0.95, 1.0))
    card = {
        **_card(made, parts, audit),
        "options": _settings(options, minutes),
        "adversarial": adversarial,
        "seed": seed,
        "device": on,
        "seconds": round(time.monotonic() - began, 1),
        "test": {**report(made, parts["test"], tested), "laundered": accused},
    }
    return replace(made, card=card).save(out)


def make(family: str, options: Mapping[str, Any], *, minutes: float | None = None) -> Family:
    """An unfitted family with its options.

    Raises:
        DetectorError: an option that it does not have, or a value that it does not take.
        PluginError: there is no such family.
    """
    cls = registry.load("detector_families", family)
    takes = [name for name, each in inspect.signature(cls).parameters.items() if each.kind is each.KEYWORD_ONLY]
    given = _settings(options, minutes)
    for option in given:
        if option not in takes:
            raise DetectorError(
                f"the family '{family}' has no option '{option}'",
                where=f"{option}={given[option]}",
                mend=f"leave it out; its options are: {', '.join(takes) or 'none'}",
            )
    try:
        return cls(**given)  # type: ignore[no-any-return]
    except (TypeError, ValueError) as error:
        raise DetectorError(f"the family '{family}' does not take these options: {error}", where=str(given)) from None


def check_classes(examples: Examples) -> None:
    """Raise DetectorError where a class is missing."""
    generated = int(examples.labels.sum())
    for count, missing in ((generated, "generated"), (len(examples) - generated, "real")):
        if not count:
            raise DetectorError(
                f"there is no {missing} image among {len(examples)}: a detector needs both classes",
                where="the training data",
                mend="data/real/<origin>/ and data/generated/<generator>/; or make pairs: --reconstruct AUTOENCODER",
            )


def look(family: Family, examples: Examples, *, progress: Progress | None = None) -> Seen:
    """Scores and features of all examples, a batch of images in memory at a time."""
    scores, features = [], []
    for start in range(0, len(examples), BATCH):
        rows = range(start, min(start + BATCH, len(examples)))
        one, other = looked_at(family, [examples.image(row) for row in rows])
        scores.append(one)
        features.append(other)
        if progress:
            progress(rows.stop / len(examples), f"scoring {rows.stop} of {len(examples)}")
    return Seen(np.concatenate(scores), np.concatenate(features), examples.labels, examples.sources)


def _parts(
    examples: Examples,
    given: Mapping[str, Examples | None],
    *,
    seed: int,
    shares: tuple[float, float, float],
    duplicates: Duplicates,
    near: int | None,
) -> dict[str, Examples]:
    """train, development and test: those `given`, and `examples` cut by `shares` into the others."""
    apart = {name: held for name, held in given.items() if held is not None}
    names = [name for name in ("train", "development", "test") if name not in apart]
    try:
        if len(names) == 1:
            masks = {"train": np.ones(len(examples), bool)}
        else:
            some = tuple(share for name, share in zip(_PARTS, shares, strict=True) if name in names)
            cut = split(examples, seed=seed, shares=some, duplicates=duplicates, near=near)
            masks = dict(zip(names, cut.values(), strict=True))
        parts = {name: examples.where(mask) for name, mask in masks.items()}
        if apart:
            for held in apart.values():
                check_classes(held)
            tables = [examples.table, *(held.table for held in apart.values())]
            which = np.repeat(np.arange(len(tables)), [len(table) for table in tables])
            whole = Examples(pd.concat(tables, ignore_index=True))
            if duplicates != "ignore":
                check_split(whole, {name: which == at for at, name in enumerate(("training", *apart))}, near=near)
        return {**parts, **apart}
    except DetectorError as error:
        if duplicates == "error" and "duplicates" in error.what and not apart:
            mend = f"{error.mend}; or keep copies on one side: --duplicates join"
            raise DetectorError(error.what, where=error.where, mend=mend) from None
        raise


def _check_part(part: str, held: Examples) -> None:
    """Each part must bear an interval: sources of each class."""
    for label, name in ((0, "real"), (1, "generated")):
        sources = len(set(held.sources[held.labels == label]))
        if sources < metrics.FEWEST_SOURCES:
            raise DetectorError(
                f"the part '{part}' has {sources} sources of {name} images; an interval needs {metrics.FEWEST_SOURCES}",
                where="the split by source",
                mend=_MORE,
            )


def _thresholds(seen: Seen, fpr: float) -> tuple[Threshold, ...]:
    reals = seen.scores[seen.reals]
    sources = len(set(seen.sources[seen.reals]))
    if sources < metrics.FEWEST_SOURCES:
        raise DetectorError(
            f"{sources} sources of real development images could be scored, too few for a threshold",
            where="the part 'development'",
            mend="add larger real images, of other sources",
        )
    rates = [fpr]
    if fpr > SECOND_FPR and len(reals) >= metrics.fewest_reals(SECOND_FPR):
        rates.append(SECOND_FPR)
    made = []
    for rate in rates:
        score = metrics.threshold_at(reals, rate)
        reach = metrics.share(reals >= score, seen.sources[seen.reals])
        made.append(Threshold(score, rate, len(reals), sources, reach.estimate, reach.ci_high))
    return tuple(made)


def _limit(seen: Seen, asked: float) -> float:
    """What was asked for, or where so few development images cannot tell that much: more unlike than all of them."""
    held = int(np.isfinite(seen.features).all(axis=1).sum())
    return min(asked, (held - 0.5) / (held + 1))


def _in_half(family: Family, seen: Seen, examples: Examples, device: str) -> tuple[Family, Seen]:
    """The family with its tensors rounded to half precision, and what it then sees, where that changes next to nothing.

    Threshold and calibration are set on what is kept, so that a saved detector judges as the one at hand.
    """
    state = family.state()
    floats = {name: array for name, array in state.tensors.items() if array.dtype.kind == "f"}
    if sum(array.nbytes for array in floats.values()) < LARGE:
        return family, seen
    with np.errstate(over="ignore"):
        rounded = {name: array.astype(np.float16).astype(np.float32) for name, array in floats.items()}
    if not all(np.isfinite(array).all() for array in rounded.values()):
        return family, seen
    half = type(family).from_state(State(state.settings, {**state.tensors, **rounded}), device=device)
    now = look(half, examples)
    scored = np.isfinite(seen.scores)
    moved = np.abs(now.scores[scored] - seen.scores[scored])
    return (half, now) if (moved <= HALF_ERROR * seen.scores[scored].std()).all() else (family, seen)


def _settings(options: Mapping[str, Any] | None, minutes: float | None) -> dict[str, Any]:
    return {**(options or {}), **({} if minutes is None else {"minutes": minutes})}


def _harden(family: Family, seed: int) -> None:
    """Adversarial training, for families that let the images of a batch be made harder (`perturb`)."""
    if not hasattr(family, "perturb"):
        raise DetectorError(
            f"the family '{family.name}' cannot be trained against attacks",
            where="--adversarial",
            mend="leave it out, or use the family cnn",
        )
    from detectors.attacks.hardening import Adversary

    family.perturb = Adversary(seed=seed)


def _shortcuts(examples: Examples, seed: int, tell: Progress) -> dict[str, Any]:
    """The shortcut audit as plain data: what tells the classes apart besides how the images were made.

    Returns:
        warnings: sentences, none where nothing was found. aligned. kinds: a row each, with AUROC, interval, p-value.
    """
    from detectors.shortcuts import audit

    found = audit(examples, seed=seed, progress=lambda done, total: tell(done / total, "shortcut audit"))
    warned = [each for each in found.shortcuts if each.verdict == "warning"]
    return {
        "warnings": [
            f"The training data can be told apart by {each.kind} alone (AUROC {each.auroc:.2f}): {each.meaning}."
            for each in warned
        ],
        "aligned": found.aligned,
        "kinds": plain(found.table.drop(columns="parts")),
    }


def _card(detector: Detector, parts: Mapping[str, Examples], audit: dict[str, Any]) -> dict[str, Any]:
    family = detector.family
    counts = {
        part: {
            "real": int((held.labels == 0).sum()),
            "generated": int(held.labels.sum()),
            "sources": len(set(held.sources)),
        }
        for part, held in parts.items()
    }
    rows = parts["train"].table
    return {
        "name": detector.name,
        "family": {"name": family.name, "title": family.title, "paper": family.paper, "version": family.version},
        "min_side": family.min_side,
        "version": __version__,
        "trained": datetime.now(UTC).date().isoformat(),
        "parts": counts,
        "generators": {name: int(n) for name, n in rows["generator"].value_counts().items() if name},
        "origins": {name: int(n) for name, n in rows["origin"][rows["label"] == "real"].value_counts().items()},
        "thresholds": [vars(each) for each in detector.thresholds],
        "calibration": detector.calibration.kind,
        "limit": detector.limit,
        "shortcuts": audit,
    }


def _within(tell: Progress, start: float, end: float) -> Progress:
    return lambda fraction, line: tell(start + (end - start) * fraction, line)

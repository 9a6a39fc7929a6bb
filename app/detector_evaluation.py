"""The Python verb that tests detectors; `auditkit detector evaluate` mirrors it.

import auditkit as ak
table = ak.evaluate_detector("data/", family="spectrum", out="evaluation")       # trained anew without each generator
table = ak.evaluate_detector("data/", detector="path:my-detector", out="evaluation")
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.autoencoders import launderers
from app.output import Progress, progress_bar
from auditkit.errors import DetectorError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from detectors.evaluation import Evaluation
    from detectors.examples import Examples
    from detectors.leave_one_out import Contender, Fold, Outcome

BASE_RATE = 0.01
VOLUME = 100_000
OUT = Path("detector-evaluation")


def evaluate_detector(
    *data: str | Path,
    detector: str | Path | None = None,
    family: str | None = None,
    options: Mapping[str, Any] | None = None,
    baselines: bool = False,
    degradations: Sequence[str] | None = None,
    autoencoders: Sequence[str] = (),
    base_rate: float = BASE_RATE,
    volume: int = VOLUME,
    out: str | Path = OUT,
    seed: int = 0,
    device: str = "auto",
    progress: bool | Progress = False,
) -> pd.DataFrame:
    """How well generated images are told from real ones: of a generator never seen, degraded, and at one's own volume.

    With `family`, leave-one-out: it is trained anew without each generator, and without each origin of real images, and
    tested on what was left out. With `detector`, a trained one is tested as it is; `data` must then be images that it
    was not trained on. Folds that are finished are kept in `out`, and are not made again.

    Args:
        data: folders, tables or runs; see `detectors.reading.read_examples`.
        detector: a registered name, or the folder of `auditkit train detector`.
        family: a registered family; options: its own.
        baselines: also the field's usual detectors on the same folds (leave-one-out only), those that are trained in
            steps with the `steps` and `minutes` of `options`.
        degradations: such as jpeg:75, downscale:0.5, social; a usual set by default, an empty list for none.
        autoencoders: generators' names or folders; real images are laundered through each to see how many a trained
            detector then calls generated.
        base_rate: share of generated images among yours. volume: how many images come in.
        out: a folder for tables, page and card.

    Returns:
        The table `results`: detector, left (generator or origin), held_out, degradation, metric, estimate, ci_low,
        ci_high, n_images, n_sources, status. Its attrs have `out`, `page`, `card` and the other tables: `alarms`,
        `accusations`, `laundered`.

    Raises:
        DetectorError: neither or both of detector and family, too few images, generators or origins, an unknown
            degradation, an impossible base rate.
        PluginError, ImageError, RunError.
    """
    from detectors import alarms, robustness
    from detectors.metrics import Estimate
    from detectors.reading import read_examples

    if (detector is None) == (family is None):
        raise DetectorError(
            "either a trained detector or a family to train is evaluated",
            where="--detector, --family",
            mend="--detector NAME, or --family NAME --leave-one-out",
        )
    if detector is not None and (baselines or options):
        raise DetectorError(
            "baselines and options are for families that are trained anew",
            where=f"--detector {detector}",
            mend="leave them out, or use --family NAME --leave-one-out",
        )
    if family is not None and autoencoders:
        raise DetectorError(
            "laundering is tried on a trained detector", where=f"--family {family}", mend="use --detector NAME"
        )
    none = Estimate(0.5, 0.4, 0.6, 100, 100, "ok")
    alarms.expected(none, none, base_rate=base_rate, volume=volume)  # impossible ones are told before the work
    steps = robustness.steps(degradations)
    launder = launderers(autoencoders, device=device)
    examples, began = read_examples(*data), time.monotonic()
    notes: list[str] = []
    laundered = None
    with _telling(progress) as tell:
        if family is not None:
            contenders = _contenders(family, options, baselines, notes)
            outcomes = _left_out(examples, contenders, Path(out), steps, seed, device, notes, tell)
            fpr, limit = 0.01, 0.99
        else:
            assert detector is not None
            outcomes, laundered, fpr, limit = _trained(
                examples, detector, launder, steps=steps, seed=seed, device=device, notes=notes, tell=tell
            )
    made = evaluation_of(
        examples, outcomes, laundered, fpr=fpr, limit=limit, base_rate=base_rate, volume=volume, seed=seed,
        record={
            "kind": "leave-one-out" if family is not None else "detector",
            "data": [str(each) for each in data],
            "steps": {robustness.key(step): step.label for step in steps},
            "shortcuts": _shortcuts(examples, seed), "seed": seed, "device": device, "notes": notes,
            "seconds": round(time.monotonic() - began, 1),
        },
    )  # fmt: skip
    return finish(out, made)


def evaluation_of(
    examples: Examples, outcomes: Sequence[Outcome], laundered: pd.DataFrame | None, *, fpr: float, limit: float,
    base_rate: float, volume: int, seed: int, record: dict[str, Any],
) -> Evaluation:  # fmt: skip
    """The tables of these outcomes, and the record filled up with what the examples hold."""
    from auditkit import __version__
    from detectors import outcomes as tables
    from detectors.evaluation import Evaluation

    results = tables.results(outcomes, fpr=fpr, limit=limit, seed=seed)
    table = examples.table
    counts = {
        "real": int((examples.labels == 0).sum()),
        "generated": int(examples.labels.sum()),
        "sources": len(set(examples.sources)),
    }
    whole = record | {
        "detectors": list(dict.fromkeys(outcome.contender for outcome in outcomes)),
        "counts": counts,
        "generators": _counted(table["generator"][examples.labels == 1]),
        "origins": _counted(table["origin"][examples.labels == 0]),
        "fpr": fpr, "limit": limit, "base_rate": base_rate, "volume": volume, "version": __version__,
    }  # fmt: skip
    extra = {} if laundered is None else {"laundered": laundered}
    return Evaluation(
        whole, results, tables.curves(outcomes), tables.reliabilities(outcomes),
        tables.alarms(results, base_rate=base_rate, volume=volume), tables.accusations(outcomes, fpr=fpr, limit=limit),
        **extra,
    )  # fmt: skip


def finish(out: str | Path, made: Evaluation) -> pd.DataFrame:
    """Write tables, card and page into `out`; what `evaluate_detector` returns."""
    from detectors.cards import facts_of, write_card
    from detectors.evaluation import write
    from reports.detector_page import write_page

    folder = write(out, made)
    card, page = write_card(folder, facts_of(made)), write_page(folder)
    table = made.results.copy()
    table.attrs = {
        "out": str(folder), "page": str(page), "card": str(card), "notes": made.record["notes"], "alarms": made.alarms,
        "accusations": made.accusations, "laundered": made.laundered,
    }  # fmt: skip
    return table


def _contenders(family: str, options: Mapping[str, Any] | None, baselines: bool, notes: list[str]) -> list[Contender]:
    from auditkit import registry
    from detectors.leave_one_out import Contender, usual

    chosen = [Contender(family, family, dict(options or {}))]
    for each in usual(options or {}) if baselines else ():
        if each == chosen[0]:
            continue
        if each.family not in registry.names("detector_families"):
            notes.append(f"The baseline {each.name} was left out: its family is not installed.")
            warnings.warn(notes[-1], stacklevel=3)
            continue
        chosen.append(each if each.name != family else Contender(f"{each.name} (usual)", each.family, each.options))
    return chosen


def _left_out(
    examples: Examples, contenders: Sequence[Contender], out: Path, steps: Any, seed: int, device: str,
    notes: list[str], tell: Callable[[float, str], None] | None,
) -> list[Outcome]:  # fmt: skip
    from auditkit.clip.encoders import pick_device
    from detectors import leave_one_out

    folds = _folds(examples, seed, notes)
    on = device if device == "cpu" else pick_device(device)
    return leave_one_out.run(
        examples, folds, contenders, out / "folds", steps=steps, seed=seed, device=on, progress=tell
    )


def _folds(examples: Examples, seed: int, notes: list[str]) -> list[Fold]:
    from detectors.leave_one_out import Fold
    from detectors.splits import join_duplicates, leave_one_generator_out, leave_one_origin_out

    joined = join_duplicates(examples)  # once for all folds
    table = examples.table
    generators, origins = set(table["generator"]) - {""}, set(table["origin"][examples.labels == 0]) - {""}
    if len(generators) < 2 and len(origins) < 2:
        raise DetectorError(
            f"there are {len(generators)} generators and {len(origins)} origins of real images: none can be left out",
            where="the data",
            mend="give images of two generators at least: data/generated/<generator>/",
        )
    found: list[Fold] = []
    if len(generators) > 1:
        for name, train, test in leave_one_generator_out(joined, seed=seed, duplicates="ignore"):
            found.append(Fold("generator", name, train, test))
    else:
        notes.append("No generator was left out: there is one only.")
    if len(origins) > 1:
        for name, train, test in leave_one_origin_out(joined, seed=seed, duplicates="ignore"):
            found.append(Fold("origin", name, train, test))
    else:
        notes.append("No origin of real images was left out: there is one only, so that nothing is known of others.")
    return found


def _trained(
    examples: Examples, name: str | Path, launder: Mapping[str, Callable[[np.ndarray], np.ndarray]], *, steps: Any,
    seed: int, device: str, notes: list[str], tell: Callable[[float, str], None] | None,
) -> tuple[list[Outcome], pd.DataFrame | None, float, float]:  # fmt: skip
    from detectors.accusations import false_accusations
    from detectors.trained import load
    from detectors.trained_outcomes import look_of, outcomes_of

    detector = load(name, device=device)
    known = sorted(set(examples.table["generator"]) & set(detector.knows))
    if known:
        notes.append(f"It was trained on {', '.join(known)}; on a generator it has never seen it does worse.")
    share = 0.7 if launder else 1.0
    outcomes = outcomes_of(detector, examples, steps=steps, seed=seed, progress=_part(tell, 0, share))
    laundered = None
    threshold = detector.threshold()
    if launder:
        laundered = false_accusations(
            look_of(detector), examples, launder, threshold=threshold.score, limit=detector.limit,
            progress=_part(tell, share, 1),
        )  # fmt: skip
    return outcomes, laundered, threshold.fpr, detector.limit


def _shortcuts(examples: Examples, seed: int) -> list[str]:
    """A sentence for each kind of shortcut: what besides the images' content tells the classes apart."""
    from detectors.shortcuts import audit

    told = []
    for each in audit(examples, seed=seed).shortcuts:
        number = (
            f" (AUROC {each.auroc:.2f} [{each.ci_low:.2f}, {each.ci_high:.2f}])" if each.auroc == each.auroc else ""
        )
        told.append(f"{each.kind}: {each.verdict}{number}." + (f" {each.meaning}" if each.verdict == "warning" else ""))
    return told


def _counted(column: pd.Series) -> dict[str, int]:
    return {str(name): int(count) for name, count in column.value_counts().sort_index().items()}


@contextmanager
def _telling(progress: bool | Progress) -> Iterator[Callable[[float, str], None] | None]:
    """Fractions and lines as done of 1,000 for a bar."""
    with progress_bar("evaluate", progress) as show:
        yield None if show is None else lambda fraction, line: show(round(1000 * fraction), 1000)


def _part(tell: Callable[[float, str], None] | None, start: float, end: float) -> Callable[[float, str], None] | None:
    if tell is None:
        return None
    return lambda fraction, line: tell(start + (end - start) * fraction, line)

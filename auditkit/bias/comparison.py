"""Two runs held beside each other, paired by prompt and seed: what changed, and by how much."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from auditkit.bias.base import Options, Row, adjust, groups_and_all, row, table
from auditkit.bias.outcomes import CalibrationTable, Outcomes, read_confusion, read_outcomes, standing
from auditkit.errors import TableError
from auditkit.stats.confusion import Confusion
from auditkit.stats.paired import corrected_difference, discordance

if TYPE_CHECKING:
    from auditkit.runs import Run

VERSION = 1


def compare(first: Run, second: Run, options: Options) -> pd.DataFrame:
    """Differences of the second run from the first, by group.

    Images are paired by prompt and replicate; where their seeds differ the note says so. Images without a partner are
    left out, and counted in the note.

    Returns:
        Measurements of the second run, with the first as `reference`:
        `comparison.difference`: corrected share of each class in the second run less that in the first, in [-1, 1],
        with a paired bootstrap interval; `uncalibrated` where no calibration holds for the images.
        `comparison.flips`: (gained - lost)/pairs as classified, with a p-value by swapping the runs prompt by prompt,
        and McNemar's exact one in the note.

    Raises:
        TableError: the runs share no prompts, or scores are missing.
    """
    left, right, about = paired_images(first, second)
    rows: list[Row] = []
    for attribute in options.attributes:
        a = read_outcomes(first, left, attribute, options.encoder)
        b = read_outcomes(second, right, attribute, options.encoder)
        if a.classes != b.classes:
            raise TableError(
                f"The runs were scored for {attribute} with other classes.",
                where=f"runs {first.id}, {second.id}",
                mend=f"score both again: auditkit score {first.id}; auditkit score {second.id}",
            )
        rows += _attribute(first, second, right, a, b, about, options)
    return table(adjust(rows))


def paired_images(first: Run, second: Run) -> tuple[pd.DataFrame, pd.DataFrame, str]:
    """Both images tables cut to their pairs, in the same order, and what to say of the pairing."""
    keys = ["prompt", "replicate"]
    a, b = first.images(), second.images()
    joined = a[keys].reset_index().merge(b[keys].reset_index(), on=keys, suffixes=("_a", "_b"))
    if joined.empty:
        raise TableError(
            "The runs share no prompt, so there is nothing to pair.",
            where=f"runs {first.id}, {second.id}",
            mend="compare runs of one spec (auditkit generate SPEC --generator ...)",
        )
    left = a.loc[joined["index_a"]].reset_index(drop=True)
    right = b.loc[joined["index_b"]].reset_index(drop=True)
    notes = []
    if lost := len(a) + len(b) - 2 * len(joined):
        notes.append(f"{lost} images have no partner and are left out")
    unequal = int((left["seed"].fillna(-1) != right["seed"].fillna(-2)).sum())
    if unequal:
        notes.append(f"{unequal} of {len(left)} pairs do not share a seed: paired by prompt only")
    return left, right, "; ".join(notes)


def _attribute(
    first: Run, second: Run, images: pd.DataFrame, a: Outcomes, b: Outcomes, about: str, options: Options
) -> list[Row]:
    attribute = b.attribute
    calibrations: Mapping[str, CalibrationTable] | None = options.calibrations
    confusion, reason = read_confusion(b, options.encoder, calibrations)
    prompts = images["prompt_id"].to_numpy(np.intp)
    made: list[Row] = []
    for by, group, chosen in groups_and_all(second, images, options.by):
        base = row(
            "comparison.difference", second, version=VERSION, attribute=attribute, group_by=by, group=group,
            chosen=chosen, images=images, encoder=options.encoder, reference=first.id, note=about,
        )  # fmt: skip
        rng = np.random.default_rng([options.seed, zlib.crc32(f"{attribute}/{group}".encode())])
        base |= {"unit": "share", "null_value": 0.0}
        status, why = standing_of_both(a, b, chosen, confusion, reason, options.min_n)
        blank = base | {"status": status, "note": "; ".join(filter(None, [why, about]))}
        if status == "ok" and confusion is not None:
            found = corrected_difference(
                a.counts(prompts, chosen), b.counts(prompts, chosen), confusion, rng, replicates=options.n_boot
            )
            method = "paired bootstrap of prompts, calibration's variance"
            made += [
                base | {"category": c, "estimate": e, "ci_low": low, "ci_high": high, "p_value": p, "ci_method": method}
                for c, e, low, high, p in zip(
                    a.classes, found.estimate, found.low, found.high, found.p_values, strict=True
                )
            ]
        else:
            made += [blank | {"category": c} for c in a.classes]
        made += _flips(base, a, b, prompts, chosen, rng, options)
    return made


def standing_of_both(
    a: Outcomes, b: Outcomes, chosen: np.ndarray, confusion: Confusion | None, why: str, min_n: int
) -> tuple[str, str]:
    """The worse of both runs' standings, and which run it is of."""
    for each, which in ((a, "first"), (b, "second")):
        status, reason = standing(each, chosen, confusion, why, min_n)
        if status != "ok":
            return status, f"{which} run: {reason}"
    return "ok", ""


def _flips(
    base: Row, a: Outcomes, b: Outcomes, prompts: np.ndarray, chosen: np.ndarray, rng: np.random.Generator,
    options: Options,
) -> list[Row]:  # fmt: skip
    """Class by class, pairs that changed. With two classes and no unknown the second mirrors the first."""
    made = []
    n = int(chosen.sum())
    for i, category in enumerate(a.classes):
        each = base | {"measure": "comparison.flips", "category": category, "unit": "share of pairs"}
        if n < max(options.min_n, 1):
            why = f"{n} pairs; {max(options.min_n, 1)} are needed"
            made.append(each | {"status": "insufficient", "note": why, "null_value": 0.0})
            continue
        found = discordance(
            a.label[chosen] == i, b.label[chosen] == i, prompts[chosen], rng, replicates=options.n_boot
        )
        counted = f"{found.gained} gained, {found.lost} lost of {n} pairs; McNemar's exact p {found.p_mcnemar:.3g}"
        made.append(
            each
            | {
                "estimate": (found.gained - found.lost) / n,
                "p_value": found.p_value,
                "ci_method": "runs swapped by prompt",
                "note": "; ".join(filter(None, [counted, base["note"]])),
            }
        )
    return made

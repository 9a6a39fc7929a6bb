"""What every measure shares: its options, its protocol, and the rows it writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from auditkit.errors import TableError
from auditkit.stats.multiplicity import benjamini_hochberg, holm

if TYPE_CHECKING:
    from auditkit.bias.outcomes import CalibrationTable
    from auditkit.runs import Run

ALL = "all"
"""The group of every image, and the grouping that has only this one."""

COLUMNS = [
    "run_id", "measure", "measure_version", "attribute", "category", "group_by", "group", "reference", "encoder",
    "n_images", "n_prompts", "estimate", "ci_low", "ci_high", "ci_method", "null_value",
    "p_value", "p_holm", "p_bh", "unit", "direction", "status", "note",
]  # fmt: skip

Row = dict[str, Any]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Options:
    """What an auditor asks of the measures; every measure takes from it what it needs.

    Attributes:
        by: the axis that groups the images, or `all`.
        attributes: names of scorers; joint ones written with a plus, `gender+skin_tone`.
        encoder: whose scores, embeddings and calibrations to use.
        encoder_source: what `load_encoder` takes for `encoder`, where that is another string, such as a folder.
        encoders: further encoders to look with, for measures that report their sensitivity to the encoder.
        target: `uniform`, `planted`, a shipped table's name, a run's folder or a CSV; see `auditkit.bias.targets`.
        estimator: how shares are corrected for the scorer's errors; see `auditkit.stats.estimators`.
        n_boot: replicates of a bootstrap, permutations of a test, or simulated audits.
        seed: of every random draw.
        min_n: fewest images for a verdict; below it a group is `insufficient`.
        calibrations: by attribute, in place of those beside the encoder.
    """

    by: str
    attributes: tuple[str, ...] = ("gender", "skin_tone")
    encoder: str = "personas-clip"
    encoder_source: str = ""
    encoders: tuple[str, ...] = ()
    target: str = "uniform"
    estimator: str = "adjusted-count"
    n_boot: int = 2000
    seed: int = 0
    min_n: int = 20
    calibrations: Mapping[str, CalibrationTable] | None = field(default=None, compare=False)

    def but(self, **changes: Any) -> Options:
        """The same, with some changed."""
        return replace(self, **changes)


class Measure(Protocol):
    """One measure. Registered in the entry-point group `auditkit.measures` under its name, as an instance.

    Rows' `measure` begins with the name and a dot: `divergence.tv`.
    """

    name: str
    version: int
    title: str
    """What it answers, as a short phrase: `Divergence from the target within each prompt`."""

    def applies(self, run: Run, options: Options) -> str:
        """Empty where the run has what the measure needs; else the reason, with the command that mends it."""
        ...

    def measure(self, run: Run, options: Options) -> pd.DataFrame:
        """Rows of the schema MEASUREMENTS, made with `table`.

        Raises:
            TableError, SpecError: the run lacks something (what `applies` says), or an option does not hold.
        """
        ...


def row(
    measure: str,
    run: Run,
    *,
    version: int,
    attribute: str,
    group_by: str,
    group: str,
    chosen: Mask,
    images: pd.DataFrame,
    encoder: str = "",
    **more: Any,
) -> Row:
    """A row without numbers yet: estimate, interval and p-values NaN, status ok; `more` is laid over it.

    Args:
        chosen: bool [n_images], which rows of the images table the estimate rests on.
    """
    nan = float("nan")
    numbers = dict.fromkeys(["estimate", "ci_low", "ci_high", "null_value", "p_value", "p_holm", "p_bh"], nan)
    return {
        "run_id": run.id,
        "measure": measure,
        "measure_version": version,
        "attribute": attribute,
        "category": "",
        "group_by": group_by,
        "group": group,
        "reference": "",
        "encoder": encoder,
        "n_images": int(chosen.sum()),
        "n_prompts": len(np.unique(images["prompt_id"].to_numpy()[chosen])),
        **numbers,
        "ci_method": "",
        "unit": "share",
        "direction": "none",
        "status": "ok",
        "note": "",
        **more,
    }


def table(rows: Sequence[Row]) -> pd.DataFrame:
    """Rows as a DataFrame with the columns of MEASUREMENTS, in their order."""
    return pd.DataFrame(list(rows), columns=COLUMNS)


def groups(run: Run, images: pd.DataFrame, by: str) -> dict[str, Mask]:
    """Which images each group has, in the order in which they first appear; empty for `all`.

    Raises:
        TableError: the run has no such axis.
    """
    if by == ALL:
        return {}
    axes = [column.removeprefix("axis_") for column in images.columns if column.startswith("axis_")]
    if by not in axes:
        raise TableError(
            f"The run has no axis '{by}'.",
            where=f"run {run.id}",
            mend=f"measure by one of: {', '.join([*axes, ALL])}",
        )
    column = images[f"axis_{by}"]
    return {str(value): (column == value).to_numpy(bool) for value in column.dropna().unique()}


def groups_and_all(run: Run, images: pd.DataFrame, by: str) -> list[tuple[str, str, Mask]]:
    """(group_by, group, chosen) of each group, then of all images together."""
    whole = (ALL, ALL, np.ones(len(images), bool))
    return [*((by, name, chosen) for name, chosen in groups(run, images, by).items()), whole]


def adjust(rows: Sequence[Row], *, family: Sequence[str] = ("measure", "attribute", "group_by")) -> list[Row]:
    """Fill `p_holm` and `p_bh` over each family of tests: the rows that agree in the named columns.

    Rows without a p-value are no tests and are not counted.
    """
    families: dict[tuple[Any, ...], list[Row]] = {}
    for each in rows:
        families.setdefault(tuple(each[key] for key in family), []).append(each)
    for members in families.values():
        p_values = [each["p_value"] for each in members]
        for each, p_holm, p_bh in zip(members, holm(p_values), benjamini_hochberg(p_values), strict=True):
            each["p_holm"], each["p_bh"] = float(p_holm), float(p_bh)
    return list(rows)


def without_estimate(each: Row, status: str, note: str) -> Row:
    """The row with its numbers taken away: what is not known is NaN and says why."""
    nan = float("nan")
    numbers = dict.fromkeys(["estimate", "ci_low", "ci_high", "p_value", "p_holm", "p_bh"], nan)
    return each | numbers | {"status": status, "note": note}

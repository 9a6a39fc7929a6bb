"""Running the measures over a run: which apply, what they say, and what is kept."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import pandas as pd

from auditkit import registry
from auditkit.bias.base import COLUMNS, Measure, Options
from auditkit.errors import EncoderError, PluginError, TableError
from auditkit.plan import record_analysis

if TYPE_CHECKING:
    from auditkit.runs import Run


def measure_run(
    run: Run,
    options: Options,
    names: Sequence[str] | None = None,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[pd.DataFrame, dict[str, str]]:
    """Measure, and keep the rows in the run; rows of measures that were not run now are kept as they are.

    Args:
        names: measures; None takes every one that applies to the run.
        progress: called with (done, total) measures.

    Returns:
        The new rows (schema MEASUREMENTS), and why each measure that was left out did not apply.

    Raises:
        PluginError: there is no such measure. TableError: a measure that was named does not apply.
    """
    chosen: list[Measure] = []
    left_out: dict[str, str] = {}
    for name in names or registry.names("measures"):
        try:
            found: Measure = registry.load("measures", name)
        except PluginError as error:
            if names:
                raise
            warnings.warn(error.what, stacklevel=2)
            continue
        reason = found.applies(run, options)
        if reason and names:
            raise TableError(
                f"The measure '{name}' does not apply: {reason}",
                where=f"run {run.id}",
                mend="mend that, or leave the measure out",
            )
        if reason:
            left_out[name] = reason
        else:
            chosen.append(found)
    parts = []
    for done, found in enumerate(chosen):
        if progress:
            progress(done, len(chosen))
        try:
            parts.append(found.measure(run, options))
        except EncoderError as error:  # one measure needs the encoder itself, the others only what it left behind
            if names:
                raise
            left_out[found.name] = error.what
    if progress:
        progress(len(chosen), len(chosen))
    if not parts:
        raise TableError(
            "No measure applies to the run: " + "; ".join(f"{n}: {why}" for n, why in left_out.items()),
            where=f"run {run.id}",
            mend=f"auditkit score {run.id}",
        )
    fresh = pd.concat(parts, ignore_index=True)[COLUMNS]
    measured = [found.name for found in chosen if found.name not in left_out]
    run.write_measurements(_kept(run, measured, fresh))
    record_analysis(run, options, measured)
    return fresh, left_out


def _kept(run: Run, measured: Sequence[str], fresh: pd.DataFrame) -> pd.DataFrame:
    before = run.measurements()
    if before is None:
        return fresh
    others = before[~before["measure"].str.partition(".")[0].isin(list(measured))]
    return fresh if others.empty else pd.concat([fresh, others.reindex(columns=COLUMNS)], ignore_index=True)

"""Every analysis of a run, in the order in which they were made: looking twice is no secret."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auditkit.files import sha256_file
from auditkit.runs.journal import Line, read_journal, writing

if TYPE_CHECKING:
    from auditkit.bias.base import Options
    from auditkit.runs import Run

ANALYSES = "analyses.jsonl"


def record_analysis(run: Run, options: Options, measures: Sequence[str]) -> None:
    """Append what was asked of which measures to the run's analyses.jsonl; the same again is not told twice.

    Raises:
        RunError: it cannot be written. TableError: the file is damaged.
    """
    asked: dict[str, Any] = {
        "measures": sorted(measures),
        "by": options.by,
        "attributes": list(options.attributes),
        "encoder": options.encoder,
        "target": options.target,
        "estimator": options.estimator,
        "replicates": options.n_boot,
        "seed": options.seed,
        "min_n": options.min_n,
        "images": len(run.images()),
    }
    if Path(options.target).is_file():
        asked["target_sha256"] = sha256_file(Path(options.target))
    with writing(run.path / ANALYSES) as journal:
        told = [{key: value for key, value in line.items() if key != "time"} for line in journal.lines]
        if asked not in told:
            journal.append([{"time": datetime.now(UTC).isoformat(timespec="seconds"), **asked}])


def analyses(run: Run) -> list[Line]:
    """The run's analyses, oldest first; empty for a run measured before they were recorded."""
    return read_journal(run.path / ANALYSES)

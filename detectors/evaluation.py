"""An evaluation on disk: a record and tables, each as Parquet for programs and as CSV and JSON for all others.

evaluation.json      what was evaluated, on which images, how
results.*            see `outcomes.results`; curves.*, reliability.*, alarms.*, accusations.*, laundered.*
folds/               what was kept of each fold, to go on from
index.html           the page; card.md the model card
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from auditkit.errors import DetectorError
from auditkit.files import write_atomic, write_json
from detectors.outcomes import ESTIMATE, KEYS

RECORD = "evaluation.json"
FORMAT = 1
TABLES = {
    "results": (*KEYS, *ESTIMATE),
    "curves": ("detector", "left", "held_out", "fpr", "tpr"),
    "reliability": ("detector", "left", "held_out", "bin", "probability", "weight", *ESTIMATE),
    "alarms": ("detector", "left", "held_out", "measure", "base_rate", "volume", *ESTIMATE),
    "accusations": ("detector", "held_out", "asked", "times", "reached", "abstained", "sentence", *ESTIMATE),
    "laundered": ("laundered", "abstained", *ESTIMATE),
}
"""Name -> columns that it has at least. The last two may have no rows."""
STATUSES = ("ok", "insufficient", "uncalibrated")
_MEND = "evaluate again: auditkit detector evaluate"


@dataclass(frozen=True)
class Evaluation:
    """What `write` keeps.

    Attributes:
        record: kind ('leave-one-out' or 'detector'), detectors (names, the one of interest first), data, counts,
            generators, origins, steps (degradation -> words), fpr, limit, base_rate, volume, seed, device, seconds,
            notes, commands, versions.
    """

    record: dict[str, Any]
    results: pd.DataFrame
    curves: pd.DataFrame
    reliability: pd.DataFrame
    alarms: pd.DataFrame
    accusations: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=list(TABLES["accusations"])))
    laundered: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=list(TABLES["laundered"])))

    @property
    def detectors(self) -> list[str]:
        """Names, the one of interest first."""
        return list(dict.fromkeys(self.results["detector"]))


def write(folder: str | Path, evaluation: Evaluation) -> Path:
    """Write record and tables into `folder`; the record last, so that a folder with one is whole.

    Raises:
        RunError: the folder cannot be written.
    """
    folder = Path(folder)
    for name in TABLES:
        table: pd.DataFrame = getattr(evaluation, name)
        stream = io.BytesIO()
        table.to_parquet(stream, index=False)
        write_atomic(folder / f"{name}.parquet", stream.getvalue())
        write_atomic(folder / f"{name}.csv", table.to_csv(index=False).encode())
        write_atomic(folder / f"{name}.json", (table.to_json(orient="records", indent=1) + "\n").encode())
    write_json(folder / RECORD, {"format": FORMAT, **evaluation.record})
    return folder


def read_record(folder: str | Path) -> dict[str, Any]:
    """The record of an evaluation.

    Raises:
        DetectorError: there is none, or it is damaged or of another format.
    """
    path = Path(folder) / RECORD
    try:
        record = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise DetectorError("there is no evaluation of a detector here", where=path, mend=_MEND) from None
    except (OSError, ValueError) as error:
        raise DetectorError(f"the evaluation's record cannot be read: {error}", where=path, mend=_MEND) from None
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise DetectorError("this is no evaluation that this version reads", where=path, mend=_MEND)
    return record


def read(folder: str | Path) -> Evaluation:
    """What `write` kept.

    Raises:
        DetectorError: a part is missing or damaged, a column is missing, a number is impossible.
    """
    folder, tables = Path(folder), {}
    record = read_record(folder)
    for name, columns in TABLES.items():
        path = folder / f"{name}.parquet"
        try:
            table = pd.read_parquet(path)
        except (OSError, ValueError) as error:
            raise DetectorError(f"a table of the evaluation cannot be read: {error}", where=path, mend=_MEND) from None
        lacking = [column for column in columns if column not in table]
        if lacking:
            raise DetectorError(f"the table has no column '{lacking[0]}'", where=path, mend=_MEND)
        if "status" in table and len(table):
            _check(table, path)
        tables[name] = table
    return Evaluation(record, **tables)


def _check(table: pd.DataFrame, path: Path) -> None:
    numbers = table[["estimate", "ci_low", "ci_high"]]
    if not all(pd.api.types.is_numeric_dtype(numbers[name]) for name in numbers):
        raise DetectorError("the table holds text where numbers belong", where=path, mend=_MEND)
    if not set(table["status"]) <= set(STATUSES) or (numbers["ci_low"] > numbers["ci_high"]).any():
        raise DetectorError("the table holds an impossible status or interval", where=path, mend=_MEND)
    if numbers[table["status"] == "insufficient"].notna().any(axis=None):
        raise DetectorError("the table gives a number where there is too little to go by", where=path, mend=_MEND)

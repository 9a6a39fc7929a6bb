"""An evaluation of mitigations on disk.

mitigation.json   spec, generator, target, methods with their settings, who judged, verdicts, notes, versions, seconds
effects.*         the table of effects (`study.COLUMNS`): Parquet for programs, CSV and JSON for all others
runs/             the run without and each run with a mitigation, whole, so that every number leads to its images
index.html        the page
"""

from __future__ import annotations

import io
import json
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from auditkit.errors import TableError
from auditkit.files import write_atomic, write_json
from auditkit.guidance.study import COLUMNS
from auditkit.guidance.verdicts import Verdict, judged_rows

RECORD = "mitigation.json"
EFFECTS = "effects"
RUNS = "runs"
KIND = "mitigation"
FORMAT = 1
NEEDED = ("target", "attribute", "methods", "judge", "encoders", "verdicts", "generator", "spec", "runs", "notes")
"""What a record holds at least."""
STATUSES = ("ok", "insufficient", "uncalibrated")
_MEND = "evaluate again: auditkit mitigate"


@dataclass(frozen=True)
class Evaluation:
    """What `write` keeps.

    Attributes:
        record: `spec` (name, prompts, images), `generator`, `target` as passed, `attribute`, `methods` (label to name,
            version, options), `refused` (method to the reason that the model cannot take it), `judge`, `tuned_with`,
            `encoders`, `runs` (label to run id, '' the run without), `verdicts`, `notes`, `command`, `seconds`.
        effects: columns `study.COLUMNS`.
    """

    record: dict[str, Any]
    effects: pd.DataFrame

    @property
    def methods(self) -> list[str]:
        """Labels of the methods that were tried, in the order asked for."""
        return list(self.record["methods"])

    @property
    def verdicts(self) -> dict[str, Verdict]:
        """By label."""
        nan = float("nan")
        made = [
            Verdict(**(v | {"p_holm": nan if v["p_holm"] is None else v["p_holm"]})) for v in self.record["verdicts"]
        ]
        return {each.method: each for each in made}

    @property
    def judged(self) -> pd.DataFrame:
        """The effects as the encoder that judges saw them; see `verdicts.judged_rows`."""
        return judged_rows(self.effects, self.record["judge"])


def write(folder: str | Path, made: Evaluation) -> Path:
    """Write the table and the record into `folder`; the record last, so that a folder with one is whole.

    Raises:
        RunError: the folder cannot be written.
    """
    folder = Path(folder)
    stream = io.BytesIO()
    made.effects.to_parquet(stream, index=False)
    write_atomic(folder / f"{EFFECTS}.parquet", stream.getvalue())
    write_atomic(folder / f"{EFFECTS}.csv", made.effects.to_csv(index=False).encode())
    write_atomic(folder / f"{EFFECTS}.json", (made.effects.to_json(orient="records", indent=1) + "\n").encode())
    write_json(folder / RECORD, {"format": FORMAT, "kind": KIND, **made.record})
    return folder


def read_record(folder: str | Path) -> dict[str, Any]:
    """The record of an evaluation.

    Raises:
        TableError: there is none, or it is damaged, or of something else.
    """
    path = Path(folder) / RECORD
    try:
        record = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise TableError("there is no evaluation of mitigations here", where=path, mend=_MEND) from None
    except (OSError, ValueError) as error:
        raise TableError(f"the evaluation's record cannot be read: {error}", where=path, mend=_MEND) from None
    if not isinstance(record, dict) or (record.get("kind"), record.get("format")) != (KIND, FORMAT):
        raise TableError("this is no evaluation of mitigations that this version reads", where=path, mend=_MEND)
    if lacking := [name for name in NEEDED if name not in record]:
        raise TableError(f"the evaluation's record says no '{lacking[0]}'", where=path, mend=_MEND)
    return record


def read(folder: str | Path) -> Evaluation:
    """What `write` kept.

    Raises:
        TableError: a part is missing or damaged, a column is missing, a number is impossible.
    """
    folder = Path(folder)
    record, path = read_record(folder), folder / f"{EFFECTS}.parquet"
    try:
        table = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise TableError(f"the table of effects cannot be read: {error}", where=path, mend=_MEND) from None
    if lacking := [column for column in COLUMNS if column not in table]:
        raise TableError(f"the table has no column '{lacking[0]}'", where=path, mend=_MEND)
    numbers = table[["estimate", "ci_low", "ci_high"]]
    if not all(pd.api.types.is_numeric_dtype(numbers[name]) for name in numbers):
        raise TableError("the table holds text where numbers belong", where=path, mend=_MEND)
    if not set(table["status"]) <= set(STATUSES) or (numbers["ci_low"] > numbers["ci_high"]).any():
        raise TableError("the table holds an impossible status or interval", where=path, mend=_MEND)
    if numbers[table["status"] != "ok"].notna().any(axis=None):
        raise TableError("the table gives a number where nothing is claimed", where=path, mend=_MEND)
    return Evaluation(record, table)


def published() -> dict[str, list[dict[str, str]]]:
    """What the papers of the methods report, by method: `published.toml`, rows with paper, model, measured, figure,
    differs; a method without a comparable figure has a row that says so."""
    content = tomllib.loads((Path(__file__).parent / "published.toml").read_text("utf-8"))
    return {name: [dict(row) for row in rows] for name, rows in content.items()}

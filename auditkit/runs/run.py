"""Reading a run, and writing the tables that are computed from its images."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pandera.pandas as pa
import pyarrow as arrow

from auditkit.errors import AuditkitError, RunError, TableError
from auditkit.files import slug
from auditkit.schemas import (
    DETECTIONS,
    IMAGES,
    MEASUREMENTS,
    PROVENANCE,
    SCHEMA_VERSION,
    SCORES,
    WATERMARKS,
    check,
    parquet_metadata,
    read_parquet,
    read_table,
    table_columns,
    write_parquet,
    write_table,
)
from auditkit.spec import RunSpec


@dataclass(frozen=True)
class BrokenRun:
    """A folder that looks like a run and cannot be opened, and why."""

    path: Path
    error: AuditkitError


class Run:
    """A run directory. Open one with `open_run`."""

    def __init__(self, path: Path, record: dict[str, Any]):
        self.path = path
        self.record = record
        """What run.json holds: spec, generator, code, packages, machine, seconds."""

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

    @property
    def id(self) -> str:
        return str(self.record["run_id"])

    @cached_property
    def spec(self) -> RunSpec | None:
        """The spec with its defaults filled in; None for imported images."""
        spec = self.record["spec"]
        return None if spec is None else RunSpec.from_dict(spec["resolved"], where=self.path / "run.json")

    @property
    def complete(self) -> bool:
        """Whether every image has been made; of a run in stages, every image up to a look."""
        return (self.path / "images.parquet").is_file()

    @property
    def axes(self) -> list[str]:
        """The axes that images differ by: 'occupation' for the column `axis_occupation`."""
        return [c.removeprefix("axis_") for c in self._columns if c.startswith("axis_")]

    @property
    def planted(self) -> pd.DataFrame | None:
        """The generator's planted table, if it has one: occupation, gender, skin_tone, probability."""
        rows = self.record["generator"].get("planted")
        return pd.DataFrame(rows) if rows else None

    def images(self) -> pd.DataFrame:
        """The images table (IMAGES), in order of prompt and replicate.

        Raises:
            RunError: the run is not complete.
            TableError: the table is damaged.
        """
        return self._images.copy()

    @cached_property
    def _columns(self) -> list[str]:
        """Of the images table, without its rows: of a large run those take a second."""
        self._refuse_incomplete()
        return table_columns(self.path / "images.parquet", IMAGES)

    def _refuse_incomplete(self) -> None:
        if not self.complete:
            raise RunError(
                "the run is not complete",
                where=self.path,
                mend="start the command that made it again: it resumes",
            )

    @cached_property
    def _images(self) -> pd.DataFrame:
        self._refuse_incomplete()
        return read_table(self.path / "images.parquet", IMAGES)

    def image_path(self, id: str) -> Path:
        """Where the image of that id lies; always inside the run.

        Raises:
            RunError: `id` is not an image id, or its file is a link that leads out of the run.
        """
        if not re.fullmatch(r"[0-9a-f]{64}", id):
            raise RunError("an image id is 64 hex digits", where=repr(id), mend="take the id from run.images()")
        path = self.path / "images" / id[:2] / f"{id}.png"
        if not path.resolve().is_relative_to(self.path.resolve()):
            raise RunError("the image lies outside its run", where=path, mend="replace the link with the file")
        return path

    def scores(self, name: str | None = None) -> dict[str, pd.DataFrame]:
        """Tables of scores (SCORES), keyed 'gender@personas-clip'.

        Args:
            name: only those of that scorer ('gender') or that key ('gender@personas-clip').
        """
        tables = {}
        for path in sorted((self.path / "scores").glob("*.parquet")):
            df = read_table(path, SCORES)
            key = f"{df['scorer'].iloc[0]}@{df['encoder'].iloc[0]}" if len(df) else path.stem
            if name is None or name in (key, key.split("@")[0]):
                tables[key] = df
        return tables

    def write_scores(self, df: pd.DataFrame) -> None:
        """Keep the scores of one scorer with one encoder, in place of earlier ones.

        Raises:
            TableError: the table does not hold, mixes scorers, or names images that are not in the run.
        """
        df = check(df, SCORES, self.path / "scores")
        pairs = df[["scorer", "encoder"]].drop_duplicates()
        if len(pairs) != 1:
            raise TableError(
                f"a scores table holds one scorer and encoder, not {len(pairs)}",
                where=self.path / "scores",
                mend="write one table for each",
            )
        self._check_ids(df["id"], "scores")
        scorer, encoder = (str(value) for value in pairs.iloc[0])
        write_table(df, self.path / "scores" / f"{slug(scorer)}@{slug(encoder)}.parquet", SCORES)

    def measurements(self) -> pd.DataFrame | None:
        """The measurements (MEASUREMENTS), or None where nothing has been measured."""
        path = self.path / "measurements.parquet"
        return read_table(path, MEASUREMENTS) if path.is_file() else None

    def write_measurements(self, df: pd.DataFrame) -> None:
        """Keep measurements, in place of earlier ones."""
        write_table(df, self.path / "measurements.parquet", MEASUREMENTS)

    def watermarks(self) -> pd.DataFrame | None:
        """The verdicts on watermarks (WATERMARKS), or None where none was looked for."""
        path = self.path / "watermarks.parquet"
        return read_table(path, WATERMARKS) if path.is_file() else None

    def write_watermarks(self, df: pd.DataFrame) -> None:
        """Keep verdicts, in place of all earlier ones of the same schemes with the same keys; others are kept.

        Raises:
            TableError: the table does not hold, or names images that are not in the run.
        """
        self._lay_over(self.watermarks(), df, WATERMARKS, ["scheme", "key_id"])

    def detections(self) -> pd.DataFrame | None:
        """What detectors said of the images (DETECTIONS), or None where none was asked."""
        path = self.path / "detections.parquet"
        return read_table(path, DETECTIONS) if path.is_file() else None

    def write_detections(self, df: pd.DataFrame) -> None:
        """Keep what detectors said, in place of what the same ones said before; the others' is kept.

        Raises:
            TableError: the table does not hold, or names images that are not in the run.
        """
        self._lay_over(self.detections(), df, DETECTIONS, ["detector"])

    def provenance(self) -> pd.DataFrame | None:
        """The signed images (PROVENANCE), or None where none was signed."""
        path = self.path / "provenance.parquet"
        return read_table(path, PROVENANCE) if path.is_file() else None

    def write_provenance(self, df: pd.DataFrame) -> None:
        """Keep the table of signed images, in place of an earlier one.

        Raises:
            TableError: the table does not hold, or names images that are not in the run.
        """
        path = self.path / "provenance.parquet"
        df = check(df, PROVENANCE, path)
        self._check_ids(df["id"], "signed images")
        write_table(df, path, PROVENANCE)

    def embeddings(self, encoder: str, *, fingerprint: str = "") -> tuple[list[str], np.ndarray] | None:
        """Image ids and their embeddings (float32 [n, d]), or None where there are none.

        Args:
            fingerprint: what identifies the encoder's weights (their sha256); embeddings that were
                written with another one are not returned.
        """
        path = self._embeddings_path(encoder)
        if not path.is_file():
            return None
        table = read_parquet(path)
        if (table.schema.metadata or {}).get(b"fingerprint", b"").decode() != fingerprint:
            return None
        column = table["embedding"].combine_chunks()
        array = np.asarray(column.flatten(), dtype=np.float32).reshape(len(table), -1)
        return table["id"].to_pylist(), array

    def embeddings_fingerprint(self, encoder: str) -> str | None:
        """The fingerprint that the encoder's embeddings were written with, or None where there are none."""
        path = self._embeddings_path(encoder)
        if not path.is_file():
            return None
        metadata = parquet_metadata(path)
        return metadata.get(b"fingerprint", b"").decode()

    def write_embeddings(self, encoder: str, ids: Sequence[str], array: np.ndarray, *, fingerprint: str = "") -> None:
        """Keep embeddings (float32 [n, d]) of the images `ids`, in place of earlier ones.

        Raises:
            TableError: the shapes do not fit, a value is not finite, or an id is not in the run.
        """
        where = self._embeddings_path(encoder)
        array = np.ascontiguousarray(array, dtype=np.float32)
        if array.ndim != 2 or len(array) != len(ids) or not np.isfinite(array).all():
            raise TableError(
                f"embeddings of {len(ids)} images must be finite, of shape [n, d], not {list(array.shape)}",
                where=where,
                mend="pass one row for each id",
            )
        self._check_ids(pd.Series(list(ids), dtype=str), "embeddings")
        rows = arrow.FixedSizeListArray.from_arrays(arrow.array(array.ravel()), array.shape[1])
        table = arrow.table({"id": arrow.array(list(ids), arrow.string()), "embedding": rows})
        write_parquet(table.replace_schema_metadata({b"fingerprint": fingerprint.encode()}), where)

    def _embeddings_path(self, encoder: str) -> Path:
        return self.path / "embeddings" / f"{slug(encoder)}.parquet"

    def _lay_over(
        self, before: pd.DataFrame | None, df: pd.DataFrame, schema: pa.DataFrameSchema, by: list[str]
    ) -> None:
        """Write the table that the schema names: `df`, and the rows of `before` that no row of `df` equals in `by`."""
        name = str(schema.name)
        path = self.path / f"{name}.parquet"
        df = check(df, schema, path)
        self._check_ids(df["id"], name)
        if before is not None:
            others = before[~pd.MultiIndex.from_frame(before[by]).isin(pd.MultiIndex.from_frame(df[by]))]
            df = pd.concat([frame for frame in (others, df) if len(frame)] or [df], ignore_index=True)
        write_table(df, path, schema)

    def _check_ids(self, ids: pd.Series, what: str) -> None:
        strangers = set(ids) - set(self._images["id"])
        if strangers:
            raise TableError(
                f"the {what} name {len(strangers)} images that are not in the run ({min(strangers)[:12]}...)",
                where=self.path,
                mend="compute them from this run's images",
            )


def open_run(path: str | Path) -> Run:
    """Open a run directory.

    Raises:
        RunError: there is no run at `path`, its run.json is damaged, or it is of a newer version.
    """
    path = Path(path)
    file = path / "run.json"
    try:
        record = json.loads(file.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        raise RunError(
            "there is no run here (no run.json)",
            where=path,
            mend="'auditkit runs' lists the runs in a folder",
        ) from None
    except (OSError, ValueError) as error:
        raise RunError(f"run.json is damaged: {error}", where=file, mend="restore it from a copy") from None
    _check_record(record, file)
    return Run(path, record)


def _check_record(record: Any, file: Path) -> None:
    """Refuse a run.json whose parts are not there, or not of their kind."""
    mend = "restore it from a copy"
    kinds = {"schema_version": (int,), "run_id": (str,), "generator": (dict,), "spec": (dict, type(None))}
    for key, kind in kinds.items():
        if not isinstance(record, dict) or key not in record or not isinstance(record[key], kind):
            raise RunError(f"run.json has no '{key}' of its kind", where=file, mend=mend)
    if record["spec"] is not None and not isinstance(record["spec"].get("resolved"), dict):
        raise RunError("run.json has no 'spec' of its kind", where=file, mend=mend)
    if record["schema_version"] > SCHEMA_VERSION:
        raise RunError(
            f"the run has version {record['schema_version']}, and this auditkit reads up to {SCHEMA_VERSION}",
            where=file,
            mend="upgrade auditkit",
        )


def list_runs(folder: str | Path) -> list[Run | BrokenRun]:
    """The runs in `folder`, newest first; those that cannot be opened come last, with their error."""
    opened: list[Run] = []
    broken: list[BrokenRun] = []
    for file in sorted(Path(folder).glob("[!.]*/run.json")):
        try:
            run = open_run(file.parent)
            _ = run.spec
            opened.append(run)
        except AuditkitError as error:
            broken.append(BrokenRun(file.parent, error))
    opened.sort(key=lambda run: str(run.record.get("created", "")), reverse=True)
    return [*opened, *broken]

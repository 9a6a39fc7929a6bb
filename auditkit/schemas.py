"""The tables of a run (pandera), with a version; and their atomic reading and writing as Parquet."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pandera.pandas as pa
import pyarrow as arrow
import pyarrow.parquet as parquet

from auditkit.errors import TableError
from auditkit.files import write_atomic

SCHEMA_VERSION = 3
"""2: images may have `negative`. 3: images of a run with a mitigation have `steered_to` and `prompt_used`."""
_VERSION_KEY = b"auditkit_schema_version"

_SHA256 = pa.Check.str_matches(r"^[0-9a-f]{64}$", error="64 hex digits")
_SHARE = pa.Check.in_range(0, 1)


def _text(*checks: pa.Check, nullable: bool = False) -> pa.Column:
    return pa.Column(str, list(checks), nullable=nullable)


def _number(*checks: pa.Check) -> pa.Column:
    return pa.Column(float, list(checks), nullable=True)


def _count(minimum: int = 0) -> pa.Column:
    return pa.Column("int64", pa.Check.ge(minimum))


def _own_path(df: pd.DataFrame) -> pd.Series:
    # The path follows from the id, so that no table can point outside its run.
    return df["path"] == "images/" + df["id"].str[:2] + "/" + df["id"] + ".png"


def posteriors(df: pd.DataFrame) -> list[str]:
    """The posterior columns of a scores table, `p_<class>`."""
    return [column for column in df.columns if column.startswith("p_")]


def _posteriors_sum(df: pd.DataFrame) -> bool:
    return bool(np.allclose(df[posteriors(df)].sum(axis=1), 1, atol=1e-3))


def _label_known(df: pd.DataFrame) -> pd.Series:
    return df["label"].isin([column[2:] for column in posteriors(df)] + ["unknown"])


def _no_number_without_data(df: pd.DataFrame) -> pd.Series:
    # What is uncalibrated may still be a count of labels, such as a counted share.
    return (df["status"] != "insufficient") | df["estimate"].isna()


def _verdict_follows(df: pd.DataFrame) -> pd.Series:
    # Foreign marks have no key of ours and so no p-value: p_kind 'none' binds the verdict to nothing.
    return (df["verdict"] != "present") | (df["p_kind"] == "none") | (df["p_value"] <= df["fpr"])


def _p_where_there_is_one(df: pd.DataFrame) -> pd.Series:
    return (df["p_kind"] != "none") | df["p_value"].isna()


def _interval_in_order(df: pd.DataFrame) -> pd.Series:
    return ~(df["ci_low"] > df["ci_high"])  # holds for NaN


IMAGES = pa.DataFrameSchema(
    {
        "id": _text(_SHA256),
        "path": _text(),
        "prompt_id": _count(),
        "prompt": _text(),
        "template": _text(),
        "replicate": _count(),
        "seed": pa.Column("Int64", nullable=True),
        "sampler": _text(nullable=True),
        "steps": pa.Column("Int64", pa.Check.ge(1), nullable=True),
        "guidance": _number(pa.Check.ge(0)),
        "negative": pa.Column(str, required=False, nullable=True),
        "steered_to": pa.Column(str, required=False, nullable=True),
        "prompt_used": pa.Column(str, required=False, nullable=True),
        "width": _count(1),
        "height": _count(1),
        "shard": _count(),
        "ms": _number(pa.Check.ge(0)),
        r"^axis_[a-z0-9_]+$": pa.Column(str, regex=True, required=False, nullable=True),
    },
    checks=[pa.Check(_own_path, error="path is images/<first two digits>/<id>.png")],
    unique=["prompt_id", "replicate"],
    name="images",
    strict=True,
    coerce=True,
)
"""A row for each image of a run. Rows are unique by (prompt_id, replicate); two may share an id."""

SCORES = pa.DataFrameSchema(
    {
        "id": pa.Column(str, _SHA256, unique=True),
        "scorer": _text(),
        "scorer_version": _count(1),
        "encoder": _text(),
        "label": _text(),
        "confidence": _number(_SHARE),
        "in_domain": pa.Column("boolean", nullable=True),
        "domain_distance": _number(),
        r"^p_.+$": pa.Column(float, _SHARE, regex=True),
        r"^v_[a-z0-9_]+$": pa.Column(float, regex=True, required=False, nullable=True),
    },
    checks=[
        pa.Check(_posteriors_sum, error="the posteriors p_<class> sum to 1"),
        pa.Check(_label_known, error="label is a class with a posterior, or 'unknown'"),
    ],
    name="scores",
    strict=True,
    coerce=True,
)
"""A row for each image, of one scorer with one encoder. Posteriors p_<class> are in [0, 1], sum 1; v_<name> are
measured values in units of the scorer's own, such as the typology angle v_ita in degrees."""

MEASUREMENTS = pa.DataFrameSchema(
    {
        "run_id": _text(),
        "measure": _text(),
        "measure_version": _count(1),
        "attribute": _text(),
        "category": _text(nullable=True),
        "group_by": _text(),
        "group": _text(),
        "reference": _text(nullable=True),
        "encoder": pa.Column(str, nullable=True, required=False),
        "n_images": _count(),
        "n_prompts": _count(),
        "estimate": _number(),
        "ci_low": _number(),
        "ci_high": _number(),
        "ci_method": _text(nullable=True),
        "null_value": _number(),
        "p_value": _number(_SHARE),
        "p_holm": _number(_SHARE),
        "p_bh": _number(_SHARE),
        "unit": _text(),
        "direction": _text(pa.Check.isin(["higher is closer", "lower is closer", "none"])),
        "status": _text(pa.Check.isin(["ok", "insufficient", "uncalibrated"])),
        "note": _text(nullable=True),
    },
    checks=[
        pa.Check(_no_number_without_data, error="an insufficient estimate is NaN"),
        pa.Check(_interval_in_order, error="ci_low <= ci_high"),
    ],
    name="measurements",
    strict=True,
    coerce=True,
)
"""A row for each estimate, with its interval. What has no data is NaN with its status, never 0."""

WATERMARKS = pa.DataFrameSchema(
    {
        "id": _text(_SHA256),
        "scheme": _text(),
        "scheme_version": _count(1),
        "key_id": _text(pa.Check.str_matches(r"^(k-[0-9a-f]{12})?$", error="a key's id, k- and 12 hex digits")),
        "verdict": _text(pa.Check.isin(["present", "absent", "abstain"])),
        "p_value": _number(_SHARE),
        "p_kind": _text(pa.Check.isin(["exact", "bound", "none"])),
        "fpr": pa.Column(float, _SHARE),
        "looks": _count(1),
        "payload": _text(pa.Check.str_matches(r"^\d+:\d+$", error="MODEL:USER"), nullable=True),
        "payload_name": _text(),
        "bits": _count(),
        "matched": _count(),
        "corrected": pa.Column("Int64", pa.Check.ge(0), nullable=True),
        "rotation": _number(),
        "scale": _number(),
        "forgery": _text(pa.Check.isin(["consistent", "suspect", "not checked"])),
        "null": _text(),
        "note": _text(),
        "ms": _number(pa.Check.ge(0)),
    },
    checks=[
        pa.Check(_verdict_follows, error="present is said at p_value <= fpr only"),
        pa.Check(_p_where_there_is_one, error="p_kind 'none' has no p_value"),
        pa.Check(lambda df: df["matched"] <= df["bits"], error="matched <= bits"),
    ],
    unique=["id", "scheme", "key_id"],
    name="watermarks",
    strict=True,
    coerce=True,
)
"""A row for each image, scheme and key that was looked for: `auditkit.watermark.base.Detection`. No secret is in it."""

PROVENANCE = pa.DataFrameSchema(
    {
        "id": _text(_SHA256),
        "path": _text(),
        "sha256": _text(_SHA256),
        "manifest": _text(),
        "manifest_sha256": _text(_SHA256),
        "verdict": _text(),
        "signer": _text(),
        "certificate_sha256": _text(_SHA256),
        "source_type": _text(),
        "signed": _text(),
        "timestamp": _text(),
        "bindings": _text(),
        "prompt_salt": _text(),
    },
    unique=["id"],
    name="provenance",
    strict=True,
    coerce=True,
)
"""A row for each signed image of a run: where its signed copy lies, and what was claimed of it. `prompt_salt` opens the
manifest's prompt hash; the run holds the prompts themselves."""


DETECTIONS = pa.DataFrameSchema(
    {
        "id": _text(_SHA256),
        "detector": _text(),
        "verdict": _text(pa.Check.isin(["generated", "no sign", "abstain", "not applicable"])),
        "score": _number(),
        "probability": _number(_SHARE),
        "threshold": _number(),
        "fpr": pa.Column(float, _SHARE),
        "unfamiliar": _number(_SHARE),
        "why": _text(),
    },
    unique=["id", "detector"],
    name="detections",
    strict=True,
    coerce=True,
)
"""A row for each image of a run and detector that was asked: `detectors.base.Judgement`."""


def check(df: pd.DataFrame, schema: pa.DataFrameSchema, where: str | Path) -> pd.DataFrame:
    """`df` with the schema's types, if it holds.

    Raises:
        TableError: a column is missing, unknown, of the wrong type, or has a value out of range.
    """
    try:
        return schema.validate(df, lazy=True)
    except pa.errors.SchemaErrors as error:
        raise _refusal(schema, where, error.failure_cases) from None


def _refusal(schema: pa.DataFrameSchema, where: str | Path, cases: pd.DataFrame) -> TableError:
    """The first thing wrong: with the columns there are, then within a column, then between columns."""
    about = cases["check"].isin(["column_in_dataframe", "column_in_schema"])
    between = cases["schema_context"] == "DataFrameSchema"
    case = cases.assign(rank=np.where(about, 0, np.where(between, 2, 1))).sort_values("rank", kind="stable").iloc[0]
    row = "" if pd.isna(case["index"]) else f", row {case['index']}"
    if case["check"] == "column_in_dataframe":
        what = f"the {schema.name} table has no column '{case['failure_case']}'"
    elif case["check"] == "column_in_schema":
        what = f"the {schema.name} table has an unknown column '{case['failure_case']}'"
    elif case["rank"] == 1:
        value = f"{case['failure_case']!r} breaks the rule: {case['check']}"
        what = f"the {schema.name} table{row}, column '{case['column']}': {value}"
    else:
        # Of a rule between columns pandera lists every cell of the row: only the row tells something.
        rule = case["check"]
        if rule == "multiple_fields_uniqueness":
            rule = f"{', '.join(schema.unique or [])} together are unique"
        what = f"the {schema.name} table{row} breaks the rule: {rule}"
    return TableError(what, where=where, mend=f"see docs/architecture.md, table '{schema.name}'")


def write_table(df: pd.DataFrame, path: str | Path, schema: pa.DataFrameSchema) -> None:
    """Check `df` and write it as Parquet, atomically, with the schema's version in its metadata.

    Raises:
        TableError: the table does not hold.
        RunError: the file cannot be written.
    """
    table = arrow.Table.from_pandas(check(df, schema, path), preserve_index=False)
    write_parquet(table, Path(path))


def read_table(path: str | Path, schema: pa.DataFrameSchema) -> pd.DataFrame:
    """Read and check a table.

    Raises:
        TableError: the file is missing, damaged, of a newer version, or does not hold.
    """
    return check(read_parquet(Path(path)).to_pandas(), schema, path)


def write_parquet(table: arrow.Table, path: Path) -> None:
    """Write any table as Parquet, atomically, with the schema version in its metadata."""
    metadata = {**(table.schema.metadata or {}), _VERSION_KEY: str(SCHEMA_VERSION).encode()}
    buffer = io.BytesIO()
    # Lists are embeddings: a dictionary of their values only costs time, a second of reading in 100,000 images.
    plain = [field.name for field in table.schema if not arrow.types.is_fixed_size_list(field.type)]
    parquet.write_table(table.replace_schema_metadata(metadata), buffer, compression="zstd", use_dictionary=plain)
    write_atomic(path, buffer.getvalue())


def read_parquet(path: Path) -> arrow.Table:
    """Read any table that `write_parquet` wrote.

    Raises:
        TableError: the file is missing, damaged, or of a newer version.
    """
    with _told(path):
        table = parquet.ParquetFile(io.BytesIO(path.read_bytes())).read()
    _refuse_newer(table.schema, path)
    return table


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    """What goes wrong with reading the file, as TableError."""
    try:
        yield
    except FileNotFoundError:
        raise TableError("the table does not exist", where=path, mend="run the step that makes it") from None
    except (OSError, arrow.ArrowException) as error:
        raise TableError(
            f"the table is damaged: {error}",
            where=path,
            mend="delete it and run the step that makes it again",
        ) from error


def _refuse_newer(schema: arrow.Schema, path: Path) -> None:
    version = int((schema.metadata or {}).get(_VERSION_KEY, b"1"))
    if version > SCHEMA_VERSION:
        raise TableError(
            f"the table has version {version}, and this auditkit reads up to {SCHEMA_VERSION}",
            where=path,
            mend="upgrade auditkit",
        )


def table_columns(path: Path, schema: pa.DataFrameSchema) -> list[str]:
    """The columns of a table, from the file's footer: no row is read, and no value is checked.

    Raises:
        TableError: the file is missing, damaged, of a newer version, or lacks a column.
    """
    with _told(path):
        found = parquet.read_schema(path)
    _refuse_newer(found, path)
    for name, column in schema.columns.items():
        if column.required and not column.regex and name not in found.names:
            raise TableError(
                f"the {schema.name} table has no column '{name}'",
                where=path,
                mend=f"see docs/architecture.md, table '{schema.name}'",
            )
    return list(found.names)


def parquet_metadata(path: Path) -> dict[bytes, bytes]:
    """The metadata of a table that `write_parquet` wrote, without reading its rows.

    Raises:
        TableError: the file is damaged.
    """
    try:
        return dict(parquet.read_schema(path).metadata or {})
    except (OSError, arrow.ArrowException) as error:
        raise TableError(
            f"the table is damaged: {error}",
            where=path,
            mend="delete it and run the step that makes it again",
        ) from error

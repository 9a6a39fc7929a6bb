"""The table of a scan's verdicts, and its parts while it is being made."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auditkit.errors import ProvenanceError

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = {
    "file": "string", "bytes": "int64", "modified_ns": "int64", "sha256": "string", "media_type": "string",
    "c2pa": "string", "signer": "string", "codes": "string", "generated": "boolean", "sentence": "string",
    "watermark": "string", "watermark_scheme": "string", "watermark_payload": "string", "watermark_p": "float64",
    "pdq": "string", "hash": "string", "hash_bank": "string", "hash_distance": "Int64", "consent": "string",
    "detector": "string", "detector_name": "string", "ms": "float64", "error": "string", "details": "string",
}  # fmt: skip
"""Columns of the table of verdicts; `modified_ns` is of the file or of the manifest beside it, whichever is later;
`details` is the whole answer of `inspect` as JSON."""


ADDED = ("detector_name",)
"""Columns that tables of earlier versions lack."""


def read_scan(path: str | Path) -> pd.DataFrame:
    """The table of a scan.

    Raises:
        ProvenanceError: it is missing, or no table of verdicts.
    """
    import pandas as pd

    try:
        table = pd.read_parquet(path)
    except FileNotFoundError:
        raise ProvenanceError("there is no such table", where=path, mend="auditkit scan FOLDER --out FILE") from None
    except Exception as error:  # whatever a damaged file makes the reader raise
        raise ProvenanceError(f"the table is damaged: {error}", where=path, mend="scan again") from None
    table = table.reindex(columns=[*table, *(name for name in ADDED if name not in table)])
    missing = [name for name in COLUMNS if name not in table]
    if missing:
        raise ProvenanceError(
            f"the table has no column '{missing[0]}'", where=path, mend="name a table of auditkit scan"
        )
    return table


class Parts:
    """The table in the making: parts in a hidden folder beside it, merged when all is done."""

    def __init__(self, out: Path, identity: str):
        self._out, self._identity = out, identity
        self._folder = out.with_name(f".{out.name}.parts")
        self._tables = self._read()

    def known(self) -> dict[str, tuple[int, int]]:
        """Size and time of the files that have a row without error."""
        found: dict[str, tuple[int, int]] = {}
        for table in self._tables:
            good = table[table["error"] == ""]
            found |= dict(zip(good["file"], zip(good["bytes"], good["modified_ns"], strict=True), strict=True))
        return found

    def write(self, rows: list[dict[str, Any]]) -> None:
        if rows:
            table = table_of(rows)
            self._save(table, self._folder / f"{time.time_ns()}.parquet")
            self._tables.append(table)

    def merge(self, present: set[str]) -> None:
        """Write the table of all rows whose files are still there, the newest row of each, and forget the parts."""
        import pandas as pd

        whole = pd.concat([table_of([]), *self._tables], ignore_index=True) if self._tables else table_of([])
        whole = whole.drop_duplicates("file", keep="last")
        whole = whole[whole["file"].isin(present)].sort_values("file", ignore_index=True)
        self._save(whole, self._out)
        if self._folder.is_dir():
            for path in self._folder.iterdir():
                path.unlink()
            self._folder.rmdir()

    def _read(self) -> list[pd.DataFrame]:
        import pyarrow.parquet as parquet

        found = []
        parts = sorted(self._folder.glob("*.parquet")) if self._folder.is_dir() else []
        for path in [self._out, *parts]:
            if not path.is_file():
                continue
            try:
                read = parquet.read_table(path)
            except Exception as error:  # whatever a damaged file makes the reader raise
                if path != self._out:
                    path.unlink()  # a part that was being written when the process was killed
                    continue
                raise ProvenanceError(
                    f"the file is no table: {error}", where=path, mend="remove it, or name another file (--out)"
                ) from None
            held = (read.schema.metadata or {}).get(b"auditkit_scan", b"").decode()
            if not held and path == self._out:
                raise ProvenanceError("the file holds something else", where=path, mend="name another file (--out)")
            if held == self._identity:
                found.append(read.to_pandas().astype(COLUMNS))
        return found

    def _save(self, table: pd.DataFrame, path: Path) -> None:
        import pyarrow as arrow

        from auditkit.schemas import write_parquet

        made = arrow.Table.from_pandas(table, preserve_index=False)
        metadata = {**(made.schema.metadata or {}), b"auditkit_scan": self._identity.encode()}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_parquet(made.replace_schema_metadata(metadata), path)
        except OSError as error:
            raise ProvenanceError(
                f"the table cannot be written: {error.strerror}", where=path, mend="check it"
            ) from None


def table_of(rows: list[dict[str, Any]]) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(rows, columns=list(COLUMNS)).astype(COLUMNS)

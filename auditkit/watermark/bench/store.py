"""The rows of a bench on the disk: small parquet parts, each written whole or not at all: a killed bench goes on."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auditkit.errors import RunError, WatermarkError
from auditkit.files import slug, write_atomic, write_json

if TYPE_CHECKING:
    import pandas as pd

PARTS = "parts"
RECORD = "record.json"
KIND = "auditkit.watermark_bench"

Done = set[tuple[str, int, str, str, str, float]]
"""scheme, its version, content, image, attack, strength."""


class Store:
    """A bench folder, held for writing."""

    def __init__(self, folder: str | Path, settings: dict[str, Any]):
        """
        Args:
            settings: what every row depends on (seed, key ids, PSNR); another bench's folder is refused.

        Raises:
            WatermarkError: the folder holds a bench made with other settings, or something else.
            RunError: it cannot be written.
        """
        self.folder = Path(folder)
        self.settings = settings
        before = read_record(self.folder) if (self.folder / RECORD).exists() else {}
        if before and before["settings"] != settings:
            different = [name for name, value in settings.items() if before["settings"].get(name) != value]
            raise WatermarkError(
                f"the folder holds a bench with another {' and '.join(different) or 'setting'}",
                where=self.folder,
                mend="name another folder, or repeat it with its own settings (in record.json)",
            )
        if not before and self.folder.is_dir() and any(self.folder.iterdir()):
            raise WatermarkError(
                "the folder is not empty and holds no bench", where=self.folder, mend="name another folder"
            )
        write_json(self.folder / RECORD, before or {"kind": KIND, "settings": settings, "finished": False})

    def rows(self) -> pd.DataFrame:
        """Every row written so far."""
        import pandas as pd

        found = [_read(path) for path in sorted((self.folder / PARTS).glob("*.parquet"))]
        return pd.concat(found, ignore_index=True) if found else pd.DataFrame()

    def done(self) -> Done:
        """What need not be done again."""
        rows = self.rows()
        if rows.empty:
            return set()
        columns = ["scheme", "version", "content", "image", "attack", "strength"]
        return {tuple(one) for one in rows[columns].itertuples(index=False)}

    def add(self, rows: Sequence[dict[str, Any]]) -> None:
        """Write the rows of one scheme and image as a part of its own."""
        import pandas as pd

        if not rows:
            return
        first = rows[0]
        stem = slug(f"{first['scheme']}.{first['content']}.{first['image'][:16]}")
        taken = len(list((self.folder / PARTS).glob(f"{stem}.*.parquet")))
        write_atomic(self.folder / PARTS / f"{stem}.{taken:02d}.parquet", _parquet(pd.DataFrame(rows)), sync=False)

    def write_table(self, name: str, table: pd.DataFrame) -> None:
        write_atomic(self.folder / name, _parquet(table))

    def finish(self, record: dict[str, Any]) -> None:
        write_json(self.folder / RECORD, {"kind": KIND, "settings": self.settings, **record, "finished": True})


def read_record(folder: str | Path) -> dict[str, Any]:
    """record.json of a bench folder.

    Raises:
        WatermarkError: it is missing, damaged, or of something else.
    """
    path = Path(folder) / RECORD
    try:
        record = json.loads(path.read_bytes())
    except (OSError, ValueError):
        record = None
    if not isinstance(record, dict) or record.get("kind") != KIND or not isinstance(record.get("settings"), dict):
        raise WatermarkError("there is no bench of watermarks here", where=path, mend="auditkit watermark bench")
    return record


def read_table(folder: str | Path, name: str) -> pd.DataFrame:
    """`results.parquet` or `quality.parquet` of a finished bench.

    Raises:
        WatermarkError: it is not there, or damaged.
    """
    path = Path(folder) / name
    try:
        return _read(path)
    except RunError as error:
        raise WatermarkError(error.what, where=path, mend="finish the bench: start the same command again") from None


def _read(path: Path) -> pd.DataFrame:
    import pandas as pd

    try:
        return pd.read_parquet(path)
    except Exception as error:  # pyarrow raises what it likes on damaged bytes
        raise RunError(
            f"the table cannot be read: {type(error).__name__}", where=path, mend="remove it and start again"
        ) from None


def _parquet(table: pd.DataFrame) -> bytes:
    stream = io.BytesIO()
    table.to_parquet(stream, index=False)
    return stream.getvalue()

"""Prints of a training set in a folder: `index.parquet`, read a row group at a time, and its calibration beside it.

    name       str           a path below the root, or an id
    pixels     32 bytes      SHA-256 of size and RGB values
    pdq        32 bytes      PDQ hash
    usable     bool          whether that hash means anything
    embedding  2 d bytes     d half-precision numbers, little-endian, of unit length

The pictures themselves are not kept.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from auditkit.errors import DetectorError, RunError
from auditkit.files import TEMPORARY
from detectors.copies.prints import Picture, Prints, Progress, take_all
from detectors.copies.search import Block

if TYPE_CHECKING:
    import pyarrow as pa

    from auditkit.clip.encoders import Encoder

FILE = "index.parquet"
VERSION = 1
ROWS = 4096
"""Pictures in a row group, which is what is read at a time: 8 MB at 512 dimensions."""
_KEY = b"auditkit.copies"
_MEND = "make it again: auditkit copies index FOLDER --out INDEX"


@dataclass(frozen=True)
class About:
    """What an index holds.

    Attributes:
        encoder: name as passed to `load_encoder`. encoder_sha256: of its weights. dim: length of an embedding.
        root: the folder that names are relative to; '' where they are ids.
        kind: 'folder', or what else the names mean, such as 'corpus'.
        size: pictures. id: SHA-256 of all that was put in, 64 hex digits.
    """

    encoder: str
    encoder_sha256: str
    dim: int
    root: str
    kind: str
    size: int
    id: str
    version: int = VERSION


class Index:
    """An index on disk. Made by `build`, opened by `load`."""

    def __init__(self, folder: Path, about: About):
        self.folder, self.about = folder, about

    def __len__(self) -> int:
        return self.about.size

    def blocks(self) -> Iterator[Block]:
        """The training set, a row group at a time.

        Raises:
            DetectorError: the file is damaged.
        """
        start = 0
        for table in self._tables(["pixels", "pdq", "usable", "embedding"]):
            raw = _fixed(table, "embedding").view("<f2").astype(np.float32)
            length = np.linalg.norm(raw, axis=1, keepdims=True)
            if not np.isfinite(length).all() or (length < 0.5).any():
                raise _damaged(self.folder / FILE, "an embedding is not of unit length")
            yield Block(
                start, raw / length, _fixed(table, "pdq"), table.column("usable").to_numpy(), _fixed(table, "pixels")
            )
            start += table.num_rows

    def names(self, positions: Iterable[int]) -> dict[int, str]:
        """The names of some pictures, by their numbers."""
        wanted, found, start = sorted(set(positions)), dict[int, str](), 0
        for table in self._tables(["name"]) if wanted else ():
            column = table.column("name")
            stop = start + len(column)
            found |= {at: column[at - start].as_py() for at in wanted if start <= at < stop}
            start = stop
        return found

    def check(self, encoder: Encoder) -> None:
        """Raise DetectorError where another encoder, or another copy of its weights, made the index."""
        if encoder.sha256 != self.about.encoder_sha256:
            raise DetectorError(
                f"the index was made with another encoder than {encoder.source}",
                where=self.folder,
                mend=f"use --encoder {self.about.encoder}, or make the index again",
            )

    def _tables(self, columns: list[str]) -> Iterator[pa.Table]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            with pq.ParquetFile(self.folder / FILE, memory_map=True) as file:
                for number in range(file.num_row_groups):
                    yield file.read_row_group(number, columns=columns)
        except (pa.ArrowException, OSError, KeyError, ValueError) as error:
            raise _damaged(self.folder / FILE, str(error)) from None


def build(
    pictures: Iterable[Picture],
    out: str | Path,
    *,
    encoder: Encoder,
    root: str = "",
    kind: str = "folder",
    progress: Progress | None = None,
) -> Index:
    """Write an index, whole or not at all; one that is there is replaced, and its calibration removed.

    Memory does not grow with the number of pictures.

    Args:
        out: the index's folder.
        root, kind: see `About`.

    Raises:
        DetectorError: there are no pictures. ImageError: one that cannot be opened. RunError: it cannot be written.
    """
    out = Path(out)
    path = out / FILE
    temporary = out / f".{FILE}.{os.getpid()}{TEMPORARY}"
    try:
        out.mkdir(parents=True, exist_ok=True)
        parts = take_all(pictures, encoder, mirrored=False, progress=progress)
        about = _written(temporary, parts, encoder, root, kind)
        for stale in out.glob("calibration.*"):
            stale.unlink()
        os.replace(temporary, path)
    except OSError as error:
        what = f"the index cannot be written: {error.strerror or error}"
        raise RunError(what, where=path, mend="make the folder writable, or free some space") from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()
    return Index(out, about)


def _written(path: Path, parts: Iterable[Prints], encoder: Encoder, root: str, kind: str) -> About:
    import pyarrow.parquet as pq

    schema = _schema(encoder.dim)
    digest, size = hashlib.sha256(encoder.sha256.encode()), 0
    waiting: list[Prints] = []
    with pq.ParquetWriter(path, schema, compression="zstd", use_dictionary=False) as writer:

        def flush() -> None:
            made = Prints.together(waiting, encoder.dim)
            writer.write_table(_table(made, schema), row_group_size=ROWS)
            waiting.clear()

        for part in parts:
            digest.update(part.pixels.tobytes())
            size += len(part)
            waiting.append(part)
            if sum(map(len, waiting)) >= ROWS:
                flush()
        if waiting:
            flush()
        if not size:
            raise DetectorError("there are no images to index", where=root or kind, mend="name a folder of images")
        about = About(encoder.source, encoder.sha256, encoder.dim, root, kind, size, digest.hexdigest())
        writer.add_key_value_metadata({_KEY: json.dumps(asdict(about))})
    return about


def load(folder: str | Path) -> Index:
    """Open an index.

    Raises:
        DetectorError: there is none, it is damaged, or of another version.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = Path(folder) / FILE
    if not path.is_file():
        raise DetectorError("there is no index of training images here", where=folder, mend=_MEND)
    try:
        with pq.ParquetFile(path) as file:
            raw: dict[str, Any] = json.loads(file.metadata.metadata[_KEY])
            rows, schema = file.metadata.num_rows, file.schema_arrow
        about = About(**raw)
    except (pa.ArrowException, OSError, KeyError, ValueError, TypeError) as error:
        raise _damaged(path, str(error)) from None
    if about.version != VERSION:
        raise DetectorError(f"the index is of version {about.version}, not {VERSION}", where=path, mend=_MEND)
    if rows != about.size or schema.remove_metadata() != _schema(about.dim):
        raise _damaged(path, "its columns or rows are not those that it says")
    return Index(Path(folder), about)


def _schema(dim: int) -> pa.Schema:
    import pyarrow as pa

    types = {"name": pa.string(), "pixels": pa.binary(32), "pdq": pa.binary(32), "usable": pa.bool_()}
    return pa.schema([*((name, type) for name, type in types.items()), ("embedding", pa.binary(2 * dim))])


def _table(prints: Prints, schema: pa.Schema) -> pa.Table:
    import pyarrow as pa

    half = np.ascontiguousarray(prints.embeddings[:, 0].astype("<f2"))
    arrays = [
        pa.array(prints.names, pa.string()),
        *(_binary(values) for values in (prints.pixels, prints.pdq[:, 0])),
        pa.array(prints.usable),
        _binary(half.view(np.uint8)),
    ]
    return pa.Table.from_arrays(arrays, schema=schema)


def _binary(rows: np.ndarray) -> pa.Array:
    """uint8 [n, w] as n fixed-size binaries."""
    import pyarrow as pa

    rows = np.ascontiguousarray(rows)
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(rows.shape[1]), len(rows), [None, pa.py_buffer(rows)])


def _fixed(table: pa.Table, name: str) -> np.ndarray:
    """Fixed-size binaries as uint8 [n, w]."""
    column = table.column(name).combine_chunks()
    width = column.type.byte_width
    array = column.chunk(0) if hasattr(column, "chunk") else column
    whole = np.frombuffer(array.buffers()[1], np.uint8)[array.offset * width : (array.offset + len(array)) * width]
    return whole.reshape(len(array), width)


def _damaged(path: Path, why: str) -> DetectorError:
    return DetectorError(f"the index is damaged: {why}", where=path, mend=_MEND)

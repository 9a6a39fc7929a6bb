"""A run's images and an auditor's sentences as they lie in an encoder's space; what is there is not embedded again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as arrow

from auditkit.errors import TableError
from auditkit.files import slug
from auditkit.schemas import read_parquet, write_parquet

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from auditkit.runs import Run


def has_embeddings(run: Run, encoder: str) -> bool:
    """Whether the run's images have been embedded by that encoder."""
    return run.embeddings_fingerprint(encoder) is not None


def image_embeddings(run: Run, encoder: str, images: pd.DataFrame) -> np.ndarray:
    """Unit embeddings, float32 [n_images, dim], a row for each row of the images table.

    Raises:
        TableError: they have not been made, or some images have none; names the command that makes them.
    """
    fingerprint = run.embeddings_fingerprint(encoder)
    found = None if fingerprint is None else run.embeddings(encoder, fingerprint=fingerprint)
    mend = f"auditkit score {run.id}" + ("" if encoder == "personas-clip" else f" --encoder {encoder}")
    if found is None:
        raise TableError(f"The run has no embeddings by {encoder}.", where=f"run {run.id}", mend=mend)
    ids, array = found
    import pandas as pd

    rows = pd.Index(ids).get_indexer(pd.Index(images["id"]))
    if (rows < 0).any():
        raise TableError(
            f"{int((rows < 0).sum())} of {len(rows)} images have no embedding by {encoder}.",
            where=f"run {run.id}",
            mend=mend,
        )
    return array[rows]


def text_embeddings(run: Run, encoder: str, texts: Sequence[str], *, source: str = "") -> np.ndarray:
    """Unit embeddings of sentences, float32 [len(texts), dim]; kept in the run, so that the encoder loads only for
    sentences that it has not seen.

    Args:
        encoder: the name that the run's image embeddings carry. source: what `load_encoder` takes for it, where
            that is another string (a folder, `MODEL:weights.safetensors`).

    Raises:
        TableError: the run's images have not been embedded by that encoder.
        EncoderError: the encoder cannot be loaded, or has other weights than the images were embedded with.
    """
    fingerprint = run.embeddings_fingerprint(encoder)
    if fingerprint is None:
        raise TableError(
            f"The run has no embeddings by {encoder}.", where=f"run {run.id}", mend=f"auditkit score {run.id}"
        )
    path = run.path / "embeddings" / f"{slug(encoder)}.texts.parquet"
    known = _read(path, fingerprint)
    missing = [text for text in dict.fromkeys(texts) if text not in known]
    if missing:
        from auditkit.clip.encoders import load_encoder
        from auditkit.errors import EncoderError

        eyes = load_encoder(source or encoder)
        if eyes.sha256 != fingerprint:
            raise EncoderError(
                f"The images were embedded with other weights than {encoder} has now.",
                where=f"run {run.id}",
                mend=f"auditkit score {run.id} --encoder {source or encoder}",
            )
        known |= dict(zip(missing, eyes.embed_texts(missing), strict=True))
        _write(path, known, fingerprint)
    return np.stack([known[text] for text in texts]).astype(np.float32)


def _read(path: Path, fingerprint: str) -> dict[str, np.ndarray]:
    if not path.is_file():
        return {}
    table = read_parquet(path)
    if (table.schema.metadata or {}).get(b"fingerprint", b"").decode() != fingerprint:
        return {}
    array = np.asarray(table["embedding"].combine_chunks().flatten(), np.float32).reshape(len(table), -1)
    return dict(zip(table["text"].to_pylist(), array, strict=True))


def _write(path: Path, known: dict[str, np.ndarray], fingerprint: str) -> None:
    array = np.stack(list(known.values())).astype(np.float32)
    rows = arrow.FixedSizeListArray.from_arrays(arrow.array(array.ravel()), array.shape[1])
    table = arrow.table({"text": arrow.array(list(known), arrow.string()), "embedding": rows})
    write_parquet(table.replace_schema_metadata({b"fingerprint": fingerprint.encode()}), path)

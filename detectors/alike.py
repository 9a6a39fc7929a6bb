"""Unpaired data brought to one encoding: the generated side written as the real one is, both cut to one size."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from auditkit.errors import DetectorError
from auditkit.files import slug, write_atomic
from detectors.encoding import GRID, encode, encoding_of
from detectors.examples import COLUMNS, Examples
from detectors.reading import read_examples


def write_alike(
    examples: Examples,
    out: str | Path,
    *,
    seed: int = 0,
    side: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Examples:
    """Copy examples of both classes to `out`, alike in format, tables, subsampling, size and metadata (none).

    Each image is cut to `side` pixels square at a place that is drawn by `seed` and its source, on JPEG's grid, never
    resized. A real image keeps its format and tables; a generated one gets those of the real image of its source, or
    else of a real image drawn by the seed, each as often as any other. JPEGs are compressed twice on both sides.
    What cannot be undone is what was done before: a generated image that was a JPEG keeps traces of it.

    Args:
        side: in pixels, a multiple of 8; the largest that every image has by default.
        progress: called with (images done, images in all).

    Raises:
        DetectorError: a class is missing, `side` is no multiple of 8 or larger than an image, or `out` is there.
        ImageError: a file that is damaged or no image.
    """
    out = Path(out)
    if len(set(examples.labels)) < 2:
        raise DetectorError("one class is missing", where="the data", mend="give real and generated images")
    if out.exists():
        raise DetectorError("the folder is there already", where=out, mend="choose another --out")
    smallest = min(min(image.shape[:2]) for image in examples.images())
    side = smallest // GRID * GRID if side is None else side
    if side < GRID or side % GRID or side > smallest:
        raise DetectorError(
            f"a side of {side} px cannot be cut from every image",
            where=f"the smallest side is {smallest} px",
            mend="a multiple of 8 up to it; remove smaller images",
        )
    like = _like(examples, seed)
    out.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=".alike-", dir=out.parent))
    try:
        rows = []
        for row, image in enumerate(examples.images()):
            one = {str(key): str(value) for key, value in examples.table.iloc[row].items()}
            encoding = encoding_of(like[row])
            top, left = _corner(image, side, f"{seed}|{one['source']}")
            cut = image[top : top + side, left : left + side]
            folder = f"real/{slug(one['origin'])}" if one["label"] == "real" else f"generated/{slug(one['generator'])}"
            file = f"{folder}/{row:06d}{encoding.suffix}"
            write_atomic(work / file, encode(cut, encoding, times=2 if encoding.format == "JPEG" else 1), sync=False)
            rows.append({**one, "file": file})
            if progress:
                progress(row + 1, len(examples))
        write_atomic(work / "table.csv", pd.DataFrame(rows, columns=list(COLUMNS)).to_csv(index=False).encode())
        work.chmod(0o755)  # mkdtemp makes it private
        os.rename(work, out)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return read_examples(out)


def _like(examples: Examples, seed: int) -> list[str]:
    """Of each row the real file whose encoding it gets."""
    table = examples.table
    real = table[table["label"] == "real"]
    of_source = real.drop_duplicates("source").set_index("source")["file"]
    files = np.random.default_rng(seed).permutation(real["file"].to_numpy(object))
    drawn = iter(range(len(table)))
    return [
        file
        if label == "real"
        else str(of_source[source] if source in of_source.index else files[next(drawn) % len(files)])
        for file, label, source in table[["file", "label", "source"]].itertuples(index=False)
    ]


def _corner(image: np.ndarray, side: int, name: str) -> tuple[int, int]:
    rng = np.random.default_rng(int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big"))
    top, left = (int(rng.integers((length - side) // GRID + 1)) * GRID for length in image.shape[:2])
    return top, left

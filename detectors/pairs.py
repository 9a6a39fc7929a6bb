"""Aligned pairs: a real image and what autoencoders make of it, alike in content, size, offsets and compression.

What is left to tell them apart is what the autoencoder leaves in the pixels, as it does in every image that a latent
generator makes (Rajan et al. 2024, arXiv 2410.11835: aligned reconstructions remove the shortcuts of unpaired data).
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd

from auditkit.errors import DetectorError
from auditkit.files import sha256_file, slug, write_atomic, write_json
from detectors.encoding import Encoding, common_grid, encode, encoding_of
from detectors.examples import COLUMNS, Examples
from detectors.reading import read_examples

PLAN = "pairs.json"
TABLE = "table.csv"

Progress = Callable[[int, int], None]


class Reconstructs(Protocol):
    """What pairs need of `autoencoders.Autoencoder`."""

    @property
    def name(self) -> str: ...
    @property
    def factor(self) -> int: ...
    @property
    def sha256(self) -> str: ...
    def reconstruct(self, image: np.ndarray) -> np.ndarray: ...


@dataclass(frozen=True)
class _Cut:
    """One crop: the row that it is cut from, its corner and size, and its name below real/ and generated/<name>/."""

    row: int
    top: int
    left: int
    height: int
    width: int
    name: str


def make_pairs(
    reals: Examples,
    autoencoders: Sequence[Reconstructs],
    out: str | Path,
    *,
    crop: int | None = None,
    crops: int = 1,
    seed: int = 0,
    progress: Progress | None = None,
) -> Examples:
    """Write real images and their reconstructions, and a table of both; go on where an interrupted call stopped.

    `out` gets real/<origin>/..., generated/<autoencoder>/..., table.csv (the last file written) and pairs.json (what
    was asked, and the sha256 of each autoencoder). Both members of a pair are cut from the same place, at offsets and
    with sides that are multiples of the autoencoders' factors and of JPEG's 8 pixels, and are written in the real
    file's own format with its quantisation tables and subsampling; a reconstruction of a JPEG is compressed twice, as
    the crop of the real one is. Nothing is resized.

    Args:
        reals: real images; generated rows are an error.
        autoencoders: with names that differ.
        crop: side of the crops in pixels, rounded down to the grid; None for whole images, whose right and lower edge
            is cut to the grid. Images smaller than the crop are left out, with a warning.
        crops: of each image, at places drawn by `seed` and the image's source.
        progress: called with (crops done, crops in all).

    Raises:
        DetectorError: no reals, generated rows among them, no autoencoder or two of one name, a crop smaller than the
            grid, no image as large as the crop, `out` holds pairs made in another way, or an autoencoder returns
            another size.
        ImageError: a file that is damaged or no image.
    """
    out = Path(out)
    names = _names(autoencoders)
    if not len(reals) or reals.labels.any():
        raise DetectorError("pairs are made of real images alone", where="the reals", mend="name a folder of them")
    grid = common_grid(*(each.factor for each in autoencoders))
    if crops < 1 or (crop is not None and crop < grid):
        raise DetectorError("the crop is smaller than the grid", where=f"{crop} px", mend=f"at least {grid} px, 1 crop")
    side = None if crop is None else crop // grid * grid
    _begin(out, _asked(reals, autoencoders, names, side, crops, seed))
    rows, left_out, done = list[dict[str, str]](), list[str](), 0
    for row in range(len(reals)):
        image = reals.image(row)
        encoding = encoding_of(reals.table["file"].iloc[row])
        cuts = _cuts(reals, row, image, grid, side, crops, seed)
        if not cuts:
            left_out.append(Path(reals.table["file"].iloc[row]).name)
        for cut in cuts:
            rows += _write(out, reals, cut, image, encoding, list(zip(autoencoders, names, strict=True)))
        done += crops if side else 1
        if progress:
            progress(done, len(reals) * (crops if side else 1))
    if not rows:
        raise DetectorError(
            f"no image has {side or grid} pixels a side", where="the reals", mend="choose a smaller crop"
        )
    if left_out:
        named = ", ".join(left_out[:5]) + (", ..." if len(left_out) > 5 else "")
        warnings.warn(f"{len(left_out)} images are smaller than the crop and left out: {named}", stacklevel=2)
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    write_atomic(out / TABLE, table.to_csv(index=False).encode())
    return read_examples(out / TABLE)


def _write(
    out: Path, reals: Examples, cut: _Cut, image: np.ndarray, encoding: Encoding,
    autoencoders: list[tuple[Reconstructs, str]],
) -> list[dict[str, str]]:  # fmt: skip
    """Write one crop and its reconstructions where they are missing; their rows."""
    real = image[cut.top : cut.top + cut.height, cut.left : cut.left + cut.width]
    origin, source = (str(reals.table[column].iloc[cut.row]) for column in ("origin", "source"))
    file = f"real/{slug(origin)}/{cut.name}{encoding.suffix}"
    if not (out / file).exists():
        write_atomic(out / file, encode(real, encoding), sync=False)
    rows = [{"file": file, "label": "real", "source": source, "origin": origin, "generator": "", "made": ""}]
    for autoencoder, name in autoencoders:
        file = f"generated/{name}/{slug(origin)}/{cut.name}{encoding.suffix}"
        if not (out / file).exists():
            made = autoencoder.reconstruct(np.ascontiguousarray(real))
            if made.shape != real.shape or made.dtype != np.uint8:
                raise DetectorError(
                    f"the reconstruction is {made.dtype} {list(made.shape)}, not uint8 {list(real.shape)}", where=name
                )
            write_atomic(out / file, encode(made, encoding, times=2 if encoding.format == "JPEG" else 1), sync=False)
        rows.append({**rows[0], "file": file, "label": "generated", "generator": name, "made": "reconstruction"})
    return rows


def _cuts(
    reals: Examples, row: int, image: np.ndarray, grid: int, side: int | None, crops: int, seed: int
) -> list[_Cut]:
    height, width = image.shape[:2]
    source = str(reals.table["source"].iloc[row])
    # The file's name alone may be another's too; the hash of its source is not.
    digest = hashlib.sha256(source.encode()).hexdigest()
    name = f"{slug(Path(source).stem)[:60]}-{digest[:8]}"
    if list(reals.sources).index(source) != row:
        name += f"-{row}"  # several real files of one source
    if side is None:
        whole = (height // grid * grid, width // grid * grid)
        return [_Cut(row, 0, 0, *whole, name)] if min(whole) else []
    if min(height, width) < side:
        return []
    rng = np.random.default_rng(int.from_bytes(hashlib.sha256(f"{seed}|{source}|{row}".encode()).digest()[:8], "big"))
    places = [(top, left) for top in range(0, height - side + 1, grid) for left in range(0, width - side + 1, grid)]
    drawn = rng.permutation(len(places))[:crops]
    return [
        _Cut(row, places[place][0], places[place][1], side, side, f"{name}-{number}")
        for number, place in enumerate(drawn)
    ]


def _names(autoencoders: Sequence[Reconstructs]) -> list[str]:
    names = [slug(Path(each.name).name) for each in autoencoders]
    if not names or len(set(names)) < len(names):
        raise DetectorError(
            "two autoencoders have one name" if names else "no autoencoder is named",
            where=", ".join(names) or None,
            mend="name each once; folders are told apart by their last part",
        )
    return names


def _asked(
    reals: Examples, autoencoders: Sequence[Reconstructs], names: list[str], side: int | None, crops: int, seed: int
) -> dict[str, Any]:
    digests = [
        f"{source}|{sha256_file(Path(file))}" for source, file in zip(reals.sources, reals.table["file"], strict=True)
    ]
    return {
        "reals": {"images": len(reals), "sha256": hashlib.sha256("\n".join(digests).encode()).hexdigest()},
        "autoencoders": {name: each.sha256 for name, each in zip(names, autoencoders, strict=True)},
        "crop": side,
        "crops": crops if side else 1,
        "seed": seed,
    }


def _begin(out: Path, asked: dict[str, Any]) -> None:
    """Note what is asked in `out`, or make sure that it is the same as before."""
    plan = out / PLAN
    if plan.exists():
        try:
            before = json.loads(plan.read_text(encoding="utf-8"))
        except ValueError:
            before = None
        if before != asked:
            changed = [key for key in asked if not isinstance(before, dict) or before.get(key) != asked[key]]
            raise DetectorError(
                f"the folder holds pairs made in another way ({', '.join(changed)})",
                where=out,
                mend="choose another --out",
            )
    elif out.exists() and any(out.iterdir()):
        raise DetectorError("the folder is not empty", where=out, mend="choose another --out")
    else:
        out.mkdir(parents=True, exist_ok=True)
        write_json(plan, asked)

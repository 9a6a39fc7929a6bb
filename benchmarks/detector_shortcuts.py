"""Does the shortcut audit catch planted traps, and how often does it warn of clean data?

    python -m benchmarks.photographs photographs
    python -m benchmarks.detector_shortcuts photographs corpus

Images: four crops of each photograph and graphic (one source) and drawings of persons (a source each), 192 px, JPEG of
one table. Which half of the sources counts as generated is drawn anew for each split. 200 clean splits: half of the
sources, whatever their label, are in another format, of other tables, smaller, resized, tagged or compressed twice.
Traps: in a share of the images drawn as generated, one of these is done; 20 splits each. Features are read once.
"""

from __future__ import annotations

import argparse
import io
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from auditkit.stats.intervals import clopper_pearson
from detectors.encoding import Encoding, encode
from detectors.examples import COLUMNS, Examples
from detectors.shortcut_features import KINDS, Features, extract
from detectors.shortcuts import judge

SIDE, LARGER = 192, 264
SHARES = (1.0, 0.5, 0.25)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photographs", type=Path)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--splits", type=int, default=200)
    parser.add_argument("--planted", type=int, default=20, help="splits for each trap and share")
    parser.add_argument("--drawings", type=int, default=150)
    options = parser.parse_args()
    began = time.monotonic()
    images, sources = _images(options.photographs, options.corpus, options.drawings)
    features = _features(images)
    light = np.array([image.mean() for image in images])
    print(f"{len(images)} images of {len(set(sources))} sources; features after {time.monotonic() - began:.0f} s")
    alarms = np.zeros((options.splits, len(KINDS)), bool)
    for split in range(options.splits):
        varied = _varied(features, sources, split)
        found = judge(varied, _labels(sources, split), sources, aligned=False, seed=split, intervals=False)
        alarms[split] = [kind in found.warnings for kind in KINDS]
    _print_share("clean splits with any warning", alarms.any(axis=1))
    for kind, own in zip(KINDS, alarms.T, strict=True):
        _print_share(f"  {kind}", own)
    for trap in [*TRAPS, "content"] if options.planted else []:
        for share in SHARES:
            caught = [
                _planted(trap, share, features, sources, light, 10_000 + split) for split in range(options.planted)
            ]
            _print_share(f"caught: {trap}, in {share:.0%} of the images", np.array(caught))
    print(f"{time.monotonic() - began:.0f} s in all")


def _planted(trap: str, share: float, features: Features, sources: np.ndarray, light: np.ndarray, seed: int) -> bool:
    """Whether the audit warns of the planted kind."""
    rng = np.random.default_rng(seed)
    n = len(sources)
    if trap == "content":
        labels = _labels(sources, seed, light=light, share=share)
        chosen = _apart(features, n)
    else:
        labels = _labels(sources, seed)
        changed = (labels == 1) & (rng.random(n) < share)
        chosen = _apart(features, n, list(TRAPS).index(trap) + 1, changed)
    found = judge(chosen, labels, sources, aligned=False, seed=seed, intervals=False)
    return trap.split(",")[0] in found.warnings


def _labels(sources: np.ndarray, seed: int, *, light: np.ndarray | None = None, share: float = 0.0) -> np.ndarray:
    """[n], half of the sources generated: drawn, or in `share` of the cases the darker half of them."""
    rng = np.random.default_rng(seed)
    names = np.unique(sources)
    rank = rng.random(len(names))
    if light is not None:
        dark = pd.Series(light).groupby(sources).mean().loc[names].rank(pct=True).to_numpy()
        rank = np.where(rng.random(len(names)) < share, dark, rank)
    generated = names[np.argsort(rank)[: len(names) // 2]]
    return np.isin(sources, generated).astype(np.int8)


def _apart(features: Features, n: int, variant: int = 0, changed: np.ndarray | None = None) -> Features:
    """The features of the clean files, and where `changed` those of the files with one trap."""
    rows = np.arange(n) if changed is None else np.arange(n) + np.where(changed, variant * n, 0)
    return {key: x[rows] for key, x in features.items()}


def _varied(features: Features, sources: np.ndarray, seed: int) -> Features:
    """Half of the sources as they are, the others with one of the traps each, whatever their label."""
    rng = np.random.default_rng(20_000 + seed)
    names, codes = np.unique(sources.astype(str), return_inverse=True)
    variant = np.where(rng.random(len(names)) < 0.5, 0, rng.integers(1, len(TRAPS) + 1, len(names)))[codes]
    return {key: x[variant * len(sources) + np.arange(len(sources))] for key, x in features.items()}


Variant = Callable[[np.ndarray], tuple[bytes, str]]


def _tables(quality: int) -> Encoding:
    buffer = io.BytesIO()
    Image.new("RGB", (16, 16)).save(buffer, "JPEG", quality=quality)
    tables = Image.open(buffer).quantization  # type: ignore[attr-defined]
    return Encoding("JPEG", tables=tuple(tuple(tables[key]) for key in sorted(tables)), subsampling=2, lossless=False)


CLEAN = _tables(88)


def _cut(image: np.ndarray, side: int = SIDE) -> np.ndarray:
    return image[:side, :side]


def _clean(image: np.ndarray) -> tuple[bytes, str]:
    return encode(_cut(image), CLEAN), ".jpg"


def _format(image: np.ndarray) -> tuple[bytes, str]:
    # The same pixels, so that the format alone tells.
    with Image.open(io.BytesIO(_clean(image)[0])) as same:
        return encode(np.asarray(same), Encoding("PNG")), ".png"


def _history(image: np.ndarray) -> tuple[bytes, str]:
    with Image.open(io.BytesIO(encode(_cut(image), _tables(60)))) as before:
        return encode(np.asarray(before), CLEAN), ".jpg"


def _resampled(image: np.ndarray) -> tuple[bytes, str]:
    small = Image.fromarray(image[: round(SIDE / 1.3) + 1, : round(SIDE / 1.3) + 1])
    large = small.resize((round(small.width * 1.3), round(small.height * 1.3)), Image.Resampling.BICUBIC)
    return encode(_cut(np.asarray(large)), CLEAN), ".jpg"


def _tagged(image: np.ndarray) -> tuple[bytes, str]:
    exif = Image.Exif()
    exif[0x0131] = "Editor 1.0"
    buffer = io.BytesIO()
    with Image.open(io.BytesIO(_clean(image)[0])) as same:
        same.save(buffer, "JPEG", quality="keep", exif=exif)
    return buffer.getvalue(), ".jpg"


TRAPS: dict[str, Variant] = {
    "format": _format,
    "quantisation, other tables": lambda image: (encode(_cut(image), _tables(80)), ".jpg"),
    "quantisation, an earlier JPEG": _history,
    "size": lambda image: (encode(_cut(image, SIDE - 8), CLEAN), ".jpg"),
    "resampling": _resampled,
    "metadata": _tagged,
}
"""What is changed; content is planted by the choice of images instead. The first word is the kind that must warn."""


def _features(images: list[np.ndarray]) -> Features:
    """Of all clean files, then of all files of each trap: [(1 + traps) * n, d]."""
    with tempfile.TemporaryDirectory() as scratch:
        rows = []
        for variant, make in enumerate((_clean, *TRAPS.values())):
            for number, image in enumerate(images):
                data, suffix = make(image)
                path = Path(scratch) / f"{variant}-{number}{suffix}"
                path.write_bytes(data)
                rows.append({**dict.fromkeys(COLUMNS, ""), "file": str(path), "label": "real"})
        return extract(Examples(pd.DataFrame(rows)))


def _images(photographs: Path, corpus: Path, drawings: int) -> tuple[list[np.ndarray], np.ndarray]:
    from generators.corpus import read

    rng = np.random.default_rng(0)
    images, sources = list[np.ndarray](), list[str]()
    for path in sorted(photographs.rglob("*.png")):
        whole = np.asarray(Image.open(path).convert("RGB"))
        for _ in range(4):
            top, left = (int(rng.integers(length - LARGER + 1)) // 8 * 8 for length in whole.shape[:2])
            images.append(whole[top : top + LARGER, left : left + LARGER])
            sources.append(f"{path.parent.name}/{path.stem}")
    table = read(corpus)
    for row in table.sample(drawings, random_state=0).itertuples():
        drawing = Image.open(io.BytesIO(row.png)).convert("RGBA")
        canvas = Image.new("RGBA", (LARGER, LARGER), "white")
        place = int(rng.integers(0, SIDE - drawing.width + 1)), int(rng.integers(0, SIDE - drawing.height + 1))
        canvas.alpha_composite(drawing, place)
        images.append(np.asarray(canvas.convert("RGB")))
        sources.append(f"drawing {row.Index}")
    return images, np.array(sources, object)


def _print_share(what: str, hits: np.ndarray) -> None:
    k, n = int(hits.sum()), len(hits)
    low, high = (float(value) for value in clopper_pearson(k, n))
    print(f"{what}: {k} of {n}, {k / n:.1%} ({low:.1%} to {high:.1%})", flush=True)


if __name__ == "__main__":
    main()

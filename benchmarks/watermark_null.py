"""False positives: unmarked images read with keys that never touched them, counted at four nominal rates.

    python -m benchmarks.watermark_null --photographs photographs [--generated FOLDER] [--drawings corpus.parquet]
        [--scheme spread] [--pairs 34000] [--searched 1000] [--workers 16] [--write]

Contents: `photographs` (the test photographs, their mirror images and two crops of each: said, because they are no new
photographs), `graphics` (the same of the test graphics), `patterns` (stripes, checks, gradients and noise drawn here,
which repeat as a periodic mark does), `drawings` (emoji over white) and `generated` (PNGs below a folder). Each pair is
an image and a key: its p-value is the one of a payload fixed beforehand. Every tenth pair is also decoded, as `detect`
does for payloads that nobody named. Latent schemes (`--scheme tree-ring`) are read from the noise that inversion with
`personas` gives, once an image. `--searched` of the pairs are read with the search for geometry, the others
without. `--write` puts the counts into auditkit/watermark/null.toml, in place of the same scheme's rows before.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import itertools
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

from auditkit.watermark.base import unpadded
from auditkit.watermark.keys import Key
from auditkit.watermark.null import LEVELS, MEASURED, level_name, measured
from auditkit.watermark.payload import PAYLOAD_BITS, Payload, encode
from auditkit.watermark.schemes import readings
from auditkit.watermark.schemes import scheme as made
from auditkit.watermark.soft_decoding import likeliest
from auditkit.watermark.statistics import Tail, null_bound

PAYLOAD = Payload(1, 42)
SIDE = 512
KEYS_AT_A_TIME = 40  # few enough for what schemes keep of a key between images
IMAGES_AT_A_TIME = 8
DECODED = 10  # one pair in so many


@dataclass(frozen=True)
class Source:
    """Where the images of one content are."""

    content: str
    place: str


@dataclass(frozen=True)
class Task:
    """Some images of one source, read with some keys."""

    scheme: str
    source: Source
    images: tuple[int, ...]
    keys: tuple[int, ...]
    search: bool


@lru_cache(maxsize=4)
def images(source: Source) -> list[np.ndarray]:
    """uint8 [h, w, 3] each, in a fixed order."""
    if source.content == "patterns":
        return list(_patterns())
    if source.content == "drawings":
        return list(_drawings(Path(source.place)))
    found = [np.asarray(Image.open(path).convert("RGB")) for path in sorted(Path(source.place).glob("**/*.png"))]
    if source.content == "generated":
        return found
    crops = [image[at : at + 384, at : at + 384] for image in found for at in (16, 112)]
    return [np.ascontiguousarray(each) for each in [*found, *(image[:, ::-1] for image in found), *crops]]


@lru_cache(maxsize=1)
def noises(source: Source) -> np.ndarray:
    """What inversion with `personas` takes for the initial noise of each image: float32 [n, c, h, w]."""
    from generators.inversion import invert
    from generators.latent import LatentGenerator
    from generators.load import load_generator

    generator = load_generator("personas", device="cpu")
    assert isinstance(generator, LatentGenerator)
    return invert(generator, [Image.fromarray(image) for image in images(source)])


def _patterns() -> Iterator[np.ndarray]:
    y, x = np.mgrid[:SIDE, :SIDE]
    rng = np.random.default_rng(0)
    for period in (2, 3, 4, 5, 8, 12, 16, 32, 64):
        yield _grey(255 * (x // period % 2))
        yield _grey(255 * ((x // period + y // period) % 2))
        yield _grey(127.5 + 100 * np.sin(2 * np.pi * (x + 0.37 * y) / period))
    yield _grey((x + y) / 4)
    yield _grey(np.hypot(x - 256, y - 256))
    yield _grey(rng.normal(127, 30, x.shape))
    yield _grey(np.kron(rng.integers(0, 256, (64, 64)), np.ones((8, 8))))
    yield _grey(np.where(np.hypot(x - 256, y - 256) < 150, 255, 0))


def _grey(values: np.ndarray) -> np.ndarray:
    return np.repeat(np.clip(values, 0, 255).astype(np.uint8)[..., None], 3, axis=2)


def _drawings(table: Path, most: int = 100) -> Iterator[np.ndarray]:
    import pyarrow.parquet as parquet

    stored = parquet.read_table(table, columns=["png"])["png"]
    for at in np.linspace(0, len(stored) - 1, most).astype(int):
        image = Image.open(io.BytesIO(stored[int(at)].as_py())).convert("RGBA")
        over = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        yield np.asarray(over.convert("RGB").resize((256, 256), Image.Resampling.LANCZOS))


@lru_cache(maxsize=4096)
def key(number: int) -> Key:
    return Key.from_secret(hashlib.sha256(f"auditkit null {number}".encode()).digest())


def count(task: Task) -> Counter[str]:
    """Pairs, pairs where nothing can be read, hits at each level; and the same of what was decoded."""
    reader = made(task.scheme)
    keys = [key(number) for number in task.keys]
    found: Counter[str] = Counter()
    if reader.family == "latent":
        for one, at in itertools.product(keys, task.images):
            found["pairs"] += 1
            _hits(found, reader.evidence(noises(task.source)[at], one).p_value, "")
        return found
    word = encode(PAYLOAD, reader.bits)
    for at in task.images:
        image = images(task.source)[at]
        seen = readings(reader, image, keys, search=task.search)
        for number, one, reading in zip(task.keys, keys, seen, strict=True):
            if reading.unusable:
                found["unusable"] += 1
                continue
            soft = unpadded(reading.soft, reader.name, one)
            tail = Tail(soft)
            found["pairs"] += 1
            _hits(found, tail.p_value(int(tail.agreement(word)), looks=reading.looks), "")
            if (number + at) % DECODED == 0:
                payload = likeliest(soft)
                found["decoded pairs"] += 1
                if payload is not None:
                    agreement = int(tail.agreement(encode(payload, reader.bits)))
                    _hits(found, tail.p_value(agreement, looks=reading.looks * 2.0**PAYLOAD_BITS), "decoded ")
    return found


def _hits(found: Counter[str], p_value: float, kind: str) -> None:
    for level in LEVELS:
        found[kind + level_name(level)] += p_value <= level


def tasks(scheme: str, source: Source, n_images: int, pairs: int, search: bool) -> Iterator[Task]:
    """About `pairs` pairs; keys are 0, 1, ... without search and 100,000, ... with it."""
    # Every image, each with the same number of keys; where there are more images than pairs, the first.
    few = min(n_images, pairs)
    n_keys = -(-pairs // few)
    first = 100_000 * search
    for start in range(0, n_keys, KEYS_AT_A_TIME):
        numbers = tuple(range(first + start, first + min(start + KEYS_AT_A_TIME, n_keys)))
        for at in range(0, few, IMAGES_AT_A_TIME):
            yield Task(scheme, source, tuple(range(at, min(at + IMAGES_AT_A_TIME, few))), numbers, search)


def report(row: dict[str, object], found: Counter[str]) -> None:
    pairs = found["pairs"]
    said = [f"{level_name(x)}: {found[level_name(x)]} ({null_bound(found[level_name(x)], pairs):.1e})" for x in LEVELS]
    print(f"{row['scheme']} {row['content']}{' searched' if row['searched'] else ''}: {pairs:,} pairs", *said, sep="; ")
    print(f"  unusable {found['unusable']}; decoded {found['decoded pairs']}: {found['decoded 1e-02']} at 1e-02")


def as_toml(rows: list[dict[str, object]]) -> str:
    lines = [
        "# False positives on unmarked images, counted by: python -m benchmarks.watermark_null --write",
        "# pairs: of an image and a key that never touched it; hits: p-values at or below each nominal rate.",
    ]
    for row in rows:
        lines += ["", "[[null]]"]
        for name, value in row.items():
            if isinstance(value, dict):
                value = "{ " + ", ".join(f'"{k}" = {v}' for k, v in value.items()) + " }"
            elif isinstance(value, bool):
                value = str(value).lower()
            elif isinstance(value, str):
                value = f'"{value}"'
            lines.append(f"{name} = {value}")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photographs", type=Path, required=True, help="folder made by benchmarks.photographs")
    parser.add_argument("--generated", type=Path, help="folder of unmarked generated PNGs")
    parser.add_argument("--drawings", type=Path, help="corpus.parquet")
    parser.add_argument("--scheme", action="append", help="again for another; default: spread, codec, signature")
    parser.add_argument("--pairs", type=int, default=34_000, help="of each content, without search")
    parser.add_argument("--searched", type=int, default=1_000, help="of each content, with search")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--write", action="store_true")
    asked = parser.parse_args()
    sources = [Source(kind, str(asked.photographs / kind / "test")) for kind in ("photographs", "graphics")]
    sources.append(Source("patterns", ""))
    sources += [Source("generated", str(asked.generated))] if asked.generated else []
    sources += [Source("drawings", str(asked.drawings))] if asked.drawings else []
    schemes = asked.scheme or ["spread", "codec", "signature"]
    rows: list[dict[str, object]] = []
    with ProcessPoolExecutor(asked.workers) as pool:
        for source, name, search in itertools.product(sources, schemes, (False, True)):
            pairs = asked.searched if search and made(name).family != "latent" else 0 if search else asked.pairs
            if not pairs:
                continue
            start, n = time.perf_counter(), len(images(source))
            work = list(tasks(name, source, n, pairs, search))
            found = sum(pool.map(count, work) if asked.workers > 1 else map(count, work), Counter())
            if not found["pairs"]:
                continue
            row: dict[str, object] = {
                "scheme": name, "version": made(name).version, "content": source.content, "searched": search,
                "images": min(n, pairs), "pairs": found["pairs"], "unusable": found["unusable"],
                "hits": {level_name(level): found[level_name(level)] for level in LEVELS},
                "decoded_pairs": found["decoded pairs"],
                "decoded_hits": {level_name(level): found["decoded " + level_name(level)] for level in LEVELS},
            }  # fmt: skip
            report(row, found)
            print(f"  {time.perf_counter() - start:.0f} s", flush=True)
            rows.append(row)
    if asked.write:
        kept = [row for row in measured() if row["scheme"] not in schemes]
        MEASURED.write_text(as_toml([*kept, *rows]), encoding="utf-8")
        print(f"wrote {MEASURED}")


if __name__ == "__main__":
    main()

"""How provenance holds: mutated files, recovery after changes, speed and memory.

    python -m benchmarks.provenance fuzz --files 20000            # no crash, no false 'trusted'
    python -m benchmarks.provenance recover --photographs FOLDER  # exact and soft recovery, false matches
    python -m benchmarks.provenance speed                         # uploads a second, memory, a scan, sizes

`python -m benchmarks.photographs FOLDER` makes the photographs. Everything is seeded.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import random
import resource
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from auditkit.provenance import containers, reading
from auditkit.provenance.credentials import Credentials, load_credentials
from auditkit.provenance.inspection import Inspector, Settings
from auditkit.provenance.manifest import Claim
from auditkit.provenance.pki import make_pki
from auditkit.provenance.publishing import Marker, Publisher
from auditkit.provenance.scanning import scan
from auditkit.provenance.signing import sign_bytes
from auditkit.provenance.verdict import VERDICTS, judge
from auditkit.stats.intervals import clopper_pearson

FORMATS: dict[str, dict[str, Any]] = {
    "PNG": {}, "JPEG": {"quality": 90}, "WEBP": {"quality": 85},
}  # fmt: skip


SCANNED = 2_000
"""Files of the scan that is timed."""
STRANGERS = 40_000
"""Uploads of other pictures, most of them random parts of some: enough for none found to bound the rate by 1e-4."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["fuzz", "recover", "speed"])
    parser.add_argument("--files", type=int, help="mutated files (20,000), or files of the memory run (10,000)")
    parser.add_argument("--photographs", type=Path, help="folder of `python -m benchmarks.photographs`")
    parser.add_argument("--strangers", type=int, default=STRANGERS, help="uploads of other pictures (40,000)")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["AUDITKIT_HOME"] = folder
        os.environ["AUDITKIT_KEYS"] = f"{folder}/keys.json"
        made = make_pki(Path(folder) / "pki")
        signer, root = load_credentials(made.chain, made.key), made.root.read_text()
        if given.what == "fuzz":
            fuzz(signer, root, given.files or 20_000, given.seed)
        elif given.what == "recover":
            recover(signer, made.root, Path(folder), given.photographs, given.strangers, given.seed)
        else:
            speed(signer, made.root, Path(folder), given.files or 10_000)


def fuzz(signer: Credentials, root: str, files: int, seed: int) -> None:
    """Mutate signed files and read them all; 'trusted' is right only where pixels and manifest are as they were."""
    rng = random.Random(seed)
    signed = {
        name: [
            sign_bytes(_encoded(_noise(rng, 96 + 16 * n), name), Claim(f"{n}", "trainedAlgorithmicMedia"), signer).data
            for n in range(6)
        ]
        for name in FORMATS
    }
    counts: dict[tuple[str, str], Counter[str]] = {}
    wrong, benign = list[tuple[str, str, int]](), list[tuple[str, str, int]]()
    slowest, plain, began = 0.0, Counter[str](), time.perf_counter()
    for number in range(files):
        name = list(FORMATS)[number % 3]
        original, other = rng.sample(signed[name], 2)
        kind, mutate = rng.choice(list(MUTATIONS.items()))
        data = original
        while data == original:  # zeros written over padding change nothing
            data = mutate(rng, original, other)
        start = time.perf_counter()
        report = reading.read(data, anchors=root)
        verdict = judge(report)
        slowest = max(slowest, time.perf_counter() - start)
        assert verdict.verdict in VERDICTS
        plain[kind] += report.state == "Trusted"
        counts.setdefault((name, kind), Counter())[verdict.verdict] += 1
        if verdict.verdict == "trusted":
            (benign if _same(original, data, root) else wrong).append((name, kind, number))
    seconds = time.perf_counter() - began
    print(f"{files:,} mutated files in {seconds:.0f} s; no exception; slowest {1000 * slowest:.0f} ms")
    alone, flipped = plain.total(), sum(seen.total() for (_, kind), seen in counts.items() if kind == "manifest bits")
    print(f"the reader alone says 'Trusted' of {alone:,} of them ({alone / files:.1%})")
    print(f"and of {plain['manifest bits']:,} of {flipped:,} whose manifest has one flipped bit "
          f"({plain['manifest bits'] / max(1, flipped):.1%})")  # fmt: skip
    print(f"'trusted' with other pixels or another manifest: {len(wrong)} {wrong[:5]}")
    print(f"'trusted' with other bytes, but the same pixels and manifest: {len(benign)} {benign[:5]}\n")
    print(f"{'format':<7}{'mutation':<18}{'files':>7}  verdicts")
    for (name, kind), seen in sorted(counts.items()):
        told = ", ".join(f"{verdict} {n}" for verdict, n in seen.most_common())
        print(f"{name:<7}{kind:<18}{seen.total():>7}  {told}")


def _flip(rng: random.Random, data: bytes, other: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice([1, 1, 1, 4, 32])):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _flip_manifest(rng: random.Random, data: bytes, other: bytes) -> bytes:
    (offset, span), changed = _span(data), bytearray(data)
    changed[offset + rng.randrange(len(span))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _truncate(rng: random.Random, data: bytes, other: bytes) -> bytes:
    return data[: rng.randrange(1, len(data))]


def _swap(rng: random.Random, data: bytes, other: bytes) -> bytes:
    return _under(containers.strip(data), other)


def _duplicate(rng: random.Random, data: bytes, other: bytes) -> bytes:
    offset, span = _span(data)
    again = span if rng.random() < 0.5 else _span(other)[1]
    return data[:offset] + span + again + data[offset + len(span) :]


def _zero(rng: random.Random, data: bytes, other: bytes) -> bytes:
    offset, span = _span(data)
    start = rng.randrange(len(span))
    stop = rng.randrange(start, len(span)) + 1
    return data[: offset + start] + bytes(stop - start) + data[offset + stop :]


def _pixels(rng: random.Random, data: bytes, other: bytes) -> bytes:
    """Another picture under the same manifest: what a forger does."""
    kind = containers.media_type(data) or ""
    image = Image.open(io.BytesIO(data)).convert("RGB")
    image.putpixel((rng.randrange(image.width), rng.randrange(image.height)), (255, 0, 255))
    return _under(_encoded(image, kind.removeprefix("image/").upper()), data)


def _under(bare: bytes, other: bytes) -> bytes:
    """A file without a manifest, with the manifest of another one of its format."""
    found = containers.find(other)
    assert found is not None
    offset, span = found.spans[0]
    if bare[:4] == b"RIFF":  # WebP holds it at the end
        offset = len(bare)
    made = containers.reinserted(bare, ((offset, span),))
    assert made is not None
    return made


MUTATIONS: dict[str, Callable[[random.Random, bytes, bytes], bytes]] = {
    "bits": _flip, "manifest bits": _flip_manifest, "truncated": _truncate, "manifest swapped": _swap,
    "manifest twice": _duplicate, "manifest zeroed": _zero, "pixels": _pixels,
}  # fmt: skip


def _span(data: bytes) -> tuple[int, bytes]:
    found = containers.find(data)
    assert found is not None
    return found.spans[0]


def _same(original: bytes, data: bytes, root: str) -> bool:
    """Whether both show the same pixels and their manifests say the same."""

    def seen(each: bytes) -> tuple[bytes, str]:
        picture = Image.open(io.BytesIO(each)).convert("RGBA")
        store = reading.read(each, anchors=root).store
        return picture.tobytes(), json.dumps(store["manifests"], sort_keys=True)

    try:
        return seen(original) == seen(data)
    except Exception:  # a trusted file that does not open would be wrong too
        return False


def recover(signer: Credentials, root: Path, home: Path, photographs: Path | None, others: int, seed: int) -> None:
    """Sign photographs with a mark each, change them, and ask the store."""
    from auditkit.watermark import keys

    keys.create()
    known, strangers = _pictures(photographs)
    rng, marker = random.Random(seed), Marker.load("spread")
    published: list[tuple[str, Path]] = []
    with Publisher.open(signer) as publisher:
        for number, image in enumerate(known):
            for name, options in FORMATS.items():
                source = home / f"{number}.{name.lower()}"
                image.save(source, format=name, **options)
                done = publisher.publish_file(
                    source, home / f"signed-{source.name}", Claim(source.name, "trainedAlgorithmicMedia"), marker=marker
                )
                published.append((name, done.out))
    looking = Inspector(Settings(trust=(str(root),)))
    blind = Inspector(Settings(trust=(str(root),), keys=""))
    rows: dict[str, list[tuple[str, str, bool]]] = {}
    for name, path in published:
        data = path.read_bytes()
        label = looking.inspect(path).c2pa["manifest"]
        for change, made in _changes(data, rng):
            for how, inspector in (("mark and hash", looking), ("hash alone", blind)):
                part = inspector.inspect_bytes(made).c2pa
                # Three files show each photograph: any of them is that picture, and for the mark it is this one.
                title = (part["recovery"] or {}).get("stored", {}).get("title", "")
                right = part["manifest"] == label or title.startswith(f"{path.stem}.")
                rows.setdefault(f"{change:<34}{how}", []).append((name, part["verdict"], right))
    print(f"{len(published)} signed files of {len(known)} photographs, each with a `spread` mark of its own\n")
    print(f"{'change':<34}{'looked up by':<16}{'exact':>6}{'soft':>6}{'found':>8}  95% interval   the right picture")
    for key, seen in rows.items():
        exact = sum(verdict == "recovered-exact" for _, verdict, _ in seen)
        soft = sum(verdict == "recovered-soft" for _, verdict, _ in seen)
        right = sum(fits for _, verdict, fits in seen if verdict.startswith("recovered"))
        n = len(seen)
        low, high = clopper_pearson(exact + soft, n)
        share = f"{(exact + soft) / n:>8.3f}  [{low:.3f}, {high:.3f}]"
        print(f"{key[:34]}{key[34:]:<16}{exact:>6}{soft:>6}{share}   {right} of {exact + soft}")
    for how, inspector, n in (("hash alone", blind, others), ("mark and hash", looking, min(300, others))):
        hits = 0
        if not n:
            continue
        for number in range(n):
            image = strangers[number] if number < len(strangers) else _part(rng.choice(strangers), rng)
            hits += inspector.inspect_bytes(_encoded(image, "JPEG")).c2pa["verdict"].startswith("recovered")
        most = [float(clopper_pearson(hits, count)[1]) for count in (n, n * len(known))]
        print(f"\nOther pictures, {how}: {hits} of {n:,} recovered (at most {most[0]:.2g} of uploads; with the "
              f"{len(known)} photographs {n * len(known):,} pairs, at most {most[1]:.2g} of pairs)")  # fmt: skip


def _part(image: Image.Image, rng: random.Random) -> Image.Image:
    """A random part of a picture, at a random size, perhaps mirrored."""
    share = rng.uniform(0.3, 1.0)
    w, h = max(48, round(image.width * share)), max(48, round(image.height * share))
    w, h = min(w, image.width), min(h, image.height)
    x, y = rng.randint(0, image.width - w), rng.randint(0, image.height - h)
    part = image.crop((x, y, x + w, y + h)).resize((rng.randint(96, 320), rng.randint(96, 320)))
    return ImageOps.mirror(part) if rng.random() < 0.5 else part


def _changes(data: bytes, rng: random.Random) -> Iterator[tuple[str, bytes]]:
    image = Image.open(io.BytesIO(data)).convert("RGB")
    width, height = image.size
    yield "manifest taken off", containers.strip(data)
    yield "written anew as PNG", _encoded(image, "PNG")
    half = image.resize((width // 2, height // 2), Image.Resampling.LANCZOS)
    yield "JPEG 50", _encoded(image, "JPEG", quality=50)
    yield "half size and JPEG 50", _encoded(half, "JPEG", quality=50)
    yield "mirrored, JPEG 80", _encoded(ImageOps.mirror(image), "JPEG", quality=80)
    for share in (0.9, 0.75, 0.5):
        w, h = round(width * share), round(height * share)
        x, y = rng.randint(0, width - w), rng.randint(0, height - h)
        yield f"cropped to {share:.2f} a side, JPEG 80", _encoded(image.crop((x, y, x + w, y + h)), "JPEG", quality=80)
    x, y = width // 20, height // 20
    yield "5% off each side, JPEG 80", _encoded(image.crop((x, y, width - x, height - y)), "JPEG", quality=80)


def _pictures(folder: Path | None) -> tuple[list[Image.Image], list[Image.Image]]:
    """Photographs to be signed, and other pictures: other photographs and their parts, and images of the generators."""
    if folder is None:
        raise SystemExit("name the photographs: python -m benchmarks.photographs FOLDER, then --photographs FOLDER")
    whole = [_opened(path) for path in sorted((folder / "photographs" / "test").iterdir())]
    others = [_opened(path) for kind in ("photographs/train", "graphics/test", "graphics/train")
              for path in sorted((folder / kind).iterdir())]  # fmt: skip
    sheets = sorted(Path(__file__).parent.parent.glob("generators/bundled/*/samples.webp"))
    drawn = [tile for sheet in sheets for tile in _tiles(Image.open(sheet).convert("RGB"), 128)]
    return whole, [*others, *drawn]


def _opened(path: Path) -> Image.Image:
    image = Image.open(path).convert("RGB")
    image.thumbnail((768, 768))
    return image


def _tiles(image: Image.Image, side: int) -> list[Image.Image]:
    return [
        image.crop((x, y, x + side, y + side))
        for y in range(0, image.height - side + 1, side)
        for x in range(0, image.width - side + 1, side)
    ]


def speed(signer: Credentials, root: Path, home: Path, files: int) -> None:
    """Uploads a second of one process for 1 MP images, the parts apart, memory over many files, and `other_costs`."""
    from skimage import data

    image = Image.fromarray(data.coffee()).resize((1024, 1024))
    for name, options in FORMATS.items():
        made = sign_bytes(_encoded(image, name, **options), Claim(f"a.{name}", "trainedAlgorithmicMedia"), signer)
        anchors = root.read_text()
        path = home / f"a.{name.lower()}"
        path.write_bytes(made.data)
        looking = Inspector(Settings(trust=(str(root),), keys="", store="", banks=()))
        from auditkit.provenance.pdq import hash_forms

        parts = {
            "c2pa": lambda d=made.data, a=anchors: judge(reading.read(d, anchors=a)),
            "hash": lambda d=made.data: (hashlib.sha256(d).hexdigest(), hash_forms(d)),
            "inspect, whole": lambda p=path, i=looking: i.inspect(p),
        }  # fmt: skip
        told = []
        for part, call in parts.items():
            took = _median_ms(call)
            told.append(f"{part} {took:.1f} ms ({1000 / took:.0f}/s)")
        print(f"{name:<5} 1 MP, {len(made.data):>9,} bytes: " + "; ".join(told))
    without = Settings(trust=(str(root),), keys="", store="", banks=())
    looking, path = Inspector(without), home / "a.jpeg"
    marks, began = [], time.perf_counter()
    for number in range(files):
        looking.inspect(path)
        if number % (files // 10) == files // 10 - 1:
            marks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    took = time.perf_counter() - began
    print(f"\n{files:,} signed 1 MP JPEG in one process: {files / took:.0f}/s; peak memory after each tenth, MiB: "
          + " ".join(f"{each:.0f}" for each in marks))  # fmt: skip
    other_costs(signer, path, without)


def other_costs(signer: Credentials, path: Path, without: Settings) -> None:
    """A scan of many files, what a watermark key adds, and what a signature by a command adds."""
    from auditkit.watermark import keys

    folder = path.parent / "uploads"
    folder.mkdir()
    for number in range(SCANNED):
        (folder / f"{number}.jpeg").hardlink_to(path)
    done = scan(folder, folder.with_suffix(".parquet"), settings=without, workers=2)
    print(f"scan with two workers: {done.made:,} such JPEG in {done.seconds:.1f} s, start included")
    keys.create()
    for words, settings in (("spread and codec, turned and cropped marks too", replace(without, keys=None)),
                            ("--scheme spread --no-search", replace(without, keys=None, schemes=("spread",),
                                                                    search=False))):  # fmt: skip
        marking = Inspector(settings)
        took = _median_ms(lambda marking=marking: marking.inspect(path), repeats=10)
        print(f"with one watermark key, {words}: {took:.0f} ms a JPEG")
    elsewhere = replace(signer, private=None)  # as with --sign-with: the library asks us for each signature
    bare, claim = containers.strip(path.read_bytes()), Claim("a", "trainedAlgorithmicMedia")
    sizes = [len(sign_bytes(bare, claim, each).manifest) for each in (signer, elsewhere)]
    print(f"a manifest has {sizes[0]:,} bytes signed with a key file, {sizes[1]:,} by a command")


def _median_ms(call: Callable[[], object], repeats: int = 40) -> float:
    call()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(1000 * (time.perf_counter() - start))
    return statistics.median(times)


def _noise(rng: random.Random, side: int) -> Image.Image:
    """A picture with some structure, so that every format's coder has work."""
    values = np.random.default_rng(rng.randrange(2**32)).normal(size=(side // 8, side // 8, 3))
    return Image.fromarray(np.clip(128 + 50 * values, 0, 255).astype(np.uint8)).resize(
        (side, side), Image.Resampling.BICUBIC
    )


def _encoded(image: Image.Image, name: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, format=name, **(options or FORMATS[name]))
    return out.getvalue()


if __name__ == "__main__":
    main()

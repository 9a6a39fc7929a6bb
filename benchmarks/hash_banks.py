"""Hash banks: how fast and how complete the search is, how fast PDQ is, and what PDQ finds and confuses.

    python -m benchmarks.hash_banks [--photographs photographs] [--hashes 1000000]

Search: random hashes, and queries at 0 to 40 bits from some of them, compared with a scan by numpy in the same run.
PDQ: the photographs of skimage and scikit-learn, and those below `--photographs` (made by benchmarks.photographs;
without its graphics, of which many are flat or repeat). Copies are matched with their original; distinct photographs
are all pairs of different files, and the limits of their shares are too narrow to the degree that pairs share
photographs. All on one thread.
"""

from __future__ import annotations

import argparse
import io
import itertools
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import faiss
import numpy as np
import pdqhash
from PIL import Image, ImageOps

from auditkit.provenance import banks
from auditkit.provenance.bank_entries import Entry
from auditkit.provenance.bank_matching import THRESHOLD, Hashes, expected_chance_matches, match
from auditkit.provenance.hamming import HammingIndex
from auditkit.provenance.pdq import Pdq, distance, hash_forms, hash_image
from auditkit.stats.intervals import clopper_pearson

SAMPLES = ("astronaut", "coffee", "chelsea", "rocket", "retina", "hubble_deep_field", "immunohistochemistry")
QUERIES = 400


def ms(function: Callable[[], object], times: int = 15) -> float:
    """Median time of a call, in ms."""
    function()
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        function()
        taken.append(time.perf_counter() - start)
    return 1e3 * float(np.median(taken))


def brute_force(hashes: np.ndarray, query: np.ndarray, radius: int) -> np.ndarray:
    """Positions within the radius, by numpy: hashes uint64 [n, 4], query uint64 [4]."""
    return np.flatnonzero(np.bitwise_count(hashes ^ query).sum(axis=1, dtype=np.uint16) <= radius)


def search(n: int) -> None:
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 256, (n, 32), dtype=np.uint8)
    queries = np.unpackbits(hashes[rng.integers(0, n, QUERIES)], axis=1)
    for at, query in enumerate(queries):
        query[rng.choice(256, at % 41, replace=False)] ^= 1
    queries = np.packbits(queries, axis=1)
    start = time.perf_counter()
    index = HammingIndex(hashes)
    build = time.perf_counter() - start
    words, asked = hashes.view(np.uint64), queries.view(np.uint64)
    one, batch = ms(lambda: index.search(queries[:1])), ms(lambda: index.search(queries), 3) / QUERIES
    scan = ms(lambda: brute_force(words, asked[0], THRESHOLD), 5)
    found = index.search(queries)
    expected = [brute_force(words, query, THRESHOLD) for query in asked]
    wanted = sum(map(len, expected))
    hit = sum(len(np.intersect1d(got[0], want)) for got, want in zip(found, expected, strict=True))
    extra = sum(len(got[0]) for got in found) - hit
    print(f"Search of {n:,} hashes within {THRESHOLD} bits")
    print(f"  build {build * 1e3:.0f} ms; {len(faiss.serialize_index_binary(index._index)):,} bytes")
    print(f"  one query {one:.2f} ms; {QUERIES} queries together {batch:.2f} ms each; eight forms {8 * batch:.1f} ms")
    print(f"  numpy {scan:.1f} ms a query: {scan / one:.0f} times as long")
    print(f"  recall {hit}/{wanted} = {hit / wanted:.4f}; found beyond the radius: {extra}")


def stored(n: int) -> None:
    values = np.random.default_rng(1).integers(0, 256, (n, 32), dtype=np.uint8)
    entries = [Entry("pdq", value.tobytes().hex(), label="random") for value in values]
    query = Hashes((Pdq(values[0].tobytes()),) * 8, "0" * 64)
    with tempfile.TemporaryDirectory() as folder:
        bank = banks.create("random", "harm", where=folder)
        start = time.perf_counter()
        bank.add(entries)
        added = time.perf_counter() - start
        start = time.perf_counter()
        match(query, [bank])
        first = time.perf_counter() - start
        later = ms(lambda: match(query, [bank]))
        print(f"A bank of {n:,} PDQ hashes")
        print(f"  added in {added:.1f} s; {bank.path.stat().st_size:,} bytes on disk")
        print(f"  first match {first:.2f} s (reads the bank); then {later:.1f} ms for eight forms and SHA-256")


def jpeg(image: Image.Image, quality: int = 90) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality)
    return stream.getvalue()


def webp(image: Image.Image, quality: int) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "WEBP", quality=quality)
    return stream.getvalue()


def cropped(image: Image.Image) -> Image.Image:
    w, h = image.size
    return image.crop((round(0.05 * w), round(0.05 * h), round(0.95 * w), round(0.95 * h)))


COPIES: dict[str, Callable[[Image.Image], Image.Image | bytes]] = {
    "JPEG 50": lambda image: jpeg(image, 50),
    "half size": lambda image: image.resize((image.width // 2, image.height // 2), Image.Resampling.LANCZOS),
    "WebP 60": lambda image: webp(image, 60),
    "crop of 5% a side": cropped,
    "flipped horizontally": ImageOps.mirror,
}


def photographs(folder: Path | None) -> dict[str, Image.Image]:
    import skimage.data
    from sklearn.datasets import load_sample_images

    found = {name: Image.fromarray(getattr(skimage.data, name)()).convert("RGB") for name in SAMPLES}
    found |= {f"sample {at}": Image.fromarray(each) for at, each in enumerate(load_sample_images().images)}
    for path in sorted(folder.glob("photographs/*/*.png")) if folder else ():
        found[f"{path.parent.name}/{path.stem}"] = Image.open(path).convert("RGB")
    return found


def whole(image: Image.Image) -> Pdq:
    """The package's hash of the whole image."""
    vector, quality = pdqhash.compute(np.asarray(image))
    return Pdq(np.packbits(vector.astype(bool)).tobytes(), quality)


def speed(image: Image.Image) -> None:
    megapixel = image.resize((1024, 1024), Image.Resampling.LANCZOS)
    data, pixels = jpeg(megapixel), np.asarray(megapixel)
    stream = io.BytesIO()
    megapixel.save(stream, "PNG")
    png = stream.getvalue()
    large = jpeg(image.resize((4000, 3000), Image.Resampling.LANCZOS))
    print("PDQ of 1024 x 1024, eight forms, ms")
    print(f"  JPEG, decoding included {ms(lambda: hash_forms(data)):.1f}; PNG {ms(lambda: hash_forms(png)):.1f}")
    alone = ms(lambda: pdqhash.compute_dihedral(pixels))
    print(f"  pixels {ms(lambda: hash_forms(pixels)):.1f}; the package alone {alone:.1f}")
    print(f"  JPEG of 12 MP, decoding included {ms(lambda: hash_forms(large), 5):.1f}")


def fidelity(images: dict[str, Image.Image]) -> None:
    differ = []
    for image, size in itertools.product(images.values(), [(1024, 1024), (1000, 1000), (700, 900), (2001, 1203)]):
        large = image.resize(size, Image.Resampling.BICUBIC)
        data = jpeg(large, 85)
        for ours, theirs in ((large, large), (data, Image.open(io.BytesIO(data)))):
            reference = whole(theirs)
            differ += [distance(hash_image(ours), reference)] if reference.usable else []
    print(f"Against the package's hash of the whole image, {len(differ)} usable images of 0.6 to 2.4 MP, half JPEG:")
    print(f"  mean {np.mean(differ):.2f} bits, 99% within {np.percentile(differ, 99):.0f}, most {max(differ)}")


def copies(images: dict[str, Image.Image]) -> None:
    usable = {name: (image, hash_image(image)) for name, image in images.items()}
    usable = {name: pair for name, pair in usable.items() if pair[1].usable}
    print(f"Copies of {len(usable)} usable photographs (of {len(images)}): bits that differ, share within {THRESHOLD}")
    print(f"  {'':<24}{'median':>8}{'90%':>6}{'most':>6}{'matched':>10}{'dihedral':>10}")
    for name, change in COPIES.items():
        near, nearest = [], []
        for image, original in usable.values():
            forms = [distance(form, original) for form in hash_forms(change(image))]
            near.append(forms[0])
            nearest.append(min(forms))
        share, dihedral = (np.mean(np.array(each) <= THRESHOLD) for each in (near, nearest))
        spread = f"{np.median(near):>8.0f}{np.percentile(near, 90):>6.0f}{max(near):>6}"
        print(f"  {name:<24}{spread}{share:>10.1%}{dihedral:>10.1%}")
    distinct({name: image for name, (image, _) in usable.items()})


def distinct(images: dict[str, Image.Image]) -> None:
    forms = {name: hash_forms(image) for name, image in images.items()}
    pairs = list(itertools.combinations(images, 2))
    plain = np.array([distance(forms[a][0], forms[b][0]) for a, b in pairs])
    turned = np.array([min(distance(form, forms[b][0]) for form in forms[a]) for a, b in pairs])
    print(f"Distinct photographs, {len(pairs):,} pairs of {len(images)}: bits that differ")
    for name, found in (("as they are", plain), ("nearest of eight forms", turned)):
        low, middle = found.min(), np.median(found)
        print(f"  {name}: least {low}, 1% {np.percentile(found, 1):.0f}, median {middle:.0f}; false matches:")
        for threshold in (31, 47, 63):
            hits = int((found <= threshold).sum())
            high = float(clopper_pearson(hits, len(pairs))[1])
            print(f"    within {threshold}: {hits}, at most {high:.1e} of pairs (Clopper-Pearson, 95%)")
    for a, b in (pairs[at] for at in np.flatnonzero(turned <= 63)):
        print(f"    near: {a} and {b}")
    print(f"  random bits would give {expected_chance_matches(1_000_000):.1e} matches an image in a million hashes")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photographs", type=Path, help="folder made by benchmarks.photographs")
    parser.add_argument("--hashes", type=int, default=1_000_000)
    asked = parser.parse_args()
    faiss.omp_set_num_threads(1)
    search(asked.hashes)
    stored(asked.hashes)
    images = photographs(asked.photographs)
    speed(images["coffee"])
    fidelity(images)
    copies(images)


if __name__ == "__main__":
    main()

"""Splits by source: what shares an original never stands on both sides, under another name or as a near copy either.

A *component* is a set of rows that share a source, directly or by way of others; duplicates (the same pixels, or PDQ
hashes near each other) join their sources. Every split here keeps components whole.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from auditkit.errors import DetectorError
from auditkit.provenance.hamming import HammingIndex
from auditkit.provenance.pdq import hash_image
from detectors.examples import Examples

Mask = NDArray[np.bool_]
Duplicates = Literal["join", "error", "ignore"]

PARTS = ("train", "development", "test")
NEAR = 31
"""PDQ bits in which near duplicates differ at most: the threshold that its authors advise."""
SMALLEST = 64
"""PDQ samples 64 x 64 places: smaller images are compared by their pixels alone."""


@dataclass(frozen=True)
class Duplicate:
    """Two rows that show the same. `bits` is their PDQ distance, 0 for the same pixels."""

    first: int
    second: int
    bits: int


def find_duplicates(examples: Examples, *, near: int | None = NEAR) -> list[Duplicate]:
    """Pairs of rows of different sources with the same pixels, or PDQ hashes at most `near` bits apart.

    Of many equal images each is paired with the first alone. Flat images (PDQ quality under 50) and those with a side
    under 64 px are compared by their pixels.

    Args:
        near: bits, 0..256; None for the same pixels only.
    """
    sources = examples.sources
    found, first = list[Duplicate](), dict[bytes, int]()
    hashes, rows = list[bytes](), list[int]()
    for row, image in enumerate(examples.images()):
        digest = hashlib.sha256(repr(image.shape).encode() + np.ascontiguousarray(image).tobytes()).digest()
        before = first.setdefault(digest, row)
        if before != row:
            if sources[before] != sources[row]:
                found.append(Duplicate(before, row, 0))
        elif near is not None and min(image.shape[:2]) >= SMALLEST:
            pdq = hash_image(image)
            if pdq.usable:
                hashes.append(pdq.bits)
                rows.append(row)
    if near is not None and hashes:
        packed = np.frombuffer(b"".join(hashes), np.uint8).reshape(-1, 32)
        for place, (others, bits) in enumerate(HammingIndex(packed).search(packed, radius=near)):
            found += [
                Duplicate(rows[place], rows[other], int(bit))
                for other, bit in zip(others.tolist(), bits, strict=True)
                if other > place and sources[rows[place]] != sources[rows[other]]
            ]
    return sorted(found, key=lambda x: (x.first, x.second))


def join_duplicates(examples: Examples, *, near: int | None = NEAR) -> Examples:
    """The same rows, with one source for all sources that duplicates link."""
    pairs = find_duplicates(examples, near=near)
    if not pairs:
        return examples
    parent = {source: source for source in dict.fromkeys(examples.sources)}

    def root(source: object) -> object:
        while parent[source] != source:
            parent[source] = parent[parent[source]]
            source = parent[source]
        return source

    sources = examples.sources
    for pair in pairs:
        a, b = root(sources[pair.first]), root(sources[pair.second])
        if a != b:
            parent[max(a, b, key=str)] = min(a, b, key=str)
    return Examples(examples.table.assign(source=[str(root(source)) for source in sources]))


def check_split(examples: Examples, parts: Mapping[str, Mask], *, near: int | None = NEAR) -> None:
    """Raise DetectorError where a source, the same pixels or a near duplicate stands in two parts.

    Args:
        parts: name -> mask [n]; no row in two of them.
        near: as for `find_duplicates`.
    """
    place = np.full(len(examples), -1)
    for number, (name, mask) in enumerate(parts.items()):
        if (place[mask] >= 0).any():
            raise DetectorError("a row stands in two parts of the split", where=name, mend="make the parts disjoint")
        place[mask] = number
    names = list(parts)
    used = place >= 0
    spread = pd.Series(place[used]).groupby(examples.sources[used]).nunique()
    if (spread > 1).any():
        raise DetectorError(
            f"{int((spread > 1).sum())} sources stand in several parts of the split",
            where=str(spread.index[spread > 1][0]),
            mend="split by source: detectors.splits.split",
        )
    pairs = [
        x
        for x in find_duplicates(examples, near=near)
        if -1 not in (a := (place[x.first], place[x.second])) and a[0] != a[1]
    ]
    if pairs:
        one = pairs[0]
        files = examples.table["file"]
        raise DetectorError(
            f"{len(pairs)} duplicates stand across the split",
            where=" and ".join(f"{files[row]} ({names[place[row]]})" for row in (one.first, one.second)),
            mend="give duplicates one source in the table, or join them: detectors.splits.join_duplicates",
        )


def split(
    examples: Examples,
    *,
    seed: int,
    shares: tuple[float, ...] = (0.6, 0.2, 0.2),
    duplicates: Duplicates = "join",
    near: int | None = NEAR,
) -> dict[str, Mask]:
    """Parts train, development and test: each class, generator and origin in about the same share of each.

    Args:
        seed: of the drawing; the same examples and seed give the same parts.
        shares: of the parts in this order (one share less leaves test out), each over 0; they are scaled to sum 1.
        duplicates: join those of different sources (they stay on one side), refuse them, or ignore them, which spares
            opening the images.
        near: as for `find_duplicates`.

    Raises:
        DetectorError: a class has fewer sources than there are parts, or duplicates are refused.
    """
    if not 2 <= len(shares) <= len(PARTS) or min(shares) <= 0:
        raise DetectorError("a split has two or three shares over 0", where=str(shares), mend="such as (.6, .2, .2)")
    place = _places(_components(examples, duplicates, near), examples, np.asarray(shares, float), seed)
    return {name: place == number for number, name in enumerate(PARTS[: len(shares)])}


def folds(examples: Examples, count: int, *, seed: int) -> NDArray[np.intp]:
    """[n], the fold of each row in 0..count-1, by source, classes and generators spread evenly."""
    return _places(examples.sources, examples, np.ones(count), seed)


def leave_one_generator_out(
    examples: Examples, *, seed: int = 0, held: float = 0.3, duplicates: Duplicates = "join", near: int | None = NEAR
) -> Iterator[tuple[str, Mask, Mask]]:
    """For each generator its name, what to train on and what to test on.

    The test has images of that generator and reals of sources that no training image shares. Real images, and sources
    that several generators share, are divided: `held` of the sources are tested, the same for every generator.

    Raises:
        DetectorError: there are fewer than two generators, or as for `split`.
    """
    generators = sorted(set(examples.table["generator"]) - {""})
    if len(generators) < 2:
        raise DetectorError(
            f"leaving one generator out needs two, and there are {len(generators)}",
            where=", ".join(generators) or "the data",
            mend="add images of another generator",
        )
    name = examples.table["generator"].to_numpy(object)
    yield from _leaving_out(examples, generators, name, examples.labels == 0, seed, held, duplicates, near)


def leave_one_origin_out(
    examples: Examples, *, seed: int = 0, held: float = 0.3, duplicates: Duplicates = "join", near: int | None = NEAR
) -> Iterator[tuple[str, Mask, Mask]]:
    """For each origin of real images its name, what to train on and what to test on.

    The test has the reals of that origin, what was made of them, and `held` of the sources of generated images that
    were made of no real one.

    Raises:
        DetectorError: there are fewer than two origins, or as for `split`.
    """
    origins = sorted(set(examples.table["origin"][examples.labels == 0]) - {""})
    if len(origins) < 2:
        raise DetectorError(
            f"leaving one origin out needs two, and there are {len(origins)}",
            where=", ".join(origins) or "the data",
            mend="add real images of another origin: data/real/<origin>/",
        )
    name = examples.table["origin"].to_numpy(object)
    yield from _leaving_out(examples, origins, name, name == "", seed, held, duplicates, near)


def _leaving_out(
    examples: Examples, names: list[str], name: NDArray[np.object_], shared: Mask, seed: int, held: float,
    duplicates: Duplicates, near: int | None,
) -> Iterator[tuple[str, Mask, Mask]]:  # fmt: skip
    """Rows of one name, and of `shared` those of the sources that are held back, against all the others.

    A source of that one name alone is tested whole.
    """
    component = _components(examples, duplicates, near)
    place = _places(component, examples, np.array([1 - held, held]), seed)
    for left in names:
        own = name == left
        mixed = np.isin(component, component[~own])  # components that hold anything else
        tested = (place == 1) | (own & ~mixed)
        yield left, ~tested & ~own, tested & (own | shared)


def _components(examples: Examples, duplicates: Duplicates, near: int | None) -> NDArray[np.object_]:
    if duplicates == "error":
        found = find_duplicates(examples, near=near)
        if found:
            files = examples.table["file"]
            raise DetectorError(
                f"{len(found)} pairs of images of different sources are duplicates",
                where=f"{files[found[0].first]} and {files[found[0].second]}",
                mend="give them one source in the table, or remove one of each",
            )
    return (join_duplicates(examples, near=near) if duplicates == "join" else examples).sources


def _places(
    component: NDArray[np.object_], examples: Examples, shares: NDArray[np.float64], seed: int
) -> NDArray[np.intp]:
    """The part of each row: components whole, each stratum (label, generator, origin) divided by `shares`.

    Greedy, the largest component first, ties drawn: each goes where the strata it holds are furthest below their share.
    """
    table = examples.table
    strata = pd.factorize(table["label"] + "|" + table["generator"] + "|" + table["origin"])[0]
    codes, names = pd.factorize(component)
    _check_enough(codes, examples.labels, len(shares))
    counts = np.zeros((len(names), strata.max() + 1))
    np.add.at(counts, (codes, strata), 1)
    wanted = (shares / shares.sum())[:, None] * counts.sum(axis=0)
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(names))
    order = order[np.argsort(-counts[order].sum(axis=1), kind="stable")]
    filled, place = np.zeros_like(wanted), np.zeros(len(names), np.intp)
    for one in order:
        held = counts[one] > 0
        room = ((wanted[:, held] - filled[:, held]) / wanted[:, held]).sum(axis=1)
        best = np.flatnonzero(room >= room.max() - 1e-12)
        place[one] = rng.choice(best)
        filled[place[one]] += counts[one]
    return place[codes]


def _check_enough(codes: NDArray[np.intp], labels: NDArray[np.int8], parts: int) -> None:
    for label, name in enumerate(("real", "generated")):
        there = len(np.unique(codes[labels == label]))
        if there < parts:
            raise DetectorError(
                f"the {name} images have {there} sources, too few for {parts} parts",
                where="the split",
                mend=f"add {name} images of other sources; near duplicates count as one source",
            )

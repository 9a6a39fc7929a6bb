"""The nearest training pictures of each of many pictures: exact, a block of the training set at a time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from auditkit.provenance.pdq import BITS, FORMS
from detectors.copies.prints import Prints

FARTHEST = BITS + 1
"""Bits given for a picture without a usable hash, or where nothing has one: farther than any other."""
_QUERIES = 1024  # at a time: a block of cosines then takes 32 MB


@dataclass(frozen=True)
class Block:
    """Some of the training pictures.

    Attributes:
        start: number of the first one in the whole.
        embeddings: float32 [b, d], unit rows. pdq: uint8 [b, 32]. usable: bool [b]. pixels: uint8 [b, 32].
    """

    start: int
    embeddings: NDArray[np.float32]
    pdq: NDArray[np.uint8]
    usable: NDArray[np.bool_]
    pixels: NDArray[np.uint8]


@dataclass(frozen=True)
class Nearest:
    """What was found for m pictures; positions count the training pictures from 0, and are -1 where there is none.

    Attributes:
        position: int64 [m, k], by embedding, the nearest first. cosine: float32 [m, k], -1 where there is none; the
            larger of the picture's own and its mirror image's.
        mirrored: bool [m], whether the mirror image was the nearer one.
        pdq_position: int64 [m], the nearest by PDQ. bits: int64 [m], 0..256, or `FARTHEST`. form: int64 [m], which of
            `FORMS` of the picture was so near.
        same: int64 [m], a training picture with the very same pixels.
        size: how many training pictures were looked through.
    """

    position: NDArray[np.int64]
    cosine: NDArray[np.float32]
    mirrored: NDArray[np.bool_]
    pdq_position: NDArray[np.int64]
    bits: NDArray[np.int64]
    form: NDArray[np.int64]
    same: NDArray[np.int64]
    size: int


def search(queries: Prints, blocks: Iterable[Block], *, k: int = 1) -> Nearest:
    """Hold every picture against every training picture.

    Memory is that of the queries and of one block, whatever the number of blocks.

    Args:
        queries: m pictures.
        blocks: the training set, each picture once.
        k: neighbours to keep by embedding.
    """
    m, size = len(queries), 0
    position, cosine = np.full((m, k), -1, np.int64), np.full((m, k), -1, np.float32)
    mirrored = np.zeros(m, bool)
    pdq_position, same = np.full(m, -1, np.int64), np.full(m, -1, np.int64)
    bits, form = np.full(m, FARTHEST, np.int64), np.zeros(m, np.int64)
    pixels: dict[bytes, list[int]] = {}
    for row in range(m):
        pixels.setdefault(queries.pixels[row].tobytes(), []).append(row)
    for block in blocks:
        size += len(block.embeddings)
        for start in range(0, m, _QUERIES):
            part = slice(start, min(m, start + _QUERIES))
            _by_embedding(queries.embeddings[part], block, position[part], cosine[part], mirrored[part])
        _by_pdq(queries, block, pdq_position, bits, form)
        for at, value in enumerate(block.pixels):
            for row in pixels.get(value.tobytes(), ()):
                same[row] = block.start + at if same[row] < 0 else same[row]
    return Nearest(position, cosine, mirrored, pdq_position, bits, form, same, size)


def _by_embedding(
    views: NDArray[np.float32],
    block: Block,
    position: NDArray[np.int64],
    cosine: NDArray[np.float32],
    mirrored: NDArray[np.bool_],
) -> None:
    """Merge a block's neighbours of `views` [q, 1 or 2, d] into what was found before, in place."""
    if not len(block.embeddings):
        return
    straight, turned = (views[:, view] @ block.embeddings.T for view in (0, -1))
    best = np.maximum(straight, turned)
    k = min(cosine.shape[1], best.shape[1])
    some = np.argpartition(-best, k - 1, axis=1)[:, :k]
    found = np.take_along_axis(best, some, axis=1)
    values, places = np.hstack([cosine, found]), np.hstack([position, some + block.start])
    # Ties go to the earlier picture, so that block sizes make no difference.
    order = np.lexsort((places, -values), axis=-1)[:, : cosine.shape[1]]
    first = np.argmax(best, axis=1)
    rows = np.arange(len(best))
    nearer = best[rows, first] > cosine[:, 0]
    mirrored[nearer] = (turned > straight)[rows, first][nearer]
    position[:] = np.take_along_axis(places, order, axis=1)
    cosine[:] = np.take_along_axis(values, order, axis=1)


def _by_pdq(
    queries: Prints, block: Block, position: NDArray[np.int64], bits: NDArray[np.int64], form: NDArray[np.int64]
) -> None:
    import faiss

    rows, kept = np.flatnonzero(queries.usable), np.flatnonzero(block.usable)
    if not len(rows) or not len(kept):
        return
    index = faiss.IndexBinaryFlat(BITS)
    index.add(np.ascontiguousarray(block.pdq[kept]))
    distances, found = index.search(np.ascontiguousarray(queries.pdq[rows].reshape(-1, BITS // 8)), 1)
    distances, found = distances.reshape(len(rows), len(FORMS)), found.reshape(len(rows), len(FORMS))
    best = distances.argmin(axis=1)
    each = np.arange(len(rows))
    nearer = distances[each, best] < bits[rows]
    chosen = rows[nearer]
    bits[chosen] = distances[each, best][nearer]
    form[chosen] = best[nearer]
    position[chosen] = kept[found[each, best][nearer]] + block.start

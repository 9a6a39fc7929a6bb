"""A run's images as points of an encoder's space: search by a vector, near-duplicates, and a map of two axes.

Vectors are held in half precision and multiplied block by block in single: 100,000 images of 256 numbers take 51 MB.
A cosine is then right to about 0.0005, which orders images; no estimate is made from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as arrow
import pyarrow.parquet as parquet
from numpy.typing import NDArray

from auditkit.errors import TableError
from auditkit.schemas import parquet_metadata

if TYPE_CHECKING:
    from collections.abc import Sequence

    from auditkit.runs import Run

Floats = NDArray[np.float32]
Rows = NDArray[np.intp]
_BLOCK = 4096
TEXTS = ".texts"
"""Ends the name of a file of embedded sentences, which lies beside those of images."""


def encoders(run: Run) -> list[str]:
    """The encoders that the run's images were embedded with, by name."""
    names = (file.stem for file in sorted((run.path / "embeddings").glob("*.parquet")))
    return [name for name in names if not name.endswith(TEXTS)]


@dataclass(frozen=True)
class Space:
    """Unit vectors of a run's images.

    Attributes:
        vectors: float16 [n, dim]. row: int [n_images], the vector of each row of the images table, or -1.
        encoder: its name. fingerprint: sha256 of its weights.
    """

    vectors: NDArray[np.float16]
    row: Rows
    encoder: str
    fingerprint: str

    @classmethod
    def read(cls, run: Run, encoder: str, ids: Sequence[str]) -> Space:
        """The space of a run.

        Args:
            encoder: one of `encoders(run)`. ids: of the images table, in its order.

        Raises:
            TableError: there are no embeddings by that encoder, or their table is damaged.
        """
        if encoder not in encoders(run):
            raise TableError(
                f"The run has no embeddings by {encoder}.", where=run.path, mend=f"auditkit score {run.id}"
            )
        file = run.path / "embeddings" / f"{encoder}.parquet"
        fingerprint = parquet_metadata(file).get(b"fingerprint", b"").decode()
        try:
            known, vectors = _read(file)
        except (OSError, KeyError, ValueError, arrow.ArrowException) as error:
            raise TableError(
                f"the embeddings are damaged: {error}", where=file, mend="delete the file and score the run again"
            ) from error
        import pandas as pd

        return cls(vectors, np.asarray(pd.Index(known).get_indexer(pd.Index(ids)), np.intp), encoder, fingerprint)

    def vector(self, position: int) -> Floats | None:
        """float32 [dim] of an image, by its row in the images table; None where it was not embedded."""
        at = self.row[position]
        return None if at < 0 else self.vectors[at].astype(np.float32)

    def cosines(self, vector: Floats) -> Floats:
        """Cosine of each image with a unit vector, float32 [n_images], in [-1, 1]; NaN where it was not embedded.

        Args:
            vector: float32 [dim].

        Raises:
            TableError: the vector has another length than the space.
        """
        if vector.shape != (self.vectors.shape[1],):
            raise TableError(
                f"a vector of {vector.shape} does not lie in a space of {self.vectors.shape[1]} dimensions",
                where=self.encoder, mend="score the run again with this encoder",
            )  # fmt: skip
        found = np.full(len(self.vectors) + 1, np.nan, np.float32)  # the last is for those without a vector, row -1
        for start in range(0, len(self.vectors), _BLOCK):
            block = self._block(start)
            found[start : start + len(block)] = block @ vector
        return np.clip(found[self.row], -1, 1)

    def nearest(self, position: int, k: int) -> list[tuple[int, float]]:
        """The k other images nearest to one, by row in the images table, with their cosines; the nearest first."""
        vector = self.vector(position)
        if vector is None:
            return []
        cosines = self.cosines(vector)
        cosines[position] = np.nan
        order = np.argsort(-cosines, kind="stable")[:k]  # NaN comes last
        return [(int(each), float(cosines[each])) for each in order if cosines[each] == cosines[each]]

    @cached_property
    def flat(self) -> Floats:
        """Each image on the first two principal components, float32 [n_images, 2]; NaN where it was not embedded."""
        n, dim = self.vectors.shape
        mean, second = np.zeros(dim), np.zeros((dim, dim))
        for start in range(0, n, _BLOCK):
            block = self._block(start)
            mean += block.sum(axis=0, dtype=np.float64)
            second += block.T @ block
        mean /= max(n, 1)
        axes = np.linalg.eigh(second / max(n, 1) - np.outer(mean, mean))[1][:, ::-1][:, :2]
        # Signs are arbitrary: fixed, so that a link to a part of the map leads to the same part again.
        axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])])
        flat = np.full((n + 1, 2), np.nan, np.float32)
        for start in range(0, n, _BLOCK):
            block = self._block(start)
            flat[start : start + len(block), : axes.shape[1]] = (block - mean) @ axes
        return flat[self.row]

    def alike(self, positions: Rows, at: float, *, parts: NDArray[np.generic] | None = None) -> list[Rows]:
        """Groups of near-duplicates: images that a chain of pairs with a cosine of at least `at` joins.

        Args:
            positions: rows of the images table that are looked at; cost grows with the square of their number.
            parts: one value for each of them; pairs are looked for within images of one value only.

        Returns:
            Each group's positions, of two and more; the largest first, then in the order of `positions`.
        """
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        positions = positions[self.row[positions] >= 0]
        if not len(positions):
            return []
        left: list[Rows] = []
        right: list[Rows] = []
        for members in _members(np.zeros(len(positions)) if parts is None else parts):
            vectors = self.vectors[self.row[positions[members]]].astype(np.float32)
            for start in range(0, len(members), _BLOCK):
                a, b = np.nonzero(vectors[start : start + _BLOCK] @ vectors.T >= at)
                upper = a + start < b
                left.append(members[a[upper] + start])
                right.append(members[b[upper]])
        a, b = np.concatenate(left), np.concatenate(right)
        graph = coo_array((np.ones(len(a), bool), (a, b)), shape=(len(positions), len(positions)))
        label = connected_components(graph, directed=False)[1]
        groups = [positions[members] for members in _members(label) if len(members) > 1]
        return sorted(groups, key=len, reverse=True)

    def _block(self, start: int) -> Floats:
        return self.vectors[start : start + _BLOCK].astype(np.float32)


def _members(label: NDArray[np.generic]) -> list[Rows]:
    """Places of each value of `label`, in the order in which values first come up."""
    _, first, number = np.unique(label, return_index=True, return_inverse=True)
    order = np.argsort(number, kind="stable")
    split = np.split(order, np.cumsum(np.bincount(number))[:-1])
    return [split[each] for each in np.argsort(first, kind="stable")]


def _read(file: Path) -> tuple[list[str], NDArray[np.float16]]:
    """Ids and vectors, read in pieces: the whole in single precision is never in memory."""
    source = parquet.ParquetFile(file, memory_map=True, pre_buffer=False)
    ids: list[str] = []
    vectors: NDArray[np.float16] | None = None
    for batch in source.iter_batches(_BLOCK, columns=["id", "embedding"]):
        column = batch.column("embedding")
        block = np.asarray(column.flatten(), np.float32).reshape(len(batch), -1)
        if vectors is None:
            vectors = np.empty((source.metadata.num_rows, block.shape[1]), np.float16)
        vectors[len(ids) : len(ids) + len(block)] = block
        ids += batch.column("id").to_pylist()
    return ids, np.zeros((0, 0), np.float16) if vectors is None else vectors

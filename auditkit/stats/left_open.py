"""What prompts leave open: the directions in which images of one and the same prompt differ."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]

SHARE = 0.75
"""Share of the variance within prompts that the directions hold: the rest is many small directions, in which
differences between prompts outweigh those within."""

FEWEST_DF = 50
"""Fewest degrees of freedom within prompts (images less prompts) from which directions are estimated."""


@dataclass(frozen=True)
class LeftOpen:
    """Principal directions of the variation within prompts.

    Attributes:
        directions: float64 [dim, d], orthonormal columns, the widest first; each column's entry of largest size
            is positive.
        covariance: float64 [dim, dim] of the embeddings within prompts.
        share: of the variance within prompts that they hold, in (0, 1].
        df: images less prompts.
    """

    directions: Floats
    covariance: Floats
    share: float
    df: int

    def project(self, rows: ArrayLike) -> Floats:
        """Coordinates [n, d] of rows [n, dim] along the directions."""
        x = np.asarray(rows)
        # In the rows' own precision, so that float32 embeddings are not copied.
        return np.asarray(x @ self.directions.astype(x.dtype if x.dtype == np.float32 else np.float64), np.float64)

    def openness(self, contrasts: ArrayLike) -> Floats:
        """Share of each contrast's [n, dim] squared length that lies in the directions, in [0, 1]; NaN for none."""
        a = np.asarray(contrasts, float)
        with np.errstate(invalid="ignore"):
            return np.asarray(((a @ self.directions) ** 2).sum(axis=1) / (a**2).sum(axis=1))

    def chance(self) -> tuple[float, float]:
        """Mean and standard deviation of `openness` for a random direction: Beta(d/2, (dim - d)/2)."""
        dim, d = self.directions.shape
        mean = d / dim
        return mean, float(np.sqrt(2 * mean * (1 - mean) / (dim + 2)))


def prompt_means(embeddings: ArrayLike, prompt: ArrayLike) -> tuple[Floats, Indices]:
    """Mean embedding [n_prompts, dim] and number of images [n_prompts] of each prompt.

    Args:
        embeddings: [n, dim]. prompt: [n] index of each row's prompt, 0 to n_prompts - 1, none skipped.
    """
    sums, _, sizes = _moments(embeddings, prompt, squares=False)
    return sums / sizes[:, None], sizes


def _moments(embeddings: ArrayLike, prompt: ArrayLike, *, squares: bool) -> tuple[Floats, Floats, Indices]:
    """Sums by prompt [n_prompts, dim], the sum of outer products [dim, dim], images by prompt.

    Goes through the rows in parts, so that no second copy of them is held.
    """
    from scipy import sparse

    x, index = np.asarray(embeddings), np.asarray(prompt, np.intp)
    sizes = np.bincount(index)
    sums, products = np.zeros((len(sizes), x.shape[1])), np.zeros((x.shape[1], x.shape[1]))
    for start in range(0, len(x), 8192):
        part, of = x[start : start + 8192].astype(np.float64), index[start : start + 8192]
        rows, at = np.unique(of, return_inverse=True)
        sums[rows] += sparse.csr_matrix((np.ones(len(at)), (at, np.arange(len(at)))), (len(rows), len(at))) @ part
        if squares:
            products += part.T @ part
    return sums, products, sizes


def left_open(embeddings: ArrayLike, prompt: ArrayLike, *, share: float = SHARE) -> LeftOpen | None:
    """The fewest principal directions that hold `share` of the variance within prompts; None with too few images.

    Differences between prompts show what they ask for (a judge's robe) and what the generator adds unasked (a
    man's face). Images of one prompt share what it asks for, so that the directions in which they differ are
    those it leaves open; a group's mean along these is what the generator chose. A trait that never differs
    between images of one prompt is not found so, however uneven it is over the groups.

    Which prompt an image belongs to is used, which group a prompt belongs to is not: tests that exchange whole
    prompts between groups stay exact.

    Args:
        embeddings: [n, dim], finite. prompt: [n] index of each row's prompt, 0 to n_prompts - 1, none skipped.

    >>> rng = np.random.default_rng(0)
    >>> x = np.repeat(rng.normal(size=(40, 3)), 5, axis=0) + rng.normal(size=(200, 1)) * [0, 1, 0]
    >>> abs(left_open(x, np.repeat(np.arange(40), 5)).directions).ravel().round(6).tolist()
    [0.0, 1.0, 0.0]
    """
    sums, products, sizes = _moments(embeddings, prompt, squares=True)
    df = int(sizes.sum()) - len(sizes)
    if df < FEWEST_DF:
        return None
    # Sum of squares about the prompts' means, without an array of residuals.
    covariance = (products - sums.T @ (sums / sizes[:, None])) / df
    variances, directions = np.linalg.eigh(covariance)
    variances, directions = np.maximum(variances[::-1], 0), directions[:, ::-1]
    if variances[0] <= 1e-12:
        return None
    held = np.cumsum(variances) / variances.sum()
    d = int(np.searchsorted(held, share - 1e-9)) + 1
    directions = directions[:, :d]
    signs = np.sign(directions[np.argmax(abs(directions), axis=0), range(d)])
    return LeftOpen(np.asarray(directions * signs), np.asarray(covariance), float(held[d - 1]), df)

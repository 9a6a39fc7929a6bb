"""The confusion matrix of a scorer, with the uncertainty of the calibration set it was counted on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from auditkit.errors import CalibrationError

Floats = NDArray[np.float64]

SMALLEST_SEPARATION = 0.1
"""Below this the correction multiplies sampling noise more than about tenfold."""


@dataclass(frozen=True)
class Confusion:
    """P(outcome | true class).

    Attributes:
        matrix: C, float64 [n_outcomes, n_classes], columns sum to 1. Outcomes may hold more than the classes
            (`unknown`).
        n: [n_classes] calibration images behind each column (effective number where they are dependent);
            infinite where the matrix is known.
        factors: for a joint attribute the two matrices that it is the Kronecker product of.
    """

    matrix: Floats
    n: Floats
    factors: tuple[Confusion, Confusion] | None = None

    @classmethod
    def from_counts(cls, counts: ArrayLike, *, n_effective: ArrayLike | None = None) -> Confusion:
        """From calibration counts (or weights) [n_outcomes, n_classes].

        Raises:
            CalibrationError: a class without calibration images, fewer outcomes than classes, or
                a count that is negative or not finite.
        """
        c = np.asarray(counts, float)
        if c.ndim != 2 or c.shape[0] < c.shape[1] or not np.all(np.isfinite(c)) or np.any(c < 0):
            raise CalibrationError(
                "The calibration counts are no table of outcomes by true class.",
                where=f"shape {c.shape}",
                mend="give finite counts >= 0, one column a class, at least as many outcomes as classes",
            )
        sums = c.sum(axis=0)
        n = sums if n_effective is None else np.asarray(n_effective, float)
        empty = np.flatnonzero((sums <= 0) | ~(n > 0))
        if len(empty):
            raise CalibrationError(
                "A class has no calibration images, so the scorer's errors on it are unknown.",
                where=f"column {', '.join(map(str, empty))} of {c.shape[1]}",
                mend="calibrate with labelled images of every class",
            )
        return cls(np.asarray(c / sums, np.float64), np.broadcast_to(n, sums.shape).astype(float))

    @classmethod
    def joint(cls, a: Confusion, b: Confusion) -> Confusion:
        """Of pairs, by the Kronecker product: takes the scorers' errors to be independent given the truth.

        Outcomes are all pairs of outcomes and classes all pairs of classes, the second running fastest.
        """
        matrix = np.asarray(np.kron(a.matrix, b.matrix), np.float64)
        return cls(matrix, np.minimum.outer(a.n, b.n).ravel(), (a, b))

    @property
    def own(self) -> NDArray[np.intp]:
        """[n_classes] the outcome that stands for each class; of a joint attribute the pair of its parts'."""
        if self.factors:
            a, b = self.factors
            return np.asarray((a.own[:, None] * len(b.matrix) + b.own).ravel(), np.intp)
        return np.arange(self.matrix.shape[1])

    @property
    def smoothed(self) -> Floats:
        """C with one image spread over each column's outcomes (prior 1/m each, Perks 1947).

        For variances only: without it 150 right of 150 would say that errors cannot happen.
        """
        if self.factors:
            return np.asarray(np.kron(self.factors[0].smoothed, self.factors[1].smoothed), np.float64)
        weight = 1 / (1 + self.n)
        return np.asarray(self.matrix * (1 - weight) + weight / len(self.matrix), np.float64)

    def covariance(self, p: ArrayLike) -> Floats:
        """Covariance [n_outcomes, n_outcomes] of C p over calibration sets, for shares p [n_classes]."""
        p = np.asarray(p, float)
        if self.factors:
            a, b = self.factors
            table = p.reshape(a.matrix.shape[1], b.matrix.shape[1])
            from_a = a._spread(table @ b.smoothed.T, np.kron)
            return from_a + b._spread(table.T @ a.smoothed.T, lambda cov, w: np.kron(w, cov))
        return self._spread(p[:, None], np.kron)

    def _spread(self, rows: Floats, kron) -> Floats:  # type: ignore[no-untyped-def]
        total = 0.0
        for column, n, row in zip(self.smoothed.T, self.n, rows, strict=True):
            cov = (np.diag(column) - np.outer(column, column)) / (n + 1)
            total = total + kron(cov, np.outer(row, row))
        return np.asarray(total)

    def draw(self, rng: np.random.Generator, size: int, *, prior: float | None = None) -> Floats:
        """Matrices the calibration set leaves plausible: [size, n_outcomes, n_classes] (Dirichlet).

        Args:
            prior: images added to each cell; None: 1/n_outcomes (Perks 1947).
        """
        m, k = self.matrix.shape
        if self.factors:
            a, b = (f.draw(rng, size, prior=prior) for f in self.factors)
            return np.einsum("rik,rjl->rijkl", a, b).reshape(size, m, k)
        out = np.broadcast_to(self.matrix, (size, m, k)).copy()
        for j in np.flatnonzero(np.isfinite(self.n)):
            out[:, :, j] = rng.dirichlet(self.n[j] * self.matrix[:, j] + (1 / m if prior is None else prior), size=size)
        return out

    @property
    def separation(self) -> float:
        """Smallest singular value of C on differences of class shares; for two classes without `unknown`
        Youden's Se + Sp - 1. 1 is perfect, 0 means that two mixtures of classes look the same."""
        if self.matrix.shape[1] == 1:
            return 1.0
        return float(np.linalg.svd(self.matrix @ zero_sum_basis(self.matrix.shape[1]), compute_uv=False)[-1])

    def check(self) -> None:
        """Refuse a matrix that cannot be inverted with any trust.

        Raises:
            CalibrationError: separation under .1, or under three of its own standard errors.
        """
        if self.factors:
            for factor in self.factors:
                factor.check()
            return
        found, basis = self.separation, zero_sum_basis(self.matrix.shape[1])
        if self.matrix.shape[1] == 1:
            return
        draws = self.draw(np.random.default_rng(0), 200)
        error = float(np.linalg.svd(draws @ basis, compute_uv=False)[:, -1].std())
        if found < max(SMALLEST_SEPARATION, 3 * error):
            raise CalibrationError(
                "The scorer hardly tells the classes apart, so its shares cannot be corrected.",
                where=f"smallest singular value {found:.3f}, standard error {error:.3f}",
                mend="use an encoder that separates the classes, or calibrate with more labelled images",
            )


def zero_sum_basis(k: int) -> Floats:
    """Orthonormal basis [k, k - 1] of the vectors that sum to zero."""
    return np.linalg.svd(np.ones((1, k)))[2][1:].T

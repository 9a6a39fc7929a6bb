"""Where images lie between the images of two poles: 1 on the side of A, 0 on that of B; the cluster is the prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from auditkit.stats.association import resampling_weights, sign_test, student_interval

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Prompts:
    """Sums of unit embeddings by prompt: n [P] images, total [P, dim]."""

    n: Floats
    total: Floats

    @classmethod
    def of(cls, embeddings: ArrayLike, prompt: ArrayLike) -> Self:
        """From embeddings [n_images, dim], unit rows, and the prompt [n_images] of each."""
        e = np.asarray(embeddings, float)
        _, row = np.unique(np.asarray(prompt), return_inverse=True)
        total = np.zeros((int(row.max()) + 1 if len(row) else 0, e.shape[1]))
        np.add.at(total, row, e)
        return cls(np.bincount(row, minlength=len(total)).astype(float), total)


@dataclass(frozen=True)
class Place:
    """A position between the poles with its interval and the two-sided p-value of 1/2; NaN where the images of the
    poles cannot be told apart (`apart` False)."""

    position: float
    low: float
    high: float
    p_value: float
    apart: bool


Stratum = tuple[Prompts, Prompts, Prompts]
"""The neutral prompts of a group, those that state pole A, those that state pole B."""


def place_between(strata: Sequence[Stratum], rng: np.random.Generator, *, replicates: int = 2000) -> Place:
    """The position of neutral images between the images of two poles, over one group or the mean over several.

    The question of T2IAT (Wang et al. 2023, Findings of ACL), s(x) = mean_a cos(x, a) - mean_b cos(x, b) over the
    poles' images, in a scale of its own: (N - B)(A - B) / |A - B|^2 with N, A, B the mean embeddings. If neutral
    images are a mixture of images like A's and like B's, this is the share of A's in it, whatever the encoder.
    Squares leave out each image's product with itself, which would pull the position to 1/2.

    The interval resamples the prompts of all three kinds; the p-value flips the signs of whole prompts' parts in
    the distance from the middle, so that it counts the uncertainty of the poles as well.

    Args:
        strata: groups; several count by how far apart their poles lie. rng: the source of randomness.
        replicates: R of bootstrap and test.
    """
    groups = [_Group(*stratum) for stratum in strata]
    along, length = np.sum([group.products() for group in groups], axis=0)[:, 0]
    drawn_along, drawn_length = np.sum([group.resampled(rng, replicates) for group in groups], axis=0)
    if not (length > 0 and np.quantile(drawn_length, 0.025) > 0):
        return Place(np.nan, np.nan, np.nan, np.nan, apart=False)
    neutral = sum(len(group.kinds[0].n) for group in groups) - len(groups) + 1
    low, high = student_interval(along / length, drawn_along / drawn_length, neutral)
    parts = _comparable([group.influence() for group in groups])
    p_value = float(sign_test(parts[:, None], rng, permutations=replicates)[0])
    return Place(float(along / length), float(low), float(high), p_value, apart=True)


class _Group:
    """Products of the sums of one group's prompts: neutral ones, those of pole A, those of pole B."""

    def __init__(self, neutral: Prompts, a: Prompts, b: Prompts):
        self.kinds = (neutral, a, b)
        self.gram = {(i, j): self.kinds[i].total @ self.kinds[j].total.T for i in range(3) for j in range(i, 3)}

    def resampled(self, rng: np.random.Generator, replicates: int) -> Floats:
        return self.products([resampling_weights(len(kind.n), rng, replicates) for kind in self.kinds])

    def products(self, weights: Sequence[Floats] | None = None) -> Floats:
        """(N - B)(A - B) and |A - B|^2 under weights [R, P] of each kind's prompts, by default 1: float64 [2, R]."""
        w = weights or [np.ones((1, len(kind.n))) for kind in self.kinds]

        def mean(i: int, j: int) -> Floats:
            total = np.einsum("rp,pq,rq->r", w[i], self.gram[i, j], w[j])
            pairs = (w[i] @ self.kinds[i].n) * (w[j] @ self.kinds[j].n)
            if i == j:  # an image's product with itself is 1
                same = w[i] ** 2 @ self.kinds[i].n
                total, pairs = total - same, pairs - same
            return total / np.where(pairs > 0, pairs, np.nan)

        aa, bb, ab = mean(1, 1), mean(2, 2), mean(1, 2)
        return np.array([mean(0, 1) - mean(0, 2) - ab + bb, aa + bb - 2 * ab])

    def influence(self) -> tuple[Floats, Floats]:
        """Each prompt's part in (N - (A + B)/2)(A - B), the distance from the middle: neutral prompts, the poles'."""
        n, a, b = (kind.total.sum(axis=0) / kind.n.sum() for kind in self.kinds)
        along, length = self.products()[:, 0]
        neutral, *poles = self.kinds
        own = neutral.total @ (a - b) / neutral.n.sum()
        # Neutral prompts keep their mean, which is what is tested; the poles' parts vary about 0.
        own += (along - length / 2 - own.sum()) * neutral.n / neutral.n.sum()
        parts = []
        for sign, pole, at in ((1, poles[0], a), (-1, poles[1], b)):
            part = sign * (pole.total @ (n - at)) / pole.n.sum()
            parts.append(part - part.sum() * pole.n / pole.n.sum())
        return own, np.concatenate(parts)


def _comparable(parts: Sequence[tuple[Floats, Floats]]) -> Floats:
    """Parts of all prompts whose signs may be flipped. That groups lie on different sides says nothing of their mean:
    neutral prompts of several groups vary about the mean of all, not about the middle."""
    if len(parts) == 1:
        return np.concatenate(parts[0])
    mean = np.mean([own.sum() for own, _ in parts])
    flat = []
    for own, poles in parts:
        scale = np.sqrt(len(own) / max(len(own) - 1, 1))  # for the group's mean, which is fitted
        flat += [(own - own.mean()) * scale + mean / len(own), poles]
    return np.concatenate(flat)

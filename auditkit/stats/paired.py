"""Two audits paired image by image: discordant pairs, the difference of corrected shares; prompts are clusters."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from auditkit.stats.bootstrap import expanded_percentile, resampled_totals
from auditkit.stats.confusion import Confusion, zero_sum_basis

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Discordance:
    """Pairs that one run shows as a class and the other does not.

    Attributes:
        gained: pairs where only the second run shows it. lost: where only the first does.
        p_value: that the two runs are alike, by swapping them prompt by prompt.
        p_mcnemar: McNemar's exact test, which takes every pair for independent.
    """

    gained: int
    lost: int
    p_value: float
    p_mcnemar: float


def discordance(
    first: ArrayLike, second: ArrayLike, prompt: ArrayLike, rng: np.random.Generator, *, replicates: int = 2000
) -> Discordance:
    """Discordant pairs with McNemar's test (1947, Psychometrika 12:153-157) and one that holds for clusters.

    Swapping the runs' labels within a prompt changes the sign of its gained - lost: if the runs are alike every
    pattern of signs is equally likely, whatever the correlation within the prompt. All patterns are tried where
    they are few (16 prompts or less), else `replicates` random ones; p = (1 + #{|sum| >= |observed|}) / (1 + R).

    Args:
        first, second: bool [n], whether each run's image of the pair shows the class.
        prompt: int [n].

    >>> rng = np.random.default_rng(0)
    >>> found = discordance([0, 0, 0, 0, 0, 0], [1, 1, 1, 1, 1, 1], range(6), rng)
    >>> found.gained, found.p_value, found.p_mcnemar
    (6, 0.03125, 0.03125)
    """
    a, b = np.asarray(first, bool), np.asarray(second, bool)
    _, cluster = np.unique(np.asarray(prompt), return_inverse=True)
    gained, lost = int((b & ~a).sum()), int((a & ~b).sum())
    if gained + lost == 0:
        return Discordance(0, 0, 1.0 if len(a) else float("nan"), 1.0 if len(a) else float("nan"))
    net = np.bincount(cluster, weights=b.astype(float) - a)
    net = net[net != 0]
    observed = abs(net.sum())
    if len(net) <= 16:
        signs = 1.0 - 2.0 * ((np.arange(1 << len(net))[:, None] >> np.arange(len(net))) & 1)
        p_value = float(np.mean(np.abs(signs @ net) >= observed - 1e-9))
    else:
        signs = rng.choice([-1.0, 1.0], size=(replicates, len(net)))
        p_value = float((1 + np.count_nonzero(np.abs(signs @ net) >= observed - 1e-9)) / (1 + replicates))
    return Discordance(gained, lost, p_value, float(stats.binomtest(gained, gained + lost).pvalue))


@dataclass(frozen=True)
class Difference:
    """Corrected shares of the second run less those of the first; arrays are float64 [n_classes], in [-1, 1].

    `p_values` are of no difference: Student's t with G - 1 degrees of freedom on the bootstrap's standard error.
    """

    estimate: Floats
    low: Floats
    high: Floats
    p_values: Floats


def corrected_difference(
    first: ArrayLike,
    second: ArrayLike,
    confusion: Confusion,
    rng: np.random.Generator,
    *,
    replicates: int = 2000,
    confidence: float = 0.95,
) -> Difference:
    """Difference of error-corrected shares of two runs of the same prompts, by a paired bootstrap.

    Estimate: A (q2 - q1), A the least-squares inverse of the confusion matrix (`corrected.inverse`); linear, so that
    what the scorer gets wrong alike in both runs cancels. Interval: prompts resampled in pairs, each time with a
    matrix that the calibration set leaves plausible; percentiles expanded for few prompts.

    Coverage of a nominal 95%, 400 simulated pairs of audits a setting, 10 and 30 prompts x 5 images, differences 0, .1
    and .3: 92.0-96.5%, and the test at 5% rejects 4.0-5.5% where nothing differs.

    Args:
        first, second: [n_prompts, n_outcomes] images by prompt and outcome; row i of both is the same prompt.

    Returns:
        Difference; all NaN where either run has no images.
    """
    a, b = np.asarray(first, float), np.asarray(second, float)
    k = confusion.matrix.shape[1]
    if a.shape != b.shape or a.ndim != 2:
        raise ValueError("both runs need counts [n_prompts, n_outcomes] of the same prompts")
    keep = (a.sum(axis=1) > 0) & (b.sum(axis=1) > 0)
    if not keep.any():
        nan = np.full(k, np.nan)
        return Difference(nan, nan, nan, nan)
    a, b = a[keep], b[keep]
    steps = _step(confusion.matrix[None])[0]
    estimate = steps @ (b.sum(axis=0) / b.sum() - a.sum(axis=0) / a.sum())
    totals = resampled_totals(np.hstack([a, b]), rng, replicates=replicates)
    q1, q2 = np.split(totals, 2, axis=1)
    delta = q2 / q2.sum(axis=1, keepdims=True) - q1 / q1.sum(axis=1, keepdims=True)
    draws = np.einsum("rkm,rm->rk", _step(confusion.draw(rng, replicates)), delta)
    low, high = expanded_percentile(draws, len(a), confidence=confidence)
    # Prompts that all moved alike would have no spread: half an image is the least that can be told apart.
    error = np.maximum(draws.std(axis=0), 0.5 / a.sum())
    p_values = 2 * stats.t.sf(np.abs(estimate) / error, max(len(a) - 1, 1))
    low, high = np.clip(np.minimum(low, estimate), -1, 1), np.clip(np.maximum(high, estimate), -1, 1)
    return Difference(estimate, low, high, p_values)


def _step(matrices: Floats) -> Floats:
    """What maps a difference of outcome shares to one of class shares, [..., n_classes, n_outcomes]."""
    k = matrices.shape[-1]
    if k == 1:
        return np.zeros((len(matrices), 1, matrices.shape[-2]))
    basis = zero_sum_basis(k)
    return np.asarray(basis @ np.linalg.pinv(matrices @ basis))

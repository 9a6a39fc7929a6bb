"""Whether audited images are of the kind that the calibration speaks of: tests of conditional and of label shift.

A correction holds under any class mix (label shift) so long as the scorer errs alike, class by class, on both sets of
images. Where it errs otherwise (conditional shift) the numbers are off and no interval says so; this looks for traces.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from auditkit.stats.confusion import zero_sum_basis
from auditkit.stats.corrected import constrained_shares, inverse
from auditkit.stats.design import Clustering, clustering

if TYPE_CHECKING:
    from auditkit.stats.estimators.base import CalibrationSample, Evidence

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]

PER_BIN = 12
"""Calibration sources, of one predicted class, behind each bin of confidence."""


@dataclass(frozen=True)
class Shift:
    """One test.

    Attributes:
        p_value: of no shift; NaN where it could not be tested.
        size: of a conditional shift the share of images that no mixture explains, beyond what chance gives; of a
            label shift the total variation between the two class mixes. In [0, 1].
    """

    p_value: float
    size: float


NOT_TESTED = Shift(float("nan"), float("nan"))


def conditional_shift(evidence: Evidence, rng: np.random.Generator, *, replicates: int = 1000) -> Shift:
    """Are the audit's posteriors those of some mixture of the calibration's classes?

    Outcomes are made finer than labels, predicted class by bin of confidence, so that there are more of them than
    classes: q = P p has no exact solution where P changed. The statistic is the generalised least squares misfit;
    its p-value comes from simulated audits (a true P drawn from what the calibration sources leave plausible, a
    multinomial of the effective size), so that small counts do not matter. Prompts that differ only in their class mix
    leave no misfit, so the design effect is that of the misfit's own scores.

    Blind to a change that looks like another mixture, such as every second woman taken for a man with the same
    confidence as true men. Only labels by people see that.

    Args:
        evidence: with `posterior` and `sample`, else not tested.
    """
    if evidence.posterior is None or evidence.sample is None or evidence.n == 0:
        return NOT_TESTED
    sample, k = evidence.sample, evidence.n_classes
    edges = _edges(sample)
    n_cells = sum(len(e) + 1 for e in edges)
    if n_cells <= k or np.bincount(sample.truth, minlength=k).min() == 0:
        return NOT_TESTED
    known, sizes = _by_class(sample, _cells(sample.posterior, edges), n_cells)
    cell = _cells(evidence.posterior, edges)
    q = np.bincount(cell, minlength=n_cells) / evidence.n
    shares = constrained_shares(q, known)
    prior = 1 / n_cells
    smooth = (known * sizes + prior) / (sizes + prior * n_cells)
    expected = smooth @ ((evidence.n * shares + 1 / k) / (evidence.n + 1))

    def covariance(effect: float) -> Floats:
        own = (np.diag(expected) - np.outer(expected, expected)) * effect / evidence.n
        for p, column, m in zip(shares, smooth.T, sizes, strict=True):
            own = own + p**2 * (np.diag(column) - np.outer(column, column)) / (m + 1)
        return own

    by_prompt = clustering(_tables(evidence, cell, n_cells))
    effect = 1.0
    if by_prompt.between is not None:
        scores = _misfit_scores(known, covariance(1.0))
        between, within = (np.trace(scores @ np.asarray(m) @ scores.T) for m in (by_prompt.between, by_prompt.within))
        ratio = between / max(within, 1e-12)
        icc = float(np.clip((ratio - 1) / (ratio + by_prompt.size - 1), 0, 1))
        effect = Clustering(icc, by_prompt.df).effect(np.bincount(evidence.prompt)[np.unique(evidence.prompt)])
    scores = _misfit_scores(known, covariance(effect))
    truth = rng.standard_gamma(np.broadcast_to((known * sizes + prior).T, (replicates, k, n_cells)))
    truth = np.einsum("rkc,k->rc", truth / truth.sum(axis=-1, keepdims=True), shares)
    n = max(round(evidence.n / effect), 1)
    audits = rng.multinomial(n, truth / truth.sum(axis=1, keepdims=True)) / n
    # The scores leave out what is in the span of the classes, so no shares need be fitted.
    start = known.mean(axis=1)
    simulated = (((audits - start) @ scores.T) ** 2).sum(axis=1)
    statistic = float(((scores @ (q - start)) ** 2).sum())
    p_value = (1 + np.count_nonzero(simulated >= statistic - 1e-12)) / (1 + replicates)
    by_chance = np.abs(audits - constrained_shares(audits, known) @ known.T).sum(axis=1).mean() / 2
    return Shift(float(p_value), float(max(np.abs(q - known @ shares).sum() / 2 - by_chance, 0.0)))


def label_shift(evidence: Evidence, found: Clustering | None = None) -> Shift:
    """Does the class mix differ from the calibration's, and by how much?

    Score test of p = pi, pi the mix of the calibration's sources: (q - C pi)'A' V^-1 A(q - C pi), chi-square with K - 1
    degrees of freedom, V holding the audit's variance, by prompts, and the calibration's. Size: total variation
    between the corrected shares and pi.

    Args:
        evidence: with `confusion`; without a sample, sources are taken to be as `confusion.n` says.
        found: clustering estimated elsewhere; None estimates it here.
    """
    from scipy import stats

    confusion, mix = evidence.confusion, calibration_mix(evidence)
    if confusion is None or mix is None or evidence.n == 0:
        return NOT_TESTED
    k = len(mix)
    a, q = inverse(confusion.matrix), evidence.outcomes() / evidence.n
    expected = confusion.smoothed @ mix
    effect = np.sqrt(evidence.effects(a, found))
    sampling = a @ (np.diag(expected) - np.outer(expected, expected)) @ a.T / evidence.n * np.outer(effect, effect)
    variance = sampling + a @ confusion.covariance(mix) @ a.T
    basis = zero_sum_basis(k)
    apart = basis.T @ a @ (q - confusion.matrix @ mix)
    statistic = float(apart @ np.linalg.pinv(basis.T @ variance @ basis) @ apart)
    size = np.abs(constrained_shares(q, confusion.matrix) - mix).sum() / 2
    return Shift(float(stats.chi2.sf(statistic, k - 1)), float(size))


def calibration_mix(evidence: Evidence) -> Floats | None:
    """Class mix of the calibration's sources, float64 [K]; None where nothing tells, as for a known matrix."""
    k = evidence.n_classes
    if evidence.sample is not None:
        sources = np.unique(np.stack([evidence.sample.truth, evidence.sample.source]), axis=1)[0]
        mix = np.bincount(sources, minlength=k).astype(float)
        return mix / mix.sum()
    confusion = evidence.confusion
    if confusion is None or confusion.factors or not np.isfinite(confusion.n).all():
        return None
    return np.asarray(confusion.n / confusion.n.sum())


def _edges(sample: CalibrationSample) -> list[Floats]:
    """For each predicted class the confidences between its bins, by quantiles of the calibration's."""
    best, confidence = sample.posterior.argmax(axis=1), sample.posterior.max(axis=1)
    k = sample.posterior.shape[1]
    most = 4 if k <= 3 else 3 if k <= 6 else 2
    edges = []
    for j in range(k):
        mine = best == j
        bins = int(np.clip(len(np.unique(sample.source[mine])) // PER_BIN, 1, most))
        inner = np.quantile(confidence[mine], np.arange(1, bins) / bins) if bins > 1 else np.empty(0)
        edges.append(np.unique(inner))
    return edges


def _cells(posterior: Floats, edges: list[Floats]) -> Indices:
    """Index of predicted class by bin, int [n]."""
    best, confidence = posterior.argmax(axis=1), posterior.max(axis=1)
    cell = np.zeros(len(best), np.intp)
    start = 0
    for j, inner in enumerate(edges):
        mine = best == j
        cell[mine] = start + np.searchsorted(inner, confidence[mine], side="right")
        start += len(inner) + 1
    return cell


def _by_class(sample: CalibrationSample, cell: Indices, n_cells: int) -> tuple[Floats, Floats]:
    """P(cell | class), float64 [n_cells, K], sources weighing the same; and effective images of each class [K]."""
    k = sample.posterior.shape[1]
    tables = []
    for j in range(k):
        mine = sample.truth == j
        _, row = np.unique(sample.source[mine], return_inverse=True)
        table = np.zeros((int(row.max()) + 1, n_cells))
        np.add.at(table, (row, cell[mine]), 1)
        tables.append(table)
    found = clustering(tables)
    known = np.stack([(t / t.sum(axis=1, keepdims=True)).mean(axis=0) for t in tables], axis=1)
    return known, np.array([t.sum() / found.effect(t.sum(axis=1)) for t in tables])


def _tables(evidence: Evidence, cell: Indices, n_cells: int) -> list[Floats]:
    strata = np.zeros(evidence.n, np.intp) if evidence.stratum is None else evidence.stratum
    tables = []
    for one in np.unique(strata):
        chosen = strata == one
        _, row = np.unique(evidence.prompt[chosen], return_inverse=True)
        flat = np.bincount(row * n_cells + cell[chosen], minlength=(int(row.max()) + 1) * n_cells)
        tables.append(flat.reshape(-1, n_cells).astype(float))
    return tables


def _misfit_scores(known: Floats, covariance: Floats) -> Floats:
    """L [n_cells, n_cells]: L(q - P p) is the whitened misfit, with nothing left of the span of the classes."""
    values, vectors = np.linalg.eigh(covariance)
    keep = values > 1e-9 * values.max()
    whiten = (vectors[:, keep] / np.sqrt(values[keep])).T
    d = whiten @ known @ zero_sum_basis(known.shape[1])
    return np.asarray(whiten - d @ np.linalg.pinv(d) @ whiten)

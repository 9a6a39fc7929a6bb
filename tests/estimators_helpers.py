"""Audits of known truth with posteriors, for the tests of the estimators: normal scores, exact posteriors."""

from __future__ import annotations

import numpy as np

from auditkit.stats.confusion import Confusion
from auditkit.stats.estimators import CalibrationSample, Evidence


def posteriors(truth: np.ndarray, k: int, rng: np.random.Generator, *, apart: float, moved: float = 0.0) -> np.ndarray:
    """Posteriors under equal class shares, exact where `moved` is 0.

    Args:
        truth: int [n]. apart: distance of a class's mean score from the others'; 2 to 4.
        moved: by how much each image lies nearer to the others than the posterior takes it to, 0 to 1.
    """
    scores = apart * (rng.normal(size=(len(truth), k)) + (1 - moved) * apart * np.eye(k)[truth])
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def evidence(
    shares: list[float],
    rng: np.random.Generator,
    *,
    prompts: int = 10,
    images: int = 20,
    icc: float = 0.0,
    sources: int = 100,
    copies: int = 1,
    apart: float = 3.0,
    moved: float = 0.0,
    threshold: float = 0.75,
    labels: int = 0,
) -> Evidence:
    """An audit of those class shares, its calibration drawn anew; `labels` images labelled by people."""
    p, k = np.array(shares), len(shares)
    own = rng.dirichlet(p * (1 / icc - 1) + 1e-9, size=prompts) if icc else np.tile(p, (prompts, 1))
    truth = np.concatenate([rng.choice(k, size=images, p=row / row.sum()) for row in own])
    f = posteriors(truth, k, rng, apart=apart, moved=moved)
    known = np.repeat(np.arange(k), sources)
    g = posteriors(known, k, rng, apart=apart)
    counts = np.zeros((k + 1, k))
    np.add.at(counts, (decide(g, threshold), known), 1)
    human = np.full(len(truth), -1)
    seen = rng.choice(len(truth), labels, replace=False)
    human[seen] = truth[seen]
    source = np.repeat(np.arange(len(g)), copies)
    sample = CalibrationSample(g[source], known[source], source)
    return Evidence(
        decide(f, threshold),
        np.repeat(np.arange(prompts), images),
        f,
        Confusion.from_counts(counts),
        sample,
        human if labels else None,
    )


def decide(posterior: np.ndarray, threshold: float) -> np.ndarray:
    """The likeliest class, K where its posterior is below the threshold."""
    return np.where(posterior.max(axis=1) >= threshold, posterior.argmax(axis=1), posterior.shape[1])

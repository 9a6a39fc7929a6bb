"""From cosines to posteriors to labels: pure functions, shared by scoring and calibration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from auditkit.stats.intervals import wilson

if TYPE_CHECKING:
    from auditkit.clip.attributes import Attribute
    from auditkit.clip.encoders import Encoder


def class_embeddings(encoder: Encoder, attribute: Attribute) -> np.ndarray:
    """A unit vector a class: the mean of its prompts' unit embeddings, normalised (Radford et al. 2021).

    Returns:
        float32 [K, dim], in the order of attribute.classes.
    """
    prompts = [prompt for ensemble in attribute.classes.values() for prompt in ensemble]
    embedded = iter(encoder.embed_texts(prompts))
    means = np.stack(
        [np.mean([next(embedded) for _ in prompts], axis=0) for prompts in attribute.classes.values()]
    )
    return (means / np.linalg.norm(means, axis=1, keepdims=True)).astype(np.float32)


def posteriors(cosines: np.ndarray, logit_scale: float, temperature: float = 1.0) -> np.ndarray:
    """softmax(logit_scale * cosine / temperature) over the classes.

    Args:
        cosines: float [n, K], in [-1, 1].
        logit_scale: > 0, of the encoder.
        temperature: > 0; above 1 makes the posteriors less sure (Guo et al. 2017).

    Returns:
        float32 [n, K], rows sum to 1.
    """
    logits = np.asarray(cosines, np.float32) * np.float32(logit_scale / temperature)
    powers = np.exp(logits - logits.max(axis=1, keepdims=True, initial=-np.inf))
    return powers / powers.sum(axis=1, keepdims=True)


def decide(posterior: np.ndarray, threshold: float) -> np.ndarray:
    """The most likely class where its posterior reaches the threshold, else K, for unknown.

    Args:
        posterior: float [n, K], rows sum to 1.
        threshold: in [0, 1].

    Returns:
        int64 [n], in 0..K.
    """
    best = posterior.argmax(axis=1)
    sure = posterior.max(axis=1, initial=0) >= threshold
    return np.where(sure, best, posterior.shape[1])


def calibration_error(posterior: np.ndarray, truth: np.ndarray, *, n_bins: int = 10) -> float:
    """Expected calibration error of the top class, bins of equal width (Guo et al. 2017); lower is better.

    Args:
        posterior: float [n, K], rows sum to 1.
        truth: int [n], in 0..K-1.

    Returns:
        In [0, 1]; NaN without images.
    """
    if len(truth) == 0:
        return float("nan")
    confidence = posterior.max(axis=1).astype(np.float64)
    right = (posterior.argmax(axis=1) == truth).astype(np.float64)
    bins = np.minimum((confidence * n_bins).astype(int), n_bins - 1)
    gaps = np.bincount(bins, weights=right - confidence, minlength=n_bins)
    return float(np.abs(gaps).sum() / len(truth))


EDGES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)
"""Of the bins of confidence in a reliability table; finer at the top, where most images lie."""


@dataclass(frozen=True)
class Bin:
    """Images whose confidence lies in [low, high); the last bin holds 1 too."""

    low: float
    high: float
    n_images: int
    n_sources: int
    """Distinct drawings: what the interval rests on, since copies of one drawing are no further evidence."""
    confidence: float
    """Mean posterior of the likeliest class."""
    accuracy: float
    """Share of images whose likeliest class is the true one."""
    ci_low: float
    ci_high: float
    """Wilson's interval of the accuracy, 95%, for n_sources."""


def reliability(posterior: np.ndarray, truth: np.ndarray, source: np.ndarray) -> list[Bin]:
    """How often the likeliest class is right, by how sure the posterior is (DeGroot and Fienberg 1983); bins of
    `EDGES`, empty ones left out.

    Args:
        posterior: float [n, K], rows sum to 1.
        truth: int [n], in 0..K-1.
        source: [n], of any kind: which drawing an image is a copy of.
    """
    confidence = np.asarray(posterior, np.float64).max(axis=1, initial=0)
    right = posterior.argmax(axis=1) == truth
    place = np.clip(np.digitize(confidence, EDGES) - 1, 0, len(EDGES) - 2)
    bins, place = np.unique(place, return_inverse=True)
    images = np.bincount(place)
    names, drawing = np.unique(source, return_inverse=True)
    sources = np.bincount(np.unique(place * len(names) + drawing) // len(names))
    mean, accuracy = np.bincount(place, confidence) / images, np.bincount(place, right) / images
    low, high = wilson(accuracy * sources, sources)
    columns = (images.tolist(), sources.tolist(), mean.tolist(), accuracy.tolist(), low.tolist(), high.tolist())
    return [Bin(EDGES[i], EDGES[i + 1], *values) for i, *values in zip(bins, *columns, strict=True)]

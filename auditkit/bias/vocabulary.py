"""The vocabulary of `discovery`: everyday concepts in sentences, and which of them an encoder has words for."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

NEAREST = 5
"""The two wordings of a concept are each among the so many nearest to the other."""

ALIKE = 0.5
"""Least cosine between the two wordings, after their mean over the vocabulary is taken out."""

_EMPTY_WORDS = frozenset(
    ["a", "an", "the", "of", "with", "in", "on", "and", "to", "by", "at", "for", "from", "over", "under", "or",
     "without", "who", "that", "is", "their", "someone", "something", "person", "people", "picture", "image"]
)  # fmt: skip
"""Words that say nothing of what a picture shows."""


@dataclass(frozen=True)
class Concept:
    """A concept: its name, its topic's key and title, whether it belongs to a person, and its two wordings."""

    name: str
    topic: str
    title: str
    of_people: bool
    wordings: tuple[str, str]


@cache
def vocabulary() -> tuple[Concept, ...]:
    """The concepts of concepts.toml, in its order."""
    made = []
    for topic, entry in _read().items():
        if topic == "frames":
            continue
        for name, (first, second) in entry["concepts"].items():
            made.append(Concept(name, topic, entry["title"], entry.get("of_people", False), (first, second)))
    return tuple(made)


def sentences(concepts: tuple[Concept, ...]) -> list[str]:
    """Every wording in every frame: concept by concept, wording by wording, the frames running fastest."""
    return [frame.format(words) for each in concepts for words in each.wordings for frame in _read()["frames"]]


def wording_embeddings(embedded: ArrayLike, concepts: tuple[Concept, ...]) -> Floats:
    """Unit vectors float64 [n_concepts, 2, dim]: each wording's mean over the frames, from `sentences` embedded."""
    rows = np.asarray(embedded, float)
    means = rows.reshape(len(concepts), 2, -1, rows.shape[1]).mean(axis=2)
    return np.asarray(means / np.maximum(np.linalg.norm(means, axis=-1, keepdims=True), 1e-12))


def understood(wordings: ArrayLike) -> NDArray[np.bool_]:
    """Which concepts an encoder has words for, bool [n_concepts].

    Two wordings of a concept share no word, so that an encoder places them together only if it has learnt what
    they mean: each is among the five nearest to the other, of all concepts, at a cosine of .5 or more, once each
    column's mean over the vocabulary is taken out. A word that it has never met lies anywhere.

    Args:
        wordings: [n_concepts, 2, dim], unit vectors.
    """
    v = np.asarray(wordings, float)
    v = v - v.mean(axis=0)
    v = v / np.maximum(np.linalg.norm(v, axis=-1, keepdims=True), 1e-12)
    alike = v[:, 0] @ v[:, 1].T
    own = np.diag(alike)
    nearer = np.maximum((alike > own[:, None]).sum(axis=1), (alike > own).sum(axis=0))
    return np.asarray((nearer < NEAREST) & (own >= ALIKE))


def contrasts_within_topics(wordings: ArrayLike, topics: list[str]) -> Floats:
    """Each concept's mean wording less the mean of its topic's, or of all concepts where it is its topic's only one.

    Args:
        wordings: [n_concepts, 2, dim]. topics: of each.
    """
    v = np.asarray(wordings, float).mean(axis=1)
    topic = np.array(topics)
    out = np.empty_like(v)
    for each in set(topics):
        mine = topic == each
        out[mine] = v[mine] - (v[mine] if mine.sum() > 1 else v).mean(axis=0)
    return out


def states(prompt: str, concept: Concept) -> bool:
    """Whether the prompt says the concept in so many words: all the content words of one of its wordings.

    >>> states("a portrait of a female judge", vocabulary()[0]), states("a nurse at work", vocabulary()[0])
    (True, False)
    """
    said = _content(prompt)
    return any(words <= said for words in map(_content, (*concept.wordings, concept.name)) if words)


@lru_cache(8192)
def _content(text: str) -> frozenset[str]:
    return frozenset(re.findall(r"[a-z0-9'-]+", text.lower())) - _EMPTY_WORDS


@cache
def _read() -> dict:
    return tomllib.loads((Path(__file__).parent / "concepts.toml").read_text(encoding="utf-8"))

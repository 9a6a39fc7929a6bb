"""Spaces and encoders that sessions share, and what is looked for in them: words, an upload, or an image of the run."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from app.dashboard import state
from app.dashboard.embedder import Embedder
from auditkit.clip import space as spaces
from auditkit.clip.space import Space
from auditkit.clip.training import load_training
from auditkit.errors import AuditkitError

LOOSE = 0.95
"""Cosine of near-duplicates where no threshold was chosen for the encoder; the reader is told that it was not."""


@dataclass(frozen=True)
class Near:
    """From which cosine two images count as near-duplicates, and what is known of that threshold."""

    cosine: float
    about: str


def names(loaded: state.Loaded) -> list[str]:
    """The encoders in whose space the run's images lie."""
    return spaces.encoders(loaded.run)


def space(loaded: state.Loaded, encoder: str) -> Space:
    """The run's images in that space.

    Raises:
        TableError: the embeddings are damaged.
    """
    file = loaded.run.path / "embeddings" / f"{encoder}.parquet"
    stamps = tuple(each.stat().st_mtime_ns for each in (file, loaded.run.path / "images.parquet") if each.is_file())
    return _space(loaded, str(file), encoder, stamps)


def of_words(found: Space, text: str) -> NDArray[np.float32]:
    """The unit vector of a sentence, float32 [dim].

    Raises:
        EncoderError: the encoder cannot be loaded here, or has other weights than the images were embedded with.
    """
    return _of_words(found.encoder, found.fingerprint, text)


def of_upload(found: Space, data: bytes) -> NDArray[np.float32]:
    """The unit vector of an image that was handed in; its bytes are not kept.

    Raises:
        ImageError: it is no image, damaged, or too large to open safely. EncoderError: as `of_words`.
    """
    return _of_upload(found.encoder, found.fingerprint, hashlib.sha256(data).hexdigest(), data)


def near(encoder: str) -> Near:
    """The threshold that was chosen for the encoder, or a loose one."""
    try:
        known = load_training(encoder)
    except AuditkitError:
        known = None
    if known is None:
        return Near(LOOSE, f"No threshold was chosen for {encoder}; this one is a guess.")
    at = known.copies
    return Near(
        at.cosine,
        f"The encoder's own threshold: {at.found:.0%} of known copies reach it, and {at.false_matches:.1%} of pairs of "
        "different drawings of one subject.",
    )


@st.cache_resource(max_entries=2, show_spinner="Reading the embeddings")
def _space(_loaded: state.Loaded, file: str, encoder: str, stamps: tuple[int, ...]) -> Space:
    return Space.read(_loaded.run, encoder, _loaded.index.column("id").tolist())


@st.cache_resource(show_spinner=False)
def _embedder() -> Embedder:
    return Embedder()


@st.cache_data(max_entries=64, show_spinner="Reading the words; the first time this takes some seconds")
def _of_words(name: str, fingerprint: str, text: str) -> NDArray[np.float32]:
    return _embedder().text(name, fingerprint, text)


@st.cache_data(max_entries=64, show_spinner="Looking at the image; the first time this takes some seconds")
def _of_upload(name: str, fingerprint: str, digest: str, _data: bytes) -> NDArray[np.float32]:
    return _embedder().image(name, fingerprint, _data)

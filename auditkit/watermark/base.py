"""What a watermark scheme is, and what reading an image with one gives.

Three families, one protocol each. *Word schemes* carry a word of `payload` in pixels (`spread`, `codec`, a
rooted decoder's `signature`); *latent schemes* shape the noise that a diffusion model starts from (`tree-ring`,
`gaussian-shading`, `prc`); *foreign schemes* read marks that other tools made. `verdict.detect` asks them all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

import numpy as np

from auditkit.errors import WatermarkError
from auditkit.watermark.keys import Key
from auditkit.watermark.payload import Payload

Verdict = Literal["present", "absent", "abstain"]


@dataclass(frozen=True)
class Reading:
    """The word as a scheme read it from one image, before the key's pad is taken off.

    Attributes:
        soft: float64 [bits]; positive for 1, larger for surer, 0 for not read at all.
        looks: how many readings this one was chosen from *by looking at the word's own bits*; 1 where the geometry
            was found by a separate pilot. The p-value is multiplied by it.
        geometry: what was undone, for people: rotation (degrees), scale, crop offset, flip.
        unusable: why nothing can be read here (too small, flat); '' where it can. The verdict is then 'abstain'.
        details: what else is worth keeping, such as evidence on forgery.
    """

    soft: np.ndarray
    looks: int = 1
    geometry: dict[str, float] = field(default_factory=dict)
    unusable: str = ""
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Evidence:
    """How strongly an image speaks for a key.

    Attributes:
        p_value: for one key and image, corrected for `looks` (geometries, nonces, payloads tried); in [0, 1].
        p_kind: 'exact' (given the image, over the draw of the key), 'bound' (an upper bound), 'none' (NaN: foreign
            bits that no key has whitened).
        payload: what it says, or None where the scheme carries none or it could not be read.
        bits, matched: length of the word, and how many of its bits agree with the payload's; 0 where there is none.
        corrected: wrong bits that the code mended, or None where the payload was not decoded but looked for.
    """

    p_value: float
    p_kind: Literal["exact", "bound", "none"]
    looks: int = 1
    payload: Payload | None = None
    bits: int = 0
    matched: int = 0
    corrected: int | None = None
    geometry: dict[str, float] = field(default_factory=dict)
    unusable: str = ""
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Detection:
    """The verdict on one image, scheme and key: a row of the table `watermarks`.

    Attributes:
        verdict: 'present' at p_value <= fpr; 'absent' at p_value > `GREY`; 'abstain' between, or where nothing can be
            read. 'absent' says that no mark of this key was found, not that none was ever there.
        fpr: the false positive rate asked for, for this image, over all schemes and keys that were tried.
        p_value: corrected for geometries, payloads, and for the schemes and keys tried on this image.
        null: what was measured on unmarked images, for people: '3 of 100,000 at 1e-4 (at most 8e-5)'.
        forgery: 'consistent', 'suspect' or 'not checked', with why in `note`.
    """

    scheme: str
    scheme_version: int
    key_id: str
    verdict: Verdict
    p_value: float
    p_kind: str
    fpr: float
    looks: int
    payload: Payload | None = None
    payload_name: str = ""
    bits: int = 0
    matched: int = 0
    corrected: int | None = None
    geometry: dict[str, float] = field(default_factory=dict)
    forgery: str = "not checked"
    null: str = ""
    note: str = ""
    ms: float = 0.0


GREY = 0.01
"""Above this p-value a mark is called absent; between it and the false positive rate the verdict is 'abstain'."""


@runtime_checkable
class WordScheme(Protocol):
    """A scheme that carries a word in the pixels. See tests/test_watermark_contract.py."""

    name: ClassVar[str]
    version: ClassVar[int]
    title: ClassVar[str]
    family: ClassVar[str]  # 'word'
    bits: ClassVar[int]
    """Length of its word: `payload.LONG_WORD` or `payload.SHORT_WORD`."""
    min_side: ClassVar[int]
    """Fewest pixels of the shorter side that it takes."""

    def embed(self, image: np.ndarray, word: np.ndarray, key: Key, *, psnr: float = 42.0) -> np.ndarray:
        """The marked image, uint8 [h, w, 3] of the same size.

        Args:
            image: uint8 [h, w, 3], RGB.
            word: uint8 [bits] in {0, 1}, with the key's pad already on it (`padded`).
            psnr: quality to reach, dB over the RGB values; reached within 0.3 dB where clipping at black and white
                does not forbid it.

        Raises:
            WatermarkError: the image is too small.
        """
        ...

    def read(self, image: np.ndarray, key: Key, *, search: bool = True) -> Reading:
        """Read the word. Never raises on an image: what cannot be read is `unusable`.

        Args:
            search: also look for rotations, scales and crops; without it only the image as it stands.
        """
        ...


@runtime_checkable
class LatentScheme(Protocol):
    """A scheme that shapes the initial noise of a latent diffusion model."""

    name: ClassVar[str]
    version: ClassVar[int]
    title: ClassVar[str]
    family: ClassVar[str]  # 'latent'

    def capacity(self, shape: Sequence[int]) -> int:
        """Payload bits that a latent of `shape` [c, h, w] carries; 0 where it says 'this key' and no more.

        Raises:
            WatermarkError: the latent is too small for the scheme.
        """
        ...

    def noise(self, shape: Sequence[int], key: Key, payload: Payload, *, seed: int) -> np.ndarray:
        """Initial noise, float32 [c, h, w], each value N(0, 1) to whoever lacks the key; the same seed, the same noise.

        Raises:
            WatermarkError: the latent is too small, or the payload does not fit.
        """
        ...

    def evidence(self, noise: np.ndarray, key: Key, *, payloads: Sequence[Payload] = ()) -> Evidence:
        """What recovered noise (float [c, h, w], from inversion) says; `payloads` are those to look for."""
        ...


@runtime_checkable
class ForeignScheme(Protocol):
    """A reader of marks that other tools made. Its bits have no key of ours: agreement is shown, no p-value given."""

    name: ClassVar[str]
    version: ClassVar[int]
    title: ClassVar[str]
    family: ClassVar[str]  # 'foreign'
    package: ClassVar[str]
    """What must be installed."""
    bits: ClassVar[int]

    def embed(self, image: np.ndarray, word: np.ndarray) -> np.ndarray: ...

    def read_bits(self, image: np.ndarray) -> np.ndarray:
        """uint8 [bits] in {0, 1}."""
        ...


def padded(word: np.ndarray, scheme: str, key: Key) -> np.ndarray:
    """`word` XOR the key's pad: uniform over the draw of the key, which is what makes p-values exact."""
    return word ^ key.bits(f"{scheme} pad", len(word))


def unpadded(soft: np.ndarray, scheme: str, key: Key) -> np.ndarray:
    """Soft values with the key's pad taken off: signs are the word's own, sizes as they were."""
    return soft * (1.0 - 2.0 * key.bits(f"{scheme} pad", len(soft)))


def check_side(image: np.ndarray, scheme: str, least: int) -> None:
    """Raise WatermarkError where the shorter side of `image` [h, w, 3] is under `least` pixels."""
    height, width = image.shape[:2]
    if min(height, width) < least:
        raise WatermarkError(
            f"the image ({width} x {height}) is too small for {scheme}",
            where=f"{scheme}, shortest side {min(height, width)} px",
            mend=f"use images of at least {least} px, or mark the image before it is scaled down",
        )

"""What is put to the test: our word schemes under a key, other tools' schemes, and images that came marked from a run.

Each is marked with a message drawn at random for every image. So the matches of an unmarked image, or of one whose mark
is gone, are exactly Bin(bits, 1/2), for other tools' bits as well, which no key whitens in ordinary use.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from auditkit.errors import WatermarkError
from auditkit.watermark import payload as code
from auditkit.watermark.base import Evidence, WordScheme, padded, unpadded
from auditkit.watermark.keys import Key
from auditkit.watermark.payload import Payload
from auditkit.watermark.schemes import scheme as named


@dataclass(frozen=True)
class Outcome:
    """What reading one image gave: the p-value for the message that was put in, its bits that agree, whether the whole
    message was read without knowing it, and the time taken (ms)."""

    p_value: float
    matched: int
    bits: int
    whole: bool
    ms: float
    note: str = ""


class Contestant(Protocol):
    """A scheme as the bench drives it; a message is whatever it makes of random bytes."""

    name: str
    title: str
    version: int
    family: str
    bits: int

    def message(self, rng: np.random.Generator) -> Any: ...
    def embed(self, image: np.ndarray, message: Any) -> np.ndarray: ...
    def read(self, image: np.ndarray, message: Any, *, search: bool) -> Outcome: ...


@dataclass
class Word:
    """A word scheme, under one key and at one quality."""

    scheme: WordScheme
    key: Key = field(repr=False)
    psnr: float

    def __post_init__(self) -> None:
        scheme = self.scheme
        self.name, self.title, self.version = scheme.name, scheme.title, scheme.version
        self.family, self.bits = "word", scheme.bits

    def message(self, rng: np.random.Generator) -> Payload:
        return Payload.from_int(int.from_bytes(rng.bytes(code.PAYLOAD_BITS // 8), "big"))

    def embed(self, image: np.ndarray, message: Payload) -> np.ndarray:
        word = padded(code.encode(message, self.bits), self.name, self.key)
        return self.scheme.embed(image, word, self.key, psnr=self.psnr)

    def read(self, image: np.ndarray, message: Payload, *, search: bool) -> Outcome:
        from auditkit.watermark.soft_decoding import likeliest
        from auditkit.watermark.statistics import word_p_value

        began = time.perf_counter()
        reading = self.scheme.read(image, self.key, search=search)
        ms = 1000 * (time.perf_counter() - began)
        if reading.unusable:
            return Outcome(1.0, self.bits // 2, self.bits, False, ms, reading.unusable)
        word, soft = code.encode(message, self.bits), unpadded(reading.soft, self.name, self.key)
        p_value = word_p_value(soft, word, looks=reading.looks)
        return Outcome(p_value, int(((soft > 0) == word).sum()), self.bits, likeliest(soft) == message, ms)


@dataclass
class Foreign:
    """Another tool's scheme, at the strength it ships with."""

    scheme: Any

    def __post_init__(self) -> None:
        scheme = self.scheme
        self.name, self.title, self.version = scheme.name, scheme.title, scheme.version
        self.family, self.bits = "foreign", scheme.bits

    def message(self, rng: np.random.Generator) -> np.ndarray:
        return rng.integers(0, 2, self.bits, np.uint8)

    def embed(self, image: np.ndarray, message: np.ndarray) -> np.ndarray:
        return np.asarray(self.scheme.embed(image, message))

    def read(self, image: np.ndarray, message: np.ndarray, *, search: bool) -> Outcome:
        from scipy.stats import binom

        began = time.perf_counter()
        note = ""
        try:
            bits = np.asarray(self.scheme.read_bits(image))
        except WatermarkError as error:  # it refuses the image: a miss
            bits, note = None, error.what
        ms = 1000 * (time.perf_counter() - began)
        if bits is None or len(bits) != self.bits:
            return Outcome(1.0, self.bits // 2, self.bits, False, ms, note or "no message was read")
        matched = int((bits == message).sum())
        return Outcome(float(binom.sf(matched - 1, self.bits, 0.5)), matched, self.bits, matched == self.bits, ms)


@dataclass
class Marked:
    """Images that came marked, such as those of a run of `generate --watermark`: no unmarked ones stand beside them.

    Attributes:
        reader: (image uint8 [h, w, 3], its payload) to the evidence for it.
        images: pairs of an image and its payload.
    """

    name: str
    reader: Callable[[np.ndarray, Payload], Evidence]
    images: Sequence[tuple[Any, Payload]]
    title: str = ""
    version: int = 1
    family: str = "marked"
    bits: int = 0

    def read_evidence(self, image: np.ndarray, message: Payload) -> Outcome:
        began = time.perf_counter()
        found = self.reader(image, message)
        ms = 1000 * (time.perf_counter() - began)
        p_value = 1.0 if found.unusable or math.isnan(found.p_value) else found.p_value
        return Outcome(p_value, found.matched, found.bits, found.payload == message, ms, found.unusable)


def word_or_foreign(scheme: Any, key: Key, psnr: float) -> Word | Foreign:
    """The contestant for a scheme, or for the name of a registered one.

    Raises:
        PluginError: no scheme has that name.
        WatermarkError: it is a latent scheme, which marks noise and not images.
    """
    made = named(scheme)
    if made.family == "word":
        return Word(made, key, psnr)
    if made.family == "foreign":
        return Foreign(made)
    raise WatermarkError(
        f"'{made.name}' marks the noise that an image is generated from, not an image",
        where=made.name,
        mend="generate images with it and give them as `marked`",
    )

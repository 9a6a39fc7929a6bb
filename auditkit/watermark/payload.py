"""What a watermark says: a model's and a user's number in 64 bits, and the error-correcting word that carries them.

The word is the BCH code (255, 71) of Bose, Ray-Chaudhuri and Hocquenghem, shortened to 248 bits: 64 of payload, 184 of
parity. It corrects any 29 wrong bits; a random word lies within 29 bits of some codeword with probability below 1e-18,
so that a word that decodes is itself a detection.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from auditkit.errors import WatermarkError

MODEL_BITS, USER_BITS = 24, 40
PAYLOAD_BITS = MODEL_BITS + USER_BITS
WORD_BITS = 248
CORRECTS = 29

_PARITY_BITS = WORD_BITS - PAYLOAD_BITS
_GENERATOR = 0x140A722A1A468D36D87A25364E685922A1E56FD1A478C1D
"""The code's generator polynomial over GF(2), as `galois.BCH(255, 71)` gives it; tests/test_watermark_payload.py."""


@dataclass(frozen=True, order=True)
class Payload:
    """Who made an image: which model, and for which user (0: nobody in particular)."""

    model: int
    """In [0, 2^24)."""
    user: int = 0
    """In [0, 2^40)."""

    def __post_init__(self) -> None:
        for name, value, bits in (("model", self.model, MODEL_BITS), ("user", self.user, USER_BITS)):
            if not isinstance(value, int) or not 0 <= value < 1 << bits:
                raise WatermarkError(
                    f"the payload's {name} number does not fit into {bits} bits",
                    where=f"{name}={value}",
                    mend=f"use a whole number from 0 to {(1 << bits) - 1}",
                )

    def __int__(self) -> int:
        return self.model << USER_BITS | self.user

    @classmethod
    def from_int(cls, value: int) -> Payload:
        """The inverse of `int(payload)`."""
        return cls(value >> USER_BITS, value & ((1 << USER_BITS) - 1))

    def __str__(self) -> str:
        return f"{self.model}:{self.user}"

    @classmethod
    def parse(cls, text: str) -> Payload:
        """`MODEL` or `MODEL:USER`, in decimal."""
        parts = text.split(":")
        if not 1 <= len(parts) <= 2 or not all(part.isdecimal() for part in parts):
            raise WatermarkError(
                "a payload is written MODEL or MODEL:USER, in numbers", where=repr(text), mend="for example 1:42"
            )
        return cls(*(int(part) for part in parts))


def encode(payload: Payload) -> np.ndarray:
    """The word that carries `payload`: uint8 [248] in {0, 1}."""
    return encode_many(np.array([int(payload)], np.uint64))[0]


def encode_many(payloads: np.ndarray) -> np.ndarray:
    """Words of many payloads, uint64 [n] (as `int(payload)`): uint8 [n, 248] in {0, 1}."""
    data = np.unpackbits(payloads.astype(">u8").view(np.uint8).reshape(-1, 8), axis=1)
    # Sums of at most 64 ones: float32 is exact, and its product is the quick one.
    parity = (data.astype(np.float32) @ _parity_rows()).astype(np.uint8) & 1
    return np.concatenate([data, parity], axis=1)


def decode(word: np.ndarray) -> tuple[Payload, int] | None:
    """The payload of a word with at most 29 wrong bits, and how many were wrong; None where there is no such payload.

    Args:
        word: [248] in {0, 1}.
    """
    import galois

    padded = np.concatenate([np.zeros(255 - WORD_BITS, np.uint8), np.asarray(word, np.uint8)])
    message, wrong = _code().decode(galois.GF2(padded), errors=True)
    bits = np.asarray(message, np.uint8)
    if int(wrong) < 0 or bits[: 255 - WORD_BITS].any():
        return None
    value = int.from_bytes(np.packbits(bits[255 - WORD_BITS :]).tobytes(), "big")
    return Payload.from_int(value), int(wrong)


@lru_cache(maxsize=1)
def _code() -> Any:
    # Slow to make (it compiles for some seconds), so only where a word is decoded.
    import galois

    return galois.BCH(255, 71)


@lru_cache(maxsize=1)
def _parity_rows() -> np.ndarray:
    """Row i is the parity of the payload whose bit i alone is set: float32 [64, 184]."""
    rows = np.zeros((PAYLOAD_BITS, _PARITY_BITS), np.float32)
    for i in range(PAYLOAD_BITS):
        remainder = 1
        for _ in range(_PARITY_BITS + PAYLOAD_BITS - 1 - i):
            remainder <<= 1
            if remainder >> _PARITY_BITS:
                remainder ^= _GENERATOR
        rows[i] = [remainder >> (_PARITY_BITS - 1 - j) & 1 for j in range(_PARITY_BITS)]
    return rows

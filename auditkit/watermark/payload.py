"""What a watermark says: a model's and a user's number in 64 bits, and the error-correcting word that carries them.

Words are BCH codewords (Bose, Ray-Chaudhuri, Hocquenghem) in systematic form. The long one, (255, 71) shortened to 248
bits, corrects any 29 wrong bits; a random word lies that near to some codeword with probability below 1e-18, so that a
word that decodes is itself a detection. The short one, (127, 64), corrects 10, and one random word in 30,000 decodes:
there the p-value, which counts all 2^64 payloads as looked for, decides.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from auditkit.errors import WatermarkError

MODEL_BITS, USER_BITS = 24, 40
PAYLOAD_BITS = MODEL_BITS + USER_BITS
LONG_WORD, SHORT_WORD = 248, 127


@dataclass(frozen=True)
class Code:
    """A BCH code (n, k), shortened to `bits`, that corrects `corrects` wrong bits."""

    bits: int
    n: int
    k: int
    corrects: int
    generator: int
    """Generator polynomial over GF(2), as `galois.BCH(n, k)` gives it (tests/test_watermark_payload.py)."""


CODES = {
    LONG_WORD: Code(LONG_WORD, 255, 71, 29, 0x140A722A1A468D36D87A25364E685922A1E56FD1A478C1D),
    SHORT_WORD: Code(SHORT_WORD, 127, 64, 10, 0xA1AB815BC7EC8025),
}
"""By length of word."""


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


def encode(payload: Payload, bits: int = LONG_WORD) -> np.ndarray:
    """The word of that length that carries `payload`: uint8 [bits] in {0, 1}."""
    return encode_many(np.array([int(payload)], np.uint64), bits)[0]


def encode_many(payloads: np.ndarray, bits: int = LONG_WORD) -> np.ndarray:
    """Words of many payloads, uint64 [n] (as `int(payload)`): uint8 [n, bits] in {0, 1}."""
    data = np.unpackbits(payloads.astype(">u8").view(np.uint8).reshape(-1, 8), axis=1)
    # Sums of at most 64 ones: float32 is exact, and its product is the quick one.
    parity = (data.astype(np.float32) @ _parity_rows(bits)).astype(np.uint8) & 1
    return np.concatenate([data, parity], axis=1)


def decode(word: np.ndarray) -> tuple[Payload, int] | None:
    """The payload of a word with no more wrong bits than its code corrects, and how many were wrong; or None.

    Args:
        word: [248] or [127] in {0, 1}.
    """
    import galois

    code = CODES[len(word)]
    shortened = code.n - code.bits
    padded = np.concatenate([np.zeros(shortened, np.uint8), np.asarray(word, np.uint8)])
    message, wrong = _decoder(code).decode(galois.GF2(padded), errors=True)
    data = np.asarray(message, np.uint8)
    if int(wrong) < 0 or data[:shortened].any():
        return None
    return Payload.from_int(int.from_bytes(np.packbits(data[shortened:]).tobytes(), "big")), int(wrong)


@lru_cache(maxsize=2)
def _decoder(code: Code) -> Any:
    # Slow to make (it compiles for some seconds), so only where a word is decoded.
    import galois

    return galois.BCH(code.n, code.k)


@lru_cache(maxsize=2)
def _parity_rows(bits: int) -> np.ndarray:
    """Row i is the parity of the payload whose bit i alone is set: float32 [64, bits - 64]."""
    parity, generator = bits - PAYLOAD_BITS, CODES[bits].generator
    rows = np.zeros((PAYLOAD_BITS, parity), np.float32)
    for i in range(PAYLOAD_BITS):
        remainder = 1
        for _ in range(parity + PAYLOAD_BITS - 1 - i):
            remainder <<= 1
            if remainder >> parity:
                remainder ^= generator
        rows[i] = [remainder >> (parity - 1 - j) & 1 for j in range(parity)]
    return rows

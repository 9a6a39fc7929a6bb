"""Whose image is it? Soft identification among a register of payloads, with a stated global false positive rate.

Every registered word is compared with the soft reading by its exact whole-number agreement (`statistics.Tail`): words
are kept as 64-bit columns, the sizes of the soft values as four bit planes, and a comparison is XOR, AND and counting
bits. The p-value counts every user as looked for, so that a register of a million is as safe as one of ten.
"""

from __future__ import annotations

import io
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from auditkit.errors import WatermarkError
from auditkit.files import write_atomic
from auditkit.watermark.payload import CODES, LONG_WORD, Payload, encode, encode_many
from auditkit.watermark.statistics import LEVELS, Tail

_BLOCK = 1 << 14  # users compared at a time: what is in work stays in the cache
_THREADS = 2
_PLANES = LEVELS.bit_length()


@dataclass(frozen=True)
class Identification:
    """The answer of a register.

    Attributes:
        payload: the user's payload, or None: nobody at the false positive rate asked for.
        nearest: the payload that agrees best, whether or not it is sure enough.
        runner_up: the next one, or None in a register of one.
        p_value: P(an image without this key's mark agrees so well with anybody in the register); in (0, 1].
        fpr: the global false positive rate asked for.
        users, looks: what `p_value` was corrected for.
        matched, bits: bits of the nearest word that agree, of how many.
        agreement, runner_up_agreement, top: soft agreement, in whole steps, of at most `top`.
    """

    payload: Payload | None
    nearest: Payload
    runner_up: Payload | None
    p_value: float
    fpr: float
    users: int
    looks: int
    matched: int
    bits: int
    agreement: int
    runner_up_agreement: int
    top: int
    ms: float


class Registry:
    """Payloads that were given out, ready to be compared with a reading."""

    def __init__(self, payloads: np.ndarray, bits: int = LONG_WORD):
        """Args: payloads: uint64 [n] (`int(payload)`), duplicates dropped; bits: length of the scheme's word.

        Raises:
            WatermarkError: there is no payload, or no code of that length.
        """
        if bits not in CODES:
            raise WatermarkError(
                "there is no code of that length", where=f"bits={bits}", mend=f"use one of: {sorted(CODES)}"
            )
        self.payloads = np.unique(np.asarray(payloads, np.uint64))
        self.bits = bits
        if not self.payloads.size:
            raise WatermarkError("the register holds no payload", where="payloads", mend="register some first")
        self._columns = np.empty((-(-bits // 64), len(self.payloads)), np.uint64)
        for at in range(0, len(self.payloads), _BLOCK):
            block = slice(at, at + _BLOCK)
            self._columns[:, block] = _packed(encode_many(self.payloads[block], bits)).T

    def __len__(self) -> int:
        return len(self.payloads)

    def best(self, tail: Tail) -> tuple[list[int], list[int]]:
        """Indices and agreements of the two payloads that agree best (one in a register of one)."""
        hard = _packed(tail.hard[None])[0]
        planes = [_packed((tail.levels >> plane & 1).astype(np.uint8)[None])[0] for plane in range(_PLANES)]
        starts = range(0, len(self), _BLOCK)
        if len(starts) == 1:
            found = [self._block(0, hard, planes)]
        else:
            with ThreadPoolExecutor(_THREADS) as threads:
                found = list(threads.map(lambda at: self._block(at, hard, planes), starts))
        nearest = sorted(pair for pairs in found for pair in pairs)[:2]
        return [at for _, at in nearest], [tail.top - apart for apart, _ in nearest]

    def identify(self, soft: np.ndarray, *, fpr: float = 1e-6, looks: int = 1) -> Identification:
        """Who of the register it is, or nobody.

        Args:
            soft: float [bits], without the key's pad (`base.unpadded`).
            fpr: the rate, over all users together, at which an image without this key's mark may be given to somebody.
            looks: readings that this one was chosen from, times the schemes and keys tried.

        Raises:
            WatermarkError: the reading has another length than the register's words.
        """
        start = time.perf_counter()
        if np.shape(soft) != (self.bits,):
            raise WatermarkError(
                f"the reading has {np.size(soft)} bits, the register's words {self.bits}",
                where="soft",
                mend=f"make the register with bits={np.size(soft)}",
            )
        tail = Tail(soft)
        at, agreements = self.best(tail)
        p_value = tail.p_value(agreements[0], looks=len(self) * looks)
        people = [Payload.from_int(int(self.payloads[i])) for i in at]
        matched = int((encode(people[0], self.bits) == tail.hard).sum())
        return Identification(
            payload=people[0] if p_value <= fpr else None,
            nearest=people[0],
            runner_up=people[1] if len(people) > 1 else None,
            p_value=p_value,
            fpr=fpr,
            users=len(self),
            looks=looks,
            matched=matched,
            bits=self.bits,
            agreement=agreements[0],
            runner_up_agreement=agreements[1] if len(people) > 1 else 0,
            top=tail.top,
            ms=1000 * (time.perf_counter() - start),
        )

    def save(self, path: str | Path) -> None:
        """Write the payloads and the words' length as .npz."""
        buffer = io.BytesIO()
        np.savez_compressed(buffer, payloads=self.payloads, bits=np.int64(self.bits))
        write_atomic(Path(path), buffer.getvalue())

    @classmethod
    def load(cls, path: str | Path) -> Registry:
        """Read what `save` wrote.

        Raises:
            WatermarkError: the file is missing or damaged.
        """
        try:
            with np.load(path, allow_pickle=False) as stored:
                payloads, bits = stored["payloads"], int(stored["bits"])
        except FileNotFoundError:
            raise WatermarkError("there is no such register", where=path, mend="check the path") from None
        except Exception as error:  # a broken archive may raise anything
            raise WatermarkError("the register is damaged", where=path, mend="write it again") from error
        if payloads.dtype != np.uint64 or payloads.ndim != 1:
            raise WatermarkError("the register is damaged", where=path, mend="write it again")
        return cls(payloads, bits)

    def _block(self, at: int, hard: np.ndarray, planes: list[np.ndarray]) -> list[tuple[int, int]]:
        """The two users of a block with the least disagreement: (disagreement, index)."""
        apart = [column[at : at + _BLOCK] ^ hard[w] for w, column in enumerate(self._columns)]
        total = np.zeros(len(apart[0]), np.uint16)
        for plane in reversed(planes):
            total <<= 1
            for w, column in enumerate(apart):
                if plane[w]:
                    total += np.bitwise_count(column & plane[w])
        nearest = [int(total.argmin())]
        least = [int(total[nearest[0]])]
        if len(total) > 1:
            total[nearest[0]] = np.iinfo(np.uint16).max
            nearest.append(int(total.argmin()))
            least.append(int(total[nearest[1]]))
        return [(apart_by, at + i) for apart_by, i in zip(least, nearest, strict=True)]


def _packed(bits: np.ndarray) -> np.ndarray:
    """Rows of bits as 64-bit columns, the end filled with zeros: uint8 [n, bits] -> uint64 [n, ceil(bits / 64)]."""
    filled = np.zeros((len(bits), -(-bits.shape[1] // 64) * 64), np.uint8)
    filled[:, : bits.shape[1]] = bits
    return np.packbits(filled, axis=1).view(np.uint64)

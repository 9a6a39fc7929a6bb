"""The likeliest payload of a soft word, by ordered statistics (Fossorier and Lin 1995, IEEE Trans. IT 41:1379-1396).

The 64 surest independent bits are taken as read, then with any one, two and three of them flipped, and the codeword
that agrees best with all soft values wins. That takes a millisecond or two, and reads words with more wrong bits than
the algebraic decoder of `payload.decode` mends, because those are mostly the unsure ones. What is found is a guess, not
a detection: `verdict` counts all 2^64 payloads as looked for.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from auditkit.watermark.payload import PAYLOAD_BITS, Payload, decode, encode_many

_ALIKE = 0.05
"""Spread of the sizes over their mean below which they say nothing on which bits are surer."""


def likeliest(soft: np.ndarray) -> Payload | None:
    """The payload whose word agrees best with `soft`, float [248] or [127], among those tried; None: nothing was read.

    Sizes that are all alike carry no order: there the algebraic decoder (`payload.decode`) is asked, and may find none.
    """
    soft = np.nan_to_num(np.asarray(soft, float), posinf=1e9, neginf=-1e9)
    size = np.abs(soft)
    if not size.any():
        return None
    if size.std() < _ALIKE * size.mean():
        found = decode((soft > 0).astype(np.uint8))
        return None if found is None else found[0]
    rows, basis = _reduced(len(soft), np.argsort(-size, kind="stable"))
    # As signs (-1 for a bit of 1), XOR is a product: all flips of a third bit are one matrix product.
    signs = 1.0 - 2.0 * rows.astype(np.float32)
    start = (soft[basis] > 0).astype(np.uint8) @ rows & 1
    weighted = (-soft * (1.0 - 2.0 * start)).astype(np.float32)
    plain = np.concatenate([np.ones((1, len(soft)), np.float32), signs])  # the first row: no flip
    best, word = -np.inf, start
    for k, third in enumerate(plain):
        agreement = (plain[: k + 1] * (weighted * third)) @ plain[: k + 1].T
        i, j = np.unravel_index(int(agreement.argmax()), agreement.shape)
        if agreement[i, j] > best:
            best = agreement[i, j]
            word = start
            for flip in (i, j, k):
                word = word ^ (rows[flip - 1] if flip else 0)
    return Payload.from_int(int.from_bytes(np.packbits(word[:PAYLOAD_BITS]).tobytes(), "big"))


def _reduced(bits: int, order: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The code's generator matrix, uint8 [64, bits], reduced to the identity on the first independent columns of
    `order`; and those columns, int [64]."""
    rows = _generator(bits)[:, order].copy()
    basis: list[int] = []
    for column in range(bits):
        free = rows[len(basis) :, column]
        found = int(free.argmax())
        if not free[found]:
            continue
        pivot = len(basis)
        if found:
            rows[[pivot, pivot + found]] = rows[[pivot + found, pivot]]
        others = rows[:, column].astype(bool)
        others[pivot] = False
        rows[others] ^= rows[pivot]
        basis.append(column)
        if len(basis) == PAYLOAD_BITS:
            break
    whole = np.empty_like(rows)
    whole[:, order] = rows
    return whole, order[basis]


@lru_cache(maxsize=2)
def _generator(bits: int) -> np.ndarray:
    return encode_many(np.uint64(1) << np.arange(PAYLOAD_BITS - 1, -1, -1, dtype=np.uint64), bits)

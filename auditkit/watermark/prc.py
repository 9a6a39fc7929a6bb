"""PRC (Gunn, Zhao and Song 2024): the signs of the initial noise are a word of a pseudorandom error-correcting code
(Christ and Gunn 2024), so that marked noise looks fresh to whoever lacks the key, however many images there are.

Every image has a word of its own. Whoever knows the sparse parity checks (three positions each) sees that they hold
more often than by chance. What is changed: over the draw of the key's one-time pad the checks of a fixed image are
independent fair signs (their rows are independent), so that the sum of their evidence has an exact p-value in place of
the paper's bound.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from auditkit.errors import WatermarkError
from auditkit.watermark.base import Evidence
from auditkit.watermark.keys import Key
from auditkit.watermark.payload import PAYLOAD_BITS, Payload
from auditkit.watermark.sign_sums import tail, whole_weights

LEAST_VALUES = 1024
_CHECKED = 3  # positions of a check, the paper's t
_TEST_BITS = 40  # known to the key: a word decoded by accident passes with probability 2^-40
_VARIANCE = 1.5  # of recovered noise around the true one, as in the paper
_DECODE_AT = 1e-3  # p-value above which belief propagation is not tried


class Prc:
    """64 payload bits by belief propagation, which needs the library `ldpc`; detection needs numpy alone.

    The code is undetectable as far as nobody finds its checks: C(n, 3) of them can be tried, 2^33 for 4,096 values.
    """

    name = "prc"
    version = 1
    title = "PRC"
    family = "latent"

    def capacity(self, shape: Sequence[int]) -> int:
        """64. Raises WatermarkError where the latent [c, h, w] has fewer than 1,024 values.

        Checks of three positions ask for noise that is recovered well (a correlation of some .6 on 4,096 values, .5 on
        16,384): see docs.
        """
        if math.prod(shape) < LEAST_VALUES:
            raise WatermarkError(
                f"the latent has {math.prod(shape)} values, and prc needs {LEAST_VALUES}",
                where="latent " + " x ".join(str(each) for each in shape),
                mend="use a generator with a larger latent, or a mark in the pixels (spread, codec)",
            )
        return PAYLOAD_BITS

    def noise(self, shape: Sequence[int], key: Key, payload: Payload, *, seed: int) -> np.ndarray:
        """See `base.LatentScheme.noise`."""
        self.capacity(shape)
        n = math.prod(shape)
        draw = key.rng(f"prc draw {seed} {payload}")
        code = _Code(key, n)
        fresh = draw.integers(0, 2, code.fresh)
        message = np.array([int(bit) for bit in f"{int(payload):0{PAYLOAD_BITS}b}"])
        bits = code.word(np.concatenate([code.test, fresh, message]).astype(np.uint8))
        flips = draw.random(n) < code.flip_rate
        signs = 1.0 - 2.0 * (bits ^ code.pad ^ flips)
        return (np.abs(draw.standard_normal(n)) * signs).astype(np.float32).reshape(shape)

    def evidence(self, noise: np.ndarray, key: Key, *, payloads: Sequence[Payload] = ()) -> Evidence:
        """See `base.LatentScheme.evidence`; what is decoded needs no list of payloads.

        Without `ldpc` the p-value is the same, and `details` say why no payload was read.
        """
        self.capacity(noise.shape)
        code = _Code(key, noise.size)
        held = _posterior(noise) * (1.0 - 2.0 * code.pad)
        product = np.prod(held[code.checks], axis=1)
        # log((1 + x) / 2) is a part without the check's sign, the same for every pad, and that sign times arctanh(|x|).
        weights = whole_weights(np.arctanh(np.clip(product, -1 + 1e-12, 1 - 1e-12)))
        if not weights.any():
            return Evidence(1.0, "exact", unusable="the recovered noise is flat or not finite")
        p_value = tail(weights, float(weights.sum(dtype=np.int64)))
        details: dict[str, Any] = {}
        payload = None
        if p_value <= _DECODE_AT:
            try:
                payload = self.decode(noise, key)
            except WatermarkError as error:
                details["undecoded"] = str(error)
        bits = PAYLOAD_BITS if payload is not None else 0
        return Evidence(p_value, "exact", 1, payload, bits, bits, None, details=details)

    def decode(self, noise: np.ndarray, key: Key) -> Payload | None:
        """The payload by belief propagation, float [c, h, w] in; None where no word passes the key's test bits.

        Raises:
            WatermarkError: the library `ldpc` is not installed.
        """
        try:
            from ldpc import BpDecoder
        except ImportError:
            mend = "pip install 'auditkit-t2i[prc]'"
            raise WatermarkError("payloads of prc are decoded by the library ldpc", where="prc", mend=mend) from None
        from scipy.sparse import csr_matrix

        code = _Code(key, noise.size)
        held = _posterior(noise) * (1.0 - 2.0 * code.pad)
        read = (held < 0).astype(np.uint8)
        rows = np.repeat(np.arange(len(code.checks)), _CHECKED)
        checks = csr_matrix((np.ones(rows.size, np.uint8), (rows, code.checks.ravel())), (len(code.checks), noise.size))
        decoder = BpDecoder(
            checks,
            error_channel=list(np.clip((1 - np.abs(held)) / 2, 1e-6, 0.5 - 1e-6)),
            max_iter=100,
            bp_method="product_sum",
            input_vector_type="syndrome",
        )
        wrong = decoder.decode((checks @ read % 2).astype(np.uint8))
        sure = np.abs(np.asarray(decoder.log_prob_ratios))
        data = code.data(read ^ wrong.astype(np.uint8), np.argsort(-sure, kind="stable"))
        if data is None or (data[:_TEST_BITS] != code.test).any():
            return None
        return Payload.from_int(int("".join(str(bit) for bit in data[-PAYLOAD_BITS:]), 2))


class _Code:
    """One key's code of length n; made in milliseconds, since checks and generator grow together, row by row."""

    def __init__(self, key: Key, n: int):
        security = int(math.log2(math.comb(n, _CHECKED)))
        self.n, self.fresh = n, security
        """Random bits of each word: how many different words a payload has."""
        self.dimension = _TEST_BITS + self.fresh + PAYLOAD_BITS
        self.flip_rate = 1 - 2 ** (-1 / security)
        drawn = _drawn(key, n, self.dimension + security)
        self.checks, self._grown, self._order, self._free = drawn
        self.pad = key.bits(f"prc pad {n}", n)
        self.test = key.bits("prc test bits", _TEST_BITS)
        self._key = key

    def word(self, data: np.ndarray) -> np.ndarray:
        """The codeword, uint8 [n], of uint8 [dimension]."""
        rows = self._rows()
        return (rows.astype(np.float32) @ data.astype(np.float32)).astype(np.int64).astype(np.uint8) & 1

    def data(self, word: np.ndarray, order: np.ndarray) -> np.ndarray | None:
        """Solve for the data, uint8 [dimension], from the first independent positions of `order`; None: there are too
        few."""
        rows = self._rows()
        solved: dict[int, int] = {}
        for position in order:
            row = int.from_bytes(np.packbits(np.append(rows[position], word[position])).tobytes(), "big")
            row >>= -(self.dimension + 1) % 8
            for pivot, other in solved.items():
                if row >> pivot & 1:
                    row ^= other
            if row <= 1:  # nothing left but perhaps a contradiction, which a surer position settled
                continue
            pivot = row.bit_length() - 1
            for at, other in solved.items():
                if other >> pivot & 1:
                    solved[at] = other ^ row
            solved[pivot] = row
            if len(solved) == self.dimension:
                return np.array([solved[self.dimension - i] & 1 for i in range(self.dimension)], np.uint8)
        return None

    def _rows(self) -> np.ndarray:
        return _generator(self._key, self.n, self.dimension, self._free)


@lru_cache(maxsize=16)
def _drawn(key: Key, n: int, free: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """Checks by position (int [n - free, 3]), the same before positions are shuffled, the shuffle, and `free`.

    Check i says that place free + i is the sum of two places before it; so the checks are independent.
    """
    draw = key.rng(f"prc checks {n}")
    size = np.arange(free, n)
    first = (draw.random(n - free) * size).astype(np.int64)
    second = (draw.random(n - free) * (size - 1)).astype(np.int64)
    second += second >= first
    grown = np.stack([first, second, size], axis=1)
    order = draw.permutation(n)
    return order[grown], grown, order, free


@lru_cache(maxsize=4)
def _generator(key: Key, n: int, dimension: int, free: int) -> np.ndarray:
    """The generator matrix, uint8 [n, dimension]: rows by position, random for free places and sums for the others."""
    _, grown, order, _ = _drawn(key, n, free)
    rows = np.zeros((n, dimension), np.uint8)
    rows[:free] = key.bits(f"prc generator {n}", free * dimension).reshape(free, dimension)
    for first, second, place in grown:
        rows[place] = rows[first] ^ rows[second]
    shuffled = np.empty_like(rows)
    shuffled[order] = rows
    return shuffled


def _posterior(noise: np.ndarray) -> np.ndarray:
    """E[(-1)^bit] given recovered noise: erf(z / sqrt(2 v (1 + v))), float64 [n]; the noise is brought to the spread
    that the variance v stands for."""
    from scipy.special import erf

    z = np.nan_to_num(np.asarray(noise, np.float64).ravel(), posinf=0.0, neginf=0.0)
    spread = float(np.sqrt(np.mean(z**2)))
    if spread == 0:
        return z
    value: np.ndarray = erf(z / spread * math.sqrt(1 + _VARIANCE) / math.sqrt(2 * _VARIANCE * (1 + _VARIANCE)))
    return value

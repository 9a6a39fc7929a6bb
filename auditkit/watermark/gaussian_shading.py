"""Gaussian Shading (Yang et al. 2024): the signs of the initial noise carry a word under a stream cipher.

What is changed: the nonce is new for every image, a 12-bit number that the reader finds by trying all 4,096 against
half of the positions (pilots, which say nothing but 'this key'), so that no table of nonces need be kept; votes are
soft; and the tail counts 'at least as many' where the published code, off by one, counts 'more' (1.18e-6 at a nominal
1e-6).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

import numpy as np

from auditkit.errors import WatermarkError
from auditkit.watermark import payload as codes
from auditkit.watermark.base import Evidence
from auditkit.watermark.keys import Key
from auditkit.watermark.payload import LONG_WORD, PAYLOAD_BITS, Payload
from auditkit.watermark.sign_sums import tail, whole_weights
from auditkit.watermark.soft_decoding import likeliest

NONCES = 4096
LEAST_VALUES = 1024
_CANDIDATES = 32  # nonces whose word is read when payloads are looked for
_MOST_WRONG = 37
"""Wrong bits of 248 up to which a word read blind is believed. At more, the votes are so unsure that another codeword
than the sent one may agree best: 2^64 ((1 + exp(-s^2 / 2)) / 2)^248 reaches 1e-6 at votes s = 1.04, 15% of them
wrong."""
_MATCH = 1e-6  # p-value, over all payloads looked for, at which one of them is named


class GaussianShading:
    """64 payload bits by their word in half of the latent's signs; the other half finds the nonce and the key."""

    name = "gaussian-shading"
    version = 1
    title = "Gaussian Shading"
    family = "latent"

    def capacity(self, shape: Sequence[int]) -> int:
        """64. Raises WatermarkError where the latent [c, h, w] has fewer than 1,024 values.

        How many of them can be read depends on how well noise is recovered: see docs. A payload that cannot be read
        blind can still be told among registered ones.
        """
        if math.prod(shape) < LEAST_VALUES:
            raise WatermarkError(
                f"the latent has {math.prod(shape)} values, and gaussian-shading needs {LEAST_VALUES}",
                where="latent " + " x ".join(str(each) for each in shape),
                mend="use a generator with a larger latent, or a mark in the pixels (spread, codec)",
            )
        return PAYLOAD_BITS

    def noise(self, shape: Sequence[int], key: Key, payload: Payload, *, seed: int) -> np.ndarray:
        """See `base.LatentScheme.noise`."""
        self.capacity(shape)
        n = math.prod(shape)
        nonce = int.from_bytes(key.derive(f"gaussian-shading nonce {seed} {payload}", 2), "little") % NONCES
        order = _order(key, n)
        bits = _pads(key, n)[nonce].copy()
        pilots = _pilots(n)
        bits[pilots:] ^= np.resize(codes.encode(payload, LONG_WORD), n - pilots)
        signs = np.empty(n, np.float32)
        signs[order] = 2.0 * bits - 1
        sizes = np.abs(key.rng(f"gaussian-shading sizes {seed} {payload}").standard_normal(n, np.float32))
        return (signs * sizes).reshape(shape)

    def evidence(self, noise: np.ndarray, key: Key, *, payloads: Sequence[Payload] = ()) -> Evidence:
        """See `base.LatentScheme.evidence`.

        Without `payloads` the p-value is exact: pads of different nonces are independent, so the best of 4,096 is
        corrected by 1 - (1 - p)^4096. With them, the better of that and of the best agreement of all values with a
        nonce and a payload, both doubled: a bound.
        """
        self.capacity(noise.shape)
        weights = _weights(noise)[_order(key, noise.size)]
        if not weights.any():
            return Evidence(1.0, "exact", unusable="the recovered noise is flat or not finite")
        pilots = _pilots(noise.size)
        scores = _pilot_scores(weights[:pilots], _pads(key, noise.size)[:, :pilots])
        nonce = int(scores.argmax())
        one = tail(weights[:pilots], float(scores[nonce]))
        p_value = -math.expm1(NONCES * math.log1p(-min(one, 1 - 1e-16)))
        looks, named = NONCES, None
        if payloads:
            best = np.argsort(scores)[::-1][:_CANDIDATES]
            words = np.stack([self._soft_word(weights, key, int(each)) for each in best])
            signs = 2.0 * codes.encode_many(np.array([int(each) for each in payloads], np.uint64), LONG_WORD) - 1
            both = scores[best][:, None] + words @ signs.T
            row, column = np.unravel_index(both.argmax(), both.shape)
            looks = 2 * NONCES * len(payloads)
            whole = tail(weights, float(both[row, column])) * NONCES * len(payloads)
            nonce = int(best[row]) if whole < p_value else nonce
            p_value = min(1.0, 2 * min(p_value, whole))
            own = tail(weights[pilots:], float(words[row] @ signs[column])) * len(payloads)
            named = payloads[int(column)] if p_value <= _MATCH and own <= _MATCH else None
        soft = self._soft_word(weights, key, nonce)
        kind: Literal["exact", "bound"] = "bound" if payloads else "exact"
        return self._reading(soft, p_value, kind, looks, nonce, named)

    def soft_word(self, noise: np.ndarray, key: Key) -> np.ndarray:
        """Soft values of the payload's word, float64 [248], at the nonce that the pilots choose (key's pad off)."""
        weights = _weights(noise)[_order(key, noise.size)]
        pilots = _pilots(noise.size)
        scores = _pilot_scores(weights[:pilots], _pads(key, noise.size)[:, :pilots])
        return self._soft_word(weights, key, int(scores.argmax()))

    def _soft_word(self, weights: np.ndarray, key: Key, nonce: int) -> np.ndarray:
        pilots = _pilots(len(weights))
        pad = _pads(key, len(weights))[nonce, pilots:]
        votes = weights[pilots:] * (1.0 - 2.0 * pad)
        return np.bincount(np.arange(len(votes)) % LONG_WORD, votes, LONG_WORD)

    def _reading(
        self,
        soft: np.ndarray,
        p_value: float,
        kind: Literal["exact", "bound"],
        looks: int,
        nonce: int,
        named: Payload | None,
    ) -> Evidence:
        word = (soft > 0).astype(np.uint8)
        corrected = None
        guess = likeliest(soft) if named is None and p_value <= _MATCH else None
        if guess is not None:
            wrong = int((codes.encode(guess, LONG_WORD) != word).sum())
            named, corrected = (guess, wrong) if wrong <= _MOST_WRONG else (None, None)
        matched = 0 if named is None else int((codes.encode(named, LONG_WORD) == word).sum())
        bits = 0 if named is None else LONG_WORD
        details = {"nonce": nonce}
        return Evidence(max(p_value, 1e-300), kind, looks, named, bits, matched, corrected, details=details)


def _pilots(n: int) -> int:
    """How many of `n` positions are pilots: half, and 8,192 at most."""
    return min(n // 2, 8192)


def _weights(noise: np.ndarray) -> np.ndarray:
    """Soft votes by position, whole int8 [n]: the noise of each channel, centred, by its size."""
    flat = np.asarray(noise, np.float64).reshape(noise.shape[0], -1)
    flat = np.where(np.isfinite(flat), flat, 0.0)
    return whole_weights(flat - flat.mean(axis=1, keepdims=True)).ravel()


def _pilot_scores(weights: np.ndarray, pads: np.ndarray) -> np.ndarray:
    """Agreement of each nonce's pilots with the weights: float64 [nonces]."""
    whole = weights.astype(np.float32)
    scores = [2.0 * (block.astype(np.float32) @ whole) for block in np.split(pads, 8)]
    return np.concatenate(scores).astype(np.float64) - float(whole.sum())


@lru_cache(maxsize=2)
def _pads(key: Key, n: int) -> np.ndarray:
    """Cipher streams of all nonces, uint8 [4096, n] in {0, 1}."""
    return key.bits(f"gaussian-shading pads {n}", NONCES * n).reshape(NONCES, n)


@lru_cache(maxsize=8)
def _order(key: Key, n: int) -> np.ndarray:
    """Which position of the latent each place of the word has, int [n]: scattered, so that a crop hits all bits."""
    return key.rng(f"gaussian-shading order {n}").permutation(n)

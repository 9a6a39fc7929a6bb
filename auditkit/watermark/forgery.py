"""Was a mark made for the image it is in? Checks for copied, averaged and repeated marks; and these forgeries.

A forger has no key. He can carry the residual of a marked image over to another (copied), average the residuals of
many marked images first (averaged; the collusion attack of Cox and others 1997), or, with a key, mark what is marked
(re-marked). Two checks are made. Schemes that bind some of their bits to the image's content report how many of these
agree (`Reading.details["binding"]`). And two payloads under one key leave soft values that are large where their words
agree and small where they differ; words being a linear code, that pattern of sizes is itself a word, and is looked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from auditkit.errors import WatermarkError
from auditkit.watermark.base import Reading
from auditkit.watermark.keys import Key
from auditkit.watermark.payload import PAYLOAD_BITS, Payload, encode
from auditkit.watermark.soft_decoding import likeliest
from auditkit.watermark.statistics import Tail, binomial_p_value

Outcome = Literal["consistent", "suspect", "not checked"]

BOUND = 1e-3
"""Content bits that agree at this p-value show that the mark was made for this image."""
SECOND = 1e-6
"""P-value, over all 2^64 payloads, at which a second payload under the same key is called found."""
AT_CHANCE = 0.01
"""Content bits that agree at no less than this p-value are as they would be on a strange image."""
_WELL_READ = 0.85
"""Share of the word's bits that must agree before missing content bits speak against an image."""


@dataclass(frozen=True)
class Check:
    """What a check says, and why, in a sentence for people ('' where there is nothing to say)."""

    outcome: Outcome
    note: str = ""


def check(reading: Reading, soft: np.ndarray, payload: Payload) -> Check:
    """Check one present mark.

    Args:
        reading: what the scheme read.
        soft: its soft values without the key's pad, float [n].
        payload: what the mark says.
    """
    if (other := second_payload(soft, payload)) is not None:
        return Check("suspect", f"re-marked: a second payload, {other}, lies under the same key")
    if "binding" not in reading.details:
        return Check("not checked", "this scheme does not bind its mark to the image's content")
    binding = reading.details["binding"]
    if binding is None or not binding[1]:
        return Check("not checked", "turned, scaled or cropped: what binds the mark to its image cannot be compared")
    agreeing, n = int(binding[0]), int(binding[1])
    said = f"{agreeing} of {n} bits that are bound to the content agree"
    p_value = binomial_p_value(n, agreeing)
    if p_value <= BOUND:
        return Check("consistent", said)
    matched = float(((soft > 0) == encode(payload, len(soft))).mean())
    if p_value > AT_CHANCE and matched >= _WELL_READ:
        return Check("suspect", f"copied from another image, or cut or covered since it was marked: only {said}")
    return Check("not checked", f"too little to tell whether the mark was copied ({said})")


def second_payload(soft: np.ndarray, payload: Payload) -> Payload | None:
    """Another payload that was embedded under the same key, or None.

    The sizes of `soft`, float [n], less their median, are read as the word of `payload` XOR the other one.
    """
    size = np.abs(np.nan_to_num(np.asarray(soft, float)))
    apart = np.median(size) - size  # positive where two marks would work against each other
    found = likeliest(apart)
    if found is None or int(found) == 0:
        return None
    tail = Tail(apart)
    p_value = tail.p_value(int(tail.agreement(encode(found, len(soft)))), looks=2.0**PAYLOAD_BITS)
    return Payload.from_int(int(payload) ^ int(found)) if p_value <= SECOND else None


def residual(image: np.ndarray, *, sigma: float = 2.0) -> np.ndarray:
    """What a forger takes for the mark: the image less its blur, float64 [h, w, 3]."""
    from scipy.ndimage import gaussian_filter

    values = np.asarray(image, float)
    return values - gaussian_filter(values, (sigma, sigma, 0))


def copied(marked: np.ndarray, target: np.ndarray, *, gain: float = 1.0) -> np.ndarray:
    """`target` (uint8 [h, w, 3]) with the residual of one marked image of the same size on it."""
    return averaged([marked], target, gain=gain)


def averaged(marked: Sequence[np.ndarray], target: np.ndarray, *, gain: float = 1.0) -> np.ndarray:
    """`target` with the mean residual of several marked images on it: uint8 [h, w, 3].

    Args:
        marked: uint8 [h, w, 3] each, all marked with the same key and payload; their own content averages out.
        gain: the residual is multiplied by it; a blur keeps about half of a mark of middling frequency.

    Raises:
        WatermarkError: the sizes differ.
    """
    if not marked or any(each.shape != target.shape for each in marked):
        raise WatermarkError("a mark is carried over between images of one size", mend="crop them to the same size")
    mean = np.mean([residual(each) for each in marked], axis=0)
    return np.clip(np.rint(target + gain * mean), 0, 255).astype(np.uint8)


def marked_again(marked: np.ndarray, scheme: Any, key: Key, payload: Payload, *, psnr: float = 42.0) -> np.ndarray:
    """A marked image with another payload, or another key's mark, put on top of it: uint8 [h, w, 3]."""
    from auditkit.watermark.embedding import embed

    return embed(marked, scheme, key, payload, psnr=psnr)

"""Which group each image is to show: by quota or by draw, from nothing but the target, the prompts and the seeds.

So a run that is resumed goes on as it began, and runs of the same seeds stay paired.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping


def quota(shares: Mapping[str, float], index: int, key: str) -> str:
    """The group of the image number `index` of a sequence, so that the counts follow the shares at every length.

    Systematic sampling from a random start (Madow & Madow 1944), by halves of the list of groups: of the first n
    images, the part of either half is n times its share, rounded down or up; over the starts (one for each `key`) each
    image has each group with its share. Where n times the shares are whole numbers, the counts are they.

    Args:
        shares: >= 0, sum 1. index: from 0. key: the sequence's name, from which its start follows.

    >>> [quota({"female": 0.5, "male": 0.5}, i, "judge") for i in range(4)].count("female")
    2
    """
    left = {name: share for name, share in shares.items() if share > 0}
    path = ""
    while len(left) > 1:
        names = list(left)
        half = names[: len(names) // 2]
        part = math.fsum(left[name] for name in half) / math.fsum(left.values())
        start = unit(f"{key}|quota|{path}")
        before, after = (math.floor(n * part + start) for n in (index, index + 1))
        into = after > before
        index = before if into else index - before
        left = {name: share for name, share in left.items() if (name in half) is into}
        path += "l" if into else "r"
    return next(iter(left))


def draw(shares: Mapping[str, float], key: str) -> str:
    """A group drawn with the shares as its probabilities; the same for the same `key`."""
    left = {name: share for name, share in shares.items() if share > 0}
    point = unit(f"{key}|draw") * math.fsum(left.values())
    for name, share in left.items():
        point -= share
        if point < 0:
            return name
    return next(reversed(left))


def unit(text: str) -> float:
    """A number in [0, 1) that follows from the text, as good as random."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big") / 2**48

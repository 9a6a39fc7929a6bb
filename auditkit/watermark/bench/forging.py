"""Forgeries of a bench: marks carried over to other images, and marks on top of marks.

Here 'found' is not the aim: it says how often a forgery passes as present, and `suspect` how often it is noticed.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from auditkit.watermark.base import unpadded
from auditkit.watermark.bench.content import Picture
from auditkit.watermark.bench.contestants import Outcome, Word
from auditkit.watermark.payload import Payload

KINDS = {
    "forgery-copy": "Residual of one marked image on another image",
    "forgery-average": "Mean residual of five marked images on another image",
    "forgery-remark": "Marked again with another payload",
}
AVERAGED = 5


class Others:
    """The other images of a bench, as a forger of one scheme's marks uses them."""

    def __init__(self, contestant: Word, found: Sequence[Picture], seed: int):
        self._contestant, self._found, self._seed = contestant, found, seed
        self._marked = lru_cache(maxsize=AVERAGED + 1)(self._embed)

    def forge(self, kind: str, picture: Picture, image: np.ndarray, message: Payload) -> np.ndarray | None:
        """The forgery that should pass for `message`, uint8 [h, w, 3]; None where there are too few images of its size.

        Args:
            picture: its unmarked image is the one that a mark is put on.
            image: it, marked with `message`.
        """
        from auditkit.watermark import forgery

        if kind == "forgery-remark":
            other = Payload.from_int(int(message) ^ (int(picture.hash[:16], 16) | 1))  # 64 bits, never 0
            return self._contestant.embed(image, other)
        need = AVERAGED if kind == "forgery-average" else 1
        place = self._found.index(picture)
        alike = [p for p in [*self._found[place + 1 :], *self._found[:place]] if p.pixels.shape == picture.pixels.shape]
        if len(alike) < need:
            return None
        sources = [self._marked(self._found.index(one), int(message)) for one in alike[:need]]
        return forgery.averaged(sources, picture.pixels, gain=2.0)

    def judge(self, image: np.ndarray, message: Payload) -> tuple[Outcome, bool]:
        """What reading the forgery gives, and whether the check calls it suspect."""
        from auditkit.watermark import forgery

        contestant = self._contestant
        outcome = contestant.read(image, message, search=False)
        reading = contestant.scheme.read(image, contestant.key, search=False)
        if reading.unusable:
            return outcome, False
        soft = unpadded(reading.soft, contestant.name, contestant.key)
        return outcome, forgery.check(reading, soft, message).outcome == "suspect"

    def _embed(self, index: int, message: int) -> Any:
        return self._contestant.embed(self._found[index].pixels, Payload.from_int(message))

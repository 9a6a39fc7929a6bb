"""Stable Signature (Fernandez et al. 2023): a generator's decoder marks whatever it makes.

The mark is put in by `generators.rooting.root`, which fine-tunes a decoder; here it is read. The word is the signs of
a learned extractor's outputs (`codec`'s decoder), whitened on unmarked images, so that these read as coin tosses.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from auditkit.errors import WatermarkError
from auditkit.watermark.base import Reading
from auditkit.watermark.keys import Key
from auditkit.watermark.payload import SHORT_WORD

FLAT = 1.0
"""Grey levels: an image whose values deviate less than this has no mark to read."""


class Signature:
    """The word scheme of rooted decoders. See `base.WordScheme`."""

    name: ClassVar[str] = "signature"
    version: ClassVar[int] = 1
    title: ClassVar[str] = "Stable Signature: a decoder that marks whatever it makes"
    family: ClassVar[str] = "word"
    bits: ClassVar[int] = SHORT_WORD
    min_side: ClassVar[int] = 64
    embeds: ClassVar[bool] = False

    def embed(self, image: np.ndarray, word: np.ndarray, key: Key, *, psnr: float = 42.0) -> np.ndarray:
        """Not possible: the mark is made by a decoder, with the image.

        Raises:
            WatermarkError: always.
        """
        raise WatermarkError(
            "a signature is not put into an image that exists: a generator's decoder makes it with the image",
            where="scheme signature",
            mend="root a generator, and generate with it: auditkit watermark root --generator NAME; or use the scheme "
            "spread or codec",
        )

    def read(self, image: np.ndarray, key: Key, *, search: bool = True) -> Reading:
        """The word that `image`, uint8 [h, w, 3], reads as. `search` changes nothing: nothing is undone here."""
        return self.read_many(image, [key])[0]

    def read_many(self, image: np.ndarray, keys: Sequence[Key]) -> list[Reading]:
        """One reading a key. They are the same, since the key's pad alone tells keys apart, and cost one reading."""
        if unusable := self._unusable(image):
            return [Reading(np.zeros(self.bits), unusable=unusable)] * len(keys)
        from auditkit.watermark.signature import extractor

        try:
            return [Reading(extractor.read(image))] * len(keys)
        except WatermarkError as error:  # a reading never raises
            return [Reading(np.zeros(self.bits), unusable=error.what)] * len(keys)

    def _unusable(self, image: np.ndarray) -> str:
        height, width = image.shape[:2]
        if min(height, width) < self.min_side:
            return f"the image ({width} x {height}) is smaller than {self.min_side} px"
        return "the image is flat: there is nothing to read" if image.std() < FLAT else ""

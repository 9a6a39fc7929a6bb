"""The learned codec as a word scheme: any size of image, a fixed PSNR, reading with or without a search."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from auditkit.watermark.base import Reading, check_side, unpadded
from auditkit.watermark.keys import Key
from auditkit.watermark.payload import SHORT_WORD, encode
from auditkit.watermark.soft_decoding import likeliest

if TYPE_CHECKING:
    from auditkit.watermark.codec.network import Decoder, Encoder
    from auditkit.watermark.codec.reading import Found

_PLAIN = 0.3
"""Standard deviation of luminance, in grey levels, under which an image is one colour: a mark has some 2."""
_BEYOND_DOUBT = 0.95
"""Agreement of soft values with a word, over their sum of sizes, at which no other reading is tried. Values without a
mark agree with the likeliest of all words in .86 of it, and in .90 at most of 300 (tests/test_watermark_codec.py)."""
_CLIPPED = 6.0
"""How much stronger the residual may get, at most, to make up for what is clipped at black and white."""


class Codec:
    """A learned encoder and decoder of 127 bits, read after crop, rotation, scale and mirroring.

    The networks are public and the same for all keys: a key enters by its pad alone. So one forward pass serves every
    key, nothing about the key can be learned from the pattern, and for a fixed image the readings are fixed vectors:
    one as it stands, and `reading.READINGS` with a search, of which the key's code chooses. The p-value counts each of
    them as a look. The price is that whoever has the weights can see that an image is marked, and can wipe the mark out
    or copy it; `spread` hides its carriers behind the key.

    From 64 px on images are marked; what of the pattern is finer than their pixels is lost, so that those under about
    160 px carry fewer right bits, and crops of them fewer still (figures in the model card, bundled/README.md).
    """

    name: ClassVar[str] = "codec"
    version: ClassVar[int] = 1
    title: ClassVar[str] = "Learned encoder and decoder"
    family: ClassVar[str] = "word"
    bits: ClassVar[int] = SHORT_WORD
    min_side: ClassVar[int] = 64

    def embed(self, image: np.ndarray, word: np.ndarray, key: Key, *, psnr: float = 42.0) -> np.ndarray:
        """The marked image, uint8 [h, w, 3]; see `base.WordScheme`. The key is not used: its pad is on the word.

        Raises:
            WatermarkError: the image is too small, or the codec's weights cannot be read.
        """
        import torch
        import torch.nn.functional as F

        from auditkit.watermark.codec import network

        check_side(image, self.name, self.min_side)
        encoder, _ = _networks()
        signs = torch.from_numpy(2.0 * np.asarray(word, np.float32) - 1)[None]
        with torch.inference_mode():
            residual = encoder(network.working_luma(_tensor(image)), signs)
            residual = F.interpolate(residual, size=image.shape[:2], mode="bicubic", align_corners=False)
        return _added(image, residual[0, 0].numpy() * 255, 255.0 / 10 ** (psnr / 20))

    def read(self, image: np.ndarray, key: Key, *, search: bool = True) -> Reading:
        """Read the word; see `base.WordScheme`. Without a search the same for every key."""
        return self.read_many(image, [key], search=search)[0]

    def read_many(self, image: np.ndarray, keys: Sequence[Key], *, search: bool = True) -> list[Reading]:
        """`read` for many keys, with the work that all share done once."""
        from auditkit.watermark.codec import reading

        if why := self._why_unusable(image):
            return [Reading(np.zeros(self.bits), unusable=why) for _ in keys]
        decoder, image = _networks()[1], _rgb(image)
        found = reading.candidates(decoder, image) if search else [reading.upright(decoder, image)]
        return [_chosen(found, key) for key in keys]

    def _why_unusable(self, image: np.ndarray) -> str:
        image = np.asarray(image)
        if image.ndim not in (2, 3) or min(image.shape[:2]) < self.min_side:
            return f"smaller than {self.min_side} px"
        if float(np.std(image, dtype=np.float64)) < _PLAIN or float(np.std(_luma(_rgb(image)))) < _PLAIN:
            return "flat: one colour, nothing to read"
        return ""


def _chosen(found: Sequence[Found], key: Key) -> Reading:
    """Of several readings the one that lies nearest to some word of the code under `key`; each counts as a look."""
    best, top = found[0], 0.0
    for one in found if len(found) > 1 else ():
        soft = unpadded(one.soft, Codec.name, key)
        payload = likeliest(soft)
        if payload is None:
            continue
        agreement = float((2.0 * encode(payload, len(soft)) - 1) @ soft / np.abs(soft).sum())
        if agreement > top:
            best, top = one, agreement
        if top >= _BEYOND_DOUBT:
            break
    geometry = {name: round(value, 4) for name, value in best.geometry.items()}
    return Reading(best.soft, looks=len(found), geometry=geometry, details={"energy": round(best.energy, 3)})


@lru_cache(maxsize=1)
def _networks() -> tuple[Encoder, Decoder]:
    from auditkit.watermark.codec import network

    return network.load()


def _tensor(image: np.ndarray):  # type: ignore[no-untyped-def]  # torch.Tensor, which is not imported here
    import torch

    return torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() / 255


def _rgb(image: np.ndarray) -> np.ndarray:
    """The image as uint8 [h, w, 3]: grey tripled, a fourth channel left out."""
    image = np.asarray(image)
    image = np.repeat(image[..., None], 3, axis=2) if image.ndim == 2 else image
    return np.repeat(image[..., :1], 3, axis=2) if image.shape[2] < 3 else image[..., :3]


def _luma(image: np.ndarray) -> np.ndarray:
    return image.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)


def _added(image: np.ndarray, residual: np.ndarray, target: float) -> np.ndarray:
    """`image` plus the residual (float [h, w]), scaled so that the error over RGB has root mean square `target`."""
    rms = float(np.sqrt(np.mean(np.square(residual), dtype=np.float64)))
    start = scale = target / max(rms, 1e-9)
    marked = image
    for _ in range(6):
        wave = np.rint(residual * np.float32(scale)).astype(np.int16)
        marked = np.clip(image.astype(np.int16) + wave[..., None], 0, 255).astype(np.uint8)
        off = (marked.astype(np.int16) - image).astype(np.float32).ravel()
        error = float(np.sqrt(float(off @ off) / off.size))
        if abs(20 * np.log10(max(error, 1e-9) / target)) < 0.05 or scale >= _CLIPPED * start:
            break
        scale = float(np.clip(scale * target / max(error, 1e-9), 0.3 * scale, _CLIPPED * start))
    return marked

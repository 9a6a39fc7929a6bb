"""A mark for a whole run: one scheme, key and payload, put on every image as it is made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from auditkit import registry
from auditkit.errors import WatermarkError
from auditkit.watermark.keys import Key
from auditkit.watermark.payload import Payload

if TYPE_CHECKING:
    from PIL.Image import Image

FAMILIES = ("word", "latent")


@dataclass(frozen=True)
class Mark:
    """What is put on every image of a run. Made by `make_mark`."""

    scheme: Any
    key: Key
    payload: Payload
    psnr: float = 42.0
    """Quality that a scheme in the pixels keeps, dB; latent schemes have none."""

    @property
    def latent(self) -> bool:
        """Whether the mark lies in the noise that the generator starts from."""
        return bool(self.scheme.family == "latent")

    def record(self) -> dict[str, Any]:
        """For run.json; nothing in it is secret."""
        return {
            "scheme": self.scheme.name,
            "scheme_version": self.scheme.version,
            "key_id": self.key.id,
            "payload": str(self.payload),
            "psnr": None if self.latent else self.psnr,
        }

    def noise(self, shape: Sequence[int], seed: int) -> np.ndarray | None:
        """Marked noise to start from, float32 [c, h, w]; None for schemes in the pixels."""
        if not self.latent:
            return None
        noise: np.ndarray = self.scheme.noise(shape, self.key, self.payload, seed=seed)
        return noise

    def pixels(self, image: Image) -> Image:
        """The image with its mark; as it was for latent schemes, which marked it before it was made."""
        if self.latent:
            return image
        from PIL import Image as images

        from auditkit.watermark.embedding import embed

        return images.fromarray(embed(np.asarray(image), self.scheme, self.key, self.payload, psnr=self.psnr))


def make_mark(scheme: str, key: Key, payload: Payload, *, psnr: float = 42.0) -> Mark:
    """The mark that `scheme` makes of a key and a payload.

    Raises:
        PluginError: no scheme has that name.
        WatermarkError: the scheme cannot mark an image that is being made.
    """
    loaded = registry.load("watermarks", scheme)()
    if loaded.family not in FAMILIES:
        able = [n for n in registry.names("watermarks") if registry.load("watermarks", n).family in FAMILIES]
        raise WatermarkError(
            f"the scheme '{scheme}' only reads marks of other tools", where=f"watermark={scheme}",
            mend=f"use one of: {', '.join(able)}",
        )  # fmt: skip
    if not getattr(loaded, "embeds", True):
        raise WatermarkError(
            f"the scheme '{scheme}' lives in a generator's decoder",
            where=f"watermark={scheme}",
            mend="make such a generator first: auditkit watermark root --generator NAME --out FOLDER",
        )
    return Mark(loaded, key, payload, psnr)

"""Images of each bucket through the autoencoder, once, before training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from auditkit.images import open_image
from generators.training.own.buckets import Size, fit
from generators.training.own.reading import Item

if TYPE_CHECKING:
    from torch import Tensor

PIXELS = 2**20
"""Encoded at a time: 64 images of 128 px, 4 of 512 px."""
JUDGED = 64
"""Images that the autoencoder's fidelity is measured on."""


@dataclass(frozen=True)
class Latents:
    """Scaled latents, in main memory.

    Attributes:
        buckets: for each bucket fp16 [images, 1 or 2, channels, h, w]; the second is the mirrored image.
        position: of each row of the data, its index in its bucket.
        psnr: dB, mean over up to JUDGED images, of the autoencoder's rendering against the image.
    """

    buckets: list[Tensor]
    position: NDArray[np.int64]
    psnr: float

    def take(self, bucket: int, rows: NDArray[np.int64], random: Any, device: str) -> Tensor:
        """Latents of these rows, float32 [n, channels, h, w] on `device`; mirrored ones by the generator `random`."""
        import torch

        stored = self.buckets[bucket]
        at = torch.from_numpy(self.position[rows])
        side = torch.randint(stored.shape[1], (len(rows),), generator=random, device=random.device).cpu()
        return stored[at, side].to(device).float()


def encode(
    vae: Any,
    items: Sequence[Item],
    sizes: Sequence[Size],
    buckets: NDArray[np.int64],
    *,
    mirror: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Latents:
    """Every image scaled and cropped to its bucket and encoded: the mode of the posterior.

    Args:
        vae: an AutoencoderKL on its device. sizes: of the buckets. buckets: of each image, int64 [images].

    Raises:
        ImageError: an image has changed since it was read, and cannot be opened.
    """
    import torch

    position = np.zeros(len(items), np.int64)
    made, errors, done = [], [], 0
    device, factor = vae.device, vae.config.scaling_factor
    shift = getattr(vae.config, "shift_factor", None) or 0.0
    every = -(-len(items) // JUDGED)
    with torch.inference_mode(), ThreadPoolExecutor(8) as pool:
        for bucket, size in enumerate(sizes):
            rows = np.flatnonzero(buckets == bucket)
            position[rows] = np.arange(len(rows))
            parts = []
            for part in np.array_split(rows, max(1, -(-len(rows) * size[0] * size[1] // PIXELS))):
                if not len(part):
                    continue
                arrays = list(pool.map(lambda row, size=size: _pixels(items[row], size), part))  # type: ignore[misc]
                images = torch.from_numpy(np.stack(arrays)).to(device).permute(0, 3, 1, 2).float() / 127.5 - 1
                z = vae.encode(images).latent_dist.mode()
                judged = torch.from_numpy(np.flatnonzero(part % every == 0)).to(device)
                if len(judged):
                    restored = vae.decode(z[judged]).sample.clamp(-1, 1)
                    errors.append(((restored - images[judged]) / 2).square().mean((1, 2, 3)))
                both = [z, vae.encode(images.flip(-1)).latent_dist.mode()] if mirror else [z]
                parts.append(((torch.stack(both, 1) - shift) * factor).half().cpu())
                done += len(part)
                if progress is not None:
                    progress(done, len(items))
            made.append(torch.cat(parts))
        psnr = float(-10 * torch.cat(errors).clamp(min=1e-10).log10().mean())
    # Copies outside inference mode: what was made in it cannot take part in training.
    return Latents([each.clone() for each in made], position, psnr)


def _pixels(item: Item, size: Size) -> NDArray[np.uint8]:
    return np.asarray(fit(open_image(item.path), size))

"""Aspect-ratio buckets: image sizes of nearly one area, so that a batch is of one shape and little is cropped away.

After NovelAI's training of Stable Diffusion (2022) and SDXL's (Podell et al. 2023, section 2.3).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from PIL import Image

from auditkit.errors import GeneratorError

Size = tuple[int, int]
"""Width and height, pixels."""


def make_buckets(resolution: int, step: int, max_ratio: float = 2.0) -> list[Size]:
    """Sizes whose sides are multiples of `step`, of at most resolution^2 pixels, no longer than max_ratio to 1.

    The square comes first, then by width. For each width the height is the largest that the area allows, and the
    other way round, as there: so every bucket is as large as it can be.

    Raises:
        GeneratorError: the resolution is no positive multiple of `step`, or the ratio is below 1.
    """
    if resolution < step or resolution % step:
        raise GeneratorError(
            f"The resolution must be a multiple of {step} px.",
            where=f"resolution {resolution}",
            mend=f"Pass --resolution {max(step, round(resolution / step) * step)}.",
        )
    if not 1 <= max_ratio <= 8:
        raise GeneratorError("The largest aspect ratio must be from 1 to 8.", where=f"max ratio {max_ratio}")
    area, sizes = resolution**2, {(resolution, resolution)}
    for side in range(step, int(resolution * max_ratio) + 1, step):
        other = area // side // step * step
        if other and max(side, other) <= max_ratio * min(side, other):
            sizes |= {(side, other), (other, side)}
    widest: dict[int, Size] = {}
    for size in sorted(sizes):
        widest[size[0]] = max(widest.get(size[0], size), size, key=lambda each: each[1])
    square = (resolution, resolution)
    return [square, *sorted(size for size in widest.values() if size != square)]


def bucket_step(resolution: int, factor: int, unet_factor: int) -> int:
    """Granularity of the buckets in pixels: what autoencoder and UNet divide by, where that leaves a choice.

    The UNet takes any size that the autoencoder does (it pads its own feature maps), at some cost; below eight steps a
    side, few buckets would be left, and the autoencoder's factor alone is kept to.
    """
    whole = factor * unet_factor
    return whole if resolution % whole == 0 and resolution // whole >= 8 else factor


def choose(size: Size, buckets: Sequence[Size]) -> int:
    """The index of the bucket whose aspect ratio is nearest to that of `size` (in its logarithm)."""
    wanted = math.log(size[0] / size[1])
    return min(range(len(buckets)), key=lambda i: (abs(math.log(buckets[i][0] / buckets[i][1]) - wanted), i))


def cropped(size: Size, bucket: Size) -> float:
    """The share of an image of `size` that lies outside when it covers `bucket`, in [0, 1)."""
    scale = max(bucket[0] / size[0], bucket[1] / size[1])
    return max(0.0, 1 - bucket[0] * bucket[1] / (size[0] * size[1] * scale**2))


def fit(image: Image.Image, bucket: Size) -> Image.Image:
    """The image scaled until it covers the bucket (Lanczos), and the middle of it."""
    scale = max(bucket[0] / image.width, bucket[1] / image.height)
    width, height = (max(side, round(have * scale)) for side, have in zip(bucket, image.size, strict=True))
    left, top = (width - bucket[0]) // 2, (height - bucket[1]) // 2
    scaled = image.resize((width, height), Image.Resampling.LANCZOS)
    return scaled.crop((left, top, left + bucket[0], top + bucket[1]))

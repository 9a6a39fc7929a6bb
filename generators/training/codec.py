"""Train the learned watermark codec: encoder and decoder together, through attacks, at a fixed PSNR."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from auditkit.errors import ImageError
from generators.training import distortions, loop

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from auditkit.watermark.codec.network import Config, Decoder, Encoder

CANVAS = 512
"""Pixels a side of the images that are marked and attacked; twice the working size."""
EASY_PSNR, HARD_PSNR = 36.0, (41.0, 45.0)
"""Quality at the start, and the range that it is drawn from once the attacks are at full strength (dB)."""
RAMP = 1500
"""Steps over which attacks and quality go from easy to hard."""
SSIM_WEIGHT = 6.0


def load_photographs(folders: Sequence[Path], device: str) -> list[Tensor]:
    """Images below folders, uint8 [3, h, w] on `device`, those whose shorter side is under `CANVAS` left out.

    Raises:
        ImageError: the folders hold no image that is large enough.
    """
    import torch

    images = []
    files = (path for folder in folders for path in folder.rglob("*"))
    for path in sorted(p for p in files if p.suffix.lower() in (".png", ".jpg", ".jpeg", ".webp")):
        with Image.open(path) as image:
            if min(image.size) >= CANVAS:
                images.append(torch.from_numpy(np.asarray(image.convert("RGB")).copy()).permute(2, 0, 1).to(device))
    if not images:
        raise ImageError(
            "there are no images to train on",
            where=", ".join(map(str, folders)),
            mend=f"name a folder of images of at least {CANVAS} px",
        )
    return images


def crops(images: Sequence[Tensor], batch: int, generator: torch.Generator) -> Tensor:
    """Random views: float [batch, 3, CANVAS, CANVAS] in [0, 1]; scaled down by up to 2, mirrored, recoloured."""
    import torch
    import torch.nn.functional as F

    device = images[0].device
    draw = torch.rand(batch, 6, generator=generator, device=device).cpu()
    views = []
    for u in draw.tolist():
        image = images[min(int(u[0] * len(images)), len(images) - 1)]
        height, width = image.shape[1:]
        side = int(CANVAS * (1 + u[1] ** 2 * (min(height, width, 2 * CANVAS) / CANVAS - 1)))
        top, left = int(u[2] * (height - side + 1)), int(u[3] * (width - side + 1))
        view = image[None, :, top : top + side, left : left + side].float() / 255
        if side != CANVAS:
            view = F.interpolate(view, size=(CANVAS, CANVAS), mode="bilinear", antialias=True).clamp(0, 1)
        view = view.flip(-1) if u[4] < 0.5 else view
        views.append(view.transpose(-1, -2) if u[5] < 0.25 else view)
    x = torch.cat(views)
    strange = torch.rand(batch, 3, 1, 1, 1, generator=generator, device=device)
    x = torch.where(strange[:, 0] < 0.1, 1 - x, x)
    return torch.where(strange[:, 1] < 0.3, x.clamp(min=1e-4) ** (0.6 + strange[:, 2]), x)


def embed(encoder: Encoder, images: Tensor, signs: Tensor, psnr: Tensor) -> Tensor:
    """Marked images [n, 3, h, w] in [0, 1] at `psnr` dB [n] (before clipping), rounded to 8 bits straight through."""
    import torch.nn.functional as F

    from auditkit.watermark.codec.network import working_luma

    residual = encoder(working_luma(images), signs).float()
    residual = F.interpolate(residual, size=images.shape[-2:], mode="bicubic", align_corners=False)
    rms = residual.square().mean((1, 2, 3), keepdim=True).sqrt()
    marked = (images + residual / (rms + 1e-8) * 10 ** (-psnr[:, None, None, None] / 20)).clamp(0, 1)
    return marked + ((marked * 255).round() / 255 - marked).detach()


def ssim(a: Tensor, b: Tensor) -> Tensor:
    """Mean structural similarity of luminance [n, 1, h, w] in [0, 1], 7 x 7 uniform windows (Wang et al. 2004)."""
    import torch.nn.functional as F

    mean_a, mean_b = F.avg_pool2d(a, 7, 1), F.avg_pool2d(b, 7, 1)
    var_a = F.avg_pool2d(a * a, 7, 1) - mean_a.square()
    var_b = F.avg_pool2d(b * b, 7, 1) - mean_b.square()
    both = F.avg_pool2d(a * b, 7, 1) - mean_a * mean_b
    c1, c2 = 0.01**2, 0.03**2
    score = (2 * mean_a * mean_b + c1) * (2 * both + c2)
    return (score / ((mean_a.square() + mean_b.square() + c1) * (var_a + var_b + c2))).mean()


def logits_after(decoder: Decoder, marked: Tensor, attack: distortions.Attack, generator: torch.Generator) -> Tensor:
    """Logits [n, bits] of the attacked images, the geometry of the attack undone as the attack knows it."""
    import torch

    from auditkit.watermark.codec.network import working_luma

    with torch.autocast(marked.device.type, enabled=False):  # 8 bits of mantissa would be an attack of its own
        seen = attack(marked.float(), generator)
    mark = decoder.front(working_luma(seen.images, seen.working))
    if seen.back is None:
        return decoder.logits(mark)
    mark, weight = distortions.undone(mark, seen.back)
    return decoder.logits(mark, weight)


def train(
    data: Sequence[Path],
    out: Path,
    schedule: loop.Schedule,
    *,
    device: str,
    config: Config | None = None,
    init: Path | None = None,
    progress: loop.Progress | None = None,
) -> Path:
    """Train on the images below the folders `data` and write `<out>/export` (what `network.load` reads).

    Attacks and PSNR go from easy to hard over the first `RAMP` steps; with `init`, the export of an earlier training,
    they are hard at once.
    """
    import torch

    from auditkit.watermark.codec import network

    config = network.Config() if config is None else config
    encoder, decoder = network.build(config, schedule.seed)
    if init is not None:
        encoder, decoder = network.load(init)
    for module in (encoder, decoder):
        module.to(device).to(memory_format=torch.channels_last).requires_grad_(True)  # type: ignore[call-overload]
    images = load_photographs(data, device)

    def step(index: int) -> dict[str, Tensor]:
        random = torch.Generator(device).manual_seed(schedule.seed * 1_000_003 + index)
        hardness = 1.0 if init is not None else min(1.0, index / RAMP)
        x = crops(images, schedule.batch, random)
        signs = torch.randint(0, 2, (len(x), config.bits), generator=random, device=device) * 2.0 - 1
        low, high = ((1 - hardness) * EASY_PSNR + hardness * end for end in HARD_PSNR)
        psnr = low + (high - low) * torch.rand(len(x), generator=random, device=device)
        attack = distortions.drawn(index, schedule.seed, hardness)
        with loop.autocast(device, schedule):
            marked = embed(encoder, x, signs, psnr)
            logits = logits_after(decoder, marked, attack, random).float()
        bits_loss = torch.nn.functional.softplus(-signs * logits).mean()
        quality = ssim(network.working_luma(x), network.working_luma(marked.float()))
        accuracy = (signs * logits > 0).float().mean()
        return {"loss": bits_loss + SSIM_WEIGHT * (1 - quality), "bits": bits_loss, "ssim": quality, "right": accuracy}

    averaged = loop.run(step, {"encoder": encoder, "decoder": decoder}, schedule, out=out, progress=progress)
    assert isinstance(averaged["encoder"], network.Encoder)
    assert isinstance(averaged["decoder"], network.Decoder)
    return network.save(out / "export", config, averaged["encoder"], averaged["decoder"])

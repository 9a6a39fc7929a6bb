"""The corpus as tensors: drawings with alpha, put on backgrounds and augmented in batches on the device."""

from __future__ import annotations

import io
import math
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from PIL import Image

from auditkit.errors import TableError

if TYPE_CHECKING:
    from torch import Generator, Tensor

# Paper-like backgrounds of the generators' training images, RGB in 0..255; white comes up twice as often.
PAPERS = (
    (255, 255, 255), (255, 255, 255), (242, 239, 233), (222, 235, 247), (226, 240, 217), (252, 228, 214),
    (237, 226, 246), (255, 242, 204), (217, 217, 217), (203, 220, 216),
)  # fmt: skip


def load(table: pd.DataFrame, device: str) -> Tensor:
    """Drawings of the corpus table as uint8 [n, 4, size, size] (RGBA, straight alpha) on `device`."""
    import torch

    def one(png: bytes) -> np.ndarray:
        with Image.open(io.BytesIO(png)) as image:
            return np.asarray(image.convert("RGBA"))

    with ThreadPoolExecutor() as pool:
        arrays = list(pool.map(one, table["png"]))
    return torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2).contiguous().to(device)


def on_paper(drawings: Tensor, canvas: int, generator: Generator) -> Tensor:
    """Drawings at a random whole-pixel offset on a plain paper of `canvas` px: float [n, 3, canvas, canvas] in -1..1.

    Nothing is resampled, so the images stay as sharp as they were rendered. Half are mirrored.

    Raises:
        TableError: the drawings are larger than the canvas.
    """
    import torch

    n, _, size, _ = drawings.shape
    if size > canvas:
        what = f"The corpus's drawings of {size} px do not fit on a canvas of {canvas} px."
        raise TableError(what, where="corpus", mend=f"auditkit corpus build --size {canvas - canvas // 16}")
    device = drawings.device
    papers = torch.tensor(PAPERS, device=device, dtype=torch.float32)
    paper = papers[torch.randint(len(PAPERS), (n,), generator=generator, device=device)] / 255
    rgb, alpha = drawings[:, :3].float() / 255, drawings[:, 3:].float() / 255
    layered = torch.cat([rgb * alpha, alpha], 1)
    flip = torch.rand(n, generator=generator, device=device) < 0.5
    layered = torch.where(flip[:, None, None, None], layered.flip(-1), layered)
    room = canvas - size
    dx, dy = (
        (torch.randint(room + 1, (2, n), generator=generator, device=device))
        if room
        else torch.zeros(2, n, device=device)
    )
    rows = torch.arange(canvas, device=device)[None, :] - dy[:, None]
    columns = torch.arange(canvas, device=device)[None, :] - dx[:, None]
    inside = ((rows >= 0) & (rows < size))[:, None, :, None] & ((columns >= 0) & (columns < size))[
        :, None, None, :
    ]
    rows, columns = rows.clamp(0, size - 1).long(), columns.clamp(0, size - 1).long()
    index = torch.arange(n, device=device)
    moved = (
        layered[index[:, None, None], :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2) * inside
    )
    return (moved[:, :3] + paper[:, :, None, None] * (1 - moved[:, 3:])) * 2 - 1


def augmented(drawings: Tensor, size: int, generator: Generator) -> tuple[Tensor, Tensor]:
    """Strongly varied views for the encoder: float [n, 3, size, size] in 0..1, and bool [n]: is the skin tone kept?

    Moves, turns, scales and mirrors; plain, two-colour or noisy backgrounds; light, gamma, blur, outlines, noise
    and holes. A quarter of the images also get their colours remade (hue, inversion, grey), which teaches form
    over colour; in those the skin tone is no longer what the label says, so the second result is False.
    """
    import torch
    import torch.nn.functional as F

    n, device = len(drawings), drawings.device

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return torch.rand(n, *shape, generator=generator, device=device) * (high - low) + low

    def chance(p: float) -> Tensor:
        return (torch.rand(n, generator=generator, device=device) < p)[:, None, None, None]

    rgb, alpha = drawings[:, :3].float() / 255, drawings[:, 3:].float() / 255
    layered = torch.cat([rgb * alpha, alpha], 1)
    angle = uniform(-0.25, 0.25) * (torch.rand(n, generator=generator, device=device) < 0.6)
    scale = uniform(0.9, 1.45)
    mirror = torch.where(torch.rand(n, generator=generator, device=device) < 0.5, -1.0, 1.0)
    stretch = uniform(0.9, 1.1)
    theta = torch.zeros(n, 2, 3, device=device)
    theta[:, 0, 0], theta[:, 0, 1] = scale * mirror * stretch * angle.cos(), -scale * angle.sin()
    theta[:, 1, 0], theta[:, 1, 1] = scale * mirror * angle.sin(), scale * angle.cos()
    theta[:, :, 2] = uniform(-0.18, 0.18, 2)
    grid = F.affine_grid(theta, [n, 4, 2 * size, 2 * size], align_corners=False)
    layered = F.grid_sample(layered, grid, mode="bilinear", align_corners=False)
    layered = F.avg_pool2d(layered, 2)  # sampled twice as fine, then averaged: no aliasing
    first, second = uniform(0, 1, 3, 1, 1), uniform(0, 1, 3, 1, 1)
    first = torch.where(chance(0.4), 1 - 0.2 * first, first)
    ramp = torch.linspace(-1, 1, size, device=device)
    turn = uniform(0, 2 * math.pi)[:, None, None]
    plane = (ramp[None, :, None] * turn.sin() + ramp[None, None, :] * turn.cos())[:, None]
    mix = torch.where(chance(0.5), (plane + 1) / 2, (plane > 0).float()).clamp(0, 1)
    ground = torch.where(chance(0.5), first, first * (1 - mix) + second * mix).expand(n, 3, size, size)
    coarse = F.interpolate(
        torch.rand(n, 3, 8, 8, generator=generator, device=device), size=size, mode="bilinear"
    )
    ground = torch.where(chance(0.15), coarse, ground)
    image = layered[:, :3] + ground * (1 - layered[:, 3:])

    # Form over colour: hue turned by a random rotation about grey, sometimes inverted or grey.
    remade = chance(0.25)
    axis = torch.full((3,), 3**-0.5, device=device)
    cross = torch.tensor([[0, -1, 1], [1, 0, -1], [-1, 1, 0]], device=device, dtype=torch.float32) * 3**-0.5
    spin = uniform(0.5, 2 * math.pi - 0.5)[:, None, None]
    rotate = (
        spin.cos() * torch.eye(3, device=device)
        + spin.sin() * cross
        + (1 - spin.cos()) * torch.outer(axis, axis)
    )
    strange = torch.einsum("nij,njhw->nihw", rotate, image)
    strange = torch.where(chance(0.35), image.mean(1, keepdim=True).expand_as(image), strange)
    strange = torch.where(chance(0.15), 1 - strange, strange)
    image = torch.where(remade, strange, image).clamp(0, 1)

    # Outlines drawn dark along the edges, as in line-drawn styles.
    grey = image.mean(1, keepdim=True)
    edge = F.max_pool2d(grey, 3, 1, 1) + F.max_pool2d(-grey, 3, 1, 1)
    image = torch.where(chance(0.2), image * (1 - (edge * uniform(1.5, 5, 1, 1, 1)).clamp(0, 1)), image)
    levels = uniform(3, 8, 1, 1, 1).round()
    image = torch.where(chance(0.08), (image * levels).round() / levels, image)
    # Light: small enough to leave neighbouring tones apart most of the time.
    image = torch.where(chance(0.5), image.clamp(1e-4, 1) ** uniform(0.88, 1.14, 1, 1, 1), image)
    image = torch.where(chance(0.5), image * uniform(0.92, 1.06, 3, 1, 1), image)
    small = F.interpolate(F.avg_pool2d(image, 2), size=size, mode="bilinear")
    image = torch.where(chance(0.3), small, image)
    blurred = F.avg_pool2d(F.pad(image, (1, 1, 1, 1), mode="replicate"), 3, 1)
    image = torch.where(chance(0.2), blurred, image)
    noise = torch.randn(image.shape, generator=generator, device=device) * uniform(0, 0.06, 1, 1, 1)
    image = torch.where(chance(0.3), image + noise, image)
    ys, xs = ramp[None, None, :, None], ramp[None, None, None, :]
    hole = ((ys - uniform(-0.8, 0.8, 1, 1, 1)).abs() < uniform(0.08, 0.3, 1, 1, 1)) & (
        (xs - uniform(-0.8, 0.8, 1, 1, 1)).abs() < uniform(0.08, 0.3, 1, 1, 1)
    )
    image = torch.where(chance(0.2) & hole, second.expand_as(image), image)
    return image.clamp(0, 1), ~remade[:, 0, 0, 0]

"""An attribute head: from the middle of a UNet (its h-space, Kwon et al. 2023) to the classes of attributes.

Its tensors, by name: `mean`, `std` [4 c] of the features, `in` [hidden, 4 c], `time` [hidden, 8], `bias` [hidden], and
for each attribute `out_<attribute>` [classes, hidden] and `bias_<attribute>` [classes].
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

CELLS = 2
"""Features are means over CELLS x CELLS parts of the mid-block's output, so that a head has the same size at every
resolution."""


def features(h: torch.Tensor) -> torch.Tensor:
    """The mid-block's output [n, c, h, w] as features [n, 4 c]."""
    import torch

    return torch.nn.functional.adaptive_avg_pool2d(h.float(), CELLS).flatten(1)


def spread(change: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """A change of features [n, 4 c] as one of the mid-block's output [n, c, h, w]: each cell's to all its pixels."""
    import torch

    cells = change.unflatten(1, (like.shape[1], CELLS, CELLS))
    return torch.nn.functional.interpolate(cells, size=like.shape[-2:], mode="nearest").to(like.dtype)


def logits(head: Mapping[str, torch.Tensor], standard: torch.Tensor, level: torch.Tensor) -> dict[str, torch.Tensor]:
    """Logits [n, classes] of each attribute.

    Args:
        standard: features in standard units, (features - mean) / std, [n, 4 c].
        level: how far in the noise, 0 (clean) to 1 (nothing but noise), [n].
    """
    import torch

    waves = level[:, None].float() * math.pi * 2.0 ** torch.arange(4, device=level.device)
    time = torch.cat([waves.sin(), waves.cos()], 1)
    hidden = torch.nn.functional.silu(standard @ head["in"].T + time @ head["time"].T + head["bias"])
    names = [name.removeprefix("out_") for name in head if name.startswith("out_")]
    return {name: hidden @ head[f"out_{name}"].T + head[f"bias_{name}"] for name in names}


def new_head(
    mean: torch.Tensor, std: torch.Tensor, classes: Mapping[str, Sequence[str]], *, hidden: int, seed: int
) -> dict[str, torch.Tensor]:
    """A head of random weights for features of that mean and spread [4 c], its outputs 0."""
    import torch

    draw = torch.Generator().manual_seed(seed)
    width = len(mean)
    head = {
        "mean": mean.float().cpu(),
        "std": std.float().cpu(),
        "in": torch.randn(hidden, width, generator=draw) / math.sqrt(width),
        "time": torch.randn(hidden, 8, generator=draw) / math.sqrt(8),
        "bias": torch.zeros(hidden),
    }
    for name, each in classes.items():
        head[f"out_{name}"] = torch.zeros(len(each), hidden)
        head[f"bias_{name}"] = torch.zeros(len(each))
    return head

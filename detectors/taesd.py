"""The networks of the TAESD family (taesd, taesdxl, taesd3, taef1, taef2: madebyollin, MIT), from their weights.

One layout for all: 64 channels, three halvings, and what differs (latent channels, blocks that pool) is read from the
weights. `detectors.autoencoders` loads them; diffusers' AutoencoderTiny has no blocks that pool, which taef2 needs.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

CHANNELS = 64
POOL_GROUPS = 4


class Clamp(nn.Module):
    """Soft limits of the latents, -3 to 3."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x / 3) * 3


class Block(nn.Module):
    """Three 3 x 3 convolutions beside an identity; one that pools first adds what it learns of the whole image."""

    def __init__(self, pools: bool):
        super().__init__()
        self.conv = nn.Sequential(_conv(), nn.ReLU(), _conv(), nn.ReLU(), _conv())
        self.pool = None
        if pools:
            wide = 4 * CHANNELS
            self.pool = nn.Sequential(
                nn.Conv2d(CHANNELS, wide, 1, bias=False),
                nn.GroupNorm(POOL_GROUPS, wide),
                nn.ReLU(),
                nn.Conv2d(wide, CHANNELS, 1, bias=False),
            )

    def forward(self, x: Tensor) -> Tensor:
        if self.pool is not None:
            x = x + self.pool(x)
        return torch.relu(self.conv(x) + x)


def encoder(weights: Mapping[str, Tensor]) -> nn.Sequential:
    """[n, 3, h, w] in 0..1 -> latents [n, c, h/8, w/8]. Raises RuntimeError or KeyError where weights do not fit."""
    latent = weights["14.weight"].shape[0]
    layers: list[nn.Module] = [nn.Conv2d(3, CHANNELS, 3, padding=1), Block(_pools(weights, 1))]
    for _ in range(3):
        layers.append(nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1, stride=2, bias=False))
        layers += [Block(_pools(weights, len(layers) + step)) for step in range(3)]
    return _loaded([*layers, nn.Conv2d(CHANNELS, latent, 3, padding=1)], weights)


def decoder(weights: Mapping[str, Tensor]) -> nn.Sequential:
    """Latents [n, c, h/8, w/8] -> [n, 3, h, w], about 0..1, not clamped. Raises as `encoder`."""
    latent = weights["1.weight"].shape[1]
    layers: list[nn.Module] = [Clamp(), nn.Conv2d(latent, CHANNELS, 3, padding=1), nn.ReLU()]
    for _ in range(3):
        layers += [Block(_pools(weights, len(layers) + step)) for step in range(3)]
        layers += [nn.Upsample(scale_factor=2), nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1, bias=False)]
    layers += [Block(_pools(weights, len(layers))), nn.Conv2d(CHANNELS, 3, 3, padding=1)]
    return _loaded(layers, weights)


def _conv() -> nn.Conv2d:
    return nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1)


def _pools(weights: Mapping[str, Tensor], layer: int) -> bool:
    return f"{layer}.pool.0.weight" in weights


def _loaded(layers: list[nn.Module], weights: Mapping[str, Tensor]) -> nn.Sequential:
    network = nn.Sequential(*layers)
    network.load_state_dict({name: tensor.float() for name, tensor in weights.items()}, strict=True)
    return network

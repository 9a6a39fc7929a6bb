"""A small convolutional network for windows of any size, and the fixed filters before it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, conv2d, interpolate, pad
from torch.nn.utils.fusion import fuse_conv_bn_eval

INPUTS = ("rgb", "residual", "npr")
RESIDUAL_GAIN, NPR_GAIN = 40.0, 20.0  # a photograph's small differences then weigh as much as its colours


def residual(images: Tensor) -> Tensor:
    """images [n, 3, h, w] minus their 3 x 3 binomial blur: noise and the finest texture."""
    line = images.new_tensor([0.25, 0.5, 0.25])
    kernel = torch.outer(line, line).expand(3, 1, 3, 3)
    return images - conv2d(pad(images, (1, 1, 1, 1), mode="reflect"), kernel, groups=3)


def npr(images: Tensor) -> Tensor:
    """Neighbouring pixel relations of images [n, 3, h, w], h and w even: x - up(down(x)) by a factor of 2, nearest.

    Tan et al. 2024, arXiv 2312.10461, section 3: what up-sampling layers leave between neighbours.
    """
    return images - interpolate(images[..., ::2, ::2], scale_factor=2, mode="nearest")


def _bounded(planes: Tensor) -> Tensor:
    """As they are near 0, at most 4 in size: edges must not drown the noise."""
    return 4 * torch.tanh(planes / 4)


class Network(nn.Module):
    """Logits of windows.

    Args:
        inputs: of `INPUTS`, three channels each.
        width: channels of the first layers; later ones have twice and three times as many.
    """

    def __init__(self, inputs: Sequence[str], width: int):
        super().__init__()
        self.inputs, self.width = tuple(inputs), width
        plan = [(3 * len(inputs), width, 1), (width, width, 1), (width, 2 * width, 2), (2 * width, 2 * width, 1)]
        plan += [(2 * width, 3 * width, 2), (3 * width, 3 * width, 1)]
        layers: list[nn.Module] = []
        for before, after, stride in plan:
            layers += [nn.Conv2d(before, after, 3, stride, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(3 * width, 1)

    def features(self, windows: Tensor) -> Tensor:
        """float32 [n, 3 width] of windows float32 [n, 3, h, w] in [0, 1], h and w even and at least 8."""
        planes = []
        for name in self.inputs:
            if name == "rgb":
                planes.append(2 * windows - 1)
            elif name == "residual":
                planes.append(_bounded(RESIDUAL_GAIN * residual(windows)))
            else:
                planes.append(_bounded(NPR_GAIN * npr(windows)))
        stacked = torch.cat(planes, dim=1).contiguous(memory_format=torch.channels_last)
        return self.body(stacked).mean(dim=(2, 3))

    def forward(self, windows: Tensor) -> Tensor:
        """Logits float32 [n]; larger is more like the generated ones."""
        return self.head(self.features(windows)).squeeze(1)

    def fused(self) -> Network:
        """The same function with the normalisation folded into the convolutions: half the time on a CPU."""
        folded = Network(self.inputs, self.width).eval()
        layers: list[nn.Module] = []
        for at in range(0, len(self.body), 3):
            convolution, normalisation = self.body[at], self.body[at + 1]
            assert isinstance(convolution, nn.Conv2d)
            assert isinstance(normalisation, nn.BatchNorm2d)
            layers += [fuse_conv_bn_eval(convolution.eval(), normalisation.eval()), nn.ReLU(inplace=True)]
        folded.body = nn.Sequential(*layers)
        folded.head.load_state_dict(self.head.state_dict())
        return folded.requires_grad_(False).to(memory_format=torch.channels_last)


def resized(images: Tensor, side: int) -> Tensor:
    """images [n, 3, h, w] as [n, 3, side, side], bilinear, anti-aliased; differentiable."""
    if images.shape[-1] >= 4 * side and images.shape[-2] >= 4 * side:  # a box first: the long filter is slow
        factor = min(images.shape[-2:]) // (2 * side)
        images = avg_pool2d(images, factor)
    return interpolate(images, (side, side), mode="bilinear", align_corners=False, antialias=True)

"""Neighbouring pixel relations: a tiny network on nothing but x - up(down(x)).

What up-sampling layers leave between the pixels of a 2 x 2 block. Strong on the generators that it was made for, and
gone after resizing or a coarse JPEG: a good input beside others, weak alone.
"""

from __future__ import annotations

from typing import ClassVar

from detectors.families.cnn import Cnn


class Npr(Cnn):
    """The network of `cnn` with one input.

    Args:
        crop, width, crops, steps, minutes, batch, lr, augment: as in `cnn`; nothing is mixed.
    """

    name: ClassVar[str] = "npr"
    version: ClassVar[int] = 1
    title: ClassVar[str] = "neighbouring pixel relations, tiny CNN"
    paper: ClassVar[str] = "Tan et al. 2024, arXiv 2312.10461"
    min_side: ClassVar[int] = 32

    def __init__(
        self,
        *,
        crop: int = 64,
        width: int = 16,
        crops: int = 16,
        steps: int = 800,
        minutes: float = 0,
        batch: int = 64,
        lr: float = 2e-3,
        augment: float = 1.0,
    ):
        super().__init__(
            crop=crop, width=width, inputs=("npr",), crops=crops, steps=steps, minutes=minutes, batch=batch, lr=lr,
            augment=augment, mix=0.0,
        )  # fmt: skip
        for option in ("inputs", "mix", "ramp", "precision"):
            del self.options[option]

"""A network on whole images that were resized: the field's usual baseline, kept to be compared with.

Resizing removes what the pixels of a decoder tell, and what is left is how pictures of a set look.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from detectors.base import Progress
from detectors.families.cnn import Cnn, refuse
from detectors.pixels.windows import GRID

if TYPE_CHECKING:
    from torch import Tensor

    from detectors.examples import Examples
    from detectors.pixels.pool import Pool


class CnnResized(Cnn):
    """The network of `cnn` on colours alone, of the image resized to a square.

    Args:
        side: pixels of the square, a multiple of 8.
        width, steps, minutes, batch, lr, augment: as in `cnn`; nothing is mixed.
    """

    name: ClassVar[str] = "cnn-resized"
    version: ClassVar[int] = 1
    title: ClassVar[str] = "small CNN on the whole image, resized (the field's baseline)"
    paper: ClassVar[str] = "Wang et al. 2020, arXiv 1912.11035"
    min_side: ClassVar[int] = 32

    def __init__(
        self,
        *,
        side: int = 128,
        width: int = 32,
        steps: int = 600,
        minutes: float = 0,
        batch: int = 32,
        lr: float = 2e-3,
        augment: float = 1.0,
    ):
        super().__init__(
            crop=side if side >= 32 and side % GRID == 0 else 32, width=width, inputs=("rgb",), crops=1, steps=steps,
            minutes=minutes, batch=batch, lr=lr, augment=augment, mix=0.0,
        )  # fmt: skip
        self.options = {
            "side": side, "width": width, "steps": steps, "minutes": minutes, "batch": batch, "lr": lr,
            "augment": augment,
        }  # fmt: skip
        if side < 32 or side % GRID:
            refuse(self.options, "side", "a multiple of 8 of at least 32", self.name)

    def _pool(self, examples: Examples, progress: Progress | None) -> Pool:
        from detectors.pixels.pool import Pool

        def loaded(done: int, of: int) -> None:
            if progress:
                progress(0.05 * done / of, f"read {done} of {of} images")

        return Pool(examples, smallest=self.min_side, change=self._square, loaded=loaded)

    def _square(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """uint8 [side, side, 3]."""
        import torch

        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float()
        return self._resized(pixels)[0].permute(1, 2, 0).round().clamp(0, 255).byte().numpy()

    def _averaged(self, images: Tensor) -> Tensor:
        assert self._fused is not None
        return self._fused.features(self._resized(images))

    def _resized(self, images: Tensor) -> Tensor:
        from detectors.pixels.network import resized

        return resized(images, self._side)

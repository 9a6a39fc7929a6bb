"""Augmentation of training windows: drawn once, and applied alike to the real and the generated member of a pair.

The recipe of aligned training: nothing but the generator's own trace may differ between the two. Strengths follow
Wang et al. 2020, arXiv 1912.11035, and Chen et al. 2025 (DDA), arXiv 2505.14359.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from scipy.fft import dctn, idctn

FILTERS = (Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS, Image.Resampling.BOX)
MARGIN = 8
"""Pixels a window is taken wider by, where there are, so that the grid of its JPEG falls anywhere."""


@dataclass(frozen=True)
class Augmentation:
    """What is done to a window, in this order; 0 or 1 leaves a step out.

    Attributes:
        turn: quarter turns, and a mirror image from 4 on.
        scale: factor of resizing; `filter` names how.
        contrast, brightness: factor about mid-grey, and levels added.
        blur: standard deviation in pixels. noise: standard deviation in levels of 8 bits.
        quality: of a lossy file, 0 for none; `webp` says which kind, `fine` keeps the colours' resolution.
        shift: where in the margin the window is cut, after the file. hole: (top, left, side) shares, side 0 for none.
        seed: of the noise.
    """

    turn: int
    scale: float
    filter: Image.Resampling
    contrast: float
    brightness: float
    blur: float
    noise: float
    quality: int
    webp: bool
    fine: bool
    shift: tuple[int, int]
    hole: tuple[float, float, float]
    seed: int

    @staticmethod
    def drawn(rng: np.random.Generator, strength: float = 1.0) -> Augmentation:
        """At strength 1: JPEG or WebP of 30-100 in half of the windows; resizing, blur, noise, jitter in a fifth,
        a hole in a tenth. Chances grow with the strength, up to one; 0 leaves turns only."""

        def chance(share: float) -> bool:
            return bool(rng.random() < share * strength)

        return Augmentation(
            turn=int(rng.integers(8)),
            scale=float(2.0 ** rng.uniform(-1.0, 0.6)) if chance(0.2) else 1.0,
            filter=FILTERS[rng.integers(len(FILTERS))],
            contrast=float(rng.uniform(0.75, 1.3)) if chance(0.2) else 1.0,
            brightness=float(rng.uniform(-24, 24)) if chance(0.2) else 0.0,
            blur=float(rng.uniform(0.2, 1.2)) if chance(0.2) else 0.0,
            noise=float(rng.uniform(0.5, 5.0)) if chance(0.2) else 0.0,
            quality=int(rng.integers(30, 101)) if chance(0.5) else 0,
            webp=bool(rng.random() < 0.1),
            fine=bool(rng.random() < 0.3),
            shift=(int(rng.integers(MARGIN)), int(rng.integers(MARGIN))) if rng.random() < 0.5 else (0, 0),
            hole=(float(rng.random()), float(rng.random()), float(rng.uniform(0.1, 0.4)) if chance(0.1) else 0.0),
            seed=int(rng.integers(2**31)),
        )

    def applied(self, window: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
        """uint8 [side, side, 3] of a square window of any size, uint8 [s, s, 3].

        A window of another size than `side`, or `side + MARGIN`, is resized to it.
        """
        margin = MARGIN if window.shape[0] >= side + MARGIN else 0
        image = Image.fromarray(np.ascontiguousarray(_turned(window, self.turn)))
        if image.width != side + margin:
            image = image.resize((side + margin, side + margin), self.filter)
        if self.blur:
            image = image.filter(ImageFilter.GaussianBlur(self.blur))
        if self.contrast != 1 or self.brightness or self.noise:
            levels = (np.asarray(image, np.float32) - 127.5) * self.contrast + 127.5 + self.brightness
            if self.noise:
                levels += np.random.default_rng(self.seed).normal(0, self.noise, levels.shape).astype(np.float32)
            image = Image.fromarray(np.clip(np.rint(levels), 0, 255).astype(np.uint8))
        if self.quality:
            image = self._filed(image)
        top, left = self.shift if margin else (0, 0)
        done = np.array(image)[top : top + side, left : left + side]
        if self.hole[2]:
            size = int(self.hole[2] * side)
            top, left = (int(share * (side - size)) for share in self.hole[:2])
            done[top : top + size, left : left + size] = 127
        return done

    def _filed(self, image: Image.Image) -> Image.Image:
        buffer = io.BytesIO()
        if self.webp:
            image.save(buffer, "WEBP", quality=self.quality, method=0)
        else:
            image.save(buffer, "JPEG", quality=self.quality, subsampling=0 if self.fine else 2)
        return Image.open(buffer, formats=("JPEG", "WEBP")).convert("RGB")


def mixed(
    generated: NDArray[np.uint8], real: NDArray[np.uint8], rng: np.random.Generator, *, share: float, most: float
) -> NDArray[np.uint8]:
    """The generated window with a part of its real partner in it, still generated: a finer trace to learn.

    With chance `share` each: pixels become (1 - r) generated + r real; and a share r of the 64 frequencies of the
    8 x 8 DCT come from the real one. r is uniform up to `most`. Chen et al. 2025 (DDA), arXiv 2505.14359, section 4.
    """
    made = generated
    if rng.random() < share:
        ratio = rng.uniform(0, most)
        made = _levels(made * (1 - ratio) + real * ratio)
    if rng.random() < share:
        taken = rng.random((8, 8)) < rng.uniform(0, most)
        blocks, others = _blocks(made), _blocks(real)
        spectrum = dctn(blocks, axes=(1, 3), norm="ortho")
        other = dctn(others, axes=(1, 3), norm="ortho")
        spectrum = np.where(taken[None, :, None, :, None], other, spectrum)
        high, wide = blocks.shape[0] * 8, blocks.shape[2] * 8
        made = np.array(made)
        made[:high, :wide] = _levels(idctn(spectrum, axes=(1, 3), norm="ortho").reshape(high, wide, 3))
    return made


def _blocks(window: NDArray[np.uint8]) -> NDArray[np.float32]:
    """[h / 8, 8, w / 8, 8, 3]; what is over a multiple of 8 is left out."""
    high, wide = window.shape[0] // 8, window.shape[1] // 8
    return window[: high * 8, : wide * 8].astype(np.float32).reshape(high, 8, wide, 8, 3)


def _levels(values: NDArray[np.floating]) -> NDArray[np.uint8]:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _turned(window: NDArray[np.uint8], turn: int) -> NDArray[np.uint8]:
    turned = np.rot90(window, turn % 4)
    return turned[:, ::-1] if turn >= 4 else turned

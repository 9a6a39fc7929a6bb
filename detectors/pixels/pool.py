"""Training images in memory, each generated one beside the real image that it was made from, and windows of them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from detectors.families.linear import FEWEST, too_few
from detectors.pixels.augment import MARGIN, Augmentation, mixed

if TYPE_CHECKING:
    from detectors.examples import Examples

MEMORY = 2**30
"""Bytes of pixels kept; when there are more, of each image a window is."""

ALIKE = 0.9
"""Least correlation of two thumbnails for a generated image to count as made from the real one."""


@dataclass(frozen=True)
class Mixing:
    """Chance of mixing real pixels, and real frequencies, into a generated window, and the largest share mixed in."""

    share: float = 0.2
    most: float = 0.8


class Pool:
    """Images that are large enough, by class, and partners.

    Args:
        examples: both classes. smallest: fewest pixels of the shorter side; smaller images are left out.
        loaded: called with (images read, images in all).

    Raises:
        DetectorError: fewer than `FEWEST` images of a class are large enough.
        ImageError: a file cannot be read.
    """

    def __init__(
        self,
        examples: Examples,
        *,
        smallest: int,
        memory: int = MEMORY,
        change: Callable[[NDArray[np.uint8]], NDArray[np.uint8]] | None = None,
        loaded: Callable[[int, int], None] | None = None,
    ):
        self.images: list[NDArray[np.uint8]] = []
        labels, rows, shapes, small = [], [], [], []
        most_pixels = memory // (3 * max(len(examples), 1))
        for row, image in enumerate(examples.images()):
            if min(image.shape[:2]) >= smallest:
                shapes.append(image.shape)
                small.append(_thumbnail(image))
                image = image if change is None else change(image)
                self.images.append(_part(image, most_pixels, smallest, str(examples.sources[row])))
                labels.append(examples.labels[row])
                rows.append(row)
            if loaded:
                loaded(row + 1, len(examples))
        label = np.array(labels, np.int8)
        if min((label == 0).sum(), (label == 1).sum()) < FEWEST:
            raise too_few(int((label == 0).sum()), int((label == 1).sum()))
        self.shortest = min(min(image.shape[:2]) for image in self.images)
        """Pixels of the shortest side of all."""
        self.real = np.flatnonzero(label == 0)
        makers = examples.table["generator"].to_numpy(object)[rows]
        generated = np.flatnonzero(label == 1)
        self.by_generator = [generated[makers[generated] == maker] for maker in sorted(set(makers[generated]))]
        self.partner = _partners(generated, self.real, examples.sources[rows], shapes, small)
        self.alone = np.setdiff1d(self.real, list(self.partner.values()))
        """Real images from which no generated one was made."""

    @property
    def paired(self) -> float:
        """Share of generated images whose real original is here."""
        return len(self.partner) / max(sum(map(len, self.by_generator)), 1)

    def batch(
        self, rng: np.random.Generator, pairs: int, side: int, *, strength: float, mixing: Mixing
    ) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Windows uint8 [2 pairs, side, side, 3] and labels [2 pairs]: real and generated in turn.

        Generators come equally often. A generated image comes with its original at the same place, if it has one,
        else with any real image; one in four comes with a real image that has no generated one, if there are such.
        """
        windows = []
        for _ in range(pairs):
            made = int(rng.choice(self.by_generator[rng.integers(len(self.by_generator))]))
            partner = self.partner.get(made)
            if len(self.alone) and rng.random() < 0.25:
                partner = None
            aligned = partner is not None
            real = int(rng.choice(self.alone if len(self.alone) else self.real)) if partner is None else partner
            augmentation = Augmentation.drawn(rng, strength)
            first, second = self._windows(rng, real, made, augmentation, side, aligned=aligned)
            if aligned:
                second = mixed(second, first, rng, share=mixing.share, most=mixing.most)
            windows += [augmentation.applied(first, side), augmentation.applied(second, side)]
        return np.stack(windows), np.tile(np.array([0, 1], np.float32), pairs)

    def _windows(
        self, rng: np.random.Generator, real: int, made: int, augmentation: Augmentation, side: int, *, aligned: bool
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Square windows of both, as large as the resizing takes, or as both images have."""
        room = min(*self.images[real].shape[:2], *self.images[made].shape[:2])
        if augmentation.scale == 1:  # no resizing: the very pixels, with a margin where there is one
            size = side + MARGIN if room >= side + MARGIN else side
        else:
            size = min(round((side + MARGIN) / augmentation.scale), room)
        place = rng.random(2)
        first = _window(self.images[real], size, place)
        return first, _window(self.images[made], size, place if aligned else rng.random(2))


def _window(image: NDArray[np.uint8], size: int, place: NDArray[np.float64]) -> NDArray[np.uint8]:
    top, left = (int(share * (length - size + 1)) for share, length in zip(place, image.shape[:2], strict=True))
    return image[top : top + size, left : left + size]


def _part(image: NDArray[np.uint8], most_pixels: int, smallest: int, source: str) -> NDArray[np.uint8]:
    """The image, or a window of it of at most `most_pixels`: the same one for images of one source and size."""
    height, width = image.shape[:2]
    if height * width <= most_pixels:
        return image
    shrink = (most_pixels / (height * width)) ** 0.5
    high, wide = (max(int(length * shrink), smallest) for length in (height, width))
    digest = hashlib.sha256(source.encode()).digest()
    top = int.from_bytes(digest[:4], "big") % (height - high + 1)
    left = int.from_bytes(digest[4:8], "big") % (width - wide + 1)
    return image[top : top + high, left : left + wide].copy()


def _thumbnail(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    small = Image.fromarray(image).convert("L").resize((16, 16), Image.Resampling.BOX)
    return np.asarray(small, np.float32).ravel()


def _partners(
    generated: NDArray[np.intp],
    real: NDArray[np.intp],
    sources: NDArray[np.object_],
    shapes: list[tuple[int, ...]],
    small: list[NDArray[np.float32]],
) -> dict[int, int]:
    """Generated -> the real image of the same source and size that looks most like it, if it looks like it at all.

    Several tiles of one photograph share its source, so the source alone does not name the partner.
    """
    near: dict[tuple[object, tuple[int, ...]], list[int]] = {}
    for row in real:
        near.setdefault((sources[row], shapes[row]), []).append(int(row))
    found = {}
    for row in generated:
        candidates = near.get((sources[row], shapes[row]), [])
        if not candidates:
            continue
        best = min(candidates, key=lambda one: float(np.abs(small[one] - small[row]).mean()))
        a, b = small[best] - small[best].mean(), small[row] - small[row].mean()
        norm = float(np.sqrt((a @ a) * (b @ b)))
        if (norm < 1e-3 and np.abs(small[best] - small[row]).max() < 8) or (norm > 0 and a @ b / norm >= ALIKE):
            found[int(row)] = best
    return found

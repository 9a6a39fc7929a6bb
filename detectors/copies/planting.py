"""The truth that thresholds are calibrated on: copies of training pictures made on purpose, and unrelated pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from auditkit.errors import DetectorError
from auditkit.watermark.attacks import Step, steps
from detectors.copies.calibration import Calibration, Copies
from detectors.copies.prints import Picture, Prints, pixel_hash, take, take_all
from detectors.copies.search import Block, Nearest, search

if TYPE_CHECKING:
    from auditkit.clip.encoders import Encoder
    from detectors.copies.index import Index

CHANGES = (
    "none", "jpeg:75,30", "webp:50", "resize:0.5,0.25", "crop-resize:0.9,0.8,0.7", "brightness:1.5", "contrast:1.5",
    "saturation:0,2", "blur:2", "noise:10", "flip", "combination:75",
)  # fmt: skip
"""How copies are changed by default: attacks of `auditkit.watermark.attacks` at strengths."""

COPIES = 200
"""Training pictures that copies are made of."""

Original = Callable[[str], Image.Image]
"""Opens the training picture of a name."""

Progress = Callable[[int, int], None]


def calibrate(
    index: Index,
    held_out: Sequence[Picture],
    *,
    encoder: Encoder,
    original: Original,
    changes: Sequence[str] = CHANGES,
    copies: int = COPIES,
    seed: int = 0,
    progress: Progress | None = None,
) -> Calibration:
    """Learn how near pictures come to a training set that are copies of it, and pictures that are not.

    Args:
        held_out: pictures of the same kind that were not trained on, independent of one another.
        original: opens a training picture, to make copies of.
        changes: see `CHANGES`; each is made of each of the `copies` pictures.
        copies: training pictures drawn by lot; all where there are fewer.
        seed: of the lot, and of changes that draw.
        progress: called with (done, in all), pictures.

    Raises:
        DetectorError: held-out pictures that are in the index or come twice, too few of them, or a training picture
            that has changed since. ImageError: a picture cannot be opened. WatermarkError: no such change.
    """
    index.check(encoder)
    chosen = steps(changes)
    rng = np.random.default_rng(seed)
    rows = np.sort(rng.choice(len(index), min(copies, len(index)), replace=False))
    total = len(held_out) + len(rows) * len(chosen)
    tell = (lambda done: progress(done, total)) if progress else (lambda done: None)
    known = Prints.together(take_all(held_out, encoder, progress=tell), encoder.dim)
    apart = search(known, index.blocks())
    _check_apart(known, apart, index)
    made = _plant(index, rows, chosen, encoder, original, rng, lambda done: tell(len(held_out) + done))
    found = search(made, index.blocks())
    shape = (len(rows), len(chosen))
    return Calibration(
        index=index.about.id,
        encoder_sha256=encoder.sha256,
        size=len(index),
        cosine=apart.cosine[:, 0].astype(np.float64),
        bits=apart.bits,
        copies=Copies(
            labels=[step.label for step in chosen],
            cosine=found.cosine[:, 0].astype(np.float64).reshape(shape).T,
            bits=found.bits.reshape(shape).T,
            right=_right(found, rows, len(chosen)).reshape(shape).T,
        ),
    )


def _right(found: Nearest, rows: np.ndarray, each: int) -> np.ndarray:
    """Whether the nearest training picture, by either print, is the one that the copy was made of."""
    truth = np.repeat(rows, each)
    return (found.position[:, 0] == truth) | (found.pdq_position == truth)


def _plant(
    index: Index,
    rows: np.ndarray,
    chosen: Sequence[Step],
    encoder: Encoder,
    original: Original,
    rng: np.random.Generator,
    tell: Callable[[int], None],
) -> Prints:
    """Prints of every changed copy, those of one picture together."""
    names = index.names(int(row) for row in rows)
    true = {block.start + at: block.pixels[at].tobytes() for block in index.blocks() for at in _inside(block, rows)}
    parts = []
    for number, row in enumerate(map(int, rows), 1):
        image = original(names[row])
        if pixel_hash(image) != true[row]:
            raise DetectorError(
                "a training image is no longer the one that was indexed",
                where=names[row],
                mend="make the index again: auditkit copies index",
            )
        pixels = np.asarray(image)
        changed = [Image.fromarray(step.attack(pixels, step.strength, rng)) for step in chosen]
        parts.append(take(changed, [f"{names[row]}, {step.label}" for step in chosen], encoder))
        tell(number * len(chosen))
    return Prints.together(parts, encoder.dim)


def _inside(block: Block, rows: np.ndarray) -> Iterable[int]:
    low, high = np.searchsorted(rows, [block.start, block.start + len(block.pixels)])
    return (int(row) - block.start for row in rows[low:high])


def _check_apart(known: Prints, found: Nearest, index: Index) -> None:
    """Held-out pictures must be no training pictures, and no picture must stand for two."""
    trained = np.flatnonzero(found.same >= 0)
    if len(trained):
        raise DetectorError(
            f"{len(trained)} of {len(known)} held-out images are training images, pixel for pixel",
            where=known.names[trained[0]],
            mend="hold out images that were not indexed",
        )
    _, first = np.unique(known.pixels, axis=0, return_index=True)
    if len(first) < len(known):
        again = min(set(range(len(known))) - set(first.tolist()))
        raise DetectorError(
            f"{len(known) - len(first)} held-out images come twice",
            where=known.names[again],
            mend="leave out the second of each: false match rates count images that are independent",
        )
    if not len(known):
        raise DetectorError("there are no held-out images", where=index.folder, mend="name a folder of images")

"""What gives a class away without a look at how its images were made: numbers for `shortcuts`, six kinds apart.

Each kind has parts, so that what a generator's own trace can cause (`OWN_TRACE`) is kept from what handling causes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.fft import dctn

from detectors.encoding import GRID, Header, read_header
from detectors.examples import Examples

KINDS = ("format", "quantisation", "size", "resampling", "content", "metadata")
OWN_TRACE = {("size", "bytes"), ("resampling", "between"), ("resampling", "grid")}
"""Parts that follow from the pixels a generator makes once both sides are encoded alike and show the same: a smoother
image takes fewer bytes, and a decoder's upsampling leaves periods of its own."""

Features = dict[tuple[str, str], NDArray[np.float64]]
"""(kind, part) -> [n, d]."""

SEEN = 512  # pixels a side of the centre crop that traces are looked for in
BLOCKS = 256  # the same, for traces of JPEG
BINS = 24
_LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601
_FREQUENCIES = [(0, 1), (1, 0), (1, 1), (0, 2), (2, 0), (1, 2), (2, 1), (0, 3), (3, 0)]
_STEPS = np.arange(3, 41)
_TAGS = 200  # metadata keys that get a column, the commonest


def extract(examples: Examples, *, progress: Callable[[int, int], None] | None = None) -> Features:
    """The features of every row; no label is used.

    Raises:
        ImageError: a file that is missing, damaged or no image.
    """
    headers, pixels = list[Header](), list[dict[tuple[str, str], NDArray[np.float64]]]()
    for row in range(len(examples)):
        headers.append(read_header(examples.table["file"].iloc[row]))
        pixels.append(of_pixels(examples.image(row)))
        if progress:
            progress(row + 1, len(examples))
    suffixes = [Path(file).suffix.lower() for file in examples.table["file"]]
    return of_headers(headers, suffixes) | {key: np.stack([row[key] for row in pixels]) for key in pixels[0]}


def of_headers(headers: list[Header], suffixes: list[str]) -> Features:
    """Format, quantisation tables, size and metadata as numbers."""
    names = [
        {f"format {h.format}", f"mode {h.mode}", f"suffix {suffix}"}
        | ({"progressive"} if h.progressive else set())
        | (set() if h.lossless else {"lossy"})
        for h, suffix in zip(headers, suffixes, strict=True)
    ]
    return {
        ("format", "file"): _flags(names),
        ("quantisation", "header"): np.stack([_tables(header) for header in headers]),
        ("size", "dimensions"): np.stack([_dimensions(header) for header in headers]),
        ("size", "bytes"): np.array([[np.log(h.bytes), np.log(h.bytes / (h.width * h.height))] for h in headers]),
        ("metadata", "file"): np.hstack(
            [_flags([set(h.metadata) for h in headers]), np.array([[len(h.metadata)] for h in headers], float)]
        ),
    }


def of_pixels(image: np.ndarray) -> dict[tuple[str, str], NDArray[np.float64]]:
    """What the pixels of one image, uint8 [h, w, 3], give away: (kind, part) -> [d]."""
    between, grid = _periods(_centre(image, SEEN) @ _LUMA)
    return {
        ("quantisation", "history"): _history(_centre(image, BLOCKS) @ _LUMA),
        ("resampling", "between"): between,
        ("resampling", "grid"): grid,
        ("content", "thumbnail"): _thumbnail(image),
    }


def _flags(sets: list[set[str]]) -> NDArray[np.float64]:
    """A column for each of the commonest names, 1 where a row has it."""
    counts = Counter(name for names in sets for name in names)
    columns = [name for name, _ in sorted(counts.items(), key=lambda x: (-x[1], x[0]))[:_TAGS]]
    return np.array([[name in names for name in columns] for names in sets], float).reshape(len(sets), len(columns))


def _tables(header: Header) -> NDArray[np.float64]:
    """Log steps of the lowest 15 frequencies and the mean, luminance then chrominance; subsampling; 0 for no JPEG."""
    low = [8 * row + column for row in range(5) for column in range(5 - row)]
    values = []
    for number in (0, 1):
        table = np.log(np.array(header.tables[number] if len(header.tables) > number else [1] * 64, float).clip(1))
        values += [*table[low], table.mean()]
    return np.array([*values, *(header.subsampling == kind for kind in (0, 1, 2))], float)


def _dimensions(header: Header) -> NDArray[np.float64]:
    width, height = header.width, header.height
    sides = (width, height)
    return np.array(
        [
            np.log(width), np.log(height), np.log(width * height), np.log(width / height), width == height,
            *(all(side % base == 0 for side in sides) for base in (8, 32, 64)), *(side % GRID for side in sides),
        ],
        float,
    )  # fmt: skip


def _centre(image: np.ndarray, side: int) -> np.ndarray:
    """The middle, at most `side` pixels a side, from a corner on JPEG's grid of blocks."""
    top, left = ((max(0, length - side) // 2) // GRID * GRID for length in image.shape[:2])
    return image[top : top + side, left : left + side]


def _history(luma: np.ndarray) -> NDArray[np.float64]:
    """Whether DCT coefficients lie on multiples of a step, as they do once an image was a JPEG, whatever it is now.

    For nine low frequencies the largest mean of cos(2 pi c / q) over the steps q that its coefficients c reach, and the
    log of that step where the comb is plain (over .5). After Fan and de Queiroz 2003 (IEEE TIP 12:230-235).
    """
    found = np.zeros((2, len(_FREQUENCIES)))
    rows, columns = (length // GRID for length in luma.shape)
    if rows * columns < 16:
        return found.ravel()
    blocks = luma[: rows * GRID, : columns * GRID].reshape(rows, GRID, columns, GRID).swapaxes(1, 2)
    transformed = dctn(blocks, axes=(2, 3), norm="ortho")
    for number, (u, v) in enumerate(_FREQUENCIES):
        c = transformed[:, :, u, v].ravel()
        c = abs(transformed[:, :, u, v].ravel())
        # Zeros lie on every comb, so that only what reaches a step speaks of it.
        combs = [
            (np.cos(2 * np.pi * c[reaching] / q).mean(), q) for q in _STEPS if (reaching := c > 0.75 * q).sum() >= 32
        ]
        if combs:
            found[0, number], step = max(combs)
            found[1, number] = np.log(step) if found[0, number] > 0.5 else 0
    return found.ravel()


def _periods(luma: np.ndarray) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Peaks of the spectrum of mean |second difference| along rows and columns (Gallagher 2005, CRV).

    Interpolation makes the second difference vary with the period of the resizing factor. Returns log peaks over
    their surroundings: [24] between the frequencies k/8, and [4] at k/8, where JPEG's blocks and decoders leave theirs.
    """
    between, grid = np.zeros((2, BINS)), np.zeros((2, 4))
    for axis in (0, 1):
        lines = luma if axis == 0 else luma.T
        if lines.shape[0] < 4 or lines.shape[1] < 4 * GRID:
            continue
        course = abs(np.diff(lines, 2, axis=1)).mean(axis=0)
        course = np.log(course + 0.1)
        window = np.hanning(len(course))
        size = abs(np.fft.rfft((course - course.mean()) * window, 2 * len(course)))
        frequency = np.fft.rfftfreq(2 * len(course))
        size = np.log(size + 1e-9)
        near = abs(frequency * GRID - np.round(frequency * GRID)) / GRID <= 2 / len(course)
        used = frequency > 0.06  # below it the picture itself varies
        bins = np.minimum((frequency * 2 * BINS).astype(int), BINS - 1)
        for number in range(BINS):
            inside = used & ~near & (bins == number)
            if inside.any():
                # Over its surroundings, as a smoother image has a lower course everywhere but no peaks.
                around = used & ~near & (abs(bins - number) <= 2)
                between[axis, number] = size[inside].max() - np.median(size[around])
        for number in range(4):
            place = (number + 1) / GRID
            around = used & ~near & (abs(frequency - place) <= 2.5 / (2 * BINS))
            if around.any():
                grid[axis, number] = size[abs(frequency - place) <= 1 / len(course)].max() - np.median(size[around])
    return between.mean(axis=0), grid.mean(axis=0)


def _thumbnail(image: np.ndarray) -> NDArray[np.float64]:
    """What is shown, roughly: 4 x 4 colours, 8 x 8 luminances and a histogram of an 8 x 8 thumbnail. In 0..1.

    No finer, so that smoothness, which a reconstruction changes, is not taken for content.
    """
    small = np.asarray(Image.fromarray(image).resize((8, 8), Image.Resampling.BOX), float) / 255
    colours = small.reshape(4, 2, 4, 2, 3).mean(axis=(1, 3))
    histogram = [np.histogram(small[..., channel], bins=6, range=(0, 1))[0] / 64 for channel in range(3)]
    saturation = small.max(axis=2) - small.min(axis=2)
    return np.concatenate([colours.ravel(), (small @ _LUMA).ravel(), *histogram, [saturation.mean(), saturation.std()]])

"""Finding the tile: its shift from the pilot's phases; rotation, scale and mirroring from the pilot's peaks.

A periodic mark is a lattice of peaks in the spectrum (Deguillaume et al. 1999; template matching: Pereira and Pun
2000). In log-polar coordinates rotation and scale are shifts of the pattern of peaks, so that all of them are scored
by adding shifted copies of one table. Only the pilot is looked at, never the word: the p-value needs no correction.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from auditkit.watermark.spread.carriers import PILOT_BAND, TILE, Carriers, frequencies, lines

SCALES = (0.4, 2.5)
_ANGLES = 720  # over the half circle
_LOG_STEP = 0.004
_CANDIDATES = 6
_WINDOW = 768  # pixels of the working image that are searched, at most
_CAP = 3.0  # of a line's modulus, in deviations of its neighbourhood
_FINER = np.linspace(-0.75, 0.75, 13)  # pixels
_CAP_POWER = 12.0  # of a peak, in means of its neighbourhood


@dataclass(frozen=True)
class Pose:
    """How a marked image lies in the one at hand: x = scale * turn(angle) * mirror(X), up to a shift.

    Attributes:
        angle: radians, in [-pi, pi), from the column axis towards the row axis.
        scale: pixels of the image at hand to one of the marked image (working sizes of both).
        flip: mirrored left to right.
    """

    angle: float = 0.0
    scale: float = 1.0
    flip: bool = False

    def matrix(self) -> np.ndarray:
        """B of X = B x + b: coordinates (column, row) at hand to those of the marked image, float64 [2, 2]."""
        cosine, sine = np.cos(self.angle), np.sin(self.angle)
        mirror = np.diag([-1.0, 1.0]) if self.flip else np.eye(2)
        return np.array([[cosine, sine], [-sine, cosine]]) @ mirror / self.scale


@dataclass(frozen=True)
class Shift:
    """Where the tile begins, in pixels (modulo TILE), and how well the pilot's phases agree on it."""

    dx: float
    dy: float
    score: float


def find_shift(pilot: np.ndarray, which: Carriers) -> Shift:
    """The shift that best explains the pilot's lines, complex64 [PILOT_LINES] (whitened)."""
    from scipy.fft import ifft2

    modulus = np.abs(pilot)
    values = pilot * np.minimum(1, _CAP / np.maximum(modulus, 1e-9))
    values = (values * which.phase[which.pilot].conj()).conj()
    at = lines()[which.pilot]
    grid = np.zeros((TILE, TILE), np.complex64)
    grid[at[:, 0], at[:, 1] % TILE] = values
    row, column = divmod(int(np.argmax(ifft2(grid, overwrite_x=True).real)), TILE)
    # Between pixels: the sum itself on a finer grid.
    near = row + _FINER, column + _FINER
    turns = [np.exp(2j * np.pi / TILE * np.outer(offsets, at[:, i])) for i, offsets in enumerate(near)]
    surface = ((turns[0] * values) @ turns[1].T).real
    i, j = divmod(int(np.argmax(surface)), len(_FINER))
    noise = np.sqrt(np.sum(np.abs(values) ** 2) / 2)
    return Shift(float(near[1][j]) % TILE, float(near[0][i]) % TILE, float(surface[i, j] / max(float(noise), 1e-9)))


def unshifted(values: np.ndarray, shift: Shift) -> np.ndarray:
    """Lines of a tile, complex64 [n], with the shift undone."""
    at = lines()
    turn = np.exp(-2j * np.pi / TILE * (at[:, 0] * shift.dy + at[:, 1] * shift.dx))
    return values * turn.astype(np.complex64)


class Search:
    """The spectrum of one whitened image, in which any key's pilot can be looked for.

    Args:
        values: whitened image, float32 [h, w]; the middle of it is searched.
    """

    def __init__(self, values: np.ndarray):
        from scipy.fft import next_fast_len, rfft2
        from scipy.ndimage import uniform_filter

        height, width = values.shape
        top, left = max(0, (height - _WINDOW) // 2), max(0, (width - _WINDOW) // 2)
        self.values = values[top : top + _WINDOW, left : left + _WINDOW]
        side = next_fast_len(max(2 * max(self.values.shape), 256), real=True)
        power = np.abs(rfft2(self.values, (side, side))) ** 2
        mean = uniform_filter(power, 25, mode=("wrap", "nearest")) + 1e-9
        self._mean, self._side = mean, side
        self._excess = np.minimum(power / mean, _CAP_POWER) - 1.0
        places, self._low = _log_polar(side)
        table = np.append(self._excess.ravel(), np.float32(0))[places]
        self._tables = {}
        for flip in (False, True):
            one = np.roll(table[::-1], 1, axis=0) if flip else table
            self._tables[flip] = np.concatenate([one, one])

    def best(self, which: Carriers, *, others: tuple[Pose, ...] = ()) -> tuple[Pose, float]:
        """The pose with the best score of `find_shift`, and that score; `others` are tried as well."""
        poses = [*others]
        for flip in (False, True):
            poses += self._candidates(which, flip)
        scored = []
        for pose in poses:
            values = self._lines(which, pose)
            for turned in (False, True):
                score = find_shift(values.conj() if turned else values, which).score
                angle = pose.angle + np.pi * turned
                scored.append((score, Pose((angle + np.pi) % (2 * np.pi) - np.pi, pose.scale, pose.flip)))
        score, pose = max(scored, key=lambda one: one[0])
        return pose, score

    def _candidates(self, which: Carriers, flip: bool) -> list[Pose]:
        at = lines()[which.pilot]
        angles = np.arctan2(at[:, 0], at[:, 1]) % np.pi
        radii = frequencies()[which.pilot]
        table = self._tables[flip]
        scales = _log_scales()
        score = np.zeros((_ANGLES, len(scales)), np.float32)
        for angle, radius in zip(angles, radii, strict=True):
            row = round(angle / np.pi * _ANGLES) % _ANGLES
            # Column j of the score is log scale scales[j]; a larger scale lowers the frequency.
            first = round((np.log(radius) - scales[-1] - self._low) / _LOG_STEP)
            score += table[row : row + _ANGLES, first : first + len(scales)]
        score = score[:, ::-1]
        found = []
        if not flip:  # alone turned, or alone scaled: likelier than both, and few enough to be found where faint
            unit = int(np.argmin(np.abs(scales)))
            peaks = [(int(row), unit) for row in np.argsort(-score[:, unit])[:2]]
            peaks += [(0, int(column)) for column in np.argsort(-score[0])[:2]]
            found += [self._refined(which, _at(row, scales[column], flip)) for row, column in peaks]
        for _ in range(_CANDIDATES):
            row, column = divmod(int(np.argmax(score)), len(scales))
            found.append(self._refined(which, _at(row, scales[column], flip)))
            rows = np.arange(row - 3, row + 4) % _ANGLES
            score[rows, max(0, column - 3) : column + 4] = -np.inf
        return found

    def _refined(self, which: Carriers, pose: Pose) -> Pose:
        """The pose near `pose` where the pilot's lines have most power."""
        from scipy.ndimage import map_coordinates

        steps = np.linspace(-1, 1, 9)
        turns, stretches = np.meshgrid(steps * np.pi / _ANGLES, steps * _LOG_STEP, indexing="ij")
        angles, scales = pose.angle + turns.ravel(), pose.scale * np.exp(stretches.ravel())
        at = lines()[which.pilot] / TILE
        cosine, sine = np.cos(angles)[:, None], np.sin(angles)[:, None]
        fx = (cosine * at[:, 1] - sine * at[:, 0]) / scales[:, None] * (-1 if pose.flip else 1)
        fy = (sine * at[:, 1] + cosine * at[:, 0]) / scales[:, None]
        fx, fy = np.where(fx < 0, -fx, fx), np.where(fx < 0, -fy, fy)
        inside = (fx < 0.5) & (np.abs(fy) < 0.5)
        power = map_coordinates(
            self._excess, [(fy * self._side) % self._side, fx * self._side], order=1, mode="grid-wrap"
        )
        best = int(np.argmax((power * inside).sum(axis=1)))
        return Pose(float(angles[best]), float(scales[best]), pose.flip)

    def _lines(self, which: Carriers, pose: Pose) -> np.ndarray:
        """The pilot's lines as they would be after undoing `pose`: complex64, whitened."""
        at = lines()[which.pilot][:, ::-1] / TILE
        freq = at @ pose.matrix()  # rows: B^T k
        height, width = self.values.shape
        columns = np.exp(-2j * np.pi * np.outer(np.arange(width), freq[:, 0])).astype(np.complex64)
        rows = np.exp(-2j * np.pi * np.outer(np.arange(height), freq[:, 1])).astype(np.complex64)
        flat = self.values @ np.ascontiguousarray(columns).view(np.float32)
        values = np.einsum("yl,yl->l", flat.view(np.complex64), rows)
        sign = np.where(freq[:, 0] < 0, -1, 1)
        fx = np.minimum(np.rint(freq[:, 0] * sign * self._side).astype(int), self._side // 2)
        fy = np.rint(freq[:, 1] * sign * self._side).astype(int) % self._side
        values = values / np.sqrt(self._mean[fy, fx])
        outside = np.abs(freq).max(axis=1) >= 0.5
        return np.where(outside, 0, values).astype(np.complex64)


def _at(row: int, log_scale: float, flip: bool) -> Pose:
    return Pose(row * np.pi / _ANGLES, float(np.exp(log_scale)), flip)


@lru_cache(maxsize=1)
def _log_scales() -> np.ndarray:
    return np.arange(np.log(SCALES[0]), np.log(SCALES[1]), _LOG_STEP)


@lru_cache(maxsize=8)
def _log_polar(side: int) -> tuple[np.ndarray, float]:
    """Where each (angle, log radius) lies in the raveled half spectrum of `side`: int64 [720, radii]; lowest log."""
    low = float(np.log(PILOT_BAND[0] / SCALES[1])) - 2 * _LOG_STEP
    high = float(np.log(PILOT_BAND[1] / SCALES[0])) + 4 * _LOG_STEP
    radii = np.exp(np.arange(low, high, _LOG_STEP))
    angles = np.arange(_ANGLES) * np.pi / _ANGLES
    fx, fy = np.cos(angles)[:, None] * radii, np.sin(angles)[:, None] * radii
    outside = (np.abs(fx) >= 0.5) | (np.abs(fy) >= 0.5)
    fx, fy = np.where(fx < 0, -fx, fx), np.where(fx < 0, -fy, fy)
    width = side // 2 + 1
    rows, columns = np.rint(fy * side).astype(np.int64) % side, np.rint(fx * side).astype(np.int64)
    places = rows * width + np.minimum(columns, width - 1)
    places[outside] = side * width  # a zero is appended there
    return places, low

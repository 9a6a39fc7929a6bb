"""Reading a word that was shifted, turned, scaled or mirrored.

The mark repeats, so its spectrum is a lattice of peaks that turns and scales with the image. `search` lays the lattice
over the spectrum of the decoder's estimate of the mark in every rotation and scale, refines the best few, folds the
estimate into one tile there, and takes the shift and mirroring that give the word's correlations the most energy.

None of it looks at the key: for a fixed image the reading is a fixed vector, whichever way its geometry was chosen,
and the key's pad makes the signs uniform over the draw of the key. So a reading counts as one look.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from auditkit.watermark.codec.network import Decoder

LEVELS = (256, 171, 114)
"""Working sizes of the shorter side that are tried: the whole image, and crops to about 2/3 and 4/9 of the side."""
SCALES = (0.8, 1.25)
"""Scales of the content that are tried around each level."""
SPECTRUM = 512
CANDIDATES = 3
"""Geometries of each level that are refined."""
UPRIGHT = 0.85
"""The image as it stands is kept where it has at least this share of the best geometry's score."""
ALIKE = 2.0
"""Weight of the correlations' being alike in size against their energy, in the score."""
FINE = 2
"""Bins of the folded tile per working pixel."""


@dataclass(frozen=True)
class Found:
    """A word and where it lay.

    Attributes:
        soft: float64 [bits], logits. score: see `_score`; about 1.65 where there is no mark, 0 without a search.
        geometry: rotation (degrees, counter-clockwise), scale (of the content, 2 where half the side was cropped away
            and the rest is seen whole), shift_y, shift_x (working pixels within the tile), flip (0 or 1).
    """

    soft: np.ndarray
    score: float
    geometry: dict[str, float]


def read(decoder: Decoder, image: np.ndarray, *, search: bool = True) -> Found:
    """Read uint8 [h, w, 3], with or without a search for its geometry."""
    import torch

    from auditkit.watermark.codec import network

    bank = _Bank.of(decoder)
    with torch.inference_mode():
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() / 255
        luma = network.working_luma(pixels)
        usual = min(luma.shape[-2:])
        mark = decoder.front(luma)
        soft = decoder.logits(mark)[0].double().numpy()
    if not search:
        return Found(soft, 0.0, {})
    upright = _Fold.of(mark[0, 0].numpy(), bank, 0.0, 1.0)
    found = upright.words(bank, 1.0)
    for side in LEVELS:
        if side != usual:
            with torch.inference_mode():
                small = network.working_luma(pixels, network.working_size(*image.shape[:2], side=side))
                mark = decoder.front(small)
        plane = mark[0, 0].numpy()
        for degrees, scale in _candidates(plane, bank):
            found += _refined(plane, bank, degrees, scale).words(bank, min(plane.shape) / usual)
    best = max(found, key=lambda one: one.score)
    straight = upright.straight(bank)
    if straight >= UPRIGHT * best.score:
        return Found(soft, straight, {"rotation": 0.0, "scale": 1.0, "shift_y": 0.0, "shift_x": 0.0, "flip": 0.0})
    return best


@dataclass(frozen=True, eq=False)
class _Bank:
    """The decoder's patterns at the frequencies of the lattice."""

    tile: int
    gain: float
    waves: np.ndarray
    """int64 [k, 2], cycles a tile."""
    weight: np.ndarray
    """float64 [k], share of the patterns' energy."""
    patterns: np.ndarray
    """complex64 [bits, k]: a pattern's correlation with a tile is the real part of its product with the tile's DFT."""

    @classmethod
    @lru_cache(maxsize=4)
    def of(cls, decoder: Decoder) -> _Bank:
        """Of a decoder whose weights no longer change."""
        import torch

        tile = decoder.bank.tile
        with torch.inference_mode():
            patterns = decoder.bank().double().view(-1, tile, tile).numpy()
            gain = float(decoder.log_gain.exp())
        waves = decoder.bank.waves
        spectrum = np.fft.fft2(patterns)[:, waves[:, 0], waves[:, 1]] / tile**2
        weight = (np.abs(spectrum) ** 2).sum(0)
        return cls(tile, gain, waves, weight / weight.sum(), (2 * spectrum.conj()).astype(np.complex64))


@dataclass(frozen=True, eq=False)
class _Fold:
    """An estimate of the mark folded into one tile under a rotation and scale: its DFT over the lattice, [k]."""

    degrees: float
    scale: float
    spectrum: np.ndarray

    @classmethod
    def of(cls, plane: np.ndarray, bank: _Bank, degrees: float, scale: float) -> _Fold:
        height, width = plane.shape
        bins = bank.tile * FINE
        if degrees == 0 and scale == 1:
            y, x = np.arange(height, dtype=np.float32)[:, None], np.arange(width, dtype=np.float32)[None, :]
        else:
            # Where each pixel's centre lies in the encoder's frame, turned about the middle of the image.
            angle = math.radians(degrees)
            cos, sin = np.float32(math.cos(angle) / scale), np.float32(math.sin(angle) / scale)
            v = np.arange(height, dtype=np.float32)[:, None] - np.float32((height - 1) / 2)
            u = np.arange(width, dtype=np.float32)[None, :] - np.float32((width - 1) / 2)
            y, x = cos * v + sin * u, cos * u - sin * v
        row, column = (np.rint(a * FINE).astype(np.int32) % bins for a in (y, x))
        place = (row * bins + column).ravel()
        folded = np.bincount(place, plane.ravel(), bins * bins).reshape(bins, bins) / plane.size
        spectrum = np.fft.fft2(folded)[bank.waves[:, 0], bank.waves[:, 1]]
        return cls(degrees, scale, spectrum)

    def energy(self, bank: _Bank) -> float:
        """Energy on the lattice, whatever the shift."""
        return float(bank.weight @ np.abs(self.spectrum) ** 2)

    def straight(self, bank: _Bank) -> float:
        """The score of the shift 0, neither turned by a quarter nor mirrored."""
        soft = (bank.patterns @ self.spectrum).real
        usual = (np.abs(bank.patterns) ** 2 @ np.abs(self.spectrum) ** 2).mean() / 2
        return float(_score(np.abs(soft).mean(), (soft**2).mean(), usual))

    def words(self, bank: _Bank, level: float) -> list[Found]:
        """The word in each of the eight ways that a square lattice lies alike."""
        return [self.word(bank, turn, flip, level=level) for turn in range(4) for flip in (False, True)]

    def word(self, bank: _Bank, turn: int, flip: bool, *, level: float) -> Found:
        """The word at the best shift, `turn` quarter turns on and mirrored or not."""
        moved = _moved(self.spectrum, bank, turn, flip)
        products = bank.patterns * moved.astype(np.complex64)
        shifts = bank.tile
        sizes, energy = _correlations(products, bank)
        likely = _score(sizes, energy, energy.mean())
        peak = np.unravel_index(int(likely.argmax()), likely.shape)
        # Half a working pixel matters at the upper end of the band.
        steps = np.array([(dy, dx) for dy in (-0.5, 0.0, 0.5) for dx in (-0.5, 0.0, 0.5)]) + np.array(peak)
        turns = np.exp(2j * np.pi * (bank.waves @ steps.T) / shifts)
        soft = (products @ turns).real
        each = _score(np.abs(soft).mean(0), (soft**2).mean(0), energy.mean())
        at = int(each.argmax())
        score = float(each[at])
        geometry = {
            "rotation": (self.degrees + 90.0 * turn + 180) % 360 - 180, "scale": self.scale / level,
            "shift_y": float(steps[at][0]), "shift_x": float(steps[at][1]), "flip": float(flip),
        }  # fmt: skip
        return Found(bank.gain * soft[:, at].astype(np.float64), score, geometry)


def _moved(spectrum: np.ndarray, bank: _Bank, turn: int, flip: bool) -> np.ndarray:
    """The lattice's values after `turn` quarter turns of the frame, mirrored first where asked."""
    y, x = bank.waves[:, 0], bank.waves[:, 1]
    x = -x if flip else x
    for _ in range(turn):
        y, x = x, -y
    side = bank.tile
    plane = np.zeros((side, side), np.complex128)
    plane[bank.waves[:, 0], bank.waves[:, 1]] = spectrum
    plane[-bank.waves[:, 0], -bank.waves[:, 1]] = spectrum.conj()
    return plane[y, x]


def _correlations(products: np.ndarray, bank: _Bank) -> tuple[np.ndarray, np.ndarray]:
    """Mean over bits of the correlations' sizes, and of their squares, at each whole shift: float [tile, tile]."""
    from scipy.fft import ifft2

    planes = np.zeros((len(products), bank.tile, bank.tile), np.complex64)
    planes[:, bank.waves[:, 0], bank.waves[:, 1]] = products
    sizes = np.abs(ifft2(planes, axes=(1, 2), overwrite_x=True).real) * bank.tile**2
    return sizes.mean(0), np.square(sizes, out=sizes).mean(0)


def _score(size: np.ndarray, energy: np.ndarray, usual: float) -> np.ndarray:
    """How likely it is that correlations of this mean size and energy are a word's.

    The energy is the highest where the tiles meet; and there the correlations are all of about one size, as the word's
    bits were made, where they would otherwise spread like a normal variable's (mean size over root of energy 0.8).
    """
    return (energy / max(usual, 1e-30)) * (size**2 / np.maximum(energy, 1e-30) * np.pi / 2) ** ALIKE


def _candidates(plane: np.ndarray, bank: _Bank) -> list[tuple[float, float]]:
    """The likeliest rotations (degrees) and scales, from the spectrum: `CANDIDATES` of them, apart from one another."""
    from scipy.fft import rfft2
    from scipy.ndimage import uniform_filter

    height, width = plane.shape
    plane = plane[:SPECTRUM, :SPECTRUM] * np.hanning(min(height, SPECTRUM) + 2)[1:-1, None].astype(np.float32) ** 0.5
    plane = plane * np.hanning(plane.shape[1] + 2)[None, 1:-1].astype(np.float32) ** 0.5
    power = np.abs(rfft2(plane.astype(np.float32), (SPECTRUM, SPECTRUM))) ** 2
    # Against its surroundings, so that the image's own slope and lines weigh little.
    power = power / (uniform_filter(power, 25, mode="wrap") + 1e-12)
    power = np.minimum(power, 15.0).astype(np.float32)
    coarse = 1 if min(height, width) > 200 else 2 if min(height, width) > 100 else 3
    index, weight, degrees, scales = _table(bank.tile, bank.waves.tobytes(), bank.weight.tobytes(), coarse)
    score = (power.ravel()[index] @ weight).reshape(len(degrees), len(scales))
    chosen: list[tuple[float, float]] = []
    while len(chosen) < CANDIDATES:
        i, j = np.unravel_index(int(score.argmax()), score.shape)
        chosen.append((float(degrees[i]), float(scales[j])))
        score[max(0, i - 3) : i + 4, max(0, j - 3) : j + 4] = -1
    return chosen


@lru_cache(maxsize=8)
def _table(tile: int, waves: bytes, weight: bytes, coarse: int) -> tuple[np.ndarray, ...]:
    """Where each rotation's and scale's lattice lies in the half spectrum: int32 [rotations * scales, k], and axes."""
    frequencies = np.frombuffer(waves, np.int64).reshape(-1, 2) / tile
    shares = np.frombuffer(weight, np.float64)
    chosen = np.argsort(-shares)[:96]
    frequencies, shares = frequencies[chosen], shares[chosen]
    step = 0.6 * coarse
    degrees = np.arange(-round(45 / step), round(45 / step) + 1) * step
    low, high = (round(math.log(s) / (0.011 * coarse)) for s in SCALES)
    scales = np.exp(np.arange(low, high + 1) * 0.011 * coarse)
    angle, factor = (a.ravel()[:, None] for a in np.meshgrid(np.radians(degrees), scales, indexing="ij"))
    fy, fx = frequencies[:, 0], frequencies[:, 1]
    # Content turned by an angle and grown by a factor has its frequencies turned alike and shrunk.
    y = (np.cos(angle) * fy - np.sin(angle) * fx) / factor
    x = (np.sin(angle) * fy + np.cos(angle) * fx) / factor
    y, x = np.where(x < 0, -y, y), np.abs(x)
    row, column = np.rint(y * SPECTRUM).astype(np.int32) % SPECTRUM, np.rint(x * SPECTRUM).astype(np.int32)
    inside = (np.abs(y) < 0.5) & (x < 0.5)
    index = np.where(inside, row * (SPECTRUM // 2 + 1) + column, 0).astype(np.int32)
    return index, (shares / shares.sum()).astype(np.float32), degrees, scales


def _refined(plane: np.ndarray, bank: _Bank, degrees: float, scale: float) -> _Fold:
    """The fold whose lattice has the most energy near a rotation and scale."""
    best = _Fold.of(plane, bank, degrees, scale)
    top = best.energy(bank)
    reach = 256 / min(plane.shape)
    for step in (0.3 * reach, 0.15 * reach, 0.08 * reach):
        for turn, grow in ((-1, 0), (1, 0), (0, -1), (0, 1)):
            trial = _Fold.of(
                plane, bank, best.degrees + turn * step, best.scale * math.exp(grow * math.radians(step))
            )
            if (energy := trial.energy(bank)) > top:
                best, top = trial, energy
    return best

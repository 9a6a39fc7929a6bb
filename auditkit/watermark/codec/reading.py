"""Reading a word that was shifted, turned, scaled or mirrored.

The mark repeats, so its spectrum is a lattice of peaks that turns and scales with the image. `candidates` lays the
lattice over the spectrum of the decoder's estimate of the mark in every rotation and scale, refines the best few, and
folds the estimate into one tile there. The folds with the most energy on the lattice are believed; of each, the shifts,
quarter turns and mirrorings whose correlations with the patterns are largest are readings of the word.

None of that looks at the key: for a fixed image the readings are fixed, and the key's pad makes the signs of each
uniform over the draw of the key. Which one of them is the word's is then decided by the code (`scheme.Codec`), and the
p-value is multiplied by their number.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

    from auditkit.watermark.codec.network import Decoder

LEVELS = (256, 181, 128)
"""Working sizes of the shorter side that are tried: the whole image, and crops to about 0.7 and 0.5 of the side."""
SCALES = (0.8, 1.25)
"""Scales of the content that are tried around each level."""
SPECTRUM = 512
CANDIDATES = 3
"""Geometries of each level that are refined, and as many again that are scaled and not turned: likelier, and few enough
to be found where they are faint."""
KEPT = 4
"""Folds that are believed, of all that were refined."""
PLACES = 8
"""Readings taken from each."""
READINGS = 1 + KEPT * PLACES
"""Readings of an image that is searched; the first is that of the image as it stands."""
FINE = 2
"""Bins of the folded tile per working pixel."""


@dataclass(frozen=True)
class Found:
    """A word and where it lay.

    Attributes:
        soft: float64 [bits], logits. energy: of the lattice where it lay, over the mean without a mark; 0 without a
            search.
        geometry: rotation (degrees, counter-clockwise), scale (of the content, 2 where half the side was cropped away
            and the rest is seen whole), shift_y, shift_x (working pixels within the tile), flip (0 or 1).
    """

    soft: np.ndarray
    energy: float
    geometry: dict[str, float]


def upright(decoder: Decoder, image: np.ndarray) -> Found:
    """The word of uint8 [h, w, 3] as it stands."""
    import torch

    from auditkit.watermark.codec import network

    with torch.inference_mode():
        mark = decoder.front(network.working_luma(_pixels(image)))
        return Found(decoder.logits(mark)[0].double().numpy(), 0.0, {})


def candidates(decoder: Decoder, image: np.ndarray) -> list[Found]:
    """`READINGS` of uint8 [h, w, 3]: as it stands, then wherever the lattice has most energy, the likeliest first."""
    import torch

    from auditkit.watermark.codec import network

    bank = _Bank.of(decoder)
    pixels = _pixels(image)
    with torch.inference_mode():
        luma = network.working_luma(pixels)
        whole = decoder.front(luma)
        soft = decoder.logits(whole)[0].double().numpy()
    usual = min(luma.shape[-2:])
    folds: list[tuple[float, float, _Fold]] = []
    for side in LEVELS:
        mark = whole
        if side != usual:
            with torch.inference_mode():
                small = network.working_luma(pixels, network.working_size(image.shape[0], image.shape[1], side))
                mark = decoder.front(small)
        plane = mark[0, 0].numpy()
        # Without a mark, a fold's energy is on the mean the plane's mean square over its pixels.
        chance = max(float(np.mean(np.square(plane))) / plane.size, 1e-30)
        for degrees, scale in _geometries(plane, bank):
            fold = _refined(plane, bank, degrees, scale)
            folds.append((fold.energy(bank) / chance, min(plane.shape) / usual, fold))
    straight = {"rotation": 0.0, "scale": 1.0, "shift_y": 0.0, "shift_x": 0.0, "flip": 0.0}
    found = [Found(soft, 0.0, straight)]
    for energy, level, fold in _apart(folds)[:KEPT]:
        found += fold.words(bank, level, energy)
    return found


def _apart(folds: list[tuple[float, float, _Fold]]) -> list[tuple[float, float, _Fold]]:
    """Those of different geometries, the most energy first: of two that came to the same, the one with more of it."""
    kept: list[tuple[float, float, _Fold]] = []
    for one in sorted(folds, key=lambda each: -each[0]):
        _, level, fold = one
        if not any(
            abs(fold.degrees - other.degrees) < 1 and abs(math.log(fold.scale / level * at / other.scale)) < 0.02
            for _, at, other in kept
        ):
            kept.append(one)
    return kept


def _pixels(image: np.ndarray) -> Tensor:
    import torch

    return torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() / 255


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

    def words(self, bank: _Bank, level: float, energy: float) -> list[Found]:
        """The `PLACES` likeliest words over all shifts and the eight ways in which a square lattice lies alike."""
        ways = [(turn, flip) for turn in range(4) for flip in (False, True)]
        products = [bank.patterns * _moved(self.spectrum, bank, *way).astype(np.complex64) for way in ways]
        # Where the tiles meet, all bits speak up; elsewhere they sum to less, and less evenly.
        sizes = np.stack([_sizes(each, bank) for each in products])
        found = []
        for _ in range(PLACES):
            way, row, column = np.unravel_index(int(sizes.argmax()), sizes.shape)
            near = np.arange(-1, 2)
            sizes[way, (row + near[:, None]) % bank.tile, (column + near) % bank.tile] = -1
            # Half a working pixel matters at the upper end of the band.
            steps = np.array([(dy, dx) for dy in (-0.5, 0.0, 0.5) for dx in (-0.5, 0.0, 0.5)]) + np.array((row, column))
            turns = np.exp(2j * np.pi * (bank.waves @ steps.T) / bank.tile).astype(np.complex64)
            soft = (products[way] @ turns).real
            at = int(np.abs(soft).mean(0).argmax())
            turn, flip = ways[way]
            geometry = {
                "rotation": (self.degrees + 90.0 * turn + 180) % 360 - 180, "scale": self.scale / level,
                "shift_y": float(steps[at][0]), "shift_x": float(steps[at][1]), "flip": float(flip),
            }  # fmt: skip
            found.append(Found(bank.gain * soft[:, at].astype(np.float64), energy, geometry))
        return found


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


def _sizes(products: np.ndarray, bank: _Bank) -> np.ndarray:
    """Mean over bits of the correlations' sizes at each whole shift: float32 [tile, tile]."""
    from scipy.fft import ifft2

    planes = np.zeros((len(products), bank.tile, bank.tile), np.complex64)
    planes[:, bank.waves[:, 0], bank.waves[:, 1]] = products
    return np.abs(ifft2(planes, axes=(1, 2), overwrite_x=True).real).mean(0)


def _geometries(plane: np.ndarray, bank: _Bank) -> list[tuple[float, float]]:
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
    straight = score[len(degrees) // 2]
    chosen = [(0.0, float(scales[j])) for j in np.argsort(-straight)[:CANDIDATES]]
    while len(chosen) < 2 * CANDIDATES:
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
            trial = _Fold.of(plane, bank, best.degrees + turn * step, best.scale * math.exp(grow * math.radians(step)))
            if (energy := trial.energy(bank)) > top:
                best, top = trial, energy
    return best

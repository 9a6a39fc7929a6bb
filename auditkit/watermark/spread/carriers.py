"""Keyed carriers: which frequencies of the tile hold the pilot, the word and the content binding.

The mark is one tile of `TILE` x `TILE` pixels repeated over the image, so that a crop is a cyclic shift of it. The
tile is a sum of sinusoids; each has two real coordinates, along its keyed phase and across it. The pilot has lines of
its own. All other coordinates are dealt to the bits ring by ring: each bit owns one coordinate of each ring of
frequencies, so that none depends on frequencies that an attack takes away (spread spectrum: Cox et al. 1997).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from auditkit.watermark.keys import Key
from auditkit.watermark.payload import LONG_WORD

TILE = 128
"""Side of the tile, in pixels of the working image (`host.pitch`)."""

BAND = (0.035, 0.19)
"""Lowest and highest frequency of the mark, cycles per pixel: above what images are strongest in, below what JPEG,
blurring and halving take away."""

PILOT_BAND = (0.055, 0.16)
PILOT_LINES = 32
BINDING_BITS = 64


@dataclass(frozen=True)
class Carriers:
    """The carriers of one key. Coordinates 0..n-1 of a tile are along the phases of its n lines, n..2n-1 across.

    Attributes:
        phase: complex64 [n], of modulus 1: the keyed phase of each line of `lines()`.
        pilot: int64 [PILOT_LINES], lines of the pilot.
        word: int64 [rings, 248], coordinates of each bit of the word.
        word_signs: float32 [rings, 248], 1 or -1.
        binding, binding_signs: the same of the bits that bind the mark to its image, [2, BINDING_BITS].
    """

    phase: np.ndarray
    pilot: np.ndarray
    word: np.ndarray
    word_signs: np.ndarray
    binding: np.ndarray
    binding_signs: np.ndarray

    def coordinates(self, lines: np.ndarray) -> np.ndarray:
        """Real coordinates, float32 [2n], of the values complex64 [n] of a tile's lines."""
        turned = lines * self.phase.conj()
        return np.concatenate([turned.real, turned.imag])

    def lines(self, coordinates: np.ndarray) -> np.ndarray:
        """The inverse of `coordinates`."""
        n = len(coordinates) // 2
        return (coordinates[:n] + 1j * coordinates[n:]) * self.phase


@lru_cache(maxsize=1)
def lines() -> np.ndarray:
    """Frequencies of the band in one half plane, int64 [n, 2] as (row, column) cycles per tile, the lowest first.

    The axes are left out: the edges of buildings and of JPEG's blocks are strongest there.
    """
    reach = int(TILE * BAND[1]) + 1
    ky, kx = np.mgrid[0 : reach + 1, -reach : reach + 1]
    radius = np.hypot(ky, kx) / TILE
    inside = (radius >= BAND[0]) & (radius <= BAND[1]) & (ky >= 2) & (np.abs(kx) >= 2)
    order = np.argsort(radius[inside], kind="stable")
    return np.stack([ky[inside], kx[inside]], axis=1)[order]


@lru_cache(maxsize=1)
def frequencies() -> np.ndarray:
    """Modulus of `lines()`, cycles per pixel: float64 [n]."""
    return np.hypot(*lines().T) / TILE


@lru_cache(maxsize=64)
def carriers(key: Key) -> Carriers:
    """The carriers of `key` (kept for the last 64 keys)."""
    n = len(lines())
    rng = key.rng("spread carriers")
    phase = np.exp(2j * np.pi * rng.random(n)).astype(np.complex64)
    pilot = _pilot(key.rng("spread pilot"))
    rest = np.setdiff1d(np.arange(n), pilot)
    binding_lines = np.sort(rng.permutation(rest)[:BINDING_BITS])
    rest = np.setdiff1d(rest, binding_lines)
    # Both coordinates of a line lie side by side, so that a ring of coordinates is a ring of frequencies.
    coordinates = np.stack([rest, rest + n], axis=1).ravel()
    rings = len(coordinates) // LONG_WORD
    word = np.stack([rng.permutation(ring) for ring in coordinates[-rings * LONG_WORD :].reshape(rings, LONG_WORD)])
    binding = np.stack([rng.permutation(binding_lines), n + rng.permutation(binding_lines)])
    signs = 1 - 2 * rng.integers(0, 2, (rings + 2, LONG_WORD)).astype(np.float32)
    return Carriers(phase, pilot, word, signs[:rings], binding, signs[rings:, :BINDING_BITS])


def _pilot(rng: np.random.Generator) -> np.ndarray:
    """Lines of the pilot, spread over the half circle: one a sector, at a keyed place in it."""
    at, radius = lines(), frequencies()
    angle = np.arctan2(at[:, 0], at[:, 1])
    allowed = (radius >= PILOT_BAND[0]) & (radius <= PILOT_BAND[1])
    sector = np.minimum((angle / np.pi * PILOT_LINES).astype(int), PILOT_LINES - 1)
    chosen = []
    for i in range(PILOT_LINES):
        found = np.flatnonzero(allowed & (sector == i))
        if len(found):
            chosen.append(int(rng.choice(found)))
    missing = PILOT_LINES - len(chosen)
    if missing:
        others = np.setdiff1d(np.flatnonzero(allowed), chosen)
        chosen += rng.choice(others, missing, replace=False).tolist()
    return np.sort(np.array(chosen))

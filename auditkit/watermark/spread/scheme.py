"""The scheme itself: informed embedding, and reading of many keys from one image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from auditkit.watermark.base import Reading, check_side
from auditkit.watermark.keys import Key
from auditkit.watermark.payload import LONG_WORD
from auditkit.watermark.spread import binding, host
from auditkit.watermark.spread.carriers import TILE, Carriers, carriers, frequencies, lines
from auditkit.watermark.spread.sync import Pose, Search, Shift, find_shift, unshifted

PILOT_SHARE = (0.25, 0.45)
"""Of the mark's energy: the least, and the most that a busy image is given."""
_PILOT_WANTED = 2.5  # of a pilot line, in deviations of its neighbourhood: what is found after cropping and turning
_SLOPE = 0.0  # amplitude goes with frequency to this power
_INFORMED = 0.8  # how much of a bit's lack (or excess) against the mean is made up for
_LEAST, _MOST = 0.4, 2.5  # of a bit's amplitude, times the mean's
_ROUNDS = 3  # of informed embedding, where the first leaves bits in doubt
_SURE = 6.0  # pilot score from which an image is read as it stands, without search
_HEAD_START = 0.5  # pilot score by which a pose must beat the image as it stands: many more poses are tried
_LARGEST = 1024  # pixels of the straightened image's sides, at most


@dataclass(frozen=True)
class Prepared:
    """What reading an image needs of it, whatever the key; computed when first asked for.

    Attributes:
        luma: working image, float32 [h, w].
        step: pixels of the image to one of the working image.
    """

    luma: np.ndarray
    step: float

    @cached_property
    def whitened(self) -> np.ndarray:
        return host.whitened(self.luma)

    @cached_property
    def others(self) -> list[tuple[Pose, np.ndarray]]:
        """The tile's lines at twice and half the scale: images halved, or cropped across a step of `host.pitch`."""
        views = []
        height, width = self.luma.shape
        if min(height, width) >= 2 * Spread.min_side:
            views.append((Pose(scale=2.0), host.fold(host.whitened(host.resized(self.luma, 0.5)))))
        if self.step == 1 and min(height, width) < host.BASE_SIDE:
            views.append((Pose(scale=0.5), host.fold(host.whitened(host.resized(self.luma, 2.0)))))
        return views

    @cached_property
    def upright(self) -> np.ndarray:
        """The tile's lines of the working image."""
        return host.fold(self.whitened)

    @cached_property
    def search(self) -> Search:
        return Search(self.whitened)

    @cached_property
    def features(self) -> np.ndarray:
        return binding.features(self.luma)


class Spread:
    """A keyed tile of sinusoids, added to the luminance."""

    name: ClassVar[str] = "spread"
    version: ClassVar[int] = 1
    title: ClassVar[str] = "Spread spectrum with a pilot"
    family: ClassVar[str] = "word"
    bits: ClassVar[int] = LONG_WORD
    min_side: ClassVar[int] = 64

    def embed(self, image: np.ndarray, word: np.ndarray, key: Key, *, psnr: float = 42.0) -> np.ndarray:
        """The marked image, uint8 [h, w, 3]; see `base.WordScheme`.

        Informed embedding (Malvar and Florencio 2003): what the image itself puts on a bit's carriers is measured as
        the reader will see it, and bits that it speaks against get more amplitude, bits that it speaks for less.
        """
        check_side(image, self.name, self.min_side)
        step = host.pitch(*image.shape[:2])
        luma = host.working(image, step)
        which = carriers(key)
        signs = 1.0 - 2.0 * np.asarray(word, np.float32)
        bound = binding.bits(binding.features(luma), key)
        weight = host.mask(luma)
        target = 255.0 / 10 ** (psnr / 20)

        wanted = _amplitudes(which, -signs, bound)
        for _ in range(_ROUNDS):
            delta = weight * host.tiled(_tile(which, wanted), luma.shape)
            delta *= target / np.sqrt(np.mean(delta**2))
            seen = which.coordinates(host.fold(host.whitened(np.clip(luma + delta, 0, 255))))
            wanted, sure = _informed(which, wanted, seen)
            if sure:
                break
        delta = weight * host.tiled(_tile(which, wanted), luma.shape)
        return _added(image, delta, step, target)

    def read(self, image: np.ndarray, key: Key, *, search: bool = True) -> Reading:
        """Read the word; see `base.WordScheme`. The geometry is chosen by the pilot alone."""
        return self.read_many(image, [key], search=search)[0]

    def read_many(self, image: np.ndarray, keys: Sequence[Key], *, search: bool = True) -> list[Reading]:
        """`read` for many keys, with the work that all share done once."""
        prepared, why = self._prepare(image)
        if prepared is None:
            return [Reading(np.zeros(self.bits), unusable=why) for _ in keys]
        return [self._read(prepared, key, search) for key in keys]

    def _prepare(self, image: np.ndarray) -> tuple[Prepared | None, str]:
        image = np.asarray(image)
        if image.ndim == 2:
            image = np.repeat(image[..., None], 3, axis=2)
        if image.ndim != 3 or image.shape[2] < 3 or min(image.shape[:2]) < self.min_side:
            return None, f"smaller than {self.min_side} px"
        step = host.pitch(*image.shape[:2])
        luma = host.working(image[..., :3], step)
        prepared = Prepared(luma, step)
        if not float(np.std(luma)) > 0 or not np.any(np.abs(prepared.whitened) > 1e-3):
            return None, "flat: one colour, nothing to read"
        return prepared, ""

    def _read(self, prepared: Prepared, key: Key, search: bool) -> Reading:
        which = carriers(key)
        pose, values = Pose(), prepared.upright
        shift = find_shift(values[which.pilot], which)
        if shift.score < _SURE:
            for other, there in prepared.others:
                again = find_shift(there[which.pilot], which)
                if again.score > shift.score:
                    pose, values, shift = other, there, again
        if search and shift.score < _SURE:
            found, score = prepared.search.best(which)
            if score > shift.score + _HEAD_START:
                straight = host.fold(host.whitened(_straightened(prepared.luma, found)))
                pose, values, shift = found, straight, find_shift(straight[which.pilot], which)
        coordinates = which.coordinates(unshifted(values, shift))
        soft = (coordinates[which.word] * which.word_signs).sum(axis=0)
        geometry = {
            "rotation": round(0.0 - float(np.degrees(pose.angle)), 2), "scale": round(pose.scale, 4),
            "dx": round(shift.dx, 2), "dy": round(shift.dy, 2), "flip": float(pose.flip),
        }  # fmt: skip
        details: dict[str, Any] = {"pilot": round(shift.score, 2)}
        details["binding"] = _bound(prepared, which, key, coordinates, pose, shift)
        return Reading(soft.astype(np.float64), geometry=geometry, details=details)


def _amplitudes(which: Carriers, word: np.ndarray, bound: np.ndarray) -> np.ndarray:
    """Coordinates of the tile to embed, float32 [2n]: the word's and binding's signs, and the pilot."""
    n = len(lines())
    shape = (frequencies() ** _SLOPE).astype(np.float32)
    shape = np.concatenate([shape, shape])
    wanted = np.zeros(2 * n, np.float32)
    wanted[which.word] = which.word_signs * word
    wanted[which.binding] = which.binding_signs * bound
    wanted *= shape
    pilot = shape[which.pilot]
    wanted[which.pilot] = pilot * np.sqrt(np.sum(wanted**2) * _ratio(PILOT_SHARE[0]) / np.sum(pilot**2))
    return wanted


def _ratio(share: float) -> float:
    return share / (1 - share)


def _informed(which: Carriers, wanted: np.ndarray, seen: np.ndarray) -> tuple[np.ndarray, bool]:
    """`wanted` with each bit's amplitude set by how far it is read, in `seen`, from what bits reach on the mean.

    Returns:
        Coordinates to embed, and whether the word was read well enough even before.
    """
    result = wanted.copy()
    pilot = which.pilot[None]
    margins = [(seen[places] * np.sign(wanted[places])).sum(axis=0) for places in (which.word, which.binding, pilot)]
    for places, margin in zip((which.word, which.binding, pilot), margins, strict=True):
        mean = max(float(margin.mean()), 1e-6)
        result[places] *= np.clip(1 + _INFORMED * (mean - margin) / mean, _LEAST, _MOST)
    energy, whole = float(np.sum(result[pilot] ** 2)), float(np.sum(result**2))
    needed = energy / whole * (_PILOT_WANTED / max(float(margins[2].mean()), 0.1)) ** 2
    share = float(np.clip(needed, *PILOT_SHARE))
    result[pilot] *= np.sqrt(_ratio(share) * (whole - energy) / energy)
    return result, bool(np.mean(margins[0] < 0.3 * margins[0].mean()) < 0.02)


def _tile(which: Carriers, coordinates: np.ndarray) -> np.ndarray:
    """The tile with these coordinates, float32 [TILE, TILE]."""
    from scipy.fft import ifft2

    at = lines()
    grid = np.zeros((TILE, TILE), np.complex64)
    grid[at[:, 0] % TILE, at[:, 1] % TILE] = which.lines(coordinates)
    return np.ascontiguousarray(ifft2(grid).real)


def _added(image: np.ndarray, delta: np.ndarray, step: float, target: float) -> np.ndarray:
    """`image` plus `delta` (float32, working size), scaled so that the error over RGB has root mean square `target`."""
    scale = np.sqrt(max(target**2 - 1 / 12, 0.01) / np.mean(delta**2, dtype=np.float64))
    for _ in range(3):
        marked, error = _rounded(image, delta * np.float32(scale), step)
        if abs(error / target**2 - 1) < 0.02:
            break
        scale *= np.clip(np.sqrt(max(target**2 - 1 / 12, 0.01) / max(error - 1 / 12, 0.01)), 0.5, 1.6)
    return marked


def _rounded(image: np.ndarray, delta: np.ndarray, step: float) -> tuple[np.ndarray, float]:
    """`image` plus `delta`, resampled to its size, as uint8; and the mean squared error over RGB. In strips."""
    from PIL import Image

    height, width = image.shape[:2]
    marked = np.empty((height, width, 3), np.uint8)
    small = Image.fromarray(delta)
    strip, error = max(int(step), 4_000_000 // width), 0.0
    for top in range(0, height, strip):
        bottom = min(top + strip, height)
        part = delta[top:bottom]
        if step != 1:
            box = (0.0, top / step, width / step, bottom / step)
            part = np.asarray(small.resize((width, bottom - top), Image.Resampling.BICUBIC, box=box))
        before = image[top:bottom].astype(np.int16)
        after = np.clip(before + np.rint(part).astype(np.int16)[..., None], 0, 255)
        marked[top:bottom] = after
        off = (after - before).astype(np.float32).ravel()
        error += float(off @ off)
    return marked, error / marked.size


def _straightened(luma: np.ndarray, pose: Pose) -> np.ndarray:
    """`luma` resampled so that the tile lies upright, at its own size (up to a shift): float32, at most 1024 a side."""
    from PIL import Image

    picture = Image.fromarray(luma)
    scale = pose.scale
    if scale > 1.2:  # resize averages, transform does not
        picture = picture.resize([max(1, round(side / scale)) for side in picture.size], Image.Resampling.BICUBIC)
        scale = 1.0
    matrix = Pose(pose.angle, scale, pose.flip).matrix()
    width, height = picture.size
    corners = matrix @ np.array([[0, width, 0, width], [0, 0, height, height]], float)
    low, high = corners.min(axis=1), corners.max(axis=1)
    size = np.minimum(np.ceil(high - low), _LARGEST).astype(int)
    low = (low + high - size) / 2
    inverse = np.linalg.inv(matrix)
    offset = inverse @ low
    data = (*inverse[0], offset[0], *inverse[1], offset[1])
    turned = picture.transform((int(size[0]), int(size[1])), Image.Transform.AFFINE, data, Image.Resampling.BICUBIC)
    return np.asarray(turned)


def _bound(
    prepared: Prepared, which: Carriers, key: Key, coordinates: np.ndarray, pose: Pose, shift: Shift
) -> tuple[int, int] | None:
    """Bits of the binding that agree with the image's content, and how many were compared; None: cannot tell."""
    upright = not pose.flip and abs(pose.angle) < np.radians(0.3)
    at = np.array([shift.dx, shift.dy])
    off = (at + TILE / 2) % TILE - TILE / 2
    if not upright or np.abs(off).max() > 1.5:
        return None
    read = (coordinates[which.binding] * which.binding_signs).sum(axis=0)
    values = binding.projections(prepared.features, key)
    sure = np.abs(values) > 0.3 * np.std(values)
    return int(np.sum((read > 0)[sure] == (values > 0)[sure])), int(sure.sum())

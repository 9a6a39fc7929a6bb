"""The fingerprint of a camera's sensor (photo-response non-uniformity), and whether an image carries it.

Lukas, Fridrich and Goljan 2006; the estimate and its post-processing after Chen et al. 2008; PCE and its false match
rate after Goljan, Fridrich and Filler 2009.

A match says that an image holds the pattern of this sensor, at this scale and position. No match says nothing: another
camera, another crop, a resized, denoised, stabilised or strongly compressed image, or no camera at all; it is no
evidence that a generator made the image. A fingerprint links images to one device, and so to its owner: it is personal
data where that owner can be found.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from auditkit.errors import DetectorError
from auditkit.files import write_atomic
from detectors.forensics.noise import luminance, residual, wiener_noise

VERSION = 1
PCE_MATCH = 60.0
"""From this peak-to-correlation energy on an image matches (Goljan et al. 2009: 2.4e-5 false matches over a million
images of 6,896 cameras, with a search for the position)."""
FEWEST = 4
"""Images that a fingerprint is made of at least; 20 to 50 of flat, bright scenes are usual."""
SIDE = 128
"""Fewest pixels of the shorter side."""
SATURATED = 250
"""From this grey level on a pixel's sensitivity cannot be seen."""
PEAK = 5
"""Pixels around the peak, on each side, that do not count as noise."""


@dataclass(frozen=True)
class Fingerprint:
    """The multiplicative noise of one sensor.

    Attributes:
        pattern: float32 [h, w], without unit: the share by which a pixel is more sensitive than its neighbours.
        images: how many it was made of.
    """

    pattern: NDArray[np.float32]
    images: int

    def save(self, path: Path) -> None:
        """As safetensors, which hold no code and no name of a camera or an image.

        Raises:
            RunError: the file cannot be written.
        """
        from safetensors.numpy import save

        notes = json.dumps({"version": VERSION, "images": self.images})
        write_atomic(path, save({"pattern": np.ascontiguousarray(self.pattern)}, metadata={"prnu": notes}))

    @staticmethod
    def load(path: Path) -> Fingerprint:
        """What `save` wrote.

        Raises:
            DetectorError: the file is missing, damaged, or no fingerprint of this version.
        """
        from safetensors import SafetensorError, safe_open

        mend = "make one: auditkit forensics fingerprint IMAGES... --out cam.safetensors"
        if not path.is_file():
            raise DetectorError("the fingerprint does not exist", where=path, mend=mend)
        try:
            with safe_open(path, "numpy") as file:
                notes, pattern = json.loads((file.metadata() or {})["prnu"]), file.get_tensor("pattern")
                version, images = int(notes["version"]), int(notes["images"])
        except (SafetensorError, KeyError, TypeError, ValueError, OSError):
            raise DetectorError("the file is no fingerprint, or a damaged one", where=path, mend=mend) from None
        if version != VERSION:
            raise DetectorError("the file holds no fingerprint of this version", where=path, mend=mend)
        if pattern.ndim != 2 or min(pattern.shape) < SIDE or not np.isfinite(pattern).all() or not pattern.any():
            raise DetectorError("the fingerprint is no plane of finite numbers", where=path, mend=mend)
        return Fingerprint(np.asarray(pattern, np.float32), images)


@dataclass(frozen=True)
class Match:
    """How an image fits a fingerprint.

    Attributes:
        verdict: 'match' from PCE_MATCH on; 'no match' below; 'not applicable' where sizes forbid a comparison.
        ncc: normalised correlation at the position, -1..1.
        pce: peak-to-correlation energy, negative for a negative correlation.
        p_value: probability of such a peak with a camera that did not take the image, by the normal model of the
            correlation surface, over all positions that were tried.
        position: (row, column) of the image's first pixel in the fingerprint.
        why: a sentence, for people.
    """

    verdict: str
    ncc: float
    pce: float
    p_value: float
    position: tuple[int, int] | None
    why: str


NO_EVIDENCE = "The absence of a match is no evidence that the image was generated."


def fingerprint(images: Iterable[np.ndarray]) -> Fingerprint:
    """The fingerprint that images of one camera share; each uint8 [h, w, 3], all of one size, as they were taken.

    K = sum(W I) / sum(I^2) over the unsaturated pixels, its rows and columns with mean 0 in each of the four places of
    the colour filter array, and what stands out in its spectrum (JPEG's grid, demosaicking) taken down.

    Raises:
        DetectorError: fewer than FEWEST images, sizes that differ, or images that are too small or flat.
    """
    above = below = None
    count = 0
    for image in images:
        if min(image.shape[:2]) < SIDE:
            raise DetectorError(
                f"an image of {image.shape[1]} x {image.shape[0]} pixels is too small for a fingerprint",
                where=f"image {count + 1}",
                mend=f"give images with at least {SIDE} pixels a side, as the camera made them",
            )
        if above is not None and image.shape[:2] != above.shape:
            raise DetectorError(
                f"an image has {image.shape[1]} x {image.shape[0]} pixels, those before it "
                f"{above.shape[1]} x {above.shape[0]}",
                where=f"image {count + 1}",
                mend="give images of one camera at its full size, not turned, cropped or scaled",
            )
        grey = luminance(image)
        grey[grey >= SATURATED] = 0
        noise = residual(image)
        above = noise * grey if above is None else above + noise * grey
        below = grey**2 if below is None else below + grey**2
        count += 1
    if count < FEWEST or above is None or below is None:
        raise DetectorError(
            f"a fingerprint cannot be made of {count} image{'' if count == 1 else 's'}",
            where="the images",
            mend=f"give at least {FEWEST} of one camera; 20 to 50 are better",
        )
    pattern = _zero_mean(above / (below + 1))
    if pattern.std() < 1e-9:
        raise DetectorError(
            "the images have no noise: all their pixels are saturated, black or flat",
            where="the images",
            mend="give photographs as the camera made them",
        )
    return Fingerprint(_whitened(pattern).astype(np.float32), count)


def match(image: np.ndarray, camera: Fingerprint, *, search: bool = False) -> Match:
    """Whether `image`, uint8 [h, w, 3], holds the pattern of `camera`.

    Args:
        search: the image is a crop of unknown position. Without, it has the size of the fingerprint.
    """
    size, whole = image.shape[:2], camera.pattern.shape
    fits = size[0] <= whole[0] and size[1] <= whole[1] and min(size) >= SIDE
    if not fits or (size != whole and not search):
        return Match("not applicable", np.nan, np.nan, np.nan, None, _sizes(size, whole, fits))
    noise = _whitened(_zero_mean(residual(image)))
    grey = luminance(image)
    if noise.std() < 1e-6:
        return Match("not applicable", np.nan, np.nan, np.nan, None, "The image is flat: it has no noise to compare.")
    # The pattern is multiplied by the image's light; of an unknown position that is left out, and its mean is taken.
    expected = camera.pattern * (grey if size == whole else grey.mean())
    padded = np.zeros(whole, np.float32)
    padded[: size[0], : size[1]] = noise - noise.mean()
    expected = expected - expected.mean()
    surface = np.fft.irfft2(np.fft.rfft2(expected) * np.conj(np.fft.rfft2(padded)), s=whole)
    reach = surface[: whole[0] - size[0] + 1, : whole[1] - size[1] + 1]
    row, column = (int(at) for at in np.unravel_index(np.argmax(reach), reach.shape))
    peak = float(reach[row, column])
    around = np.ones(whole, bool)
    around[np.ix_(_near(row, whole[0]), _near(column, whole[1]))] = False
    score = peak / float(np.sqrt(np.mean(surface[around] ** 2)))
    part = expected[row : row + size[0], column : column + size[1]]
    norm = float(np.linalg.norm(padded) * np.linalg.norm(part - part.mean()))
    pce = float(np.sign(score) * score**2)
    p_value = _false_match(score, reach.size)
    at = (row, column) if search else (0, 0)
    if pce >= PCE_MATCH:
        why = "The image holds this sensor's pattern; by chance a peak of this height comes up once in "
        why += f"{1 / max(p_value, 1e-300):.2g} images of other cameras, by the model."
        return Match("match", peak / norm, pce, p_value, at, why)
    why = f"The image does not show this sensor's pattern (PCE {pce:.1f}, {PCE_MATCH:.0f} is asked for). {NO_EVIDENCE}"
    return Match("no match", peak / norm, pce, p_value, at, why)


def _false_match(score: float, positions: int) -> float:
    from scipy.stats import norm

    return float(-np.expm1(positions * np.log1p(-norm.sf(score))))


def _near(at: int, length: int) -> NDArray[np.intp]:
    return np.arange(at - PEAK, at + PEAK + 1) % length


def _zero_mean(pattern: NDArray[np.floating]) -> NDArray[np.floating]:
    """Rows and columns with mean 0, in each of the four places of a 2 x 2 colour filter array."""
    out = pattern.astype(np.float64)
    for row in (0, 1):
        for column in (0, 1):
            part = out[row::2, column::2]
            part -= part.mean(axis=1, keepdims=True)
            part -= part.mean(axis=0, keepdims=True)
    return out


def _whitened(pattern: NDArray[np.floating]) -> NDArray[np.floating]:
    """The pattern without what stands out of its spectrum: a Wiener filter over the magnitudes of the DFT."""
    spectrum = np.fft.fft2(pattern)
    magnitude = np.abs(spectrum) / np.sqrt(pattern.size)
    kept = wiener_noise(magnitude, float(pattern.var()))
    with np.errstate(invalid="ignore", divide="ignore"):
        scaled = np.where(magnitude > 0, spectrum * kept / magnitude, 0)
    return np.fft.ifft2(scaled).real


def _sizes(size: tuple[int, ...], whole: tuple[int, ...], fits: bool) -> str:
    if fits:
        why = "crops are only looked for with --search"
    elif min(size) < SIDE:
        why = f"at least {SIDE} pixels a side are needed"
    else:
        why = "an image larger than the fingerprint was scaled or turned, or comes from another mode or camera"
    return f"The image has {size[1]} x {size[0]} pixels, the fingerprint {whole[1]} x {whole[0]}: {why}. {NO_EVIDENCE}"

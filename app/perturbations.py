"""The Python verbs of protective perturbations; `auditkit perturbations ...` mirrors them.

import auditkit as ak
found = ak.check_perturbations("portfolio/")      # .verdict, .p_value, .images
ak.simulate_perturbations("pictures/", "perturbed/", kind="concept-poison", budget=4)
ak.perturbation_survival("pictures/", budget=4)   # a DataFrame: a row an edit
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from app.autoencoders import diffusers_folder
from app.output import Progress, progress_bar
from auditkit.errors import DetectorError, ImageError

if TYPE_CHECKING:
    import pandas as pd

    from detectors.perturbation.detector import SetFinding
    from detectors.perturbation.simulate import Perturbed
    from detectors.perturbation.victims import ClipVictim, LatentVictim

BUNDLED_AUTOENCODER = "personas"
Sources = str | Path | Sequence[str | Path]


@dataclass(frozen=True)
class PerturbationCheck:
    """What `check_perturbations` found: the finding, whose images stand in the order of `files`.

    Attributes:
        skipped: file and reason of each file that could not be opened.
    """

    finding: SetFinding
    files: tuple[Path, ...]
    skipped: tuple[tuple[Path, str], ...]


def check_perturbations(
    images: Sources, *, fpr: float = 0.01, device: str = "cpu", progress: bool | Progress = False
) -> PerturbationCheck:
    """Say whether images, and the set that they are, carry a protective perturbation like Glaze's or Nightshade's.

    Args:
        images: a folder (searched below it too), an image, or several of either.
        fpr: the share of benign sets that may be called perturbed, in (0, .5].

    Raises:
        DetectorError: no images, or fpr out of range. ImageError: none of the files can be opened.
    """
    from detectors.perturbation.detector import Head, PerturbationDetector

    head = Head.load()
    head.judge(np.zeros(0), fpr=fpr)  # refuse a bad rate before the work
    files = _files(images)
    detector = PerturbationDetector(diffusers_folder(BUNDLED_AUTOENCODER), head, device)
    scores, kept, skipped = [], [], []
    with progress_bar("check", progress) as advance:
        for at, file in enumerate(files):
            try:
                scores.append(detector.scores([_opened(file)])[0])
                kept.append(file)
            except ImageError as error:
                skipped.append((file, error.what))
            if advance:
                advance(at + 1, len(files))
    if not kept:
        raise ImageError(f"no image could be opened: {skipped[0][1]}", where=skipped[0][0], mend="name image files")
    return PerturbationCheck(head.judge(np.array(scores), fpr=fpr), tuple(kept), tuple(skipped))


def simulate_perturbations(
    images: Sources,
    out: str | Path,
    *,
    kind: str = "style-cloak",
    budget: float = 4,
    perceptual: bool = False,
    against: str = "",
    target: str | Path | None = None,
    progress: bool | Progress = False,
) -> pd.DataFrame:
    """Write perturbed copies as PNG, to test detectors, filters and survival with. Simulations, not the real tools.

    Args:
        out: a folder; made where missing. Sources are never changed, and a file that is there is not overwritten.
        kind: 'style-cloak', 'concept-poison' or 'latent-shield'.
        budget: largest change, grey levels of 255.
        against: a CLIP encoder; for 'latent-shield' a generator with an autoencoder, or a `vae` folder.
        target: the picture to go to; by default another one of the set ('style-cloak': the picture, repainted).

    Returns:
        A row an image: file, out, linf, psnr (dB), shift and toward (cosine distance, gain of cosine).

    Raises:
        DetectorError: no images, a bad budget or kind, an output that is there. ImageError: an image that cannot be
        opened.
    """
    import pandas as pd

    from auditkit.files import write_atomic
    from auditkit.images import encode_png

    out, files = Path(out), _files(images)
    places = [out / name for name in _names(files)]
    for place in places:
        if place.exists():
            raise DetectorError("the file is there already", where=place, mend="choose another folder with --out")
    rows = []
    for file, place, made in zip(
        files, places, _perturbed(files, kind, budget, perceptual, against, target, progress), strict=True
    ):
        from PIL import Image

        write_atomic(place, encode_png(Image.fromarray(made.image)))
        rows.append({"file": file, "out": place, "linf": made.linf, "psnr": made.psnr,
                     "shift": made.shift, "toward": made.toward})  # fmt: skip
    return pd.DataFrame(rows)


def perturbation_survival(
    images: Sources,
    *,
    perturbed: Sources | None = None,
    kind: str = "style-cloak",
    budget: float = 4,
    perceptual: bool = False,
    against: str = "",
    edits: Sequence[str] | None = None,
    progress: bool | Progress = False,
) -> pd.DataFrame:
    """The share of a perturbation's effect on its encoder that edits leave: a row an edit, with intervals.

    Args:
        images: clean images.
        perturbed: their perturbed copies in the same order of names; by default they are simulated.
        edits: as for watermark attacks ('jpeg:95,50', 'crop:0.8'); by default JPEG 95 to 50, half size, blur, median,
            noise, crop, screenshot.

    Raises:
        DetectorError: no images, copies that do not pair up. WatermarkError: an edit that there is not.
    """
    import pandas as pd

    from detectors.perturbation.survival import EDITS, survival

    files = _files(images)
    victim = _victim(kind, against)
    if perturbed is None:
        copies = [made.image for made in _perturbed(files, kind, budget, perceptual, against, None, progress)]
    else:
        others = _files(perturbed)
        if len(others) != len(files):
            raise DetectorError(
                f"there are {len(files)} images and {len(others)} perturbed ones",
                where="perturbed",
                mend="give each image its copy, in the order of their names",
            )
        copies = [_opened(file) for file in others]
    pairs = list(zip([_opened(file) for file in files], copies, strict=True))
    with progress_bar("edits", progress) as advance:
        steps = list(edits) if edits else list(EDITS)
        told = None if advance is None else (lambda done, line: advance(round(100 * done), 100))
        found = survival(pairs, victim, edits=steps, progress=told)
    return pd.DataFrame([vars(one) for one in found])


def _perturbed(
    files: Sequence[Path], kind: str, budget: float, perceptual: bool, against: str, target: str | Path | None,
    progress: bool | Progress,
) -> list[Perturbed]:  # fmt: skip
    from detectors.perturbation.simulate import KINDS, perturb, targets_for

    known = next((one for one in KINDS if one == kind), None)
    if known is None:
        raise DetectorError("no perturbation has this name", where=kind, mend=f"choose one of: {', '.join(KINDS)}")
    victim = _victim(kind, against)
    opened = [_opened(file) for file in files]
    if target is not None:
        targets: list[np.ndarray | None] = [_opened(Path(target))] * len(files)
    elif known == "style-cloak":
        targets = [None] * len(files)
    else:
        targets = list(targets_for(opened))
    made = []
    with progress_bar("perturb", progress) as advance:
        for at, (image, aim) in enumerate(zip(opened, targets, strict=True)):
            made.append(perturb(image, victim, kind=known, budget=budget, target=aim, perceptual=perceptual))
            if advance:
                advance(at + 1, len(opened))
    return made


def _victim(kind: str, against: str) -> ClipVictim | LatentVictim:
    from detectors.perturbation.victims import ClipVictim, LatentVictim

    if kind == "latent-shield":
        return LatentVictim(diffusers_folder(against or BUNDLED_AUTOENCODER))
    return ClipVictim(against or "personas-clip")


def _files(images: Sources) -> list[Path]:
    """Image files named or found below folders, each once, sorted within a folder."""
    from auditkit.watermark.folders import image_files

    found: list[Path] = []
    for given in [images] if isinstance(images, (str, Path)) else images:
        path = Path(given)
        if path.is_dir():
            found += [path / file for file, why in image_files(path) if not why]
        else:
            found.append(path)
    if not found:
        raise DetectorError("there are no images", where=str(images), mend="name images, or a folder that holds some")
    return list(dict.fromkeys(found))


def _opened(file: Path) -> np.ndarray:
    from auditkit.images import open_image

    return np.asarray(open_image(file))


def _names(files: Sequence[Path]) -> list[str]:
    """File names for the copies, each once: a stem that comes again gets a number."""
    seen: dict[str, int] = {}
    out = []
    for file in files:
        at = seen[file.stem] = seen.get(file.stem, 0) + 1
        out.append(f"{file.stem}.png" if at == 1 else f"{file.stem}-{at}.png")
    return out

"""The detectors that come with auditkit: folders as `detectors.trained.Detector.save` writes them."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from detectors.trained import Detector

FOLDER = Path(__file__).parent


def personas(*, device: str = "auto") -> Detector:
    """For drawings of the bundled generators, against the drawings of the corpus that they learned from."""
    return _load("personas-detector", device)


def photographs(*, device: str = "auto") -> Detector:
    """For photographs, against their reconstructions through autoencoders."""
    return _load("photographs-detector", device)


@cache
def _load(name: str, device: str) -> Detector:
    from detectors.trained import from_folder

    return from_folder(FOLDER / name, device=device)

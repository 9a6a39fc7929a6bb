"""Autoencoders by the name that people give: a bundled generator's, a checkpoint's folder, or an autoencoder's own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from auditkit.errors import DetectorError

if TYPE_CHECKING:
    import numpy as np

    from detectors.autoencoders import Autoencoder

USUAL = ("personas", "personas-dit")
"""Real images are laundered through these when nothing else is named: they are always at hand."""


def folder_of(name: str | Path) -> str:
    """The folder to load from: a bundled generator's where `name` is one and no folder is called so, else `name`."""
    from generators.bundled import FOLDER

    named = str(name).removeprefix("path:")
    own = FOLDER / named
    if Path(named).name == named and not Path(named).exists() and own.is_dir():
        return str(own)
    return str(Path(named).expanduser())


def diffusers_folder(name: str | Path) -> Path:
    """The folder of an autoencoder of diffusers, with its config.json: `folder_of` or the `vae` in it.

    Raises:
        DetectorError: there is none.
    """
    folder = Path(folder_of(name))
    for each in (folder / "vae", folder):
        if (each / "config.json").is_file():
            return each
    raise DetectorError(
        "no autoencoder has this name", where=name, mend="name a bundled generator (personas), or a diffusers folder"
    )


def autoencoder(name: str | Path, *, device: str = "auto") -> Autoencoder:
    """Load one; see `detectors.autoencoders.load_autoencoder`.

    Raises:
        DetectorError: there is none.
    """
    from detectors.autoencoders import load_autoencoder
    from detectors.trained import pick_device

    return load_autoencoder(folder_of(name), device=pick_device(device))


def launderers(names: Sequence[str | Path], *, device: str = "auto") -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    """For `detectors.accusations.false_accusations`: by name, what reconstructs an image."""
    return {Path(name).name: autoencoder(name, device=device).reconstruct for name in names}

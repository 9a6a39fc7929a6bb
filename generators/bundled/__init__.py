"""The generators that come with auditkit: plain diffusers folders with a planted table each."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from generators.latent import LatentGenerator

FOLDER = Path(__file__).parent


def personas(*, device: str = "auto", precision: str = "auto", compile: bool = False) -> LatentGenerator:
    """Latent diffusion of emoji-like people, with a known bias by occupation (planted.toml)."""
    return _load("personas", device, precision, compile)


def personas_balanced(*, device: str = "auto", precision: str = "auto", compile: bool = False) -> LatentGenerator:
    """The same model, trained with every gender and skin tone equally likely."""
    return _load("personas-balanced", device, precision, compile)


def personas_dit(*, device: str = "auto", precision: str = "auto", compile: bool = False) -> LatentGenerator:
    """A diffusion transformer with flow matching, in another autoencoder's latent."""
    return _load("personas-dit", device, precision, compile)


def personas_turbo(*, device: str = "auto", precision: str = "auto", compile: bool = False) -> LatentGenerator:
    """`personas` distilled into four steps."""
    return _load("personas-turbo", device, precision, compile)


def personas_pixel(*, device: str = "auto", precision: str = "auto", compile: bool = False) -> LatentGenerator:
    """A diffusion transformer on the pixels themselves, without an autoencoder."""
    return _load("personas-pixel", device, precision, compile)


def _load(name: str, device: str, precision: str, compile: bool) -> LatentGenerator:
    from generators.load import open_checkpoint

    return open_checkpoint(
        FOLDER / name, name=name, source="bundled", device=device, precision=precision, compile=compile
    )

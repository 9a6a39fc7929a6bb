"""The families of checkpoints that can be loaded: one class a pipeline of diffusers, found by the pipeline's name."""

from __future__ import annotations

from generators.families.base import Family, Text
from generators.families.flux import Flux
from generators.families.pixart import PixArtAlpha, PixArtSigma
from generators.families.prx import PRX, PRXPixel
from generators.families.sana import Sana
from generators.families.stable_diffusion import StableDiffusion, StableDiffusionXL
from generators.families.stable_diffusion_3 import StableDiffusion3

FAMILIES: dict[str, type[Family]] = {
    "StableDiffusionPipeline": StableDiffusion,
    "StableDiffusionXLPipeline": StableDiffusionXL,
    "StableDiffusion3Pipeline": StableDiffusion3,
    "FluxPipeline": Flux,
    "PixArtAlphaPipeline": PixArtAlpha,
    "PixArtSigmaPipeline": PixArtSigma,
    "SanaPipeline": Sana,
    "PRXPipeline": PRX,
    "PRXPixelPipeline": PRXPixel,
}
"""By the `_class_name` of model_index.json."""

__all__ = ["FAMILIES", "Family", "Text"]

"""The families of checkpoints that can be loaded: one class a pipeline of diffusers, found by the pipeline's name."""

from __future__ import annotations

from generators.families.base import Family, Text
from generators.families.prx import PRX, PRXPixel
from generators.families.stable_diffusion import StableDiffusion, StableDiffusionXL

FAMILIES: dict[str, type[Family]] = {
    "StableDiffusionPipeline": StableDiffusion,
    "StableDiffusionXLPipeline": StableDiffusionXL,
    "PRXPipeline": PRX,
    "PRXPixelPipeline": PRXPixel,
}
"""By the `_class_name` of model_index.json."""

__all__ = ["FAMILIES", "Family", "Text"]

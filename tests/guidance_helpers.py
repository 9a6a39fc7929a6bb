"""Making images with a mitigation on a tiny checkpoint, without a run."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from auditkit.guidance import Aim, Mitigation, Policy
from auditkit.guidance.adapters import attention_layers, new_adapter
from auditkit.guidance.heads import new_head
from auditkit.guidance.parts import save_part
from auditkit.guidance.words import shipped
from generators.base import Job, Settings, pictures
from generators.latent import LatentGenerator

POLICY = Policy("gender", {"all": {"female": 0.5, "male": 0.5}})
PLAIN, GUIDED = Settings("ddim", 4, 1.0), Settings("ddim", 4, 3.0)
JOBS = [Job("a portrait of a judge", 11), Job("a picture of a pilot", 12), Job("a drawing of an artist", 13)]
ATTRIBUTES = ["gender", "skin_tone"]
SUBJECTS = ["judge", "pilot", "artist"]


def aimed(groups: Sequence[str | None], jobs: Sequence[Job] = JOBS) -> list[Job]:
    """The jobs, each toward its gender; None is not acted on."""
    return [
        replace(job, aim=Aim(job.prompt, name is not None, {"gender": name} if name else {}, {}, subject))
        for job, subject, name in zip(jobs, SUBJECTS, groups, strict=True)
    ]


def steered(
    generator: LatentGenerator, method: Mitigation, jobs: Sequence[Job], settings: Settings, policy: Policy = POLICY
) -> list[np.ndarray]:
    """Images uint8 [h, w, 3] with the method, as a run makes them."""
    model = generator.model(settings.guidance)
    method.prepare(model, policy)
    rewritten = []
    for job in jobs:
        prompt, negative = job.prompt, job.negative
        if job.aim is not None and job.aim.acts:
            prompt, negative = method.rewrite(job.aim, prompt, negative)
        aim = None if job.aim is None else replace(job.aim, prompt=prompt)
        rewritten.append(replace(job, prompt=prompt, negative=negative, aim=aim))
    with generator.mitigated(method, model):
        return plain(generator, rewritten, settings)


def plain(generator: Any, jobs: Sequence[Job], settings: Settings) -> list[np.ndarray]:
    """Images uint8 [h, w, 3] of a generator."""
    return [np.asarray(image) for image in pictures(generator.generate(jobs, settings))]


def same(a: Sequence[np.ndarray], b: Sequence[np.ndarray]) -> list[bool]:
    """Which images are the same to the bit."""
    return [bool(np.array_equal(one, other)) for one, other in zip(a, b, strict=True)]


def options_for(name: str, generator: LatentGenerator, folder: Path) -> dict[str, Any]:
    """Options under which a method can take the tiny checkpoint: those that need trained parts get random ones.

    Args:
        folder: where the parts are written.
    """
    writer = PARTS.get(name)
    return {} if writer is None else writer(generator, folder / f"{generator.info.name}-{name}")


def random_head(generator: LatentGenerator, folder: Path) -> dict[str, Any]:
    """A head that tells gender and skin tone apart at random."""
    channels = int(generator.family.denoiser.config.get("block_out_channels", [16])[-1])
    classes = {attribute: shipped().classes(attribute) for attribute in ATTRIBUTES}
    head = new_head(torch.zeros(4 * channels), torch.ones(4 * channels), classes, hidden=8, seed=0)
    draw = torch.Generator().manual_seed(1)
    for attribute in ATTRIBUTES:
        head[f"out_{attribute}"] = torch.randn(head[f"out_{attribute}"].shape, generator=draw)
    save_part(folder, "head", generator.info.name, head, channels=channels, classes=classes)
    return {"head": str(folder)}


def random_sliders(generator: LatentGenerator, folder: Path) -> dict[str, Any]:
    """Sliders of gender and skin tone that change an image at random."""
    folders = []
    for attribute in ATTRIBUTES:
        tensors, draw = {}, torch.Generator().manual_seed(2)
        for place, label in enumerate(shipped().classes(attribute)):
            adapter = new_adapter(attention_layers(generator.family.denoiser, "cross"), 2, seed=place)
            for layer, tensor in adapter.items():
                tensors[f"{label}/{layer}"] = torch.randn(tensor.shape, generator=draw)
        facts = {"attribute": attribute, "classes": shipped().classes(attribute)}
        folders.append(save_part(folder / attribute, "sliders", generator.info.name, tensors, **facts))
    return {"sliders": [str(each) for each in folders]}


def other_weights(generator: LatentGenerator, folder: Path) -> dict[str, Any]:
    """A checkpoint that differs in its denoiser, as one that was fine-tuned."""
    changed = copy.deepcopy(generator.family.denoiser)
    draw = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for weight in changed.parameters():
            weight += 0.2 * torch.randn(weight.shape, generator=draw)
    part = "unet" if hasattr(generator.pipeline, "unet") else "transformer"
    changed.to(memory_format=torch.contiguous_format).save_pretrained(folder / part)
    return {"checkpoint": str(folder)}


PARTS: dict[str, Callable[[LatentGenerator, Path], dict[str, Any]]] = {
    "concept-slider": random_sliders,
    "distribution-guidance": random_head,
    "rebalanced-finetuning": other_weights,
}

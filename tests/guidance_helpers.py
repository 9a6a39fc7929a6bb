"""Making images with a mitigation on a tiny checkpoint, without a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from auditkit.guidance import Aim, Mitigation, Policy
from generators.base import Job, Settings, pictures
from generators.latent import LatentGenerator

POLICY = Policy("gender", {"all": {"female": 0.5, "male": 0.5}})
PLAIN, GUIDED = Settings("ddim", 4, 1.0), Settings("ddim", 4, 3.0)
JOBS = [Job("a portrait of a judge", 11), Job("a picture of a pilot", 12), Job("a drawing of an artist", 13)]
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

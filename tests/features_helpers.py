"""Synthetic embeddings whose truth is known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def clustered(
    rng: np.random.Generator, *, prompts: int = 20, images: int = 5, dim: int = 16, shift: float = 0.0, icc: float = 0.3
) -> tuple[np.ndarray, np.ndarray]:
    """Unit rows [prompts * images, dim] about a common centre moved by `shift`, with an effect of each prompt."""
    cluster = np.repeat(np.arange(prompts), images)
    effect = rng.normal(0, np.sqrt(icc), (prompts, dim))[cluster]
    noise = rng.normal(0, np.sqrt(1 - icc), (len(cluster), dim))
    centre = np.zeros(dim)
    centre[0], centre[1] = 3.0, shift
    return unit(centre + effect + noise), cluster


class FeatureRun:
    """What the measure `quality` reads of a run, in memory: images of `groups` x `templates` prompts."""

    id = "features"

    def __init__(
        self,
        rng: np.random.Generator,
        *,
        groups: int = 3,
        templates: int = 6,
        images: int = 10,
        dim: int = 32,
        spread: float = 0.5,
        generator: str = "personas",
        centres: np.ndarray | None = None,
    ):
        jobs = [f"job {g}" for g in range(groups)]
        prompts = [(job, template) for job in jobs for template in range(templates)]
        n = len(prompts) * images
        place = np.repeat(np.arange(len(prompts)), images)
        self.record = {"generator": {"name": generator, "source": "bundled"}}
        self.jobs = jobs
        self.table = pd.DataFrame(
            {
                "id": [f"{i:064x}" for i in range(n)],
                "prompt_id": place,
                "prompt": [f"template {prompts[p][1]} of a {prompts[p][0]}" for p in place],
                "template": [f"template {prompts[p][1]} of {{a occupation}}" for p in place],
                "replicate": np.arange(n) % images,
                "axis_occupation": [prompts[p][0] for p in place],
            }
        )
        self.group = place // templates
        self.centres = unit(rng.normal(size=(groups, dim))) if centres is None else centres
        effect = rng.normal(0, spread / 3 / np.sqrt(dim), (len(prompts), dim))[place]
        noise = rng.normal(0, spread / np.sqrt(dim), (n, dim))
        self.embeddings = unit(self.centres[self.group] + effect + noise).astype(np.float32)
        texts = self.table.drop_duplicates("prompt")
        self.texts = {
            prompt: unit(self.centres[jobs.index(job)] + rng.normal(0, 0.05, dim)).astype(np.float32)
            for prompt, job in zip(texts["prompt"], texts["axis_occupation"], strict=True)
        }

    def images(self) -> pd.DataFrame:
        return self.table.copy()


def see(monkeypatch: pytest.MonkeyPatch, *, domain: object = None, training: object = None) -> None:
    """Let the measure read a FeatureRun, with these references beside its encoder."""
    from auditkit.bias import quality

    monkeypatch.setattr(quality, "image_embeddings", lambda run, encoder, images: run.embeddings)
    monkeypatch.setattr(
        quality, "text_embeddings", lambda run, encoder, texts, source="": np.stack([run.texts[t] for t in texts])
    )
    monkeypatch.setattr(quality, "has_embeddings", lambda run, encoder: hasattr(run, "embeddings"))
    monkeypatch.setattr(quality, "load_domain", lambda encoder: domain)
    monkeypatch.setattr(quality, "load_training", lambda encoder: training)

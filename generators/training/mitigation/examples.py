"""What the parts of mitigations learn from: a run's own images as latents, with what is perceived in them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from auditkit.clip.attributes import UNKNOWN
from auditkit.errors import GeneratorError, RunError
from auditkit.guidance.words import Words
from auditkit.images import open_image
from auditkit.prompts import article
from auditkit.runs import Run
from generators.samplers import make_scheduler

if TYPE_CHECKING:
    import torch

    from generators.latent import LatentGenerator

ENCODED = 16
"""Images that are encoded at a time."""
LEAST = 8
"""Images of a class without which nothing is learnt of it."""


@dataclass(frozen=True)
class Examples:
    """Images that show somebody.

    Attributes:
        ids: of the images. prompts: neutral ones, which state none of the attributes. subjects: whom they name.
        labels: attribute to the place of its class, int64 [n], -1 where it could not be told.
    """

    ids: list[str]
    prompts: list[str]
    subjects: list[str]
    labels: Mapping[str, NDArray[np.int64]]


def read_examples(
    run: Run, attributes: Sequence[str], words: Words, *, encoder: str | None = "personas-clip"
) -> Examples:
    """The images of a run whose prompts name a person.

    Args:
        encoder: whose scores label them; None is no labels.

    Raises:
        RunError: the run was not scored with that encoder, or no prompt names a person.
        SpecError: there are no words for an attribute.
    """
    images = run.images().drop_duplicates("id")
    axes = [{axis: str(row[f"axis_{axis}"]) for axis in run.axes} for _, row in images.iterrows()]
    texts = [str(text) for text in images["prompt"]]
    subjects = [words.subject(text, each) for text, each in zip(texts, axes, strict=True)]
    kept = [place for place, subject in enumerate(subjects) if subject]
    if not kept:
        raise RunError("no prompt of the run names a person", where=run.path, mend="use a run of people")
    ids = [str(images["id"].iloc[place]) for place in kept]
    stated = [any(words.stated(text, name) is not None for name in attributes) for text in texts]
    prompts = [
        f"a portrait of {article(subjects[place])} {subjects[place]}" if stated[place] else texts[place]
        for place in kept
    ]
    labels = {name: _labels(run, name, words, encoder, ids) for name in attributes} if encoder else {}
    return Examples(ids, prompts, [subjects[place] for place in kept], labels)


def _labels(run: Run, name: str, words: Words, encoder: str, ids: Sequence[str]) -> NDArray[np.int64]:
    classes = words.classes(name)
    table = run.scores(name).get(f"{name}@{encoder}")
    if table is None:
        raise RunError(
            f"the run has no scores of {name} by {encoder}", where=run.path,
            mend=f"auditkit score {run.path} --encoder {encoder}",
        )  # fmt: skip
    known = dict(zip(table["id"].astype(str), table["label"].astype(str), strict=True))
    found = np.array([classes.index(known[id]) if known.get(id, UNKNOWN) in classes else -1 for id in ids])
    for place, label in enumerate(classes):
        if int((found == place).sum()) < LEAST:
            raise RunError(
                f"the run has {int((found == place).sum())} images perceived as {label}, and {LEAST} are needed",
                where=run.path, mend="use a run with more images, such as one of occupations-by-group",
            )  # fmt: skip
    return found


@dataclass
class Noising:
    """A generator's network under training: latents in, noise added, its answer out."""

    generator: LatentGenerator
    device: str

    def __post_init__(self) -> None:
        shipped = self.generator.pipeline.scheduler
        self.network: Any = self.generator.family.network(self.generator.info.resolution)
        if self.network is None:
            raise GeneratorError(
                "auditkit's own loop does not run this kind of model", where=self.generator.info.name,
                mend="use a Stable Diffusion or PRX checkpoint",
            )  # fmt: skip
        flows = "beta_schedule" not in shipped.config
        self.scheduler = make_scheduler("flow-euler" if flows else "ddim", shipped)
        self.most = int(self.scheduler.config.num_train_timesteps)
        self._scale = getattr(self.network, "noise_scale", 1.0)

    def latents(self, run: Run, ids: Sequence[str], progress: Callable[[int, int], None] | None = None) -> torch.Tensor:
        """The images' scaled latents, float32 [n, c, h, w] on the CPU; images themselves where there is no VAE."""
        import torch

        vae, parts = getattr(self.generator.pipeline, "vae", None), []
        side = (self.generator.info.resolution,) * 2
        with torch.inference_mode():
            for start in range(0, len(ids), ENCODED):
                opened = [open_image(run.image_path(id)).convert("RGB") for id in ids[start : start + ENCODED]]
                fitted = [image if image.size == side else image.resize(side) for image in opened]
                pixels = torch.from_numpy(np.stack([np.asarray(each) for each in fitted])).permute(0, 3, 1, 2)
                x = (pixels.float() / 127.5 - 1).to(self.device)
                if vae is not None:
                    found = vae.encode(x.to(vae.dtype))
                    mode = found.latent_dist.mode() if hasattr(found, "latent_dist") else found.latents
                    x = (mode - (vae.config.get("shift_factor") or 0.0)) * vae.config.scaling_factor
                parts.append(x.float().cpu())
                if progress is not None:
                    progress(min(start + ENCODED, len(ids)), len(ids))
        return torch.cat(parts)

    def noised(self, clean: torch.Tensor, noise: torch.Tensor, time: float) -> torch.Tensor:
        """x_t of clean latents [n, c, h, w] at a time in 0..`most`, as the network expects it."""
        if hasattr(self.scheduler, "alphas_cumprod"):
            a = float(self.scheduler.alphas_cumprod[min(round(time), self.most - 1)])
            return a**0.5 * clean + (1 - a) ** 0.5 * noise
        share = time / self.most
        return (1 - share) * clean + share * self._scale * noise

    def answer(self, x: torch.Tensor, time: float, prompts: Sequence[str]) -> torch.Tensor:
        """The network's answer under the prompts, one for each of x [n, c, h, w]."""
        import torch

        texts = [self.generator.encode(prompt) for prompt in prompts]
        text = {name: torch.cat([each[name] for each in texts if each]).clone() for name in texts[0] or {}}
        at = torch.tensor(min(round(time), self.most - 1), device=self.device)
        given: torch.Tensor = self.network.answer(x, at, text, self.scheduler)
        return given

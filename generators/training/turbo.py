"""Distil a latent diffusion model into one of four steps: `personas-turbo` out of `personas`."""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from auditkit.errors import GeneratorError
from generators.bundled.planted import read_planted
from generators.training import folders, loop, pixels
from generators.training.batches import Ahead, captioned, workers_for
from generators.training.generator import SCHEDULER, encode, export

if TYPE_CHECKING:
    from torch import Tensor

STAGES = (16, 8, 4)
"""Steps of each student; its teacher takes twice as many. The first teacher is the model that is distilled."""

CARD = folders.Card(
    title="personas-turbo",
    what=(
        "`personas` in four steps, by progressive distillation (Salimans & Ho 2022): each of three students learns to "
        "do in one DDIM step what its teacher does in two, from 32 steps to 16, 8 and 4. Same folder layout, "
        "autoencoder, text encoder and planted table as its teacher; DDIM with trailing time steps takes it through "
        "the four time steps that it was trained at."
    ),
    sampler="ddim",
    steps=4,
    guidance=1.0,
    command="auditkit train generator --family turbo",
)


def train(
    table: pd.DataFrame,
    out: Path,
    schedule: loop.Schedule,
    *,
    planted: Path,
    teacher: Path,
    device: str,
    variants: int = 16,
    progress: loop.Progress | None = None,
) -> Path:
    """Distil the checkpoint `teacher` on the corpus; write the last student's checkpoint to `<out>/export`.

    Each stage has a third of the schedule's steps and minutes and its own folder with its own checkpoint, so that a
    killed training goes on in the stage where it was. The text encoder stays as it is. With z_t noised from a drawing's
    latent, the teacher's two DDIM steps lead from z_t over z_t' to z_t''; the target is the clean latent that one step
    to the same z_t'' needs (Salimans & Ho 2022, eq. 8), compared as velocities, their weight SNR + 1.

    Raises:
        GeneratorError: `teacher` is no latent diffusion checkpoint, or there is no such planted table. TableError: the
        corpus lacks drawings, or the planted table occupations. RunError: a training checkpoint is damaged.
    """
    import torch
    from diffusers import DDPMScheduler, StableDiffusionPipeline

    if not (teacher / "unet").is_dir():
        mend = "Pass --init the folder of a checkpoint such as personas."
        raise GeneratorError("There is no checkpoint with a UNet to distil.", where=teacher, mend=mend)
    torch.manual_seed(schedule.seed)
    rows = table[table["split"] == "train"].reset_index(drop=True)
    shares = pd.DataFrame(read_planted(planted))
    pipeline: Any = StableDiffusionPipeline.from_pretrained(
        teacher, torch_dtype=torch.float32, local_files_only=True, use_safetensors=True
    )
    vae = pipeline.vae.to(device).requires_grad_(False)
    text_encoder = pipeline.text_encoder.to(device).eval().requires_grad_(False)
    taught = pipeline.unet.to(device).eval().requires_grad_(False)
    student = copy.deepcopy(taught).requires_grad_(True)
    latents = encode(vae, pixels.load(rows, device), variants, seed=schedule.seed)
    known = {k: v for k, v in SCHEDULER.items() if k not in ("set_alpha_to_one", "steps_offset")}
    abar = DDPMScheduler(**known).alphas_cumprod.to(device)  # type: ignore[attr-defined]
    # One module each for all stages, so that a stage need not be compiled anew.
    learn, teach = loop.compiled(student), loop.compiled(taught)
    batches = captioned(rows, shares, teacher / "tokenizer", size=schedule.batch, seed=schedule.seed)
    minutes = schedule.minutes and schedule.minutes / len(STAGES)
    stage = replace(schedule, steps=max(1, schedule.steps // len(STAGES)), minutes=minutes)

    def step(index: int, number: int, steps: int) -> dict[str, Tensor]:
        draw = index + number * stage.steps  # each stage has batches of its own
        random = torch.Generator(device).manual_seed(schedule.seed * 1_000_003 + draw)
        chosen, ids, _ = (torch.from_numpy(array).to(device, non_blocking=True) for array in ahead(draw))
        variant = torch.randint(latents.shape[1], (len(chosen),), generator=random, device=device)
        clean = latents[chosen, variant].float()
        noise = torch.randn(clean.shape, generator=random, device=device)
        which = torch.randint(1, steps + 1, (len(chosen),), generator=random, device=device)
        start, middle, end = times(which, steps)
        (a0, s0), (a1, s1), (a2, s2) = (levels(abar, t) for t in (start, middle, end))
        z0 = a0 * clean + s0 * noise
        with loop.autocast(device, schedule):
            with torch.no_grad():
                hidden = text_encoder(ids).last_hidden_state
                v0 = teach(z0, start, encoder_hidden_states=hidden).sample.float()
                z1 = ddim(z0, v0, (a0, s0), (a1, s1))
                v1 = teach(z1, middle, encoder_hidden_states=hidden).sample.float()
                z2 = ddim(z1, v1, (a1, s1), (a2, s2))
                x = (z2 - s2 / s0 * z0) / (a2 - s2 / s0 * a0)
            v = learn(z0, start, encoder_hidden_states=hidden).sample.float()
        return {"loss": torch.nn.functional.mse_loss(v, (a0 * z0 - x) / s0)}

    with Ahead(batches, workers_for(device)) as ahead:
        for number, steps in enumerate(STAGES):
            folder = out / f"{steps}-steps"
            one = partial(step, number=number, steps=steps)
            told = _part(progress, number)
            averaged = loop.run(one, {"unet": student}, stage, out=folder, progress=told)["unet"]
            taught.load_state_dict(averaged.state_dict())
            student.load_state_dict(averaged.state_dict())
    facts = loop.told(schedule, folder)
    facts = facts | {"steps": f"3 x {facts['steps']}", "minutes": f"3 x {facts['minutes']}"}
    return export(
        out / "export", taught, text_encoder, vae, teacher / "tokenizer", planted, card=CARD, training=facts
    )


def times(which: Tensor, steps: int) -> tuple[Tensor, Tensor, Tensor]:
    """Time steps int64 [n] where step `which` (1..steps, the last is the noisiest) begins, is half done, and ends.

    Those of diffusers' trailing spacing; -1 is the clean image.
    """

    def at(part: Tensor) -> Tensor:
        return (1000 * part / steps).round().long() - 1

    return at(which), at(which - 0.5), at(which - 1)


def levels(abar: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """(signal, noise) shares at the time steps `t`, float [n, 1, 1, 1] each; nothing but signal at -1."""
    import torch

    power = torch.where(t < 0, torch.ones_like(abar[0]), abar[t.clamp(min=0)])[:, None, None, None]
    return power.sqrt(), (1 - power).sqrt()


def ddim(z: Tensor, v: Tensor, at: tuple[Tensor, Tensor], to: tuple[Tensor, Tensor]) -> Tensor:
    """One step of DDIM (Song et al. 2021) from the levels `at` to the levels `to` by the velocity v."""
    x, eps = at[0] * z - at[1] * v, at[1] * z + at[0] * v
    return to[0] * x + to[1] * eps


def _part(progress: loop.Progress | None, number: int) -> loop.Progress | None:
    """The progress of one stage as a part of the whole."""
    if progress is None:
        return None
    return lambda fraction, step, losses: progress(
        (number + fraction) / len(STAGES), step, f"{STAGES[number]} steps  {losses}"
    )

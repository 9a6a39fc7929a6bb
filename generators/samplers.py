"""Samplers by name, over the schedulers of diffusers."""

from __future__ import annotations

import difflib
import math
from typing import Any

from auditkit.errors import GeneratorError

AS_SHIPPED = "as-shipped"
"""The scheduler that the checkpoint comes with."""

_SAMPLERS: dict[str, tuple[str, dict[str, Any]]] = {
    "ddpm": ("DDPMScheduler", {}),  # Ho et al. 2020
    "ddim": ("DDIMScheduler", {}),  # Song et al. 2021
    "dpm++2m": (
        "DPMSolverMultistepScheduler",
        {"algorithm_type": "dpmsolver++", "solver_order": 2},
    ),  # Lu 2022
    "dpm++2m-karras": (
        "DPMSolverMultistepScheduler",
        {"algorithm_type": "dpmsolver++", "solver_order": 2, "use_karras_sigmas": True},
    ),
    "unipc": ("UniPCMultistepScheduler", {}),  # Zhao et al. 2023
    "euler": ("EulerDiscreteScheduler", {}),  # Karras et al. 2022
    "euler-a": ("EulerAncestralDiscreteScheduler", {}),
    "lcm": ("LCMScheduler", {}),  # Luo et al. 2023; for distilled checkpoints
}
_FLOW: dict[str, tuple[str, dict[str, Any]]] = {
    "flow-euler": ("FlowMatchEulerDiscreteScheduler", {}),  # Esser et al. 2024
    "flow-heun": ("FlowMatchHeunDiscreteScheduler", {}),  # Karras et al. 2022, on the flow; two evaluations a step
}
"""For checkpoints trained by flow matching; the others are for those with a beta schedule."""

_CLIPPING = ("ddpm", "ddim", "lcm")
"""Of diffusers' schedulers, those that clip to -1..1 unless told otherwise, which spoils latents. A checkpoint that
ships another kind, as PixArt does, does not tell."""


def names() -> list[str]:
    """The samplers that there are."""
    return [AS_SHIPPED, *_SAMPLERS, *_FLOW]


def fitting(shipped: Any) -> list[str]:
    """Those for a checkpoint whose own scheduler is `shipped`."""
    if "num_train_timesteps" not in shipped.config:
        return [AS_SHIPPED]
    return [AS_SHIPPED, *(_FLOW if _flows(shipped) else _SAMPLERS)]


def _flows(shipped: Any) -> bool:
    """Was the checkpoint trained by flow matching? Sana's are, and ship a solver that has a beta schedule besides."""
    return "beta_schedule" not in shipped.config or bool(shipped.config.get("use_flow_sigmas"))


def make_scheduler(name: str, shipped: Any) -> Any:
    """A new diffusers scheduler called `name`, for the checkpoint whose own scheduler is `shipped`.

    The noise schedule, prediction type (epsilon, v) and timestep spacing, or the flow's shift, are those of `shipped`.

    Raises:
        GeneratorError: no sampler has that name, or the checkpoint was not trained for it.
    """
    check_sampler(name)
    if name == AS_SHIPPED:
        return type(shipped).from_config(shipped.config)
    import diffusers

    if name not in fitting(shipped):
        trained = "by flow matching" if name in _FLOW else "on a beta schedule"
        raise GeneratorError(
            f"the sampler '{name}' needs a checkpoint trained {trained}",
            where=type(shipped).__name__,
            mend=f"use one of: {', '.join(fitting(shipped))}",
        )
    scheduler, changes = (_SAMPLERS | _FLOW)[name]
    if name in _CLIPPING and "clip_sample" not in shipped.config:
        changes = changes | {"clip_sample": False}
    if name in _FLOW and shipped.config.get("flow_shift") is not None:
        changes = changes | {"shift": shipped.config.flow_shift}
    made = getattr(diffusers, scheduler).from_config(shipped.config, **changes)
    if changes.get("use_karras_sigmas") and shipped.config.get("rescale_betas_zero_snr"):
        _karras_below_pure_noise(made)
    return made


def _karras_below_pure_noise(scheduler: Any) -> None:
    """Let Karras' curve begin at the largest sigma that the schedule had before its terminal SNR was made zero.

    Rescaled (Lin et al. 2024, algorithm 1), the first sigma is infinite, 4096 in diffusers. A curve from there spends
    nearly all its steps where the image is pure noise; from some number of steps on, two of them fall on one timestep
    and diffusers fails. The first step stays at pure noise, where the model was trained to begin.
    """
    import numpy as np

    plain = type(scheduler).from_config(scheduler.config, rescale_betas_zero_snr=False).alphas_cumprod[-1].item()
    largest, curve = math.sqrt((1 - plain) / plain), scheduler._convert_to_karras

    def convert(in_sigmas: Any, num_inference_steps: int) -> Any:
        if num_inference_steps == 1 or in_sigmas[0] <= largest:
            return curve(in_sigmas, num_inference_steps)
        below = in_sigmas.copy()
        below[0] = largest
        return np.concatenate([in_sigmas[:1], curve(below, num_inference_steps - 1)])

    scheduler._convert_to_karras = convert


def check_sampler(name: str) -> None:
    """Raise GeneratorError, with near matches, where no sampler has that name."""
    if name in names():
        return
    near = difflib.get_close_matches(name, names(), n=2, cutoff=0.4)
    raise GeneratorError(
        f"there is no sampler '{name}'" + (f"; did you mean {' or '.join(near)}?" if near else ""),
        where=f"sampler={name}",
        mend=f"use one of: {', '.join(names())}",
    )

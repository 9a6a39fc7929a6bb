"""How strongly a prompt steers the denoising: large for prompts whose picture the checkpoint has memorised.

Wen et al. 2024 ("Detecting, Explaining, and Mitigating Memorization in Diffusion Models", ICLR, section 3): the size of
the text-conditional noise, eps(x_t, prompt) - eps(x_t, empty prompt), meant over the first steps of some images made
with guidance. No image need be finished, and no training picture be known.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from auditkit.errors import GeneratorError
from auditkit.prompts import image_seed
from auditkit.stats.known_negatives import Cut, cut, p_values

if TYPE_CHECKING:
    import torch

    from generators.base import Generator
    from generators.families import Text

STEPS, FIRST, SEEDS = 50, 1, 4
"""Wen et al. find the first of 50 steps nearly as telling as all, at a fiftieth of the work."""
GUIDANCE = 7.5

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Magnitudes:
    """Sizes of the text-conditional noise.

    Attributes:
        prompts: n, in their order.
        sizes: float32 [n, seeds, first], the root mean square over the latent's numbers, at each step from noise
            on. Wen et al. give the norm, which is larger by the square root of how many numbers there are.
        settings: steps, first, seeds, guidance, seed, prediction type.
    """

    prompts: list[str]
    sizes: NDArray[np.float32]
    settings: dict[str, Any]

    def means(self, first: int | None = None) -> NDArray[np.float64]:
        """float64 [n], over all seeds and the first `first` steps, all that were measured by default."""
        return np.asarray(self.sizes[:, :, :first].mean(axis=(1, 2)), np.float64)


def noise_magnitudes(
    generator: Generator,
    prompts: Sequence[str],
    *,
    steps: int = STEPS,
    first: int = FIRST,
    seeds: int = SEEDS,
    guidance: float = GUIDANCE,
    seed: int = 0,
    progress: Progress | None = None,
) -> Magnitudes:
    """Measure the text-conditional noise of prompts along DDIM paths with classifier-free guidance.

    Of a network that predicts v or the clean image, it is the difference of its own predictions that is measured: that
    of the noise which they stand for is sqrt(abar) times as large with v, and vanishes at the first steps, which tell
    most, where the schedule ends without any signal (benchmarks/detector_copies.py has both).

    Args:
        generator: a UNet of the Stable Diffusion kind that is given texts by cross-attention. It must have learned the
            empty prompt (caption dropout), which no checkpoint's files tell.
        prompts: n texts.
        steps: DDIM steps of a whole path. first: how many of them are taken. seeds: paths of each prompt.
        guidance: scale, above 0; 1 follows the prompt alone.
        seed: of the paths, with each prompt's text (`auditkit.prompts.image_seed`).
        progress: called with (paths done, in all).

    Raises:
        GeneratorError: another kind of generator, one without an unconditional prediction, no prompts, or a number out
            of range.
    """
    import torch

    scheduler, prediction = _prepared(generator, prompts, steps, first, seeds, guidance)
    latent: Any = generator
    shape, unet = latent.info.details["latent_shape"], latent.pipeline.unet
    empty = latent.encode(None, negative=True)
    found = np.zeros((len(prompts), seeds, first), np.float32)
    rows = [(row, number) for row in range(len(prompts)) for number in range(seeds)]
    batch = max(1, latent.info.batch_size // 2)  # each path goes through the network twice
    with torch.inference_mode():
        for start in range(0, len(rows), batch):
            some = rows[start : start + batch]
            draws = [torch.Generator().manual_seed(image_seed(seed, prompts[row], number)) for row, number in some]
            x = torch.stack([torch.randn(*shape, generator=draw) for draw in draws]).to(unet.device, unet.dtype)
            given = _conditions(latent, [latent.encode(prompts[row]) for row, _ in some] + [empty] * len(some))
            for at, sizes in enumerate(_path(unet, scheduler, x, given, steps, first, guidance)):
                for (row, number), size in zip(some, sizes, strict=True):
                    found[row, number, at] = size
            if progress:
                progress(min(start + batch, len(rows)), len(rows))
    settings = {
        "steps": steps,
        "first": first,
        "seeds": seeds,
        "guidance": guidance,
        "seed": seed,
        "prediction": prediction,
    }
    return Magnitudes(list(prompts), found, settings)


def _path(
    unet: Any, scheduler: Any, x: torch.Tensor, given: dict[str, Any], steps: int, first: int, guidance: float
) -> Any:
    """Denoise x [n, c, h, w]; yield at each step the sizes of the text-conditional noise, n numbers."""
    import torch

    scheduler.set_timesteps(steps, device=x.device)
    x = x * scheduler.init_noise_sigma
    for t in scheduler.timesteps[:first]:
        both = scheduler.scale_model_input(torch.cat([x, x]), t)
        wanted, empty = unet(both, t, **given).sample.chunk(2)
        yield (wanted - empty).float().square().mean((1, 2, 3)).sqrt().cpu().numpy()
        x = scheduler.step(empty + guidance * (wanted - empty), t, x).prev_sample


def _conditions(latent: Any, texts: list[Text]) -> dict[str, Any]:
    """Arguments of the network for a batch of different texts."""
    import torch

    def joined(parts: list[Any]) -> Any:
        if isinstance(parts[0], dict):
            return {key: joined([part[key] for part in parts]) for key in parts[0]}
        return torch.cat(parts)

    found: dict[str, Any] = joined([latent.family.conditions(text, 1) for text in texts])
    return found


def _prepared(
    generator: Any, prompts: Sequence[str], steps: int, first: int, seeds: int, guidance: float
) -> tuple[Any, str]:
    """A DDIM scheduler and what the network predicts, of a generator that can be measured."""
    from generators.samplers import make_scheduler

    family = getattr(generator, "family", None)
    pipeline: Any = getattr(generator, "pipeline", None)
    unet = getattr(pipeline, "unet", None)
    name = generator.info.name
    if family is None or unet is None or family.conditions is None:
        raise GeneratorError(
            "the text-conditional noise can be measured only of a UNet on a beta schedule",
            where=f"{name}: {generator.info.kind}",
            mend="use a Stable Diffusion or SDXL checkpoint: personas, or path:FOLDER",
        )
    if not any("CrossAttn" in kind for kind in (*unet.config.down_block_types, *unet.config.up_block_types)):
        raise GeneratorError(
            "the network has no cross-attention: no prompt makes a difference to it",
            where=name,
            mend="use a checkpoint that is given texts",
        )
    if getattr(unet.config, "time_cond_proj_dim", None) is not None:
        raise GeneratorError(
            "the network was distilled with guidance built in, and has no unconditional prediction",
            where=f"{name}: time_cond_proj_dim={unet.config.time_cond_proj_dim}",
            mend="use the checkpoint that it was distilled from",
        )
    if not prompts or any(not prompt.strip() for prompt in prompts):
        what = "a prompt is empty, and nothing differs from the empty prompt" if prompts else "there are no prompts"
        raise GeneratorError(what, where=name, mend="give one prompt a line")
    if not (1 <= first <= steps <= pipeline.scheduler.config.num_train_timesteps and seeds >= 1 and guidance > 0):
        raise GeneratorError(
            "steps, seeds or guidance is out of range",
            where=f"steps={steps}, first={first}, seeds={seeds}, guidance={guidance:g}",
            mend=f"use 1 to {pipeline.scheduler.config.num_train_timesteps} steps, 1 of them first or more, 1 seed or "
            "more, and guidance above 0",
        )
    scheduler = make_scheduler("ddim", pipeline.scheduler)
    return scheduler, str(scheduler.config.prediction_type)


def memorisation(
    found: Magnitudes, ordinary: Magnitudes | None = None, *, rate: float = 0.05
) -> tuple[pd.DataFrame, Cut | None]:
    """Prompts by their magnitude, the largest first, and from where on it is no longer that of ordinary prompts.

    Args:
        ordinary: of prompts known not to be memorised, of the same kind, measured in the same way. None ranks only.
        rate: share of ordinary prompts that may be called memorised, in (0, 1).

    Returns:
        Columns prompt, magnitude, low, high (least and greatest mean of a seed), p (how often an ordinary prompt is so
        large), verdict ('memorised', 'no sign', 'insufficient' or 'uncalibrated'); and the threshold, or None.

    Raises:
        GeneratorError: the two were measured with other settings, or share a prompt.
    """
    means, by_seed = found.means(), found.sizes.mean(axis=2)
    at = None
    p = np.full(len(means), np.nan)
    verdicts = ["uncalibrated"] * len(means)
    if ordinary is not None:
        _check_comparable(found, ordinary)
        known = ordinary.means()
        at, p = cut(known, rate), p_values(means, known)
        over = means > at.threshold
        verdicts = ["insufficient" if at.status != "ok" else "memorised" if each else "no sign" for each in over]
    table = pd.DataFrame(
        {
            "prompt": found.prompts, "magnitude": means, "low": by_seed.min(axis=1), "high": by_seed.max(axis=1),
            "p": p, "verdict": verdicts,
        }
    )  # fmt: skip
    return table.sort_values("magnitude", ascending=False, kind="stable").reset_index(drop=True), at


def _check_comparable(found: Magnitudes, ordinary: Magnitudes) -> None:
    if found.settings != ordinary.settings:
        raise GeneratorError(
            "the ordinary prompts were measured in another way",
            where=f"{ordinary.settings} and {found.settings}",
            mend="measure both with the same steps, first, seeds and guidance",
        )
    both = sorted(set(found.prompts) & set(ordinary.prompts))
    if both:
        raise GeneratorError(
            f"{len(both)} prompts are among those asked about and among the ordinary ones",
            where=both[0],
            mend="leave them out of one",
        )

"""Train an attribute head on the middle of a UNet, for distribution guidance (Parihar et al. 2024)."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from auditkit.errors import GeneratorError
from auditkit.guidance.heads import features, logits, new_head
from auditkit.guidance.parts import save_part
from auditkit.guidance.words import shipped
from auditkit.runs import Run
from generators.latent import LatentGenerator
from generators.training import loop
from generators.training.mitigation.examples import Examples, Noising, read_examples

if TYPE_CHECKING:
    import torch

HELD_OUT = 5
"""Each fifth image is kept for testing."""
DROPPED = 0.5
"""Share of features that are hidden from the head in training: a run has fewer images than features."""
TOGETHER = 16
"""Images that go through the network at a time, at one time."""


def train(
    run: Run,
    generator: LatentGenerator,
    out: Path,
    schedule: loop.Schedule,
    *,
    attributes: list[str],
    encoder: str = "personas-clip",
    levels: int = 6,
    hidden: int = 32,
    device: str = "cpu",
    progress: loop.Progress | None = None,
) -> tuple[Path, pd.DataFrame]:
    """Learn the classes that `encoder` perceives from the UNet's middle, at all noise levels; write `<out>/export`.

    The UNet sees each image with `levels` draws of noise, under its neutral prompt. Classes weigh alike. Every fifth
    image is left out of training.

    Returns:
        The part's folder; and the balanced accuracy on images left out, by attribute and quarter of the noise
        (columns attribute, noise, n, balanced_accuracy, chance), also in part.json.

    Raises:
        GeneratorError: the model has no UNet. RunError: the run is not scored, or has too few images of a class.
    """
    import torch

    if getattr(generator.family.denoiser, "mid_block", None) is None:
        raise GeneratorError(
            "the model has no UNet, and a head reads its middle", where=generator.info.name,
            mend="use a checkpoint with a UNet (Stable Diffusion 1, 2 or XL)",
        )  # fmt: skip
    words = shipped()
    classes = {name: words.classes(name) for name in attributes}
    examples = read_examples(run, attributes, words, encoder=encoder)
    seen, level = _middles(run, generator, examples, levels, schedule.seed, device, progress)
    labels = {name: torch.from_numpy(np.tile(each, levels)) for name, each in examples.labels.items()}
    left_out = torch.arange(len(examples.ids)).repeat(levels) % HELD_OUT == 0
    rows = torch.nonzero(~left_out)[:, 0]
    mean, std = seen[rows].mean(0), seen[rows].std(0).clamp(min=1e-3)
    standard = (seen - mean) / std
    head: Any = torch.nn.ParameterDict(new_head(mean, std, classes, hidden=hidden, seed=schedule.seed))
    for name in ("mean", "std"):
        head[name].requires_grad_(False)
    weights = {name: _even(each[rows], len(classes[name])) for name, each in labels.items()}

    def step(index: int) -> dict[str, torch.Tensor]:
        draw = torch.Generator().manual_seed(schedule.seed * 1_000_003 + index)
        chosen = rows[torch.randint(len(rows), (schedule.batch,), generator=draw)]
        with torch.random.fork_rng(devices=[]):  # dropped by the index alone, so that a resumed run sees the same
            torch.manual_seed(schedule.seed * 1_000_003 + index)
            shown = torch.nn.functional.dropout(standard[chosen], DROPPED)
        given = logits(head, shown, level[chosen])
        losses = {
            name: torch.nn.functional.cross_entropy(
                given[name], labels[name][chosen], weight=weights[name], ignore_index=-1
            )
            for name in attributes
        }
        losses = {name: torch.nan_to_num(each) for name, each in losses.items()}  # a batch without a label
        return {"loss": torch.stack(list(losses.values())).sum(), **losses}

    made: Any = loop.run(step, {"head": head}, schedule, out=out, progress=progress)["head"]
    tensors = {name: made[name].detach() for name in made}
    table = _tested(tensors, standard, level, labels, left_out, classes)
    told = [{key: None if pd.isna(value) else value for key, value in row.items()} for row in table.to_dict("records")]
    facts = {
        "channels": len(mean) // 4, "classes": classes, "encoder": encoder, "images": len(examples.ids),
        "test": told, "training": loop.told(schedule, out),
    }  # fmt: skip
    return save_part(out / "export", "head", generator.info.name, tensors, **facts), table


def _middles(
    run: Run,
    generator: LatentGenerator,
    examples: Examples,
    levels: int,
    seed: int,
    device: str,
    progress: loop.Progress | None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Features [levels x n, 4 c] of each image at `levels` levels of noise, and those levels in 0..1."""
    import torch

    noising = Noising(generator, device)
    clean = noising.latents(run, examples.ids)
    draw = torch.Generator().manual_seed(seed)
    caught: list[torch.Tensor] = []

    def catch(middle: Any, args: Any, h: torch.Tensor) -> None:
        caught.append(features(h).cpu())
        raise _Enough

    hook = generator.family.denoiser.mid_block.register_forward_hook(catch)
    shares = []
    try:
        for turn in range(levels):
            for start in range(0, len(clean), TOGETHER):
                part = slice(start, start + TOGETHER)
                share = (turn + float(torch.rand((), generator=draw))) / levels  # levels even over all the noise
                noise = torch.randn(clean[part].shape, generator=draw)
                x = noising.noised(clean[part], noise, share * (noising.most - 1)).to(device)
                with torch.no_grad(), contextlib.suppress(_Enough):
                    noising.answer(x, share * (noising.most - 1), examples.prompts[part])
                shares += [share] * len(x)
                if progress is not None:
                    progress(0.0, 0, f"looking {len(shares)}/{levels * len(clean)}")
    finally:
        hook.remove()
    return torch.cat(caught), torch.tensor(shares)


class _Enough(Exception):
    """The rest of the UNet need not be computed."""


def _even(labels: torch.Tensor, classes: int) -> torch.Tensor:
    """Weights of classes under which each counts alike."""
    counts = labels[labels >= 0].bincount(minlength=classes).float()
    return counts.sum() / (classes * counts.clamp(min=1))


def _tested(
    head: dict[str, torch.Tensor],
    standard: torch.Tensor,
    level: torch.Tensor,
    labels: dict[str, torch.Tensor],
    left_out: torch.Tensor,
    classes: dict[str, list[str]],
) -> pd.DataFrame:
    import torch

    with torch.no_grad():
        given = logits(head, standard, level)
    rows = []
    for name, truth in labels.items():
        for quarter in range(4):
            among = left_out & (truth >= 0) & (level >= quarter / 4) & (level < (quarter + 1) / 4)
            right = given[name].argmax(1) == truth
            each = [right[among & (truth == k)] for k in range(len(classes[name]))]
            known = [float(one.float().mean()) for one in each if len(one)]
            rows.append(
                {
                    "attribute": name, "noise": f"{quarter / 4:g} to {(quarter + 1) / 4:g}", "n": int(among.sum()),
                    "balanced_accuracy": round(sum(known) / len(known), 3) if known else None,
                    "chance": round(1 / len(classes[name]), 3),
                }
            )  # fmt: skip
    return pd.DataFrame(rows)

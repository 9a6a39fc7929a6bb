"""Train concept sliders: a low-rank adapter of the denoiser for each class of an attribute (Gandikota et al. 2024)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auditkit.errors import GeneratorError
from auditkit.guidance.adapters import LAYERS, adapted, attention_layers, new_adapter
from auditkit.guidance.parts import save_part
from auditkit.guidance.words import shipped
from auditkit.overrides import did_you_mean
from auditkit.runs import Run
from generators.latent import LatentGenerator
from generators.training import loop
from generators.training.mitigation.examples import Noising, read_examples

if TYPE_CHECKING:
    import torch


def train(
    run: Run,
    generator: LatentGenerator,
    out: Path,
    schedule: loop.Schedule,
    *,
    attribute: str,
    rank: int = 4,
    eta: float = 1.0,
    layers: str = "cross",
    device: str = "cpu",
    progress: loop.Progress | None = None,
) -> Path:
    """Distil the group's direction into adapters; write `<out>/export`.

    At each step, latents of the run's images with noise at one time go through the plain network under the neutral
    prompt p and under p with each class said (the classes are the words of auditkit.guidance.words), and through the
    network with the adapter of a drawn class under p. The adapter learns

        eps_theta*(x_t, p) = eps_theta(x_t, p) + eta (eps_theta(x_t, p with class) - mean eps_theta(x_t, p with others))

    by mean square error; p runs over all subjects of the run, which is the paper's disentanglement (its P). The adapter
    is trained at times drawn evenly.

    Raises:
        GeneratorError: a network that our loop does not run, or unknown layers. SpecError: no words for the attribute.
        RunError: no prompt of the run names a person.
    """
    import torch

    if layers not in LAYERS:
        raise GeneratorError(
            f"there are no layers '{layers}'" + did_you_mean(layers, LAYERS), where=f"--layers {layers}",
            mend=f"use one of: {', '.join(LAYERS)}",
        )  # fmt: skip
    words = shipped()
    classes = words.classes(attribute)
    examples = read_examples(run, [attribute], words, encoder=None)
    noising = Noising(generator, device)
    clean = noising.latents(run, examples.ids, _encoding(progress))
    denoiser = generator.family.denoiser.requires_grad_(False)
    modules = attention_layers(denoiser, layers)
    adapters: dict[str, Any] = {
        label: _module(new_adapter(modules, rank, seed=schedule.seed + place)).to(device)
        for place, label in enumerate(classes)
    }
    now: dict[str, torch.Tensor | None] = {"scales": None}

    def step(index: int) -> dict[str, torch.Tensor]:
        draw = torch.Generator().manual_seed(schedule.seed * 1_000_003 + index)
        chosen = torch.randint(len(clean), (schedule.batch,), generator=draw)
        time = float(torch.rand((), generator=draw)) * (noising.most - 1)
        drawn = torch.randint(len(classes), (schedule.batch,), generator=draw)
        z = clean[chosen]
        x = noising.noised(z, torch.randn(z.shape, generator=draw), time).to(device)
        prompts = [examples.prompts[place] for place in chosen]
        said = [
            [
                words.say(text, examples.subjects[place], {attribute: label})
                for text, place in zip(prompts, chosen, strict=True)
            ]
            for label in classes
        ]  # fmt: skip
        now["scales"] = None
        with torch.no_grad():
            plain = noising.answer(x, time, prompts)
            told = torch.stack([noising.answer(x, time, texts) for texts in said])
            own = told[drawn, torch.arange(len(z))]
            direction = own - (told.sum(0) - own) / (len(classes) - 1)
            target = plain + eta * direction
        now["scales"] = torch.nn.functional.one_hot(drawn, len(classes)).T.float().to(device)
        given = noising.answer(x, time, prompts)
        now["scales"] = None
        loss = torch.nn.functional.mse_loss(given.float(), target.float())
        with torch.no_grad():  # what doing nothing would cost: a loss near it has learnt nothing
            nothing = torch.nn.functional.mse_loss(plain.float(), target.float())
        return {"loss": loss, "of": nothing}

    views = {label: adapter.tensors() for label, adapter in adapters.items()}
    with adapted(denoiser, views, lambda: now["scales"]):
        averaged: dict[str, Any] = loop.run(step, adapters, schedule, out=out, progress=progress)
    tensors = {f"{label}/{name}": tensor for label, each in averaged.items() for name, tensor in each.tensors().items()}
    facts = {
        "attribute": attribute, "classes": classes, "rank": rank, "eta": eta, "layers": layers,
        "images": len(examples.ids), "training": loop.told(schedule, out),
    }  # fmt: skip
    return save_part(out / "export", "sliders", generator.info.name, tensors, **facts)


def _encoding(progress: loop.Progress | None) -> Callable[[int, int], None] | None:
    def told(done: int, total: int) -> None:
        assert progress is not None
        progress(0.0, 0, f"encoding {done}/{total}")

    return None if progress is None else told


def _module(tensors: dict[str, torch.Tensor]) -> Any:
    """The tensors as a module that `loop.run` trains; `tensors()` has them by their own names, which have dots."""
    import torch

    class Adapter(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.names = list(tensors)
            self.parts = torch.nn.ParameterList([torch.nn.Parameter(each.clone()) for each in tensors.values()])

        def tensors(self) -> dict[str, torch.Tensor]:
            return dict(zip(self.names, self.parts, strict=True))

    return Adapter()

"""`auditkit train mitigation-head | slider | image-references`: the parts that some mitigations need."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from auditkit.errors import GeneratorError
from generators.training.commands import Bf16, Device, Out, Pause, Rate, Seed, Steps, _schedule
from generators.training.terminal import Bar, done, training_device

if TYPE_CHECKING:
    from auditkit.runs import Run
    from generators.latent import LatentGenerator

app = typer.Typer()

RunFolder = Annotated[
    Path, typer.Argument(help="A run of the model's own images of people (auditkit generate occupations).")
]
Of = Annotated[str | None, typer.Option("--generator", "-g", help="The model; by default the one that made the run.")]
Batch = Annotated[int, typer.Option(min=2, help="Images a step.")]


@app.command("mitigation-head")
def mitigation_head(
    run: RunFolder,
    generator: Of = None,
    attribute: Annotated[
        list[str], typer.Option("--attribute", "-a", help="gender, skin_tone; repeat for more in one head.")
    ] = ["gender"],  # noqa: B006
    encoder: Annotated[str, typer.Option(help="Whose scores of the run label the images.")] = "personas-clip",
    levels: Annotated[int, typer.Option(min=1, help="Noise levels at which each image is seen.")] = 6,
    hidden: Annotated[int, typer.Option(min=2, max=4096, help="Width of the head.")] = 32,
    out: Out = Path("training/mitigation-head"),
    steps: Steps = 600,
    batch: Batch = 256,
    lr: Rate = 3e-3,
    seed: Seed = 0,
    pause: Pause = None,
    device: Device = "auto",
) -> None:
    """Train the attribute head that `distribution-guidance` steers by, on the middle of the model's UNet.

    Example: auditkit train mitigation-head runs/occupations-mine --attribute gender --attribute skin_tone
    """
    from generators.training.mitigation import head as trainer

    schedule = _schedule(steps, None, batch, lr, seed, False, ema=0.99, weight_decay=1.0, pause=pause)
    with Bar("mitigation-head") as bar:
        on = training_device(device)
        opened, model = _opened(run, generator, on)
        folder, table = trainer.train(
            opened, model, out, schedule, attributes=attribute, encoder=encoder, levels=levels, hidden=hidden,
            device=on, progress=bar,
        )  # fmt: skip
    typer.echo(table.to_string(index=False))
    done(folder, out)


@app.command()
def slider(
    run: RunFolder,
    generator: Of = None,
    attribute: Annotated[str, typer.Option("--attribute", "-a", help="gender or skin_tone.")] = "gender",
    rank: Annotated[int, typer.Option(min=1, max=256, help="Rank of each adapter.")] = 4,
    eta: Annotated[float, typer.Option(help="How far along the group's direction an adapter of scale 1 goes.")] = 1.0,
    layers: Annotated[
        str, typer.Option(help="cross: the attention that reads the text; all: all attention.")
    ] = "cross",
    out: Out = Path("training/slider"),
    steps: Steps = 300,
    batch: Batch = 8,
    lr: Rate = 4e-3,
    seed: Seed = 0,
    bf16: Bf16 = None,
    pause: Pause = None,
    device: Device = "auto",
) -> None:
    """Train the adapters that `concept-slider` adds: one for each class of an attribute.

    Example: auditkit train slider runs/occupations-mine --attribute gender
    """
    from generators.training.mitigation import slider as trainer

    schedule = _schedule(steps, None, batch, lr, seed, bf16, ema=0.98, weight_decay=0.0, pause=pause)
    schedule = replace(schedule, warmup=min(schedule.warmup, 1 + steps // 20))
    with Bar("slider") as bar:
        on = training_device(device)
        opened, model = _opened(run, generator, on)
        folder = trainer.train(
            opened, model, out, schedule, attribute=attribute, rank=rank, eta=eta, layers=layers, device=on,
            progress=bar,
        )  # fmt: skip
    done(folder, out)


@app.command("image-references")
def image_references(
    images: Annotated[
        Path | None, typer.Argument(help="A folder with a folder of images for each class: female/, male/.")
    ] = None,
    corpus: Annotated[Path | None, typer.Option(help="Take the persona corpus's training drawings instead.")] = None,
    attribute: Annotated[str, typer.Option("--attribute", "-a", help="gender or skin_tone.")] = "gender",
    encoder: Annotated[str, typer.Option(help="The encoder to steer by; judge by another.")] = "personas-clip",
    out: Annotated[Path, typer.Option(help="Folder to write the references into.")] = Path("training/image-references"),
    device: Device = "auto",
) -> None:
    """Make the references that `image-guidance` steers toward: the mean embedding of each class's images.

    Example: auditkit train image-references pictures/ --attribute gender
    """
    from auditkit.clip.encoders import load_encoder
    from generators import corpus as corpora
    from generators.training.mitigation import references as maker

    if (images is None) == (corpus is None):
        raise GeneratorError(
            "references are images of a folder, or drawings of the corpus", where="auditkit train image-references",
            mend="Name a folder, or pass --corpus: one of them.",
        )  # fmt: skip
    found: Any = (
        maker.in_folder(images, attribute) if images else maker.in_corpus(corpora.read(corpus or Path()), attribute)
    )
    with Bar("image-references") as bar:
        looking = load_encoder(encoder, device=device)
        made = maker.make(
            found, attribute, looking, out, progress=lambda done, total: bar(done / total, done, "images")
        )
    typer.echo(f"Written: {made}")


def _opened(run: Path, generator: str | None, device: str) -> tuple[Run, LatentGenerator]:
    """The run, and the checkpoint that made it or that was named."""
    from auditkit.runs import open_run
    from generators.latent import LatentGenerator
    from generators.load import load_generator

    opened = open_run(run)
    made_by: dict[str, Any] = opened.record.get("generator") or {}
    source = str(made_by.get("source") or "")
    name = generator or (str(made_by.get("name")) if source == "bundled" else source)
    if not name:
        raise GeneratorError("the run does not say which model made it", where=run, mend="Pass --generator.")
    model = load_generator(name, device=device, precision="float32")
    if not isinstance(model, LatentGenerator):
        raise GeneratorError(
            "there are no weights at hand to learn from", where=name, mend="Pass --generator path:CHECKPOINT."
        )
    return opened, model

"""`auditkit train mitigation-head | slider | image-references`, the parts that some mitigations need; and `adapter`."""

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


@app.command()
def adapter(
    images: Annotated[
        Path | None,
        typer.Argument(help="A folder of images with a metadata.csv: file_name, a column of classes, one of groups."),
    ] = None,
    corpus: Annotated[Path | None, typer.Option(help="Take drawings of the persona corpus instead.")] = None,
    attribute: Annotated[
        str, typer.Option("--attribute", "-a", help="The classes to part, and their column.")
    ] = "gender",
    group: Annotated[str, typer.Option(help="The spurious groups to part less by: a column.")] = "occupation",
    style: Annotated[list[str], typer.Option(help="With --corpus: only drawings of this style; repeat for more.")] = [],  # noqa: B006
    source: Annotated[
        str, typer.Option(help="A column whose equal values never fall on both sides of the split into train and test.")
    ] = "",
    encoder: Annotated[str, typer.Option(help="The encoder whose embeddings are moved.")] = "personas-clip",
    contrast: Annotated[
        float, typer.Option(min=0, max=1, help="Share of the contrastive loss; the rest is cross-entropy.")
    ] = 0.5,
    hidden: Annotated[int, typer.Option(min=1, max=8192, help="Width of the adapter's bottleneck.")] = 128,
    out: Annotated[Path, typer.Option(help="Folder to write the adapter into; its name is that of the scores.")] = Path(
        "training/adapter"
    ),
    steps: Steps = 300,
    batch: Batch = 128,
    lr: Rate = 1e-3,
    seed: Seed = 0,
    device: Device = "auto",
) -> None:
    """Train a contrastive adapter for the measuring encoder: classes told apart alike in every spurious group.

    Example: auditkit train adapter --corpus corpus --style openmoji --attribute gender --group occupation
    """
    from auditkit.clip.encoders import load_encoder
    from generators import corpus as corpora
    from generators.training.mitigation import adapter as trainer

    if (images is None) == (corpus is None):
        raise GeneratorError(
            "an adapter learns from images of a folder, or from drawings of the corpus", where="auditkit train adapter",
            mend="Name a folder, or pass --corpus: one of them.",
        )  # fmt: skip
    with Bar("adapter") as bar:
        if images is not None:
            labelled = trainer.in_folder(images, attribute, group, source)
        else:
            labelled = trainer.in_corpus(corpora.read(corpus or Path()), attribute, group, style, source)
        made = trainer.train(
            labelled, load_encoder(encoder, device=device), out, attribute=attribute, group=group, contrast=contrast,
            hidden=hidden, steps=steps, batch=batch, lr=lr, seed=seed, progress=bar,
        )  # fmt: skip
    typer.echo(made.results.to_string(index=False, float_format=lambda value: f"{value:.3f}"))
    if made.better is None:
        typer.echo(
            f"No class has {trainer.FEWEST} test images in a group: too few to say whether the worst one gained."
        )
    elif not made.better:
        typer.echo("Not better than no adapter: the worst group of the test images did not gain.")
    if made.uncalibrated:
        typer.echo(f"Uncalibrated: {made.uncalibrated} Shares measured with it are not corrected for its errors.")
    typer.echo(f"Written: {made.folder}\nNext: auditkit score RUN --encoder {encoder} --adapter {made.folder}")


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

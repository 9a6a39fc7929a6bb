"""Making a run: a spec's prompts through a generator, shard by shard, resumable."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from auditkit.errors import WatermarkError
from auditkit.runs import Refused, Run, RunWriter, create
from auditkit.runs.writer import Task
from auditkit.spec import RunSpec, load_spec
from generators.base import Generator, Job, Keeping, Settings
from generators.load import load_generator

if TYPE_CHECKING:
    from auditkit.plan import Plan
    from auditkit.watermark.marking import Mark

Progress = Callable[[int, int], None]
"""Called with the images done so far, those of earlier attempts included, and all there are to be."""


def generate(
    spec: RunSpec | str | Path,
    *,
    out: str | Path,
    generator: Generator | str | None = None,
    device: str = "auto",
    precision: str = "auto",
    batch_size: int | None = None,
    progress: Progress | None = None,
    plan: Plan | None = None,
    watermark: Mark | None = None,
) -> Run:
    """Make the images of `spec` as a run in the folder `out`, or go on with a run that was cut off.

    A shard's batches never reach into the next one, and a resumed run keeps its batch size: so it makes
    the bytes that an unbroken run would have made.

    Args:
        spec: a RunSpec, a suite's name or a TOML file.
        generator: one that is loaded already, or a name for `load_generator`; None is the spec's own.
        device, precision: see `device.pick_device`; for a generator that is named.
        batch_size: images made at a time; None is the generator's own choice.
        plan: what was planned, kept in run.json before the first image; a plan with looks is made up to the next look
            (see `auditkit.plan`). Whatever of `spec` differs from the plan's is listed as a deviation.
        watermark: put on every image; recorded in run.json by scheme, key id and payload.

    Raises:
        WatermarkError: the watermark's noise does not fit the generator, or the images are too small for it.
        SpecError, GeneratorError, PluginError: what was asked for does not hold.
        RunError: the run cannot be written; what was finished is kept.
    """
    if not isinstance(spec, RunSpec):
        spec = load_spec(spec)
    if generator is None or isinstance(generator, str):
        generator = load_generator(generator or spec.generator, device=device, precision=precision)
    settings = resolve_settings(spec, generator.info.defaults)
    info = {**generator.info.as_dict(), "batch_size": batch_size or generator.info.batch_size}
    _check_latent(generator, watermark)
    with create(
        out, spec, info, plan=plan.record() if plan else None, watermark=watermark.record() if watermark else None
    ) as writer:
        if isinstance(generator, Keeping):
            generator.keep_in(writer.run)
        recorded = writer.run.record["generator"].get("batch_size")
        _make_pending(writer, generator, settings, spec.negative, batch_size or recorded, progress, watermark)
        return writer.finish()


def resolve_settings(spec: RunSpec, defaults: Settings) -> Settings:
    """What the spec asks for, and the generator's own default where it asks for nothing."""
    return Settings(
        sampler=defaults.sampler if spec.sampler is None else spec.sampler,
        steps=defaults.steps if spec.steps is None else spec.steps,
        guidance=defaults.guidance if spec.guidance is None else spec.guidance,
    )


def _check_latent(generator: Generator, watermark: Mark | None) -> None:
    """Raise WatermarkError, before anything is written, where the generator cannot start from marked noise."""
    if watermark is None or not watermark.latent:
        return
    shape = generator.info.details.get("latent_shape")
    if shape is None:
        raise WatermarkError(
            f"the generator '{generator.info.name}' has no latent that '{watermark.scheme.name}' could mark",
            where=f"watermark={watermark.scheme.name}",
            mend="use a scheme in the pixels, such as spread",
        )
    watermark.scheme.capacity(shape)


def _make_pending(
    writer: RunWriter,
    generator: Generator,
    settings: Settings,
    negative: str | None,
    batch_size: int | None,
    progress: Progress | None,
    watermark: Mark | None,
) -> None:
    pending = writer.pending()
    total = sum(len(shard.tasks) for shard in writer.due())
    done = total - sum(len(shard.tasks) for shard in pending)
    made, seconds = 0, 0.0
    used = {"sampler": settings.sampler, "steps": settings.steps, "guidance": settings.guidance}
    if progress is not None:
        progress(done, total)
    for shard in pending:
        jobs = [_job(task, negative, generator, watermark) for task in shard.tasks]
        images = []
        began = time.perf_counter()
        for image in generator.generate(jobs, settings, batch_size=batch_size):
            images.append(image if watermark is None or isinstance(image, Refused) else watermark.pixels(image))
            if progress is not None:
                progress(done + len(images), total)
        took = time.perf_counter() - began
        # Images of a batch are made together: each is charged its part of the shard's time.
        writer.write_shard(shard, images, [1000 * took / len(images)] * len(images), used)
        made, seconds, done = made + len(images), seconds + took, done + len(images)
    if made:
        writer.run.record["images_per_second"] = round(made / seconds, 3)


def _job(task: Task, negative: str | None, generator: Generator, watermark: Mark | None) -> Job:
    if watermark is None or not watermark.latent:
        return Job(task.prompt.text, task.seed, negative)
    noise = watermark.noise(generator.info.details["latent_shape"], task.seed)
    return Job(task.prompt.text, task.seed, negative, noise)

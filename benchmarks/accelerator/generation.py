"""Images a second of the plain pipeline, prompt by prompt and batched, and of our runs, plain and compiled."""

from __future__ import annotations

import gc
import inspect
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from auditkit.spec import load_spec
from benchmarks.accelerator.figures import peak, timed, utilisation
from benchmarks.generate import jobs_of, load_plain, outside
from generators.base import Job, Settings
from generators.latent import LatentGenerator
from generators.load import load_generator
from generators.make import generate as make_run
from generators.samplers import make_scheduler


def rates(
    checkpoint: str,
    *,
    device: str,
    images: int,
    batch: int,
    repeats: int,
    steps: int | None,
    looped: int,
    compile: bool,
    sampler: str | None = None,
) -> Iterator[dict[str, Any]]:
    """A row a way of making images of one checkpoint; each way is loaded alone, so that its memory is its own.

    The pipeline's images are thrown away; ours are a run with files and tables, as `auditkit generate` makes it.

    Args:
        images: of each run of ours, and of the batched pipeline in batches of `batch`.
        looped: made by each turn of the loop prompt by prompt.
        compile: ours compiled as well.
    """
    generator = _load(checkpoint, device, compile=False)
    defaults = generator.info.defaults
    settings = Settings(sampler or defaults.sampler, steps or defaults.steps, defaults.guidance)
    jobs = jobs_of(images)
    said = {"checkpoint": generator.info.name, "device": generator.info.device, "repeats": repeats}
    said |= {"settings": settings, "flops": _flops(generator, jobs[0], settings)}
    folder = generator.folder
    del generator
    _free()
    yield from _plain_rows(said, folder, jobs, settings, batch, looped)
    _free()
    for compiled in (False, True) if compile else (False,):
        yield _our_row(said, checkpoint, jobs, settings, batch, compiled)
        torch._dynamo.reset()
        _free()


def _plain_rows(
    said: dict[str, Any], folder: Path, jobs: list[Job], settings: Settings, batch: int, looped: int
) -> Iterator[dict[str, Any]]:
    pipeline = load_plain(folder, said["device"], "auto")

    def loop() -> int:
        for job in jobs[:looped]:
            _plain_batch(pipeline, [job], settings)
        return looped

    def batched() -> int:
        for start in range(0, len(jobs), batch):
            _plain_batch(pipeline, jobs[start : start + batch], settings)
        return len(jobs)

    _plain_batch(pipeline, jobs[:1], settings)
    yield _row(said, "diffusers, prompt by prompt", 1, loop, pipeline)
    try:
        _plain_batch(pipeline, jobs[:batch], settings)
        yield _row(said, "diffusers, batched", batch, batched, pipeline)
    except (RuntimeError, ValueError) as error:  # not every pipeline takes a batch
        yield {"checkpoint": said["checkpoint"], "way": "diffusers, batched", "error": str(error)[:300]}


def _our_row(
    said: dict[str, Any], checkpoint: str, jobs: list[Job], settings: Settings, batch: int, compiled: bool
) -> dict[str, Any]:
    generator = _load(checkpoint, said["device"], compile=compiled)
    began = time.perf_counter()
    list(generator.generate(jobs[:batch], settings, batch_size=batch))
    first = time.perf_counter() - began
    way = "auditkit --compile" if compiled else "auditkit"

    def whole() -> int:
        return _whole_run(generator, settings, len(jobs), batch)

    return _row(said, way, batch, whole, generator.pipeline) | {"first_call_s": first}


def _row(said: dict[str, Any], way: str, batch: int, work: Callable[[], int], pipeline: Any) -> dict[str, Any]:
    done = timed(work, said["device"], said["repeats"])
    share, flops, settings = outside(pipeline, work), said["flops"] * done.count, said["settings"]
    most = peak(torch.cuda.get_device_name(said["device"])) if said["device"].startswith("cuda") else None
    return {
        "checkpoint": said["checkpoint"], "way": way, "batch": batch, **done.row(),
        "mfu": utilisation(flops, done.seconds, most),
        "mfu_denoiser": utilisation(flops, done.seconds * (1 - share), most),
        "outside": share, "steps": settings.steps, "guidance": settings.guidance, "sampler": settings.sampler,
        "tflop_image": said["flops"] / 1e12,
    }  # fmt: skip


def _plain_batch(pipeline: Any, jobs: list[Job], settings: Settings) -> None:
    """What a script would do: the pipeline, called with one prompt or with a list of them."""
    pipeline.scheduler = make_scheduler(settings.sampler, pipeline.scheduler)
    binned = "use_resolution_binning" in inspect.signature(type(pipeline).__call__).parameters
    pipeline(
        [job.prompt for job in jobs],
        **({"use_resolution_binning": False} if binned else {}),
        num_inference_steps=settings.steps,
        guidance_scale=settings.guidance,
        generator=[torch.Generator().manual_seed(job.seed) for job in jobs],
    )


def _whole_run(generator: LatentGenerator, settings: Settings, images: int, batch: int) -> int:
    """`auditkit generate` of a part of the suite `occupations` (5 images a prompt), from its spec to its merged tables,
    with about so many images: how many it made.
    """
    spec = load_spec("occupations")
    each = min(spec.images_per_prompt, images)
    templates = spec.templates[: images // each]
    values = spec.axes["occupation"][: images // each // len(templates)]
    asked: dict[str, Any] = {
        "axes": {"occupation": values}, "templates": templates, "sampler": settings.sampler, "steps": settings.steps,
        "guidance": settings.guidance, "images_per_prompt": each,
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        run = make_run(spec.model_copy(update=asked), out=Path(folder), generator=generator, batch_size=batch)
        return len(run.images())


def _flops(generator: LatentGenerator, job: Job, settings: Settings) -> float:
    """FLOPs of the denoiser for one image: those of one call as counted by torch (a product and a sum are two), times
    the calls.
    """
    network, calls = generator.family.denoiser, list[tuple[Any, Any]]()
    hook = network.register_forward_pre_hook(lambda _, a, k: calls.append((a, k)), with_kwargs=True)
    list(generator.generate([job], settings, batch_size=1))
    hook.remove()
    args, kwargs = calls[0]
    # On a CPU a small image is made in company; what the pipeline does for one is told by the rows of its batch.
    with torch.inference_mode(False), torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(*_plain(args), **_plain(kwargs))
    images = max(1, len(_rows(args, kwargs)) // (2 if settings.guidance > 1 else 1))
    return counter.get_total_flops() * len(calls) / images


def _plain(values: Any) -> Any:
    """Tensors outside of inference mode, where calls can be counted."""
    from torch.utils._pytree import tree_map_only

    return tree_map_only(torch.Tensor, torch.clone, values)


def _rows(args: Any, kwargs: Any) -> Any:
    return next(each for each in (*args, *kwargs.values()) if isinstance(each, torch.Tensor) and each.dim() > 1)


def _load(checkpoint: str, device: str, *, compile: bool) -> LatentGenerator:
    generator = load_generator(checkpoint, device=device, compile=compile)
    assert isinstance(generator, LatentGenerator)
    return generator


def _free() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()

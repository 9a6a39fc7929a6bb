"""Images a second of ours against the plain diffusers pipeline called prompt by prompt, in one run.

Same checkpoint, sampler, steps, guidance, device, prompts and seeds; the same precision unless another is asked for.
The plain pipeline is a second copy, loaded as a script would load it. The two take turns, so that a machine that slows
down slows both; each turn gives a ratio, and the median is printed.

Then, in turns of their own, how much of the time lies outside the denoiser (the UNet's or transformer's calls): of the
plain pipeline, of ours, and of a whole run of ours with its images written and its tables merged.

    python -m benchmarks.generate [--checkpoint FOLDER] [--images 64] [--steps 20] [--cpu-time] [--json]
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from auditkit.prompts import expand, image_seed
from auditkit.spec import load_spec
from generators.base import Job, Settings
from generators.device import pick_device
from generators.latent import LatentGenerator
from generators.load import load_generator
from generators.make import generate as make_run
from generators.samplers import make_scheduler

CPU_TIME = False
"""Count the processor's time in place of the clock's; see --cpu-time."""


def main(argv: list[str] | None = None) -> None:
    global CPU_TIME
    args = _arguments(argv)
    CPU_TIME = args.cpu_time
    if CPU_TIME:
        torch.set_num_threads(1)
    generator = _load(args.checkpoint, args.device, args.precision)
    simple = load_plain(generator.folder, args.device, args.plain_precision or args.precision)
    info, defaults = generator.info, generator.info.defaults
    settings = Settings(
        args.sampler or defaults.sampler,
        args.steps or defaults.steps,
        defaults.guidance if args.guidance is None else args.guidance,
    )
    batch = args.batch_size or info.batch_size
    jobs = jobs_of(args.images)
    few = jobs[: max(1, args.images // args.plain_share)]
    plain_pipeline(simple, few[:2], settings)  # warm-up
    list(generator.generate(jobs[:batch], settings, batch_size=batch))
    works: dict[str, Callable[[], Any]] = {
        "plain": lambda: plain_pipeline(simple, few, settings),
        "ours": lambda: list(generator.generate(jobs, settings, batch_size=batch)),
        "run": lambda: whole_run(generator, settings, args.images, batch),
    }
    turns, shares = [], []
    for _ in range(args.repeats):
        rate = {"plain": len(few) / _seconds(works["plain"]), "ours": len(jobs) / _seconds(works["ours"])}
        turns.append(rate | {"ratio": rate["ours"] / rate["plain"]})
    for _ in range(args.repeats):
        pipelines = {"plain": simple, "ours": generator.pipeline, "run": generator.pipeline}
        shares.append({name: outside(pipelines[name], work) for name, work in works.items()})
    result: dict[str, Any] = _medians(turns) | {"outside_denoiser": _medians(shares)}
    result |= {
        "checkpoint": info.name,
        "sampler": settings.sampler,
        "steps": settings.steps,
        "guidance": settings.guidance,
        "images": args.images,
        "plain_images": len(few),
        "batch_size": batch,
        "repeats": [{key: round(value, 3) for key, value in turn.items()} for turn in turns],
        "outside_repeats": [{key: round(value, 3) for key, value in turn.items()} for turn in shares],
        "device": info.device,
        "dtype": info.dtype,
        "plain_dtype": str(simple.dtype).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        "clock": "cpu" if CPU_TIME else "wall",
    }
    if args.json:
        print(json.dumps(result, indent=2))
        return
    print(f"{info.name} on {info.device}, {result['threads']} threads, {settings}")
    print(f"  plain pipeline, prompt by prompt  {result['plain']:8.2f} images/s ({result['plain_dtype']})")
    print(f"  auditkit, batches of {batch:<4d}         {result['ours']:8.2f} images/s ({info.dtype})")
    print(f"  ratio, median of {args.repeats:<4d}             {result['ratio']:8.2f}")
    share = {name: f"{100 * value:.1f} %" for name, value in result["outside_denoiser"].items()}
    print(f"  outside the denoiser: plain {share['plain']}, auditkit {share['ours']}, a whole run {share['run']}")


def load_plain(folder: Path, device: str, precision: str) -> Any:
    """The checkpoint's pipeline as diffusers loads it, with nothing of ours."""
    from diffusers import DiffusionPipeline

    where, dtype = pick_device(device, precision)
    pipeline = DiffusionPipeline.from_pretrained(
        str(folder), use_safetensors=True, local_files_only=True, torch_dtype=dtype
    ).to(where)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def plain_pipeline(pipeline: Any, jobs: list[Job], settings: Settings) -> None:
    """What a script would do: the pipeline, called with one prompt at a time."""
    pipeline.scheduler = make_scheduler(settings.sampler, pipeline.scheduler)
    for job in jobs:
        pipeline(
            job.prompt,
            num_inference_steps=settings.steps,
            guidance_scale=settings.guidance,
            generator=torch.Generator().manual_seed(job.seed),
        )


def whole_run(generator: LatentGenerator, settings: Settings, images: int, batch: int) -> None:
    """A run of the suite `occupations`, from its spec to its merged tables, in a folder that is thrown away."""
    spec = load_spec("occupations")
    prompts = max(1, images // spec.images_per_prompt)
    jobs = spec.axes["occupation"][: max(1, prompts // len(spec.templates))]
    asked: dict[str, Any] = {"axes": {"occupation": jobs}, "sampler": settings.sampler}
    asked |= {"steps": settings.steps, "guidance": settings.guidance}
    with tempfile.TemporaryDirectory() as folder:
        make_run(
            spec.model_copy(update=asked),
            out=Path(folder),
            generator=generator,
            batch_size=batch,
        )


def outside(pipeline: Any, work: Callable[[], Any]) -> float:
    """The share of the time of `work`, in 0..1, that does not lie in calls of the pipeline's denoiser."""
    with _timed(getattr(pipeline, "unet", None) or pipeline.transformer) as inside:
        total = _seconds(work)
    return 1 - sum(inside) / total


@contextlib.contextmanager
def _timed(network: torch.nn.Module) -> Iterator[list[float]]:
    """The seconds of each call of a network, waiting for the device at its beginning and end."""
    seconds: list[float] = []
    began = 0.0

    def begin(*_: Any) -> None:
        nonlocal began
        _wait()
        began = _clock()

    def end(*_: Any) -> None:
        _wait()
        seconds.append(_clock() - began)

    hooks = [network.register_forward_pre_hook(begin), network.register_forward_hook(end)]
    try:
        yield seconds
    finally:
        for hook in hooks:
            hook.remove()


def _clock() -> float:
    return (time.process_time if CPU_TIME else time.perf_counter)()


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _medians(turns: list[dict[str, float]]) -> dict[str, float]:
    return {key: round(statistics.median(turn[key] for turn in turns), 3) for key in turns[0]}


def _load(checkpoint: str, device: str, precision: str) -> LatentGenerator:
    generator = load_generator(checkpoint, device=device, precision=precision)
    if not isinstance(generator, LatentGenerator):
        raise SystemExit(f"{checkpoint} is not a diffusers checkpoint")
    return generator


def jobs_of(count: int) -> list[Job]:
    """The first images of the suite `occupations`, in its order: as many of each prompt as the suite has."""
    spec = load_spec("occupations")
    jobs = (
        Job(prompt.text, image_seed(spec.seed, prompt.text, replicate))
        for prompt in expand(spec)
        for replicate in range(spec.images_per_prompt)
    )
    return list(itertools.islice(jobs, count))


def _seconds(work: Any) -> float:
    _wait()
    began = _clock()
    work()
    _wait()
    return _clock() - began


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.generate", description=__doc__.split("\n")[0])
    parser.add_argument("--checkpoint", default="personas", help="a generator's name, or a folder")
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--plain-share", type=int, default=4, help="time the plain loop on 1 in N of them")
    parser.add_argument("--sampler")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--guidance", type=float)
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--plain-precision", help="of the plain pipeline; by default the same")
    parser.add_argument(
        "--cpu-time",
        action="store_true",
        help="count CPU seconds, on one thread: for a machine that others use meanwhile",
    )
    parser.add_argument("--json", action="store_true")
    return parser.parse_args(argv)


if __name__ == "__main__":
    main()

"""Images a second of ours against the plain diffusers pipeline called prompt by prompt, in one run.

Same checkpoint, sampler, steps, guidance, device, prompts and seeds; the same precision unless another
is asked for. The two take turns, so that
a machine that slows down slows both; each turn gives a ratio, and the median is printed.

    python -m benchmarks.generate [--checkpoint FOLDER] [--images 64] [--steps 20] [--json]
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from typing import Any

import torch

from auditkit.prompts import expand, image_seed
from auditkit.spec import load_spec
from generators.base import Job, Settings
from generators.latent import LatentGenerator
from generators.load import load_generator
from generators.samplers import make_scheduler


def main(argv: list[str] | None = None) -> None:
    args = _arguments(argv)
    generator = _load(args.checkpoint, args.device, args.precision)
    simple = generator
    if args.plain_precision is not None:
        simple = _load(args.checkpoint, args.device, args.plain_precision)
    info, defaults = generator.info, generator.info.defaults
    settings = Settings(
        args.sampler or defaults.sampler,
        args.steps or defaults.steps,
        defaults.guidance if args.guidance is None else args.guidance,
    )
    batch = args.batch_size or info.batch_size
    jobs = _jobs(args.images)
    few = jobs[: max(1, args.images // args.plain_share)]
    plain_pipeline(simple, few[:2], settings)  # warm-up
    list(generator.generate(jobs[:batch], settings, batch_size=batch))
    turns = []
    for _ in range(args.repeats):
        plain = len(few) / _seconds(lambda: plain_pipeline(simple, few, settings))
        ours = len(jobs) / _seconds(lambda: list(generator.generate(jobs, settings, batch_size=batch)))
        turns.append({"plain": plain, "ours": ours, "ratio": ours / plain})
    result: dict[str, Any] = {
        key: round(statistics.median(turn[key] for turn in turns), 3) for key in ("plain", "ours", "ratio")
    }
    result |= {
        "checkpoint": info.name,
        "sampler": settings.sampler,
        "steps": settings.steps,
        "guidance": settings.guidance,
        "images": args.images,
        "plain_images": len(few),
        "batch_size": batch,
        "repeats": [{key: round(value, 3) for key, value in turn.items()} for turn in turns],
        "device": info.device,
        "dtype": info.dtype,
        "plain_dtype": simple.info.dtype,
        "threads": torch.get_num_threads(),
    }
    if args.json:
        print(json.dumps(result, indent=2))
        return
    print(f"{info.name} on {info.device}, {result['threads']} threads, {settings}")
    print(f"  plain pipeline, prompt by prompt  {result['plain']:8.2f} images/s ({simple.info.dtype})")
    print(f"  auditkit, batches of {batch:<4d}         {result['ours']:8.2f} images/s ({info.dtype})")
    print(f"  ratio, median of {args.repeats:<4d}             {result['ratio']:8.2f}")


def plain_pipeline(generator: LatentGenerator, jobs: list[Job], settings: Settings) -> None:
    """What a script would do: the checkpoint's pipeline, called with one prompt at a time."""
    pipeline = generator.pipeline
    pipeline.scheduler = make_scheduler(settings.sampler, pipeline.scheduler)
    for job in jobs:
        pipeline(
            job.prompt,
            num_inference_steps=settings.steps,
            guidance_scale=settings.guidance,
            generator=torch.Generator().manual_seed(job.seed),
        )


def _load(checkpoint: str, device: str, precision: str) -> LatentGenerator:
    generator = load_generator(checkpoint, device=device, precision=precision)
    if not isinstance(generator, LatentGenerator):
        raise SystemExit(f"{checkpoint} is not a diffusers checkpoint")
    return generator


def _jobs(count: int) -> list[Job]:
    """The prompts of the suite `occupations`, each followed by its next replicate, as in a run."""
    prompts = [prompt.text for prompt in expand(load_spec("occupations"))]
    each = -(-count // len(prompts))
    jobs = [Job(text, image_seed(0, text, replicate)) for text in prompts for replicate in range(each)]
    return jobs[:count]


def _seconds(work: Any) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


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
    parser.add_argument("--json", action="store_true")
    return parser.parse_args(argv)


if __name__ == "__main__":
    main()

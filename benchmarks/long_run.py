"""What writing costs in a long run: 50,000 images of 128 px from a denoiser that takes no time.

The images are noise drawn beforehand, the worst that PNG can be given. Everything else is as in any run: each image is
encoded, hashed and written on the writing thread, every shard gets its table, and the end merges them all. Printed: the
milliseconds an image, by the clock and by the processor's time (which other work on the machine does not lengthen); the
same at each tenth, where what grows with the run would show; and the memory of the process (RSS) with its slope over
the run's second half.

    python -m benchmarks.long_run [--images 50000] [--out FOLDER] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from auditkit.prompts import expand
from auditkit.spec import RunSpec, load_spec
from generators.base import GeneratorInfo, Job, Settings
from generators.make import generate

POINTS = 10
SIDE = 128


class Instant:
    """A generator whose images are there at once: 256 squares of noise, one of them by the job's seed, which also sets
    its first pixels, so that no two images of a run are the same file."""

    info = GeneratorInfo("instant", "stub", "benchmarks", SIDE, Settings("none", 1, 1.0), {"none": "0" * 64})

    def __init__(self) -> None:
        self._noise = np.random.default_rng(0).integers(0, 256, (256, SIDE, SIDE, 3), dtype=np.uint8)
        self.seconds = 0.0

    def generate(
        self, jobs: Sequence[Job], settings: Settings, *, batch_size: int | None = None
    ) -> Iterator[Image.Image]:
        for job in jobs:
            began = time.perf_counter()
            pixels = self._noise[job.seed % 256].copy()
            pixels[0, :3] = np.frombuffer(job.seed.to_bytes(9, "big"), np.uint8).reshape(3, 3)
            image = Image.fromarray(pixels)
            self.seconds += time.perf_counter() - began
            yield image


def main(argv: list[str] | None = None) -> None:
    args = _arguments(argv)
    prompts = len(expand(load_spec("occupations")))
    each = max(1, args.images // prompts)
    spec = load_spec("occupations").model_copy(update={"images_per_prompt": each})
    folder = Path(tempfile.mkdtemp(prefix="long-run-", dir=args.out))
    try:
        result = measure(spec, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if args.json:
        print(json.dumps(result, indent=2))
        return
    print(f"{result['images']} images in {result['seconds']} s: {result['ms_per_image']} ms an image, all in all")
    print(f"  of the processor's time        {result['cpu_ms_per_image']:8.2f} ms an image, the stub's own included")
    print(f"  merging at the end             {result['merge_seconds']:8.2f} s")
    print(f"  memory, slope of second half   {result['rss_slope_mb_per_10000']:8.2f} MB per 10,000 images")
    print("   images   ms an image   RSS, MB")
    for point in result["points"]:
        print(f"  {point['images']:7d}  {point['ms']:12.3f}  {point['rss_mb']:8.1f}")


def measure(spec: RunSpec, folder: Path) -> dict[str, Any]:
    """Make the run of `spec` in `folder`."""
    points: list[dict[str, float]] = []
    stub = Instant()
    processor = time.process_time()
    began = last = time.perf_counter()
    before = 0

    def progress(done: int, total: int) -> None:
        nonlocal last, before
        if done * POINTS // total > len(points) and done > before:
            now = time.perf_counter()
            points.append(
                {"images": done, "ms": round(1000 * (now - last) / (done - before), 3), "rss_mb": round(_rss(), 1)}
            )
            last, before = now, done

    run = generate(spec, out=folder, generator=stub, progress=progress)
    end, processor = time.perf_counter(), time.process_time() - processor
    total = len(run.images())
    half = points[len(points) // 2 :]
    slope = np.polyfit([point["images"] for point in half], [point["rss_mb"] for point in half], 1)[0]
    return {
        "images": total,
        "seconds": round(end - began, 2),
        "ms_per_image": round(1000 * (end - began - stub.seconds) / total, 3),
        "cpu_ms_per_image": round(1000 * processor / total, 3),
        "stub_ms_per_image": round(1000 * stub.seconds / total, 3),
        "merge_seconds": round(end - last, 2),
        "rss_slope_mb_per_10000": round(10_000 * float(slope), 3),
        "points": points,
        "cpus": os.cpu_count(),
    }


def _rss() -> float:
    """Resident memory of this process, MB (1e6 bytes)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.long_run", description=__doc__.split("\n")[0])
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument("--out", type=Path, help="where the run lies meanwhile; by default the temporary folder")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args(argv)


if __name__ == "__main__":
    main()

"""Speed on one accelerator, all in one run; the tables of docs/performance.md.

Parts: sd, sdxl (random weights of those sizes, at 512 and 1024 px), bundled (the models that come along), embedding,
watermark, detector. Results are written after every row. `--small` tries all of it on a CPU with tiny networks.

    python -m benchmarks.accelerator [--device cuda] [--only sd,embedding] [--out FILE.json]
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
import time
import traceback
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from benchmarks.accelerator import checkpoints, reading
from benchmarks.accelerator.figures import table, timed
from benchmarks.accelerator.generation import rates
from generators.device import pick_device

PARTS = ("device", "sd", "sdxl", "bundled", "embedding", "watermark", "detector")
SIZES = {
    "sd": {"images": 100, "batch": 25, "looped": 4},
    "sdxl": {"images": 20, "batch": 10, "looped": 2},
}
"""Images of checkpoints with random weights: in all, at a time, and one by one."""
MATRIX = 8192


def main(argv: list[str] | None = None) -> None:
    args = _arguments(argv)
    device = str(pick_device(args.device)[0])
    results: dict[str, Any] = {"device": _device(device), "parts": {}, "seconds": {}}
    with tempfile.TemporaryDirectory() as scratch:
        for part in args.only:
            rows = results["parts"].setdefault(part, [])
            for name, given in _part(part, device, args, Path(scratch)):
                began = time.perf_counter()
                try:
                    for row in given:
                        rows.append(row)
                        print(part, row, flush=True)
                        _write(args.out, results)
                except Exception as error:  # what fails is not to cost the others
                    traceback.print_exc()
                    rows.append({"checkpoint": name, "error": f"{type(error).__name__}: {error}"[:500]})
                results["seconds"][f"{part} {name}"] = round(time.perf_counter() - began, 1)
                _write(args.out, results)
    print(json.dumps(results["device"]))
    for part, rows in results["parts"].items():
        print(f"\n{part}\n\n{table(rows)}")


def _part(
    part: str, device: str, args: argparse.Namespace, scratch: Path
) -> Iterator[tuple[str, Iterator[dict[str, Any]]]]:
    """What a part times, by name, each with its rows."""
    small, steps = args.small, 2 if args.small else None
    common: dict[str, Any] = {"device": device, "repeats": args.repeats}
    compiled = {"compile": device.startswith("cuda") and not args.no_compile}

    def random_weights(name: str) -> str:
        size, folder = {"sd": checkpoints.SD, "sdxl": checkpoints.SDXL}[name], scratch / f"{name}-size"
        if not folder.exists():
            checkpoints.write(folder, checkpoints.small(size) if small else size, device)
        return f"path:{folder}"

    if part == "device":
        yield part, _ceiling(device, 512 if small else MATRIX)
    elif part in SIZES:
        counts = {"images": 4, "batch": 2, "looped": 2} if small else SIZES[part]
        once = common | {"repeats": 1}
        yield part, rates(random_weights(part), sampler="dpm++2m", steps=steps, **counts, **compiled, **once)
    elif part == "bundled":
        counts = {"images": 4, "batch": 2, "looped": 2} if small else {"images": 500, "batch": 50, "looped": 8}
        for name in args.models:
            yield name, rates(name, steps=steps, **counts, **compiled, **common)
    elif part == "embedding":
        for name in ["ViT-B-32"] if small else ["ViT-B-32", "ViT-L-14"]:
            yield name, reading.embedding(name, images=16 if small else 512, side=64 if small else 512, **common)
    elif part == "watermark":
        for name in ("personas", random_weights("sd")):
            yield name, reading.watermark(name, images=4 if small else 64, **common)
    else:
        sides = [64] if small else [128, 512]
        yield part, reading.detector("personas-detector", images=8 if small else 128, sides=sides, **common)


def _ceiling(device: str, side: int) -> Iterator[dict[str, Any]]:
    """What the device does at best: one large bf16 matrix product of random numbers, by torch's own library."""
    dtype = torch.bfloat16 if device.startswith("cuda") else torch.float32
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))

    def products() -> int:
        for _ in range(20):
            a @ b
        return 20

    products()
    done = timed(products, device, 3)
    yield {"matrix": side, "tflop_s": 2 * side**3 * done.count / done.seconds / 1e12}


def _device(device: str) -> dict[str, Any]:
    found: dict[str, Any] = {"torch_device": device, "python": platform.python_version()}
    found |= {name: version(name) for name in ("torch", "diffusers", "transformers", "open_clip_torch")}
    if device.startswith("cuda"):
        properties = torch.cuda.get_device_properties(device)
        found |= {"name": properties.name, "gib": round(properties.total_memory / 2**30, 1), "cuda": torch.version.cuda}
    return found


def _write(file: Path | None, results: dict[str, Any]) -> None:
    if file is not None:
        file.write_text(json.dumps(results, indent=2) + "\n")


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.accelerator",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--device", default="auto")
    parser.add_argument("--only", type=lambda text: text.split(","), default=list(PARTS), help=",".join(PARTS))
    parser.add_argument(
        "--models",
        type=lambda text: text.split(","),
        default=["personas", "personas-turbo", "personas-dit", "personas-pixel"],
        help="bundled models to time",
    )
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--no-compile", action="store_true")
    parser.add_argument("--small", action="store_true", help="tiny networks, to try it on a CPU")
    parser.add_argument("--out", type=Path, help="write JSON there")
    args = parser.parse_args(argv)
    if unknown := set(args.only) - set(PARTS):
        parser.error(f"no part is called {', '.join(sorted(unknown))}; use {', '.join(PARTS)}")
    return args


if __name__ == "__main__":
    main()

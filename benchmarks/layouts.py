"""Orders of memory, precisions and torch.compile, for a checkpoint on this device: milliseconds an image.

Of each way: one step of the denoiser on a batch, the decoding of that batch, and the seconds of the first call beyond
the later ones (what compiling costs). The ways take turns, and medians are printed, so that a machine that slows down
slows all of them. docs/generators_speed.md says what was chosen by it.

    python -m benchmarks.layouts [--checkpoint FOLDER] [--batch-size 24] [--ways contiguous,channels-last] [--json]
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
from collections.abc import Callable
from typing import Any

import torch

from benchmarks import generate
from generators.steady import FEW

WAYS = ("contiguous", "channels-last", "bfloat16", "compile")


def main(argv: list[str] | None = None) -> None:
    args = _arguments(argv)
    generate.CPU_TIME = args.cpu_time
    if args.cpu_time:
        torch.set_num_threads(1)
    generator = generate._load(args.checkpoint, args.device, "float32")
    pipeline = generate.load_plain(generator.folder, args.device, "float32")
    ways = {name: _calls(pipeline, generator.info.details["latent_shape"], args.batch_size, name) for name in args.ways}
    first = {name: {part: generate._seconds(call) for part, call in calls.items()} for name, calls in ways.items()}
    turns: dict[str, dict[str, list[float]]] = {name: {part: [] for part in calls} for name, calls in ways.items()}
    for _ in range(args.repeats):
        for name, calls in ways.items():
            for part, call in calls.items():
                turns[name][part].append(generate._seconds(call))
    result: dict[str, Any] = {"device": generator.info.device, "threads": torch.get_num_threads()}
    for name, parts in turns.items():
        middle = {part: statistics.median(seconds) for part, seconds in parts.items()}
        result[name] = {f"{part}_ms": round(1000 * value / args.batch_size, 3) for part, value in middle.items()}
        result[name]["first_call_s"] = round(sum(first[name].values()) - sum(middle.values()), 2)
    if args.json:
        print(json.dumps(result, indent=2))
        return
    print(f"{generator.info.name} on {result['device']}, {result['threads']} threads, batches of {args.batch_size}")
    print("  way              step, ms   decoding, ms   first call, s")
    for name in ways:
        row = result[name]
        print(f"  {name:<14} {row['step_ms']:10.2f} {row['decode_ms']:14.2f} {row['first_call_s']:15.1f}")


def _calls(plain: Any, shape: list[int], count: int, way: str) -> dict[str, Callable[[], Any]]:
    """One step of the denoiser and one decoding of a batch, in one of WAYS."""
    unet, vae = copy.deepcopy(plain.unet), copy.deepcopy(plain.vae)
    order = torch.contiguous_format if way == "contiguous" else torch.channels_last
    dtype = torch.bfloat16 if way == "bfloat16" else torch.float32
    unet, vae = (network.to(dtype=dtype, memory_format=order) for network in (unet, vae))
    device = plain.device
    draw = torch.Generator().manual_seed(0)
    x = torch.randn([count, *shape], generator=draw).to(device, dtype)
    text = torch.randn([count, 77, unet.config.cross_attention_dim], generator=draw).to(device, dtype)
    time = torch.tensor(500, device=device)
    step, decode = unet.forward, vae.decode
    if way == "compile":
        step, decode = torch.compile(step), torch.compile(decode)

    @torch.inference_mode()
    def one_step() -> None:
        step(x, time, encoder_hidden_states=text)

    @torch.inference_mode()
    def decoding() -> None:
        for part in x.split(FEW):
            decode(part)

    return {"step": one_step, "decode": decoding}


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.layouts", description=__doc__.split("\n")[0])
    parser.add_argument("--checkpoint", default="personas", help="a generator's name, or a folder (of the UNet kind)")
    parser.add_argument("--batch-size", type=int, default=24)
    parser.add_argument("--ways", type=lambda text: text.split(","), default=list(WAYS), help=",".join(WAYS))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--cpu-time", action="store_true", help="count CPU seconds, on one thread")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(argv)
    if unknown := set(args.ways) - set(WAYS):
        parser.error(f"no way is called {', '.join(sorted(unknown))}; use {', '.join(WAYS)}")
    return args


if __name__ == "__main__":
    main()

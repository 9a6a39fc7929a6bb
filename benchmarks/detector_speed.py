"""Images/s of a detector's family on one core, from decoded pixels to scores: everything but reading files.

    python -m benchmarks.detector_speed [--family cnn] [--option width=32 ...] [--sides 64 512] [--repeats 7]

An untrained network is as fast as a trained one, so weights are random. Each figure is the best of the repeats, by
the wall clock and, for machines that others use too, by the processor's time of this process.
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

import numpy as np

from auditkit import registry

PIXELS = 2**22
"""Of all images of a repeat."""


def untrained(family: str, options: dict[str, Any]) -> Any:
    """A family of pixels with random weights, ready to be asked.

    Raises:
        SystemExit: the family is none of those with a network.
    """
    from detectors.families.cnn import Cnn
    from detectors.pixels.network import Network

    made = registry.load("detector_families", family)(**options)
    if not isinstance(made, Cnn):
        raise SystemExit(f"{family} has no network of windows; give cnn, npr or cnn-resized")
    made._take(Network(made._inputs, made.options["width"]).eval(), "cpu")
    return made


def speeds(family: Any, side: int, repeats: int) -> tuple[float, float]:
    """Images/s by the wall clock and by processor time, both the best of the repeats."""
    rng = np.random.default_rng(0)
    count = max(PIXELS // side**2 // 4, 4)
    images = list(rng.integers(0, 256, (count, side, side, 3), dtype=np.uint8))
    family.scores(images)
    walls, cores = [], []
    for _ in range(repeats):
        wall, core = time.perf_counter(), time.process_time()
        family.scores(images)
        walls.append(time.perf_counter() - wall)
        cores.append(time.process_time() - core)
    return count / min(walls), count / min(cores)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--family", default="cnn")
    parser.add_argument("--option", action="append", default=[], metavar="NAME=JSON")
    parser.add_argument("--sides", type=int, nargs="+", default=[64, 512])
    parser.add_argument("--repeats", type=int, default=7)
    asked = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    given = dict(one.split("=", 1) for one in asked.option)
    family = untrained(asked.family, {name: json.loads(value) for name, value in given.items()})
    for side in asked.sides:
        wall, core = speeds(family, side, asked.repeats)
        print(f"{asked.family} at {side} px: {wall:.0f} images/s, {core:.0f} images/s of processor time, one thread")


if __name__ == "__main__":
    main()

"""The arithmetic of the figures: model FLOP utilisation, joules, memory, and the table."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

PEAKS = {"H100": 989e12, "H200": 989e12, "A100": 312e12}
"""Dense bf16 FLOP/s of the SXM boards, by NVIDIA's data sheets."""


def peak(name: str) -> float | None:
    """Dense bf16 FLOP/s of the device that torch calls `name`; None where it is none of PEAKS or no SXM board."""
    if "PCIe" in name or "NVL" in name:
        return None
    return next((flops for part, flops in PEAKS.items() if part in name), None)


def utilisation(flops: float, seconds: float, peak: float | None) -> float | None:
    """Model FLOP utilisation (Chowdhery et al. 2022, PaLM, section 4.1): FLOPs that the model asks for, over those that
    the device could have done meanwhile. None where its peak is not known.

    >>> utilisation(1e12, 2.0, 1e12)
    0.5
    """
    return None if peak is None else flops / (seconds * peak)


@dataclass
class Work:
    """What a piece of work took."""

    count: int
    seconds: float
    joules: float | None
    """Of the card, all that ran on it; None where no meter tells."""
    gibibytes: float | None
    """Peak of the memory that torch held on the device, weights and CUDA graphs included."""

    def row(self) -> dict[str, Any]:
        """images_s, joules_image, memory_gib."""
        return {
            "images_s": self.count / self.seconds,
            "joules_image": None if self.joules is None else self.joules / self.count,
            "memory_gib": self.gibibytes,
        }


def wait() -> None:
    """Until the device has done what it was given."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def timed(work: Callable[[], int], device: str, repeats: int) -> Work:
    """The quickest of `repeats` turns of `work`, which gives how many images it made; energy and memory of all turns.

    Joules are shared among the images of all turns, for a turn of a second is short for NVML's counter.
    """
    cuda = device.startswith("cuda")
    meter = _meter(device)
    if cuda:
        wait()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    before, turns = meter() if meter else 0.0, []
    for _ in range(repeats):
        began = time.perf_counter()
        count = work()
        wait()
        turns.append((time.perf_counter() - began, count))
    joules = None if meter is None else meter() - before
    seconds, count = min(turns)
    return Work(
        count,
        seconds,
        None if joules is None else joules * count / sum(each for _, each in turns),
        torch.cuda.max_memory_reserved() / 2**30 if cuda else None,
    )


def _meter(device: str) -> Callable[[], float] | None:
    """Joules since it was made, of the card alone."""
    if not device.startswith("cuda"):
        return None
    from auditkit.energy import nvml

    meter, _ = nvml.meter(device)
    return None if meter is None else meter.read


def table(rows: list[dict[str, Any]]) -> str:
    """A Markdown table of rows that may lack columns; floats with three significant digits, shares in [0, 1] likewise.

    >>> print(table([{"what": "a", "x": 1.23456}, {"what": "b", "y": None}]))
    | what | x | y |
    |---|---|---|
    | a | 1.23 |  |
    | b |  |  |
    """
    names = list(dict.fromkeys(name for row in rows for name in row))
    lines = ["| " + " | ".join(names) + " |", "|---" * len(names) + "|"]
    return "\n".join([*lines, *("| " + " | ".join(_cell(row.get(name)) for name in names) + " |" for row in rows)])


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return str(value)

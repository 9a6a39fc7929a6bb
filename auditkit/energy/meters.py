"""Meters: what the machine can tell of its energy, and what must be estimated.

| part | measured by | else estimated as |
|---|---|---|
| gpu | NVML: the card's energy counter (Volta and newer), or its power, sampled | seconds x a range of power |
| cpu | RAPL: the package's counter in /sys/class/powercap | busy core seconds x a range of power |
| memory | RAPL: the domain dram, where there is one | resident memory x a range of power |

A counter of the machine (`scope` machine) counts all that ran on that chip meanwhile, its idle power too; an estimate
from the process's own core seconds (`scope` process) counts this process alone, without the machine's idle power.
"""

from __future__ import annotations

import hashlib
import math
import os
import socket
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

POWERCAP = Path("/sys/class/powercap")

Part = Literal["gpu", "cpu", "memory"]
Method = Literal["measured", "estimate"]
Scope = Literal["machine", "process"]

NVML_SPREAD = (0.9, 1.1)
"""Our allowance: NVML states +/- 5% for Fermi and Kepler and nothing for newer cards, of which some (A100, H100)
look at their power a quarter of the time (Yang et al. 2024)."""
SAMPLED_SPREAD = (0.85, 1.15)
"""Power that is sampled twice a second misses what happens in between: our allowance."""
RAPL_SPREAD = (0.9, 1.1)
"""Our allowance: Khan et al. 2018 found RAPL within a few percent of the wall on Intel; AMD's is a model of its own
(Schöne et al. 2021)."""
NVML_LAG = 0.1
"""Seconds by which NVML's counter may be behind."""
RAPL_LAG = 0.002
CORE_WATTS = (1.4, 12.0)
"""A busy logical core: from a server chip of many (360 W for 256 threads) to a desktop chip of few (about 150 W for
12). The machine's idle power is not in it."""
MEMORY_WATTS_PER_GIB = (0.08, 0.4)
"""From a 64 GiB server module at 5 W to an 8 GiB module at 3 W."""
GPU_WATTS = {"cuda": (30.0, 700.0), "mps": (3.0, 60.0)}
"""A device at work that no meter reads: from a small card to the largest of a data centre; a laptop's to a studio's."""


@dataclass
class Meter:
    """A running total of joules since the meter was made. Read it from any thread.

    Attributes:
        name: of the counter, the same for every process of one machine: `nvml:GPU-...`, `rapl:package-0`.
        how: a sentence for people.
        spread: factors that the true energy lies between, about what is read.
        lag: seconds by which a reading may be late.
        count: joules since some fixed moment; never less than before, but for counters that wrap at `wraps`.
        wraps: joules at which the counter starts again from 0; it must be read at least once in between.
        every: seconds within which it wants to be read again.
    """

    name: str
    part: Part
    method: Method
    scope: Scope
    how: str
    spread: tuple[float, float]
    count: Callable[[], float]
    lag: float = 0.0
    wraps: float = math.inf
    every: float = 60.0
    _last: float = field(init=False)
    _total: float = field(init=False, default=0.0)
    _lock: threading.Lock = field(init=False, repr=False, default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._last = self.count()

    def read(self) -> float:
        """Joules since the meter was made, >= 0, never less than at an earlier reading."""
        with self._lock:
            now = self.count()
            step = now - self._last
            if step < 0:  # it wrapped; a counter that was reset, by a driver's restart, is told from 0
                step = step + self.wraps if math.isfinite(self.wraps) else now
            self._last = now
            self._total += max(step, 0.0)
            return self._total


def find_meters(device: str = "cpu") -> list[Meter]:
    """The best meter here for each part that works for `device`: a GPU (where it is one), the CPU and memory.

    Args:
        device: as torch names it: cpu, cuda, cuda:1, mps.
    """
    found = [] if device.split(":")[0] == "cpu" else [_gpu(device)]
    rapl = rapl_meters()
    parts = {meter.part for meter in rapl}
    found += rapl
    if "cpu" not in parts:
        found.append(cpu_estimate())
    if "memory" not in parts:
        found.append(memory_estimate())
    return found


def machine() -> str:
    """8 hex digits that tell this machine from others, without naming it."""
    try:
        named = Path("/etc/machine-id").read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        named = ""
    return hashlib.sha256(f"{named}/{socket.gethostname()}".encode()).hexdigest()[:8]


def rapl_meters(root: Path = POWERCAP) -> list[Meter]:
    """The RAPL domains that may be read here: packages, and dram where it stands apart. None is no error.

    Since 2020 most kernels let only root read them (CVE-2020-8694).
    """
    meters = []
    for zone in sorted(root.glob("intel-rapl:*")):  # AMD's too; the mmio twins have another prefix
        try:
            name = (zone / "name").read_text().strip()
            wraps = int((zone / "max_energy_range_uj").read_text()) / 1e6
            part: Part = "memory" if name == "dram" else "cpu"
            if not name.startswith(("package", "dram")):
                continue  # core and uncore are in the package, psys is around it
            meters.append(
                Meter(
                    f"rapl:{zone.name.removeprefix('intel-rapl:')}:{name}", part, "measured", "machine",
                    f"RAPL counter {name}, all that ran on it", RAPL_SPREAD, _microjoules(zone / "energy_uj"),
                    lag=RAPL_LAG, wraps=wraps, every=30.0,
                )
            )  # fmt: skip
        except (OSError, ValueError):
            continue  # gone, damaged, or for root alone: the estimate takes its place
    return meters


def cpu_estimate() -> Meter:
    """From the processor time of this process, all its threads, without its children."""
    low, high = CORE_WATTS
    middle = math.sqrt(low * high)
    return Meter(
        f"estimate:cpu:{os.getpid()}", "cpu", "estimate", "process",
        f"busy core seconds of this process x {middle:.1f} W ({low:g} to {high:g} W a core)",
        (low / middle, high / middle), lambda: time.process_time() * middle,
    )  # fmt: skip


def memory_estimate() -> Meter:
    """From the resident memory of this process."""
    low, high = MEMORY_WATTS_PER_GIB
    middle = math.sqrt(low * high)
    return Meter(
        f"estimate:memory:{os.getpid()}", "memory", "estimate", "process",
        f"resident memory of this process x {middle:.2f} W/GiB ({low:g} to {high:g})",
        (low / middle, high / middle), _integral(lambda: resident_gib() * middle), every=5.0,
    )  # fmt: skip


def gpu_estimate(device: str, why: str = "no meter reads it") -> Meter:
    """From the seconds alone."""
    low, high = GPU_WATTS.get(device.split(":")[0], GPU_WATTS["cuda"])
    middle = math.sqrt(low * high)
    return Meter(
        f"estimate:{device}", "gpu", "estimate", "machine",
        f"{why}: seconds x {middle:.0f} W ({low:g} to {high:g} W)",
        (low / middle, high / middle), lambda: time.monotonic() * middle,
    )  # fmt: skip


def resident_gib() -> float:
    """Resident memory of this process, GiB; its peak where the system tells no more."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**30
    except (OSError, ValueError, IndexError):
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / 2**30 if sys.platform == "darwin" else peak / 2**20


def _gpu(device: str) -> Meter:
    from auditkit.energy import nvml

    if not device.startswith("cuda"):
        return gpu_estimate(device)
    meter, why = nvml.meter(device)
    return meter or gpu_estimate(device, why)


def _microjoules(file: Path) -> Callable[[], float]:
    return lambda: int(file.read_text()) / 1e6


def _integral(watts: Callable[[], float]) -> Callable[[], float]:
    """Joules since the first call: power between two calls is taken as the mean of both."""
    state: list[float] = []  # time, watts, joules

    def count() -> float:
        now, power = time.monotonic(), watts()
        if state:
            since, before, joules = state
            power_mean = (power + before) / 2
            state[:] = [now, power, joules + power_mean * (now - since)]
        else:
            state[:] = [now, power, 0.0]
        return state[2]

    return count

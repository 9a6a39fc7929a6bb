"""A window of work with its meters' readings, kept in the run's folder: `energy/<machine>-<pid>-<began>.json`.

One file a window, of one process and one attempt. It is written again each minute while the work goes on, so that an
attempt that is killed loses the energy since then and no more; what it loses counts as not metered.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from auditkit.energy.amounts import Amount
from auditkit.energy.meters import Meter, find_meters, machine
from auditkit.energy.site import Site
from auditkit.errors import EnergyError, RunError
from auditkit.files import write_json

FOLDER = "energy"
KEPT_EVERY = 60.0
"""Seconds between two writings of an open window."""


@dataclass(frozen=True)
class Reading:
    """What one meter told of one window."""

    meter: str
    part: str
    method: str
    scope: str
    how: str
    joules: float
    low: float
    high: float

    @property
    def amount(self) -> Amount:
        return Amount(self.joules, self.low, self.high)


@dataclass(frozen=True)
class Window:
    """Some work of one process, from `start` to `end` (seconds since 1970, UTC)."""

    machine: str
    pid: int
    device: str
    start: float
    end: float
    images: int
    """Images that were made and kept in it."""
    ended: str
    """`done`, `interrupted` (an error or Ctrl-C), or `open` (still at work, or killed)."""
    readings: list[Reading] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    """Meters that stopped answering: the window's energy is not known."""
    site: dict[str, Any] | None = None

    @property
    def seconds(self) -> float:
        return self.end - self.start

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


@contextlib.contextmanager
def metered(
    run: Path,
    device: str,
    *,
    images: Callable[[], int],
    site: Site | None = None,
    meters: list[Meter] | None = None,
) -> Iterator[None]:
    """Meter the work that is done in it, and keep the window in the run's folder.

    Where nothing was made and nothing went wrong, nothing is kept. A meter that fails, or a window that cannot be
    written while the work goes on, does not stop the work.

    Args:
        run: the run's folder.
        device: what computes, as torch names it.
        images: how many images this process has made and kept so far; called at the start, the end and in between.
        site: what is known of it.
        meters: those to read; by default the best for `device`.
    """
    book = _Book(run, device, images, site or Site.given(), find_meters(device) if meters is None else meters)
    stop = threading.Event()
    watch = threading.Thread(target=book.watch, args=(stop,), name="energy", daemon=True)
    watch.start()
    ended = "interrupted"
    try:
        yield
        ended = "done"
    finally:
        stop.set()
        watch.join()
        book.close(ended)


def read_windows(run: Path) -> list[Window]:
    """The windows of a run, by their start; empty where none was metered.

    Raises:
        EnergyError: a window's file is damaged.
    """
    windows = []
    for file in sorted((run / FOLDER).glob("[!.]*.json")):
        try:
            kept = json.loads(file.read_bytes())
            readings = [Reading(**each) for each in kept.pop("readings")]
            window = Window(**kept, readings=readings)
            if not (window.end >= window.start and window.images >= 0):
                raise ValueError("it ends before it starts")
            _ = [reading.amount for reading in readings]
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise EnergyError(
                f"a record of energy is damaged: {error}",
                where=file,
                mend="delete the file: its energy is then unknown",
            ) from None
        windows.append(window)
    return sorted(windows, key=lambda window: window.start)


class _Book:
    """The window that is being metered."""

    def __init__(self, run: Path, device: str, images: Callable[[], int], site: Site, meters: list[Meter]):
        self.device, self.site, self.meters, self.images = device, site, meters, images
        self.before, self.failed = images(), dict[str, str]()
        # Times of day are for telling which windows overlap; a clock that is set back must not shorten a window.
        self.start, self.began = time.time(), time.monotonic()
        name = f"{machine()}-{os.getpid()}-{datetime.fromtimestamp(self.start, UTC):%Y%m%dT%H%M%S%f}.json"
        self.file = run / FOLDER / name

    def watch(self, stop: threading.Event) -> None:
        """Read each meter as often as it wants, and keep the window from time to time, until told to stop."""
        pause = min([KEPT_EVERY, *(meter.every for meter in self.meters)])
        kept = time.monotonic()
        while not stop.wait(pause):
            self._read()
            if time.monotonic() - kept >= KEPT_EVERY:
                with contextlib.suppress(RunError):  # a full disk is told where an image cannot be written
                    write_json(self.file, self._window("open").as_dict())
                kept = time.monotonic()

    def close(self, ended: str) -> None:
        window = self._window(ended)
        if window.images or ended != "done":
            write_json(self.file, window.as_dict())

    def _read(self) -> dict[str, float]:
        read = {}
        for meter in self.meters:
            try:
                read[meter.name] = meter.read()
            except Exception as error:  # of a driver, whose errors are its own; the work must go on
                self.failed.setdefault(meter.name, f"{type(error).__name__}: {error}")
        return read

    def _window(self, ended: str) -> Window:
        seconds = time.monotonic() - self.began
        read = self._read()
        readings = [
            _reading(meter, read[meter.name], seconds) for meter in self.meters if meter.name not in self.failed
        ]
        return Window(
            machine=machine(),
            pid=os.getpid(),
            device=self.device,
            start=self.start,
            end=self.start + seconds,
            images=self.images() - self.before,
            ended=ended,
            readings=readings,
            failed=[f"{name} ({why})" for name, why in self.failed.items()],
            site=self.site.as_dict() if self.site else None,
        )


def _reading(meter: Meter, joules: float, seconds: float) -> Reading:
    late = meter.lag / seconds if seconds > 0 else 0.0
    low, high = max(0.0, meter.spread[0] - late), meter.spread[1] + late
    return Reading(meter.name, meter.part, meter.method, meter.scope, meter.how, joules, joules * low, joules * high)

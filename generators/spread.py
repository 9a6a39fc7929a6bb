"""Several processes on one run: which this one is, which device is its own, and starting the others.

The processes meet in the run's folder alone, where each claims the shards it makes (`auditkit.runs.locks`): there is
nothing that they wait for at the start, and the death of one costs the others nothing.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from auditkit.errors import AuditkitError, GeneratorError
from auditkit.processes import THREADS, environment, without_main

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

RANK, SIZE, LOCAL = (
    ("RANK", "PMI_RANK", "OMPI_COMM_WORLD_RANK", "MV2_COMM_WORLD_RANK"),
    ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE"),
    ("LOCAL_RANK", "MPI_LOCALRANKID", "OMPI_COMM_WORLD_LOCAL_RANK", "MV2_COMM_WORLD_LOCAL_RANK"),
)
"""What `accelerate launch` (torchrun, and MPI where it is asked for) tells a process of itself."""


@dataclass(frozen=True)
class Place:
    """The process with number `rank` among `of`, and number `local` on its machine, counted from 0."""

    rank: int = 0
    of: int = 1
    local: int = 0

    @property
    def first(self) -> bool:
        """Whether it is the one that speaks for all."""
        return self.rank == 0

    def device(self, name: str) -> str:
        """The device for it: of several GPUs its own, where the user asked for no certain one."""
        if self.of == 1 or name not in ("auto", "cuda"):
            return name
        import torch

        if not torch.cuda.is_available():
            return name
        return f"cuda:{self.local % torch.cuda.device_count()}"


def this_process() -> Place:
    """Where this process stands among those of its launch; alone, where there is none.

    Raises:
        GeneratorError: the launcher's variables are no numbers, or do not fit together.
    """
    rank, of = _number(RANK, 0), _number(SIZE, 1)
    place = Place(rank, of, _number(LOCAL, rank))
    if not 0 <= place.rank < place.of or place.local < 0:
        raise GeneratorError(
            f"the launcher calls this process number {rank} of {of}",
            where="RANK, WORLD_SIZE",
            mend="unset both, or start it by accelerate launch",
        )
    return place


def threads_each(processes: int) -> int:
    """Threads for each of `processes` on this machine: its cores, divided."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // processes)


@contextlib.contextmanager
def helpers(processes: int, work: Callable[..., Any], **arguments: Any) -> Iterator[Place]:
    """Start `processes` - 1 others that call `work(**arguments)`, and be the first among them meanwhile.

    On leaving it waits for them; on leaving by an exception it ends them. One that fails is told as a warning: what it
    had claimed is free again.
    """
    context = multiprocessing.get_context("spawn")
    place, started = Place(0, processes, 0), list[Any]()
    with contextlib.ExitStack() as stack:
        stack.callback(_end, started)
        for rank in range(1, processes):
            other = Place(rank, processes, rank)
            process = context.Process(target=_help, args=(other, work, arguments), name=f"auditkit {rank}")
            with without_main(), environment(_variables(other)):
                process.start()
            started.append(process)
        yield place
        for process in started:
            process.join()
        failed = [process.name for process in started if process.exitcode]
        if failed:
            warnings.warn(f"{len(failed)} of {processes} processes failed; the others made its images", stacklevel=3)


def _help(place: Place, work: Callable[..., Any], arguments: dict[str, Any]) -> None:
    """What a started process does. Its errors are a line on stderr, for the first process goes on."""
    import sys

    try:
        work(**arguments)
    except AuditkitError as error:
        print(f"process {place.rank}: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None


@contextlib.contextmanager
def its_threads(place: Place) -> Iterator[None]:
    """Compute on this process's part of the cores: processes that fight over them are slower than one alone."""
    if place.of == 1:
        yield
        return
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(min(before, threads_each(place.of)))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _variables(place: Place) -> dict[str, str]:
    """What a process started as `place` sees of it, as `accelerate launch` would set it."""
    new = {RANK[0]: place.rank, SIZE[0]: place.of, LOCAL[0]: place.local}
    new |= dict.fromkeys(THREADS, threads_each(place.of))
    return {name: str(value) for name, value in new.items()}


def _end(started: list[BaseProcess]) -> None:
    for process in started:
        if process.is_alive():
            process.terminate()
        process.join()


def _number(names: tuple[str, ...], otherwise: int) -> int:
    for name in names:
        if name in os.environ:
            try:
                return int(os.environ[name])
            except ValueError:
                raise GeneratorError(
                    f"{name} is no number", where=f"{name}={os.environ[name][:40]}", mend="unset it"
                ) from None
    return otherwise

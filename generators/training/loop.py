"""One training loop for every bundled model: progress, log table, checkpoints, resume, EMA, learning-rate schedule."""

from __future__ import annotations

import copy
import csv
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auditkit.errors import RunError
from auditkit.files import write_atomic
from generators.training import checkpoints
from generators.training.together import ALONE, Together

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

# Called with (fraction done in 0..1, step, one line of losses).
Progress = Callable[[float, int, str], None]


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to train.

    Attributes:
        steps: optimizer steps in all. minutes: stop earlier, after this many minutes of training (over all resumes).
        batch: images a step. lr: peak of the learning rate, warmed up over `warmup` steps, then cosine to 2%.
        ema: decay of the weights' exponential moving average, which is what gets exported.
        save_every: seconds between checkpoints. seed: of the draws and the initial weights.
        bf16: compute in bfloat16; None means on CUDA only (a recent CPU gains by it, an older one loses).
        until: a time of `time.monotonic()` at which to stop with a checkpoint, unfinished; None is never.
        accumulate: batches whose mean gradient makes one optimizer step, in each process.
    """

    steps: int
    batch: int
    lr: float
    minutes: float | None = None
    warmup: int = 100
    weight_decay: float = 0.01
    ema: float = 0.999
    clip: float = 1.0
    save_every: float = 120.0
    seed: int = 0
    bf16: bool | None = None
    until: float | None = None
    accumulate: int = 1


class Paused(Exception):
    """The schedule's `until` has come: the checkpoint is written, and the same call goes on from it."""


def run(
    step: Callable[[int], dict[str, Tensor]],
    modules: dict[str, nn.Module],
    schedule: Schedule,
    *,
    out: Path,
    progress: Progress | None = None,
    together: Together = ALONE,
) -> dict[str, nn.Module]:
    """Train `modules` by `step(index) -> losses` (the key `loss` is minimised) and return their EMA copies.

    Appends to `<out>/log.csv` and keeps `<out>/checkpoint.safetensors`; a second call with the same folder goes
    on from there. Draws inside `step` must depend on the index alone, so that a resumed run sees the same batches.

    An optimizer step takes `schedule.accumulate` batches in each of the processes `together`, and their mean gradient.
    With k batches a step, step i has the indices i k to (i + 1) k - 1, whoever computes them: so two processes train
    as one that accumulates two, to the rounding of floats.

    Raises:
        RunError: the checkpoint is damaged or of another architecture, or the loss is no longer finite.
        Paused: the time until which to train has come.
    """
    import torch

    out.mkdir(parents=True, exist_ok=True)
    parameters = [p for module in modules.values() for p in module.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(
        parameters,
        lr=schedule.lr,
        betas=(0.9, 0.98),
        weight_decay=schedule.weight_decay,
        fused=parameters[0].is_cuda,
    )
    averaged = {name: copy.deepcopy(module).eval().requires_grad_(False) for name, module in modules.items()}
    stored = modules | {f"ema-{name}": module for name, module in averaged.items()}
    state = checkpoints.load(out, modules=stored, optimizer=optimizer) or {"step": 0, "seconds": 0.0}
    done, before, began, saved = (
        int(state["step"]),
        float(state["seconds"]),
        time.monotonic(),
        time.monotonic(),
    )

    together.wait()  # until all have read the checkpoint, before it is written again
    if together.main:
        _forget(out / "log.csv", after=done)

    def elapsed() -> float:
        return together.agree(before + time.monotonic() - began)

    def fraction(index: int) -> float:
        timed = elapsed() / (60 * schedule.minutes) if schedule.minutes else 0.0
        return min(1.0, max(index / schedule.steps, timed))

    def keep(index: int) -> None:
        state = {"step": index, "seconds": elapsed()}
        if together.main:
            checkpoints.save(out, modules=stored, optimizer=optimizer, state=state)
        together.wait()

    for module in modules.values():
        module.train()
    index = done
    while fraction(index) < 1.0:
        for group in optimizer.param_groups:
            group["lr"] = schedule.lr * _rate(index, schedule.warmup, fraction(index))
        losses = _gradients(step, index, optimizer, schedule.accumulate, together)
        together.average(parameters)
        torch.nn.utils.clip_grad_norm_(parameters, schedule.clip)
        optimizer.step()
        index += 1
        _average(averaged, modules, min(schedule.ema, (1 + index) / (10 + index)))
        if index % 50 == 0 or index == 1:
            values = {name: together.mean(value) for name, value in losses.items()}
            row = {"step": index, "seconds": round(elapsed(), 1), "lr": optimizer.param_groups[0]["lr"]} | values
            if together.main:
                _log(out / "log.csv", row)
            if not math.isfinite(values["loss"]):
                raise RunError(
                    f"The loss is {values['loss']} at step {index}.", where=out, mend="Start again with a lower --lr."
                )
            told = fraction(index)
            if progress is not None and together.main:
                progress(told, index, "  ".join(f"{k} {v:.4f}" for k, v in values.items()))
        late = schedule.until is not None and together.agree(time.monotonic() - schedule.until) > 0
        if late or together.agree(time.monotonic() - saved) > schedule.save_every:
            keep(index)
            saved = time.monotonic()
        if late and fraction(index) < 1.0:
            raise Paused(f"Paused at step {index}, {fraction(index):.0%} done; the same command goes on from there.")
    keep(index)
    return averaged


def _gradients(
    step: Callable[[int], dict[str, Tensor]],
    index: int,
    optimizer: torch.optim.Optimizer,
    each: int,
    together: Together,
) -> dict[str, Tensor]:
    """Leave the mean gradient of this process's batches of optimizer step `index`; return their mean losses."""
    first = (index * together.count + together.rank) * each
    if each == 1:
        losses = step(first)
        optimizer.zero_grad(set_to_none=True)
        losses["loss"].backward()
        return losses
    optimizer.zero_grad(set_to_none=True)
    total: dict[str, Tensor] = {}
    for micro in range(first, first + each):
        losses = step(micro)
        (losses["loss"] / each).backward()
        total = {name: value.detach() / each + total.get(name, 0) for name, value in losses.items()}
    return total


def told(schedule: Schedule, out: Path) -> dict[str, Any]:
    """What a model card says of the training in `out`: the steps and minutes that it took, batch and seed."""
    state = checkpoints.read_state(out)
    minutes = round(float(state["seconds"]) / 60, 1)
    return {"steps": int(state["step"]), "minutes": minutes, "batch": schedule.batch, "seed": schedule.seed}


def compiled(function: Any) -> Any:
    """The function compiled by torch on a CUDA device, where that doubles the speed; as it is elsewhere."""
    import torch

    return torch.compile(function) if torch.cuda.is_available() else function


def autocast(device: str, schedule: Schedule) -> torch.autocast:
    """The context in which a model runs forward: bf16 on CUDA, or where the schedule asks for it."""
    import torch

    kind = device.split(":")[0]
    return torch.autocast(kind, torch.bfloat16, enabled=kind == "cuda" if schedule.bf16 is None else schedule.bf16)


def _rate(index: int, warmup: int, fraction: float) -> float:
    return min(1.0, (index + 1) / warmup) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * fraction)))


def _average(averaged: dict[str, nn.Module], modules: dict[str, nn.Module], decay: float) -> None:
    import torch

    with torch.no_grad():
        for name, module in averaged.items():
            mean = [value for value in module.state_dict().values() if value.is_floating_point()]
            live = [value for value in modules[name].state_dict().values() if value.is_floating_point()]
            torch._foreach_lerp_(mean, live, 1 - decay)


def _log(path: Path, row: dict[str, Any]) -> None:
    new = not path.is_file()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(row))
        if new:
            writer.writeheader()
        writer.writerow(row)


def _forget(path: Path, *, after: int) -> None:
    """Drop the log's rows past the step that training goes on from: they are about to be written again."""
    if after == 0:
        path.unlink(missing_ok=True)
    elif path.is_file():
        header, *rows = path.read_bytes().splitlines(keepends=True)
        write_atomic(path, b"".join([header, *(row for row in rows if int(row.split(b",")[0]) <= after)]))

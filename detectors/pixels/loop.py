"""Training of a network on windows: one-cycle AdamW, averaged weights, batches made ahead in a thread."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, softplus

from detectors.base import Progress
from detectors.pixels.network import Network
from detectors.pixels.pool import Mixing, Pool

Perturb = Callable[[Callable[[Tensor], Tensor], Tensor, Tensor], Tensor]
"""perturb(logits, x, y) -> x: windows [n, 3, h, w] in [0, 1] with labels [n], made harder for `logits`."""

AHEAD = 3
"""Batches that wait."""


@dataclass(frozen=True)
class Plan:
    """How long and how a network is trained.

    Attributes:
        steps: batches. minutes: stop after so many, the learning rate falling accordingly; 0 for no limit. With a
            limit the result depends on the machine.
        batch: windows a step, half of them real. side: pixels of a window.
        strength: of the augmentation. mixing: of real into generated windows of a pair.
        ramp: share of the steps over which the augmentation rises from none: the trace is learned clean before it is
            hidden.
        half: convolutions in bfloat16.
    """

    steps: int
    minutes: float
    batch: int
    side: int
    lr: float
    strength: float
    mixing: Mixing = field(default_factory=Mixing)
    ramp: float = 0.4
    half: bool = False


def train(
    network: Network,
    pool: Pool,
    plan: Plan,
    *,
    seed: int,
    device: str,
    progress: Progress | None = None,
    perturb: Perturb | None = None,
) -> Network:
    """The network with the average of its weights over the last steps, in evaluation mode.

    One batch in four has windows of half the side, so that small images are not foreign to it.
    """
    network = network.to(device).to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=plan.lr, weight_decay=0.02)
    average = torch.optim.swa_utils.AveragedModel(network, avg_fn=_moving, use_buffers=True)
    started, losses = time.monotonic(), []
    for step, (windows, labels) in enumerate(_batches(pool, plan, seed)):
        fraction = step / plan.steps
        if plan.minutes:
            fraction = max(fraction, (time.monotonic() - started) / 60 / plan.minutes)
        if fraction >= 1:
            break
        for group in optimizer.param_groups:
            group["lr"] = plan.lr * _one_cycle(fraction)
        x = torch.from_numpy(windows).to(device).permute(0, 3, 1, 2).float() / 255
        y = torch.from_numpy(labels).to(device)
        if perturb is not None:
            network.eval()  # an attack must not move the running statistics
            x = perturb(network, x, y).detach()
            network.train()
        with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=plan.half):
            logits = network(x)
        logits = logits.float()
        # Real and generated alternate. Their difference, in which an aligned pair's content cancels, is learned first.
        loss = binary_cross_entropy_with_logits(logits, y) + softplus(logits[0::2] - logits[1::2]).mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        average.update_parameters(network)
        losses.append(loss.item())
        if progress and step % 10 == 0:
            progress(fraction, f"step {step + 1} of {plan.steps}, loss {np.mean(losses[-50:]):.3f}")
    if progress:
        progress(1.0, f"{len(losses)} steps, loss {np.mean(losses[-50:]):.3f}")
    trained = average.module
    assert isinstance(trained, Network)
    return trained.eval()


def _moving(average: Tensor, now: Tensor, count: Tensor | int) -> Tensor:
    """Over about the last 100 steps, and over fewer at the beginning, so that a short training forgets its start."""
    return average + (now - average) * max(0.01, 5 / (10 + int(count)))


def _one_cycle(fraction: float) -> float:
    """Up over the first tenth, down by a cosine to a hundredth."""
    if fraction < 0.1:
        return 0.1 + 9 * fraction
    return 0.01 + 0.99 * 0.5 * (1 + float(np.cos(np.pi * (fraction - 0.1) / 0.9)))


def _batches(pool: Pool, plan: Plan, seed: int) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.float32]]]:
    """`plan.steps` batches; each draws from a generator of its own, so that threads do not matter."""

    def made(step: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        rng = np.random.default_rng((seed, step))
        half = max(plan.side // 16 * 8, 32)
        side = half if half < plan.side and step % 4 == 3 else plan.side
        pairs = plan.batch // 2 * (plan.side // side) ** 2
        rising = min(1.0, step / max(plan.ramp * plan.steps, 1))
        return pool.batch(rng, pairs, side, strength=plan.strength * rising, mixing=plan.mixing)

    with ThreadPoolExecutor(1) as threads:
        waiting: list[Future[tuple[NDArray[np.uint8], NDArray[np.float32]]]] = []
        try:
            for step in range(plan.steps):
                waiting.append(threads.submit(made, step))
                if len(waiting) > AHEAD:
                    yield waiting.pop(0).result()
            while waiting:
                yield waiting.pop(0).result()
        finally:
            for one in waiting:
                one.cancel()

"""Our attacks beside those of the Adversarial Robustness Toolbox: robust accuracy of one small CNN, images and budget.

    python -m benchmarks.detector_attacks [--images 100] [--seeds 3] [--queries 500]

The CNN tells smooth images with a faint checkerboard, of many strengths, from those without; it has one logit, which
ART sees as two. Robust accuracy is the share of all images, of both directions, still judged rightly after the attack,
before and after they are saved with 8 bits. ART's Square in L2 (1.20.1) divides a window by the length that it is to
have, where the paper multiplies, and so hardly moves: that row is shown and is no comparison. ART
(`pip install 'auditkit-t2i[peers]'`) is needed here and nowhere else.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from detectors.attacks.base import Norm, Problem, saved, tensor
from detectors.attacks.suite import Digital, Method

if TYPE_CHECKING:
    from torch import Tensor

SIDE = 16
CASES: tuple[tuple[Method, Norm, float], ...] = (
    ("pgd", "linf", 1.5 / 255), ("pgd", "linf", 3 / 255), ("pgd", "l2", 0.15), ("pgd", "l2", 0.3),
    ("apgd", "linf", 1.5 / 255), ("apgd", "linf", 3 / 255), ("apgd", "l2", 0.15), ("apgd", "l2", 0.3),
    ("square", "linf", 8 / 255), ("square", "linf", 12 / 255), ("square", "l2", 1.0),
)  # fmt: skip
AVERAGED = ("ours", "ours_saved", "theirs", "theirs_saved", "seconds", "their_seconds")
STEPS, APGD_STEPS, AT_ONCE = 20, 50, 128


@dataclass(frozen=True)
class Row:
    """Robust accuracy in 0..1, as attacked and as saved, and seconds."""

    attack: str
    norm: str
    eps: float
    seed: int
    ours: float
    ours_saved: float
    theirs: float
    theirs_saved: float
    seconds: float
    their_seconds: float


def images(n: int, generated: bool, *, seed: int = 0, side: int = SIDE) -> list[np.ndarray]:
    """Smooth noisy images uint8 [side, side, 3]; generated ones carry a checkerboard of 2 to 10 grey levels."""
    rng = np.random.default_rng([seed, generated])
    y, x = np.mgrid[:side, :side] / side
    board = ((np.indices((side, side)).sum(axis=0) % 2) * 2 - 1)[..., None]
    out = []
    for _ in range(n):
        a, b, phase = rng.normal(size=(3, 3))
        plain = 128 + 50 * np.sin(np.multiply.outer(x, a) * 3 + np.multiply.outer(y, b) * 3 + phase)
        plain = plain + rng.normal(0, rng.uniform(2, 6), plain.shape) + generated * rng.uniform(2, 10) * board
        out.append(np.clip(np.rint(plain), 0, 255).astype(np.uint8))
    return out


@lru_cache(maxsize=1)
def network() -> Any:
    """A small CNN trained on `images` of seed 0, in eval mode: float32 [n, 3, h, w] in [0, 1] to logits [n]."""
    import torch
    from torch import nn

    with torch.random.fork_rng(), torch.enable_grad():
        torch.manual_seed(0)
        net = nn.Sequential(
            nn.Conv2d(3, 12, 3, padding=1), nn.ReLU(), nn.Conv2d(12, 12, 3, stride=2, padding=1), nn.ReLU(),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 1), nn.Flatten(0),
        )  # fmt: skip
        x = tensor(np.stack(images(128, False) + images(128, True)))
        y = torch.arange(256).ge(128).float()
        optimiser = torch.optim.Adam(net.parameters(), 1e-2)
        for _ in range(120):
            optimiser.zero_grad()
            nn.functional.binary_cross_entropy_with_logits(net(x), y).backward()
            optimiser.step()
    return net.eval().requires_grad_(False)


def compare(method: Method, norm: Norm, eps: float, *, n: int, seed: int, queries: int) -> Row:
    """One attack with one budget, by us and by ART, on n images of each class."""
    import torch

    net = network()
    x = tensor(np.stack(images(n, False, seed=1000 + seed) + images(n, True, seed=1000 + seed)))
    y = torch.arange(2 * n).ge(n).float()
    problem = Problem(net, x, 1 - 2 * y, 0.0, norm, torch.full((2 * n,), eps), seed)
    steps = APGD_STEPS if method == "apgd" else STEPS
    ours, seconds = _timed(lambda: Digital(method, eps=eps, norm=norm, steps=steps, queries=queries)(problem))
    theirs, theirs_seconds = _timed(lambda: art(method, problem, y, eps=eps, steps=steps, queries=queries, seed=seed))
    right = [_robust(problem, each) for each in (ours, saved(ours), theirs, saved(theirs))]
    return Row(method, norm, eps, seed, *right, seconds, theirs_seconds)


def art(method: Method, problem: Problem, y: Tensor, *, eps: float, steps: int, queries: int, seed: int) -> Tensor:
    """What ART makes of the same images."""
    import torch
    from art.attacks.evasion import AutoProjectedGradientDescent, ProjectedGradientDescentPyTorch, SquareAttack
    from art.estimators.classification import PyTorchClassifier
    from torch import nn

    class Two(nn.Module):
        """One logit z as two, -z/2 and z/2, whose cross-entropy is that of z."""

        def forward(self, x: Tensor) -> Tensor:
            z = problem.score(x)
            return torch.stack([-z / 2, z / 2], dim=1)

    classifier = PyTorchClassifier(
        Two(), loss=nn.CrossEntropyLoss(), input_shape=tuple(problem.clean.shape[1:]), nb_classes=2,
        clip_values=(0.0, 1.0), device_type="cpu",
    )  # fmt: skip
    common: dict[str, Any] = {"norm": np.inf if problem.norm == "linf" else 2, "eps": eps, "verbose": False}
    made: Any
    if method == "pgd":
        made = ProjectedGradientDescentPyTorch(
            classifier, eps_step=2.5 * eps / steps, max_iter=steps, num_random_init=1, batch_size=AT_ONCE, **common
        )
    elif method == "apgd":
        made = AutoProjectedGradientDescent(
            classifier, eps_step=2 * eps, max_iter=steps, nb_random_init=1, batch_size=AT_ONCE,
            loss_type="cross_entropy", **common,
        )  # fmt: skip
    else:
        made = SquareAttack(classifier, max_iter=queries, nb_restarts=1, batch_size=AT_ONCE, **common)
    kept = np.random.get_state()  # noqa: NPY002  (ART draws from the global state)
    try:
        np.random.seed(seed)  # noqa: NPY002
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            found = made.generate(problem.clean.numpy(), y.long().numpy())
    finally:
        np.random.set_state(kept)  # noqa: NPY002
    return torch.from_numpy(found)


def _robust(problem: Problem, x: Tensor) -> float:
    return float((~problem.fooled(problem.gain(x))).float().mean())


def _timed(work: Callable[[], Tensor]) -> tuple[Tensor, float]:
    began = time.perf_counter()
    return work(), time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=100, help="of each class")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--queries", type=int, default=500, help="of Square")
    asked = parser.parse_args()
    print(f"{'attack':8}{'norm':6}{'eps':>8}   robust accuracy %, ours (saved) | ART (saved)    difference   seconds")
    for method, norm, eps in CASES:
        rows = [
            compare(method, norm, eps, n=asked.images, seed=seed, queries=asked.queries) for seed in range(asked.seeds)
        ]
        mean = {name: float(np.mean([getattr(row, name) for row in rows])) for name in AVERAGED}
        size = f"{eps * 255:g}/255" if norm == "linf" else f"{eps:g}"
        print(
            f"{method:8}{norm:6}{size:>8}   {100 * mean['ours']:5.1f} ({100 * mean['ours_saved']:5.1f}) | "
            f"{100 * mean['theirs']:5.1f} ({100 * mean['theirs_saved']:5.1f})"
            f"{100 * (mean['ours'] - mean['theirs']):+10.1f}      {mean['seconds']:.1f} | {mean['their_seconds']:.1f}",
            flush=True,
        )


if __name__ == "__main__":
    main()

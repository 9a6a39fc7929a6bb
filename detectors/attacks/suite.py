"""A detector before and after attacks: a row for each attack and direction, and the attacked images."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from auditkit.errors import DetectorError
from auditkit.watermark.attacks import Step
from detectors.attacks.apgd import apgd, autoattack
from detectors.attacks.base import DIRECTIONS, Direction, Norm, Problem, Score, problem, saved, uint8
from detectors.attacks.distortion import Distortion, distortion
from detectors.attacks.laundering import launder
from detectors.attacks.pgd import pgd
from detectors.attacks.regeneration import Regenerate, regenerated
from detectors.attacks.square import square
from detectors.base import Images

if TYPE_CHECKING:
    from torch import Tensor

Method = Literal["pgd", "apgd", "autoattack", "square"]
METHODS: tuple[Method, ...] = ("pgd", "apgd", "autoattack", "square")
PIXELS_AT_ONCE = 2**20
"""Of images that are attacked together."""


@dataclass(frozen=True)
class Digital:
    """A white-box or black-box attack on the pixels.

    Attributes:
        eps: budget, of values in [0, 1], in `norm`.
        steps, restarts: of pgd, apgd and autoattack; pgd takes `steps` as they are.
        queries: of square and autoattack.
    """

    method: Method
    eps: float = 2 / 255
    norm: Norm = "linf"
    steps: int = 40
    restarts: int = 1
    queries: int = 1000

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise DetectorError(f"there is no attack '{self.method}'", mend=f"use one of {', '.join(METHODS)}")
        if min(self.steps, self.restarts, self.queries) < 1:
            raise DetectorError(
                "an attack takes at least one step, restart and query",
                where=f"steps={self.steps}, restarts={self.restarts}, queries={self.queries}",
            )

    @property
    def budget(self) -> str:
        """For people: 'linf 2/255, 40 steps'."""
        size = f"{self.eps * 255:.3g}/255" if self.norm == "linf" else f"{self.eps:.3g}"
        spent = {
            "square": f"{self.queries} queries",
            "autoattack": f"{self.steps} steps, {self.queries} queries",
        }.get(self.method, f"{self.steps} steps")
        again = f" x {self.restarts}" if self.restarts > 1 and self.method != "square" else ""
        return f"{self.norm} {size}, {spent}{again}"

    def __call__(self, given: Problem) -> Tensor:
        if self.method == "square":
            return square(given, queries=self.queries)
        if self.method == "autoattack":
            return autoattack(given, steps=self.steps, restarts=self.restarts, queries=self.queries)
        ascend = pgd if self.method == "pgd" else apgd
        return ascend(given, steps=self.steps, restarts=self.restarts)


@dataclass(frozen=True)
class Remade:
    """Regeneration through a model, as an attack."""

    name: str
    regenerate: Regenerate

    @property
    def budget(self) -> str:
        return "once"


Attack = Digital | Step | Remade


@dataclass(frozen=True)
class Attacked:
    """One attack in one direction.

    Attributes:
        attack, budget: for people.
        n_images, n_sources: of the attacked class, those that could be scored before and after.
        n_right: those of them that were judged rightly before.
        auroc_before, auroc_after: the attacked class against the untouched other one; NaN without any of that.
        fooled, low, high: share of the images judged rightly before that are judged wrongly as saved, with its 95%
            interval by source; NaN and status 'insufficient' with too few sources.
        fooled_unsaved: the same before rounding to 8 bits; NaN for attacks that work on saved images.
        called_before, called_after: share of the attacked class that is called generated.
        psnr, ssim, linf, l2: means over the images; NaN where sizes changed. PSNR over those that changed at all.
        rows, images: which images were attacked (rows of the input), and they as they are saved.
    """

    attack: str
    budget: str
    direction: Direction
    n_images: int
    n_sources: int
    n_right: int
    auroc_before: float
    auroc_after: float
    fooled: float
    low: float
    high: float
    status: str
    fooled_unsaved: float
    called_before: float
    called_after: float
    psnr: float
    ssim: float
    linf: float
    l2: float
    seconds: float
    rows: tuple[int, ...]
    images: tuple[np.ndarray, ...]

    def row(self) -> dict[str, Any]:
        """Without the images: plain data, a row of a table."""
        return {name: value for name, value in vars(self).items() if name not in ("rows", "images")}


def attack(
    attacks: Sequence[Attack],
    images: Images,
    labels: ArrayLike,
    sources: ArrayLike,
    *,
    scores: Callable[[Images], NDArray[np.float64]],
    score: Score | None,
    threshold: float,
    directions: Sequence[Direction] = DIRECTIONS,
    seed: int = 0,
    device: str = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> list[Attacked]:
    """Attack images and judge them again, as saved.

    Args:
        images, labels, sources: uint8 [h, w, 3] each, of any size; [n], 1 for generated; [n].
        scores: the detector's; what is reported rests on it alone.
        score: the differentiable one, for attacks on pixels; None has the black-box attack ask `scores`.
        threshold: from this score on an image is called generated.
        directions: evasion attacks the generated images, framing the real ones; without any of them it is left out.

    Raises:
        DetectorError: no image of any direction's class, or white box without gradients.
    """
    label, source = np.asarray(labels), np.asarray(sources, str)
    if not len(images) == len(label) == len(source):
        raise DetectorError(f"{len(images)} images, {len(label)} labels and {len(source)} sources do not match")
    wanted = [(d, np.flatnonzero(label == (d == "evasion"))) for d in directions]
    wanted = [(d, rows) for d, rows in wanted if len(rows)]
    if not wanted:
        raise DetectorError(
            "there is no image to attack", where=" and ".join(directions),
            mend="evasion needs generated images, framing real ones",
        )  # fmt: skip
    asked = score or through_files(scores)
    before = np.asarray(scores(images), np.float64)
    if not np.isfinite(before).any():
        raise DetectorError("the detector can score none of the images", mend="see its smallest size (min_side)")
    out, total = [], len(attacks) * sum(len(rows) for _, rows in wanted)
    done = 0

    def tell(more: int) -> None:
        nonlocal done
        done += more
        if progress:
            progress(done, total)

    for one in attacks:
        if isinstance(one, Digital) and one.method != "square" and score is None:
            raise DetectorError(
                "gradients do not go through this detector", where=f"attack={one.method}", mend="use --attack square"
            )
        for direction, rows in wanted:
            began = time.perf_counter()
            kept = rows[np.isfinite(before[rows])]
            changed, unsaved = _changed(
                one, [images[row] for row in kept], asked, threshold, direction, seed, device, tell
            )
            tell(len(rows) - len(kept))
            after = np.asarray(scores(changed), np.float64) if changed else np.zeros(0)
            out.append(
                _judged(one, direction, kept, images, changed, before, after, unsaved, label, source, threshold)
                | {"seconds": time.perf_counter() - began}
            )
    return [Attacked(**row) for row in out]


def through_files(scores: Callable[[Images], NDArray[np.float64]]) -> Score:
    """A detector without gradients as a `Score`: it is asked about images as they are saved."""
    import torch

    def score(x: Tensor) -> Tensor:
        return torch.from_numpy(np.asarray(scores(list(uint8(x))), np.float32)).to(x.device)

    return score


def by_size(images: Images) -> Iterator[list[int]]:
    """Places of images of one size, no more than `PIXELS_AT_ONCE` pixels together."""
    sizes: dict[tuple[int, ...], list[int]] = {}
    for place, image in enumerate(images):
        sizes.setdefault(image.shape, []).append(place)
    for shape, places in sizes.items():
        step = max(1, PIXELS_AT_ONCE // (shape[0] * shape[1]))
        yield from (places[start : start + step] for start in range(0, len(places), step))


def _changed(
    one: Attack,
    images: list[np.ndarray],
    score: Score,
    threshold: float,
    direction: Direction,
    seed: int,
    device: str,
    tell: Callable[[int], None],
) -> tuple[list[np.ndarray], NDArray[np.float64]]:
    """The images as saved, and how far their scores lay on the attacker's side before they were saved."""
    unsaved = np.full(len(images), np.nan)
    if not isinstance(one, Digital):
        out = []
        for image in images:
            made = launder([image], one, seed=seed) if isinstance(one, Step) else regenerated([image], one.regenerate)
            out += made
            tell(1)
        return out, unsaved
    changed: list[np.ndarray] = list(images)
    for places in by_size(images):
        given = problem(
            score, [images[place] for place in places], direction=direction, threshold=threshold, norm=one.norm,
            eps=one.eps, seed=seed, device=device,
        )  # fmt: skip
        found = one(given)
        gain = given.gain(found)
        unsaved[places] = given.fooled(gain).double().cpu().numpy()
        for place, image in zip(places, uint8(saved(found)), strict=True):
            changed[place] = image
        tell(len(places))
    return changed, unsaved


def _judged(
    one: Attack,
    direction: Direction,
    rows: NDArray[np.intp],
    images: Images,
    changed: list[np.ndarray],
    before: NDArray[np.float64],
    after: NDArray[np.float64],
    unsaved: NDArray[np.float64],
    label: NDArray[Any],
    source: NDArray[Any],
    threshold: float,
) -> dict[str, Any]:
    from detectors.metrics import auroc, share

    told = np.isfinite(after)
    here, now = rows[told], after[told]
    was, called = before[here] >= threshold, now >= threshold
    wrong_was, wrong = (~was, ~called) if direction == "evasion" else (was, called)
    right = ~wrong_was
    found = share(wrong[right], source[here][right])
    first = unsaved[told][right]
    others = np.flatnonzero((label != label[here[0]]) & np.isfinite(before)) if len(here) else np.zeros(0, int)
    truth = np.concatenate([label[here], label[others]])
    measured = [distortion(images[row], image) for row, image in zip(rows, changed, strict=True)]
    return {
        "attack": one.attack.title if isinstance(one, Step) else one.name if isinstance(one, Remade) else one.method,
        "budget": _budget(one),
        "direction": direction,
        "n_images": len(here), "n_sources": len(set(source[here])), "n_right": int(right.sum()),
        "auroc_before": auroc(np.concatenate([before[here], before[others]]), truth),
        "auroc_after": auroc(np.concatenate([now, before[others]]), truth),
        "fooled": found.estimate, "low": found.ci_low, "high": found.ci_high, "status": found.status,
        "fooled_unsaved": float(first.mean()) if found.status == "ok" else math.nan,
        "called_before": float(was.mean()) if len(here) else math.nan,
        "called_after": float(called.mean()) if len(here) else math.nan,
        **_means(measured),
        "rows": tuple(int(row) for row in rows), "images": tuple(changed),
    }  # fmt: skip


def _budget(one: Attack) -> str:
    return one.attack.unit.replace("#", f"{one.strength:g}") if isinstance(one, Step) else one.budget


def _means(measured: list[Distortion]) -> dict[str, float]:
    def mean(values: list[float]) -> float:
        finite = [value for value in values if math.isfinite(value)]
        return float(np.mean(finite)) if finite else math.nan

    return {name: mean([getattr(each, name) for each in measured]) for name in ("psnr", "ssim", "linf", "l2")}

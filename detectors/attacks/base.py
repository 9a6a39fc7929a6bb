"""What the attacks on a detector share: whom to fool, how far an image may be changed, and where it is then saved.

Two errors can be forced on a detector, and both are attacked: *evasion* makes a generated image pass as 'no sign',
*framing* makes a real image be called generated. An attack sees scores (white box: their gradients too) and the
frozen threshold. Images are saved with 8 bits before they are judged, as an attacker must who wants to post them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from auditkit.errors import DetectorError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Score = Callable[["Tensor"], "Tensor"]
"""float32 [n, 3, h, w] in 0..1 to scores [n], larger for generated; an image's score is its own alone."""

Norm = Literal["linf", "l2"]
Direction = Literal["evasion", "framing"]
DIRECTIONS: tuple[Direction, ...] = get_args(Direction)
TINY = 1e-12


@dataclass(frozen=True)
class Problem:
    """Images of one size, each to be pushed over a detector's threshold within its own budget.

    Attributes:
        score: the detector.
        clean: float32 [n, 3, h, w] in [0, 1], the images as they are.
        sign: float32 [n], +1 to raise the score (framing), -1 to lower it (evasion).
        threshold: from this score on an image is called generated.
        norm: how a change is measured: the largest change of a value, or the Euclidean length over all values.
        eps: float32 [n], the most that the change may measure, of values in [0, 1].
        seed: of random starts. An image's draws depend on its pixels and this seed, not on its neighbours.
    """

    score: Score
    clean: Tensor
    sign: Tensor
    threshold: float
    norm: Norm
    eps: Tensor
    seed: int = 0

    def gain(self, x: Tensor) -> Tensor:
        """[n]: how far the score lies beyond the threshold, on the attacker's side."""
        import torch

        with torch.no_grad():
            return self.sign * (self._scores(x) - self.threshold)

    def gain_and_gradient(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """`gain` [n] and its gradient [n, 3, h, w].

        Raises:
            DetectorError: gradients do not go through the detector.
        """
        import torch

        with torch.enable_grad():
            x = x.detach().requires_grad_(True)
            gain = self.sign * (self._scores(x) - self.threshold)
            if not gain.requires_grad:
                raise no_gradient()
            (gradient,) = torch.autograd.grad(gain.sum(), x, allow_unused=True)
        if gradient is None:
            raise no_gradient()
        return gain.detach(), gradient.detach()

    def fooled(self, gain: Tensor) -> Tensor:
        """bool [n]: the detector errs. At the threshold itself an image is called generated."""
        return (gain > 0) | ((gain == 0) & (self.sign > 0))

    def project(self, x: Tensor) -> Tensor:
        """The images moved back into the budget and into [0, 1]."""
        if self.norm == "linf":
            eps = column(self.eps)
            return x.clamp(self.clean - eps, self.clean + eps).clamp(0, 1)
        # Cutting to [0, 1] only moves values towards the clean ones, so that the length cannot grow again.
        change = x - self.clean
        return (self.clean + change * (column(self.eps) / length(change)).clamp(max=1)).clamp(0, 1)

    def random_start(self, restart: int) -> Tensor:
        """Uniform in the cube (Linf) or in the ball (L2) of the budget, cut to [0, 1]."""
        import torch

        shape, start = self.clean.shape[1:], []
        for generator in self.generators(restart):
            if self.norm == "linf":
                start.append(2 * torch.rand(shape, generator=generator) - 1)
            else:
                noise = torch.randn(shape, generator=generator)
                radius = torch.rand((), generator=generator) ** (1 / noise.numel())
                start.append(radius * noise / noise.norm())
        return (self.clean + column(self.eps) * torch.stack(start).to(self.clean)).clamp(0, 1)

    def generators(self, salt: int) -> list[torch.Generator]:
        """A source of random numbers for each image."""
        import torch

        pixels = [uint8(image[None])[0].tobytes() for image in self.clean]
        seeds = [hashlib.sha256(f"{self.seed} {salt} ".encode() + each).digest()[:8] for each in pixels]
        return [torch.Generator().manual_seed(int.from_bytes(each, "big") >> 1) for each in seeds]

    def where(self, mask: Tensor) -> Problem:
        """The problem of some of the images."""
        return replace(self, clean=self.clean[mask], sign=self.sign[mask], eps=self.eps[mask])

    def _scores(self, x: Tensor) -> Tensor:
        scores = self.score(x)
        if scores.shape != x.shape[:1]:
            raise DetectorError(
                f"the detector gave scores of shape {tuple(scores.shape)} for {len(x)} images",
                where="score", mend="return one score an image, [n]",
            )  # fmt: skip
        return scores


def problem(
    score: Score,
    images: Sequence[np.ndarray],
    *,
    direction: Direction,
    threshold: float,
    norm: Norm = "linf",
    eps: float,
    seed: int = 0,
    device: str = "cpu",
) -> Problem:
    """The problem of fooling `score` about images of one size, uint8 [h, w, 3] each.

    Raises:
        DetectorError: no images, sizes that differ, a budget that is not positive, an unknown norm or direction.
    """
    import torch

    if not len(images):
        raise DetectorError("there is no image to attack", where=direction, mend="give at least one")
    if direction not in DIRECTIONS:
        raise DetectorError("an attack is an evasion or a framing", where=f"direction={direction}")
    if norm not in get_args(Norm):
        raise DetectorError("budgets are measured in linf or l2", where=f"norm={norm}", mend="use linf or l2")
    if not (np.isfinite(eps) and eps > 0):
        raise DetectorError("the budget of an attack is above 0", where=f"eps={eps:g}", mend="for example 2/255")
    if len({image.shape for image in images}) > 1:
        raise DetectorError("images attacked together have one size", where="images", mend="group them by size")
    clean = tensor(np.stack(images)).to(device)
    ones = torch.ones(len(images), device=device)
    return Problem(score, clean, ones if direction == "framing" else -ones, threshold, norm, eps * ones, seed)


def tensor(images: np.ndarray) -> Tensor:
    """uint8 [n, h, w, 3] to float32 [n, 3, h, w] in [0, 1]."""
    import torch

    return torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2))).float() / 255


def uint8(x: Tensor) -> np.ndarray:
    """[n, 3, h, w] in [0, 1] to the nearest uint8 [n, h, w, 3]: what is saved."""
    return (x.detach().clamp(0, 1) * 255).round().byte().cpu().numpy().transpose(0, 2, 3, 1)


def saved(x: Tensor) -> Tensor:
    """`x` after it was saved with 8 bits and read again."""
    return (x * 255).round() / 255


def length(change: Tensor) -> Tensor:
    """Euclidean, [n, 1, 1, 1], never 0."""
    return change.flatten(1).norm(dim=1).clamp(min=TINY)[:, None, None, None]


def column(values: Tensor) -> Tensor:
    """[n] as [n, 1, 1, 1]."""
    return values[:, None, None, None]


def ascent(gradient: Tensor, norm: Norm) -> Tensor:
    """The steepest step of length 1 in the norm."""
    return gradient.sign() if norm == "linf" else gradient / length(gradient)


def no_gradient() -> DetectorError:
    return DetectorError(
        "gradients do not go through this detector", where="a white-box attack", mend="use --attack square"
    )

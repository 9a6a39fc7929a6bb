"""Simulated protective perturbations: projected gradient descent on an encoder, within a budget that hides it.

Projected gradient descent after Madry et al. 2018 (arXiv 1706.06083), with the aims of three tools:

    style-cloak     the embedding goes to that of the same picture in another style (Glaze, Shan et al. 2023,
                    arXiv 2302.04222)
    concept-poison  the embedding goes to that of a picture of something else (Nightshade, Shan et al. 2023,
                    arXiv 2310.13828)
    latent-shield   the autoencoder's latent goes to that of another picture (PhotoGuard, Salman et al. 2023,
                    arXiv 2302.06588; Mist, Liang and Wu 2023, arXiv 2305.12683)

These are simulations: the tools themselves attack other encoders, with other perceptual losses, and were not available.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from auditkit.errors import DetectorError
from detectors.perturbation.victims import Victim, to_tensor, to_uint8

if TYPE_CHECKING:
    from torch import Tensor

Kind = Literal["style-cloak", "concept-poison", "latent-shield"]
KINDS: tuple[Kind, ...] = ("style-cloak", "concept-poison", "latent-shield")
STEPS = 16


@dataclass(frozen=True)
class Perturbed:
    """One image and its perturbed copy.

    Attributes:
        image: uint8 [h, w, 3].
        linf: largest change of a value, in grey levels of 255, as saved.
        psnr: dB.
        shift: cosine distance between the victim's embeddings before and after.
        toward: how much nearer the embedding came to its target: the cosine to it after, less that before.
    """

    image: np.ndarray
    linf: int
    psnr: float
    shift: float
    toward: float


def perturb(
    image: np.ndarray,
    victim: Victim,
    *,
    kind: Kind,
    budget: float,
    target: np.ndarray | None = None,
    perceptual: bool = False,
    steps: int = STEPS,
) -> Perturbed:
    """Perturb one image against an encoder; the same arguments give the same pixels.

    Args:
        image: uint8 [h, w, 3], not changed.
        victim: a `ClipVictim`, or a `LatentVictim` for 'latent-shield'.
        budget: largest change of a value in grey levels of 255 (Linf), 1 to 32.
        target: uint8 [h', w', 3], the picture to go to; 'style-cloak' needs none and paints its own.
        perceptual: hide the change where the eye sees least: it is smooth (Gaussian, 1 px), and in flat regions
            at most a quarter of the budget.

    Raises:
        DetectorError: the budget is out of range, the kind is unknown, or a target is missing.
    """
    import torch

    if not 1 <= budget <= 32:
        raise DetectorError("the budget is out of range", where=f"budget={budget:g}", mend="choose 1 to 32 of 255")
    if kind not in KINDS:
        raise DetectorError("no perturbation has this name", where=kind, mend=f"choose one of: {', '.join(KINDS)}")
    if kind == "style-cloak" and target is None:
        target = painted(image)
    if target is None:
        raise DetectorError(f"'{kind}' needs a picture to go to", where="target", mend="give another picture")
    device = getattr(victim, "device", "cpu")
    clean = to_tensor([image], device)
    with torch.no_grad():
        before = victim.embed(clean)
        aim = victim.embed(_fitted(target, clean))
    limit = budget / 255 * (_visibility(clean) if perceptual else torch.ones_like(clean[:, :1]))
    generator = torch.Generator().manual_seed(0)
    change = (torch.rand(clean.shape, generator=generator).to(device) - 0.5) * limit
    for step in range(steps):
        change.requires_grad_(True)
        made = _smooth(change) if perceptual else change
        similarity = (victim.embed((clean + made).clamp(0, 1)) * aim).sum()
        gradient = torch.autograd.grad(similarity, change)[0]
        size = 2.5 / steps * (1.5 - step / steps)  # falls, so that the last steps settle
        change = (change.detach() + size * limit * gradient.sign()).clamp(-limit, limit)
    made = _smooth(change) if perceptual else change
    saved = to_uint8(clean + made.clamp(-budget / 255, budget / 255))[0]
    return measured(image, saved, victim, aim=aim, before=before)


def measured(
    image: np.ndarray, saved: np.ndarray, victim: Victim, *, aim: Tensor | None = None, before: Tensor | None = None
) -> Perturbed:
    """How far `saved` is from `image`, in pixels and to the victim; `toward` is NaN without an aim."""
    import torch

    difference = saved.astype(np.int16) - image.astype(np.int16)
    error = float(np.mean(difference.astype(np.float64) ** 2))
    with torch.no_grad():
        device = getattr(victim, "device", "cpu")
        before = victim.embed(to_tensor([image], device)) if before is None else before
        after = victim.embed(to_tensor([saved], device))
    toward = float("nan") if aim is None else float(((after - before) * aim).sum())
    return Perturbed(
        saved,
        linf=int(np.abs(difference).max()),
        psnr=float("inf") if error == 0 else 10 * np.log10(255**2 / error),
        shift=1 - float((before * after).sum()),
        toward=toward,
    )


def painted(image: np.ndarray) -> np.ndarray:
    """The picture as a coarse painting in other colours, uint8 [h, w, 3]: a stand-in for Glaze's style transfer."""
    from PIL import Image, ImageFilter, ImageOps

    whole = Image.fromarray(image)
    small = ImageOps.contain(whole, (128, 128))  # the mode filter is slow, and the painting is coarse
    coarse = small.filter(ImageFilter.ModeFilter(5)).filter(ImageFilter.MedianFilter(3))
    flat = np.asarray(ImageOps.posterize(ImageOps.autocontrast(coarse), 3).resize(whole.size))
    return np.ascontiguousarray(flat[..., [2, 0, 1]])  # other colours, the same light and dark


def targets_for(images: Sequence[np.ndarray], *, seed: int = 0) -> list[np.ndarray]:
    """For each image another one of the set to go to, by a random cycle; of one image, its negative upside down."""
    if len(images) == 1:
        return [np.ascontiguousarray(255 - images[0][::-1])]
    order = np.random.default_rng(seed).permutation(len(images))
    following = dict(zip(order, np.roll(order, -1), strict=True))
    return [images[following[at]] for at in range(len(images))]


def _fitted(target: np.ndarray, like: Tensor) -> Tensor:
    """`target` at the size of the images it is a target for, cut to their shape."""
    from PIL import Image, ImageOps

    size = (like.shape[-1], like.shape[-2])
    return to_tensor([np.asarray(ImageOps.fit(Image.fromarray(target), size))], str(like.device))


def _smooth(change: Tensor) -> Tensor:
    """Gaussian, 1 px, at the same size; twice as strong, since smoothing takes amplitude."""
    from torchvision.transforms.v2.functional import gaussian_blur

    blurred: Tensor = 2 * gaussian_blur(change, [5, 5], [1.0, 1.0])
    return blurred


def _visibility(images: Tensor) -> Tensor:
    """[n, 1, h, w] in [.25, 1]: how much of the budget each place may carry, by its texture (contrast masking)."""
    from torch.nn.functional import avg_pool2d

    grey = images.mean(1, keepdim=True)
    variance = avg_pool2d(grey**2, 7, 1, 3, count_include_pad=False) - (
        avg_pool2d(grey, 7, 1, 3, count_include_pad=False) ** 2
    )
    return (variance.clamp(min=0).sqrt() * 255 / 8).clamp(0.25, 1)

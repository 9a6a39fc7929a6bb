"""How far a perturbation survives edits: what share of its effect on the victim's embedding is left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from auditkit.errors import DetectorError
from auditkit.stats.means import clustered_mean
from auditkit.watermark import attacks
from detectors.base import Progress
from detectors.perturbation.victims import Victim, to_tensor

EDITS = ("none", "jpeg:95,85,75,50", "resize:0.5", "downscale:0.5", "blur:1", "median:3", "noise:5", "crop:0.8",
         "screenshot:1.25")  # fmt: skip
FEWEST = 5
"""Images under which there is no interval."""
FEWEST_SHIFT = 1e-3
"""Cosine distance that a perturbation must have moved an embedding by, to ask what is left of it."""


@dataclass(frozen=True)
class Survival:
    """What one edit leaves.

    Attributes:
        label: the edit, for people.
        share: mean over images of the share left; 1 as perturbed, 0 where nothing is left, negative where the edit
            turns the embedding the other way; NaN without images.
        ci_low, ci_high: 95%, Student's t over images; NaN with fewer than `FEWEST`.
        n: images; `weak` more were left out, since their perturbation had hardly moved the embedding to begin with.
    """

    edit: str
    strength: float
    label: str
    share: float
    ci_low: float
    ci_high: float
    n: int
    weak: int


def survival(
    pairs: Sequence[tuple[np.ndarray, np.ndarray]],
    victim: Victim,
    *,
    edits: Sequence[str] = EDITS,
    seed: int = 0,
    progress: Progress | None = None,
) -> list[Survival]:
    """The share of the perturbation's shift that is left after each edit.

    With f the victim's embedding, d = f(perturbed) - f(clean) and d' = f(edited perturbed) - f(edited clean), the share
    is d . d' / d . d: what is left in the direction in which the perturbation pushed. The edit itself, which moves
    clean images too, is taken out by editing both alike, with the same random numbers.

    Args:
        pairs: (clean, perturbed), uint8 [h, w, 3] of one shape each.
        edits: as for watermark attacks: 'jpeg:95,50', 'crop:0.8'.

    Raises:
        DetectorError: no pairs, or a pair of two shapes. WatermarkError: an edit that there is not.
    """
    if not pairs:
        raise DetectorError("there are no images", where="pairs", mend="give clean images and their perturbed copies")
    for at, (clean, perturbed) in enumerate(pairs):
        if clean.shape != perturbed.shape:
            raise DetectorError(
                f"the perturbed copy has another size: {perturbed.shape[:2]}, not {clean.shape[:2]}",
                where=f"pair {at + 1}",
                mend="give each clean image with the copy made of it",
            )
    steps = attacks.steps(edits)
    shifts = [_shift(clean, perturbed, victim) for clean, perturbed in pairs]
    strong = [at for at, shift in enumerate(shifts) if float((shift**2).sum()) / 2 >= FEWEST_SHIFT]
    rows = []
    for done, step in enumerate(steps):
        shares = []
        for at in strong:
            edited = [step.attack(image, step.strength, np.random.default_rng([seed, at])) for image in pairs[at]]
            left = _shift(edited[0], edited[1], victim)
            # An autoencoder's latent has another shape after a crop; directions cannot be compared then.
            if left.shape == shifts[at].shape:
                shares.append(float((shifts[at] * left).sum() / (shifts[at] ** 2).sum()))
        found = clustered_mean(shares, np.arange(len(shares))) if len(shares) >= FEWEST else None
        low, high = (found.low, found.high) if found else (float("nan"), float("nan"))
        mean = float(np.mean(shares)) if shares else float("nan")
        weak = len(pairs) - len(strong)
        rows.append(Survival(step.attack.name, step.strength, step.label, mean, low, high, len(shares), weak))
        if progress:
            progress((done + 1) / len(steps), step.label)
    return rows


def _shift(clean: np.ndarray, perturbed: np.ndarray, victim: Victim) -> np.ndarray:
    """f(perturbed) - f(clean), float64 [d]."""
    import torch

    with torch.inference_mode():
        found = victim.embed(to_tensor([clean, perturbed], getattr(victim, "device", "cpu"))).double().cpu().numpy()
    difference: np.ndarray = found[1] - found[0]
    return difference

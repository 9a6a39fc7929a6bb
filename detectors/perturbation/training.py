"""How a head is trained and calibrated: benign and perturbed copies of each source, by cross-fitting over sources."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detectors.families.linear import Linear
from detectors.perturbation.benign import CONDITIONS
from detectors.perturbation.detector import Head, terms
from detectors.perturbation.signals import LATENT_SIDE, names, signals
from detectors.perturbation.simulate import KINDS, Kind, perturb
from detectors.perturbation.victims import ClipVictim, LatentVictim

BUDGETS = (2, 3, 4, 6, 8)
"""Linf, of 255: what training perturbations draw from."""
FOLDS = 5
PROBES = ("personas-clip", "personas-clip-judge")


@dataclass(frozen=True)
class Source:
    """An image that nobody perturbed; `kind` is what the calibration keeps apart: photograph, drawing."""

    name: str
    kind: str
    image: np.ndarray


@dataclass(frozen=True)
class Collected:
    """Signals of each source's copies.

    Attributes:
        kinds: [s].
        benign: float32 [s, conditions, d], in the order of `CONDITIONS`.
        perturbed: float32 [s, 3, d], a perturbation of each of `KINDS`, of a random budget.
    """

    kinds: NDArray[np.str_]
    benign: NDArray[np.float32]
    perturbed: NDArray[np.float32]


@dataclass(frozen=True)
class Work:
    """What a process needs to know, with the encoders opened once."""

    probes: list[ClipVictim]
    probe: LatentVictim
    autoencoder: LatentVictim

    @staticmethod
    def opened(autoencoder: str) -> Work:
        import torch

        torch.set_num_threads(1)
        clip = [ClipVictim(name) for name in PROBES]
        return Work(clip, LatentVictim(autoencoder, side=LATENT_SIDE), LatentVictim(autoencoder))

    def signals(self, image: np.ndarray) -> NDArray[np.float32]:
        return signals(image, self.probes, self.probe)

    def victim(self, kind: Kind) -> ClipVictim | LatentVictim:
        return self.autoencoder if kind == "latent-shield" else self.probes[0]


def collect(source: Source, target: np.ndarray, work: Work, *, seed: int) -> Collected:
    """The signals of one source under every benign condition, and of three perturbed copies.

    Args:
        target: uint8 [h, w, 3], another source, for the perturbations that go to one.
        seed: of the noise, the keys and the budgets.
    """
    rng = np.random.default_rng(seed)
    benign = [work.signals(apply(source.image, rng)) for apply in CONDITIONS.values()]
    perturbed = [work.signals(image) for image in _perturbed(source.image, target, work, rng)]
    return Collected(np.array([source.kind]), np.stack(benign)[None], np.stack(perturbed)[None])


def _perturbed(image: np.ndarray, target: np.ndarray, work: Work, rng: np.random.Generator) -> Iterator[np.ndarray]:
    for kind in KINDS:
        aim = None if kind == "style-cloak" else target
        yield perturb(
            image, work.victim(kind), kind=kind, budget=int(rng.choice(BUDGETS)), target=aim,
            perceptual=bool(rng.random() < 0.4), steps=6,
        ).image  # fmt: skip


def fit(collected: Collected, *, seed: int, autoencoder_sha256: str, encoders: dict[str, str]) -> Head:
    """A head for all sources, and for each source the benign scores that a head fitted without it gives.

    Cross-fitting lets each source both teach and calibrate (as cross-conformal prediction, Vovk 2015); the head's
    weights are the mean of the folds', so that no image is judged by other weights than those it is compared under,
    up to a fifth of the sources.
    """
    n, conditions, _ = collected.benign.shape
    centre = collected.benign.reshape(-1, collected.benign.shape[-1]).mean(0, dtype=np.float64)
    scale = collected.benign.reshape(-1, len(centre)).std(0, dtype=np.float64) + 1e-6
    of_benign, of_perturbed = (terms(part, centre, scale) for part in (collected.benign, collected.perturbed))
    folds = np.random.default_rng(seed).permutation(n) % FOLDS
    calibration = np.zeros((n, conditions))
    heads = []
    for fold in range(FOLDS):
        kept = folds != fold
        benign, perturbed = (part[kept].reshape(-1, part.shape[-1]) for part in (of_benign, of_perturbed))
        labels = np.r_[np.zeros(len(benign), np.int8), np.ones(len(perturbed), np.int8)]
        head = Linear.fitted(np.r_[benign, perturbed], labels, seed=seed)
        heads.append(head)
        held = of_benign[~kept]
        calibration[~kept] = head.scores(held.reshape(-1, held.shape[-1])).reshape(held.shape[:2])
    slopes = np.mean([head.weight / head.scale for head in heads], axis=0)
    bias = float(np.mean([head.bias - (head.weight / head.scale) @ head.centre for head in heads]))
    return Head(
        centre=centre,
        scale=scale,
        weight=slopes, bias=bias, calibration=calibration, kinds=tuple(collected.kinds.tolist()),
        conditions=tuple(CONDITIONS), signals=tuple(names(PROBES)), encoders=encoders,
        autoencoder_sha256=autoencoder_sha256,
    )  # fmt: skip

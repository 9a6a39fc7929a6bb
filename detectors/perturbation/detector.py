"""The detector: signals, a logistic head, benign scores to compare with, and what it says of images and of the set."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from auditkit.errors import DetectorError
from auditkit.files import write_atomic
from detectors.base import Images, Progress
from detectors.perturbation import evidence
from detectors.perturbation.signals import LATENT_SIDE, MIN_SIDE, signals
from detectors.perturbation.victims import ClipVictim, LatentVictim

BUNDLED = Path(__file__).parent / "bundled" / "perturbation.safetensors"
FPR = 0.01
VERSION = 1
FARTHEST = 4.0
"""Standard deviations beyond which a signal counts as no farther."""

Verdict = Literal["perturbed", "no sign", "insufficient"]

MEANING = {
    "perturbed": "Someone seems to have perturbed these images so that models learn badly from them. Their author may"
    " object to training: respect that, and look at the opt-out signals (auditkit consent IMAGE).",
    "no sign": "No perturbation of the kinds that were simulated was found. That is neither consent to training nor"
    " proof that none is there; opt-out signals count all the same (auditkit consent IMAGE).",
    "insufficient": "There are too few images that can be read to say anything at this false positive rate.",
}


@dataclass(frozen=True)
class ImageFinding:
    """What is said of one image.

    Attributes:
        score: logits of the head; NaN where the image is too small.
        p_value: conformal, the largest over the benign conditions; in (0, 1], NaN with the score.
        verdict: 'perturbed' at p_value <= the false positive rate asked for, which holds for one image, not for the
            best of many; 'insufficient' where the image is too small, or the rate too strict for the calibration.
    """

    score: float
    p_value: float
    verdict: Verdict


@dataclass(frozen=True)
class SetFinding:
    """What is said of a set of images.

    Attributes:
        p_value: exact for a benign set of one kind under one condition, the largest over kinds and conditions.
        fpr: the false positive rate asked for.
        n: images that could be read; `beyond` of them exceed the benign threshold of the worst case, where at most
            `expected` would, by chance.
        fewest: images that a set needs at this rate.
        images: in the order given.
        why: a sentence; `meaning`: what follows, for people.
    """

    verdict: Verdict
    p_value: float
    fpr: float
    n: int
    beyond: int
    expected: float
    fewest: int
    images: tuple[ImageFinding, ...]
    why: str
    meaning: str


@dataclass(frozen=True)
class Head:
    """What training leaves.

    Attributes:
        centre, scale: float64 [d], of the benign signals; standardised signals are cut at +-`FARTHEST`.
        weight: float64 [d + d (d + 1) / 2], of the standardised signals and their products in pairs (a residual means
            one thing in a smooth image, another in a grainy one); score = terms . weight + bias.
        calibration: float64 [sources, conditions]: benign scores, each by a head that did not see the source.
        kinds: of the sources, [sources].
        encoders: name -> sha256 of the CLIP encoders that probe, in order; the autoencoder by its sha256.
    """

    centre: NDArray[np.float64]
    scale: NDArray[np.float64]
    weight: NDArray[np.float64]
    bias: float
    calibration: NDArray[np.float64]
    kinds: tuple[str, ...]
    conditions: tuple[str, ...]
    signals: tuple[str, ...]
    encoders: dict[str, str]
    autoencoder_sha256: str

    def scores(self, features: NDArray[np.floating]) -> NDArray[np.float64]:
        """[n] of signals [n, d]."""
        scores: NDArray[np.float64] = terms(features, self.centre, self.scale) @ self.weight + self.bias
        return scores

    def judge(self, scores: NDArray[np.float64], *, fpr: float = FPR) -> SetFinding:
        """What scores [n] say of their images and of the set; NaN for images that cannot be read.

        Raises:
            DetectorError: fpr is not in (0, .5].
        """
        if not 0 < fpr <= 0.5:
            raise DetectorError(
                "the false positive rate is out of range", where=f"fpr={fpr:g}", mend="choose one over 0, up to 0.5"
            )
        p_values = evidence.image_p_values(scores, self.calibration)
        floor = 1 / (1 + len(self.calibration))
        each = tuple(
            ImageFinding(float(score), float(p), _verdict(p, fpr, can=bool(np.isfinite(p)) and floor <= fpr))
            for score, p in zip(scores, p_values, strict=True)
        )
        return self._set(scores[np.isfinite(scores)], each, fpr)

    def _set(self, scores: NDArray[np.float64], each: tuple[ImageFinding, ...], fpr: float) -> SetFinding:
        parts = {kind: self.calibration[np.array(self.kinds) == kind] for kind in dict.fromkeys(self.kinds)}
        p_values = {kind: evidence.set_p_value(scores, part) for kind, part in parts.items()}
        smallest = min(len(part) for part in parts.values())
        needed = max(evidence.fewest(fpr, len(part)) for part in parts.values())
        p = max(p_values.values()) if len(scores) else float("nan")
        highest = max(float(np.sort(part, axis=0)[-evidence.rank(len(part))].max()) for part in parts.values())
        beyond = int((scores > highest).sum())
        verdict = _verdict(p, fpr, can=len(scores) >= needed)
        expected = len(scores) * evidence.rank(smallest) / (smallest + 1)
        left = len(each) - len(scores)
        why = f"{beyond} of {len(scores)} images exceed what 1 in {(smallest + 1) / evidence.rank(smallest):.0f} benign"
        why += f" images does in the worst case (set p = {p:.2g})" if len(scores) else " images does"
        if verdict == "insufficient":
            why = f"{len(scores)} images can be read; a false positive rate of {fpr:g} needs {needed} or more"
        if left:
            why += f"; {left} of less than {MIN_SIDE} px were left out"
        return SetFinding(verdict, p, fpr, len(scores), beyond, expected, needed, each, f"{why}.", MEANING[verdict])

    def save(self, path: Path = BUNDLED) -> None:
        """As one safetensors file, settings in its metadata."""
        from safetensors.numpy import save

        tensors = {
            "centre": self.centre,
            "scale": self.scale,
            "weight": self.weight,
            "bias": np.array([self.bias]),
            "calibration": np.ascontiguousarray(self.calibration, np.float64),
        }
        settings = {
            "version": VERSION,
            "kinds": self.kinds,
            "conditions": self.conditions,
            "signals": self.signals,
            "encoders": self.encoders,
            "autoencoder_sha256": self.autoencoder_sha256,
        }
        write_atomic(path, save(tensors, metadata={"settings": json.dumps(settings)}))

    @classmethod
    def load(cls, path: Path = BUNDLED) -> Head:
        """What `save` wrote.

        Raises:
            DetectorError: it is missing, damaged or of another version.
        """
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="numpy") as stored:
                settings: dict[str, Any] = json.loads((stored.metadata() or {})["settings"])
                tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118  (no mapping)
            if settings.pop("version") != VERSION:
                raise ValueError("another version")
            listed = {name: tuple(settings[name]) for name in ("kinds", "conditions", "signals")}
            return cls(
                tensors["centre"], tensors["scale"], tensors["weight"], float(tensors["bias"][0]),
                tensors["calibration"], **listed,
                encoders=settings["encoders"], autoencoder_sha256=settings["autoencoder_sha256"],
            )  # fmt: skip
        except (OSError, SafetensorError, KeyError, ValueError) as error:
            raise DetectorError(
                f"the perturbation detector's head cannot be read: {error}",
                where=path,
                mend="restore the file from where it came (for the bundled one: git checkout)",
            ) from error


@dataclass
class PerturbationDetector:
    """A head with the encoders that it was trained with, opened.

    Args:
        autoencoder: the `vae` folder of a checkpoint (the bundled head: that of `personas`).

    Raises:
        DetectorError: the head is damaged, or an encoder is not the one that it was trained with.
    """

    autoencoder: str | Path
    head: Head = field(default_factory=Head.load)
    device: str = "cpu"

    def __post_init__(self) -> None:
        self._latent = LatentVictim(self.autoencoder, side=LATENT_SIDE, device=self.device)
        self._probes = [ClipVictim(name, device=self.device) for name in self.head.encoders]
        found = {probe.name: probe.sha256 for probe in self._probes}
        if found != self.head.encoders or self._latent.sha256 != self.head.autoencoder_sha256:
            raise DetectorError(
                "an encoder is not the one that the detector was trained with",
                where=", ".join([*found, str(self.autoencoder)]),
                mend="use the encoders and the autoencoder of the same release",
            )

    def scores(self, images: Images, *, progress: Progress | None = None) -> NDArray[np.float64]:
        """One score an image, [n], larger for perturbed ones; NaN under 64 px. Independent of the other images."""
        out: list[float] = []
        for at, image in enumerate(images):
            out.append(float(self.head.scores(signals(image, self._probes, self._latent)[None])[0]))
            if progress:
                progress((at + 1) / len(images), f"image {at + 1} of {len(images)}")
        return np.array(out, np.float64)

    def check(self, images: Images, *, fpr: float = FPR, progress: Progress | None = None) -> SetFinding:
        """Say of each image and of the set whether it was perturbed, at a false positive rate.

        Args:
            images: uint8 [h, w, 3] each, as in their files.
            fpr: for the set; and for each image by itself.
        """
        return self.head.judge(self.scores(images, progress=progress), fpr=fpr)


def terms(
    features: NDArray[np.floating], centre: NDArray[np.float64], scale: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Signals [..., d], standardised, and their products in pairs: float64 [..., d + d (d + 1) / 2]."""
    standard = np.clip((np.asarray(features, np.float64) - centre) / scale, -FARTHEST, FARTHEST)
    one, other = np.triu_indices(standard.shape[-1])
    return np.concatenate([standard, standard[..., one] * standard[..., other]], axis=-1)


def _verdict(p: float, fpr: float, *, can: bool) -> Verdict:
    if not can:
        return "insufficient"
    return "perturbed" if p <= fpr else "no sign"


def describe(findings: Sequence[ImageFinding]) -> dict[str, int]:
    """Counts of the images' verdicts."""
    return {verdict: sum(one.verdict == verdict for one in findings) for verdict in MEANING}

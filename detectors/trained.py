"""A detector: a trained family with a frozen threshold, a calibration, and a notion of which images it knows.

A folder holds one, without any pickle:

    detector.toml         name, family, thresholds, limit, the sha256 of the weights; what people read and compare
    weights.safetensors   tensors of family, calibration and familiarity; their settings are its metadata
    card.json             how it was trained and what it reached on held-out data
    README.md             the card for people
"""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from auditkit import registry
from auditkit.errors import AuditkitError, DetectorError
from auditkit.files import sha256, write_atomic, write_json
from auditkit.provenance import detecting
from detectors.appearance import sight
from detectors.base import Family, Images, Judgement, State

if TYPE_CHECKING:
    from detectors.calibration import Calibration
    from detectors.familiarity import Familiarity

FORMAT = 1
LIMIT = 0.99
"""An image more unlike than this share of the development images is abstained from."""
FILE, WEIGHTS, CARD, README = "detector.toml", "weights.safetensors", "card.json", "README.md"
_AGAIN = "copy the folder again, or train it again: auditkit train detector"


@dataclass(frozen=True)
class Threshold:
    """The score from which on an image is called generated, as it was frozen on development data.

    Attributes:
        fpr: the false positive rate that was asked for; no more of the development reals reach the score.
        reals, sources: how many real images it rests on, and of how many sources.
        reached: the share of these that reach the score.
        highest: upper end of the 95% interval, by source, of the false positive rate on more such images.
    """

    score: float
    fpr: float
    reals: int
    sources: int
    reached: float
    highest: float


@dataclass(frozen=True)
class Detector:
    """What is asked about images. Judging changes nothing, so one detector serves many calls.

    Attributes:
        family: fitted; see `detectors.base.Family`.
        thresholds: by false positive rate, the one that judges first.
        limit: `unfamiliar` over which it abstains.
        knows: the generators that it learned from.
        origins: the collections of its real images.
        by_name: whether `inspect`, `scan` and `detect` ask it only where it is named: for one that is of use to those
            alone who know its limits.
        card: plain data: how it was trained, what it reached, and the warnings of the shortcut audit.
        sha256: of its weights file; '' if it was not saved yet.
    """

    name: str
    family: Family
    thresholds: tuple[Threshold, ...]
    calibration: Calibration
    familiarity: Familiarity
    knows: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    limit: float = LIMIT
    by_name: bool = False
    card: dict[str, Any] = field(default_factory=dict)
    sha256: str = ""

    def scores(self, images: Images) -> NDArray[np.float64]:
        """The family's scores [n], NaN where an image cannot be told."""
        return self.family.scores(images)

    def judge(self, images: Images, *, fpr: float | None = None) -> list[Judgement]:
        """A judgement of each image, in order.

        Args:
            images: each uint8 [h, w, 3], RGB, as it is in its file.
            fpr: false positive rate to judge at, one of `thresholds`; by default the first's.

        Raises:
            DetectorError: no threshold was frozen at `fpr`.
        """
        if not len(images):
            return []
        threshold = self.threshold(fpr)
        scores, features = looked_at(self.family, images)
        usable = np.isfinite(scores) & np.isfinite(features).all(axis=1)
        unfamiliar, probability = np.full(len(images), np.nan), np.full(len(images), np.nan)
        if usable.any():
            unfamiliar[usable] = self.familiarity.unfamiliar(features[usable])
            probability[usable] = self.calibration.probability(scores[usable])
        rows = zip(images, scores, usable, unfamiliar, probability, strict=True)
        return [self._judgement(*row, threshold) for row in rows]

    def threshold(self, fpr: float | None = None) -> Threshold:
        """The frozen threshold of a false positive rate.

        Raises:
            DetectorError: there is none.
        """
        for each in self.thresholds:
            if fpr is None or abs(each.fpr - fpr) < 1e-9:
                return each
        known = ", ".join(f"{each.fpr:g}" for each in self.thresholds)
        raise DetectorError(
            f"no threshold was frozen at a false positive rate of {fpr:g}",
            where=self.name,
            mend=f"use {known}, or train with --fpr {fpr:g}",
        )

    def _judgement(
        self, image: np.ndarray, score: float, usable: bool, unfamiliar: float, probability: float, at: Threshold
    ) -> Judgement:
        details = {"knows": list(self.knows), "reals": at.reals, "highest": at.highest, "family": self.family.name}

        def told(verdict: Any, why: str, probability: float = float("nan")) -> Judgement:
            return Judgement(
                self.name, verdict, float(score), float(probability), at.score, at.fpr, float(unfamiliar), why, details
            )

        if not usable:
            side, least = min(image.shape[:2]), self.family.min_side
            return told(
                "not applicable",
                f"The image has {side} px on its shorter side; {least} are needed."
                if side < least
                else "The detector cannot score this image.",
            )
        if not unfamiliar <= self.limit:  # NaN abstains too
            return told(
                "abstain",
                f"The image is unlike those that the detector was trained and calibrated on (more so than "
                f"{np.floor(1000 * unfamiliar) / 10:g}% of its development images): it is uncalibrated for this "
                "source.",
            )
        rests = f"at most {100 * at.fpr:g}% of {at.reals:,} real development images"
        if score >= at.score:
            why = f"The score {score:.3g} reaches {at.score:.3g}, as {rests} do."
            return told("generated", why, probability)
        why = f"The score {score:.3g} stays under {at.score:.3g}, which {rests} reach."
        return told("no sign", f"{why} The image may be generated all the same.", probability)

    def save(self, folder: str | Path) -> Detector:
        """Write the detector into a folder that is new or empty; returns it with the sha256 of its weights.

        Tensors that lose nothing by it are kept in half precision.

        Raises:
            DetectorError: the folder holds something.
            RunError: it cannot be written.
        """
        from safetensors.numpy import save

        from auditkit.plan.document import to_toml
        from detectors.training_card import as_markdown

        folder = check_new(folder)
        states = {
            "family": self.family.state(),
            "calibration": self.calibration.state(),
            "familiarity": self.familiarity.state(),
        }
        tensors = {
            f"{part}.{name}": _halved(array) for part, state in states.items() for name, array in state.tensors.items()
        }
        settings = {part: state.settings for part, state in states.items()}
        data = save(tensors, metadata={"settings": json.dumps(settings, sort_keys=True)})
        held = sha256(data)
        whole = {
            "format": FORMAT, "name": self.name, "family": self.family.name, "family_version": self.family.version,
            "limit": self.limit, "by_name": self.by_name,
            "knows": list(self.knows), "origins": list(self.origins), "sha256": held,
            "thresholds": {f"{each.fpr:g}": vars(each) for each in self.thresholds},
        }  # fmt: skip
        write_atomic(folder / WEIGHTS, data)
        write_json(folder / CARD, self.card)
        write_atomic(folder / README, as_markdown(self.card).encode())
        # Last: a folder without it is no detector, so that a killed process leaves none that is half written.
        write_atomic(folder / FILE, to_toml(whole).encode())
        return Detector(**{**vars(self), "sha256": held})


def load(name: str | Path, *, device: str = "auto") -> Detector:
    """A detector by its registered name, as `path:FOLDER`, or by a folder that exists.

    Raises:
        DetectorError: the folder is missing or damaged, or its family is not installed or of another version.
        PluginError: the plugin of that name is broken.
    """
    if isinstance(name, Path) or name.startswith("path:") or Path(name).is_dir():
        return from_folder(str(name).removeprefix("path:"), device=device)
    return detecting.load(name, device=device)  # type: ignore[no-any-return]


def from_folder(folder: str | Path, *, device: str = "auto") -> Detector:
    """The detector that `Detector.save` wrote into `folder`. Registered as `path`, for `path:FOLDER`.

    Raises:
        DetectorError: see `load`.
    """
    from safetensors import SafetensorError

    folder = Path(folder).expanduser()
    told = _told(folder)
    family = _family(told, folder)
    try:
        data = (folder / WEIGHTS).read_bytes()
    except OSError as error:
        raise DetectorError(
            f"the weights cannot be read: {error.strerror}", where=folder / WEIGHTS, mend=_AGAIN
        ) from None
    if sha256(data) != told["sha256"]:
        raise DetectorError(
            "the weights are not those that detector.toml was written with", where=folder / WEIGHTS, mend=_AGAIN
        )
    try:
        states = _states(data)
        return _assembled(told, family, states, _card(folder), device)
    except AuditkitError:
        raise
    except (SafetensorError, KeyError, IndexError, TypeError, ValueError, RuntimeError) as error:
        raise DetectorError(
            f"the weights are damaged: {type(error).__name__}: {error}", where=folder / WEIGHTS, mend=_AGAIN
        ) from error


def looked_at(family: Family, images: Images) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Scores [n] of the images, and what familiarity is told by (`appearance.sight`) [n, d].

    In one pass where the family has one (`scores_and_features`).
    """
    both = getattr(family, "scores_and_features", None)
    if both is not None:
        scores, features = both(images)
        return np.asarray(scores, np.float64), sight(family, images, features)
    return family.scores(images), sight(family, images)


def check_new(folder: str | Path) -> Path:
    """The folder as a path.

    Raises:
        DetectorError: it holds something, or is a file.
    """
    folder = Path(folder).expanduser()
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise DetectorError(
            "the folder for the detector is a file or holds something", where=folder, mend="name a new one (--out)"
        )
    return folder


def _told(folder: Path) -> dict[str, Any]:
    path = folder / FILE
    try:
        told = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise DetectorError(
            "there is no detector in this folder", where=path, mend="name a folder of `auditkit train detector --out`"
        ) from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise DetectorError(f"the detector's description cannot be read: {error}", where=path, mend=_AGAIN) from None
    kinds = {"format": int, "name": str, "family": str, "family_version": int, "sha256": str, "thresholds": dict}
    for key, kind in kinds.items():
        if not isinstance(told.get(key), kind):
            raise DetectorError(f"the description has no '{key}'", where=path, mend=_AGAIN)
    if told["format"] != FORMAT:
        raise DetectorError(
            f"the detector is in format {told['format']}; this version reads {FORMAT}",
            where=path,
            mend="use the version of auditkit that trained it, or train it again",
        )
    return told


def _family(told: dict[str, Any], folder: Path) -> type[Family]:
    name = told["family"]
    if name not in registry.names("detector_families"):
        raise DetectorError(
            f"the detector is of the family '{name}', which is not installed",
            where=folder / FILE,
            mend="install the plugin that brings it",
        )
    family: type[Family] = registry.load("detector_families", name)
    if family.version != told["family_version"]:
        raise DetectorError(
            f"the detector is of version {told['family_version']} of the family '{name}'; installed is "
            f"{family.version}",
            where=folder / FILE,
            mend="train it again: auditkit train detector",
        )
    return family


def _states(data: bytes) -> dict[str, State]:
    from safetensors.numpy import load as read

    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    settings = json.loads(header["__metadata__"]["settings"])
    tensors: dict[str, dict[str, np.ndarray]] = {part: {} for part in settings}
    for key, array in read(data).items():
        part, name = key.split(".", 1)
        tensors[part][name] = array.astype(np.float32) if array.dtype == np.float16 else array
    return {part: State(settings[part], tensors[part]) for part in settings}


def _assembled(
    told: dict[str, Any], family: type[Family], states: dict[str, State], card: dict[str, Any], device: str
) -> Detector:
    from detectors.calibration import Calibration
    from detectors.familiarity import Familiarity

    return Detector(
        name=told["name"],
        family=family.from_state(states["family"], device=pick_device(device)),
        thresholds=tuple(Threshold(**row) for row in told["thresholds"].values()),
        calibration=Calibration.from_state(states["calibration"]),
        familiarity=Familiarity.from_state(states["familiarity"]),
        knows=tuple(told.get("knows", ())),
        origins=tuple(told.get("origins", ())),
        limit=float(told.get("limit", LIMIT)),
        by_name=bool(told.get("by_name", False)),
        card=card,
        sha256=told["sha256"],
    )


def pick_device(device: str) -> str:
    """`auto` as CUDA, else MPS, else the CPU.

    Raises:
        EncoderError: there is no such device.
    """
    from auditkit.clip.encoders import pick_device as pick

    return device if device == "cpu" else pick(device)


def _card(folder: Path) -> dict[str, Any]:
    try:
        card = json.loads((folder / CARD).read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise DetectorError(f"the detector's card cannot be read: {error}", where=folder / CARD, mend=_AGAIN) from None
    return card if isinstance(card, dict) else {}


def _halved(array: np.ndarray) -> np.ndarray:
    """In float16 where that is the same numbers, else as it is."""
    array = np.asarray(array, order="C")  # np.ascontiguousarray would give a number a dimension
    if array.dtype.kind == "f":
        with np.errstate(over="ignore"):
            half = array.astype(np.float16)
        if np.array_equal(half.astype(array.dtype), array, equal_nan=True):
            return half
    return array

"""What a generator was trained on, as an encoder sees it: to tell new pictures from training pictures come again.

Only whoever has the training pictures can make this; auditkit ships it for its bundled generators. Beside an encoder
it lies as `calibration/training.safetensors`, 8 bits a number.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from auditkit.clip.folder import find_folder, weights_sha256
from auditkit.errors import CalibrationError
from auditkit.files import write_atomic

if TYPE_CHECKING:
    from auditkit.clip.encoders import Encoder
    from auditkit.runs import Run

_REFIT = "Make it again (auditkit train memorise), or restore the folder from where it came."


@dataclass(frozen=True)
class Threshold:
    """A cosine from which two pictures count as one, and how often that is wrong on pictures not used to choose it."""

    cosine: float
    matches: int
    """Pairs or pictures known to differ that reach it."""
    n: int
    """Of how many."""
    found: float
    """Share of known copies that reach it."""

    @property
    def false_matches(self) -> float:
        """Share of different pictures taken for one, in [0, 1]."""
        return self.matches / self.n


@dataclass(frozen=True)
class TrainingReference:
    """Embeddings of a generator's training pictures, with thresholds.

    Attributes:
        embeddings: float32 [m, dim], unit rows: of each picture the mean over its copies.
        memorised: cosine to the nearest training picture from which a picture counts as that one come again.
        copies: cosine from which two pictures of one run count as near-duplicates.
        generators: names of the bundled generators that were trained on these pictures.
        encoder_sha256: of the weights that made the embeddings. source: which pictures, in words.
    """

    embeddings: np.ndarray
    memorised: Threshold
    copies: Threshold
    generators: tuple[str, ...]
    encoder_sha256: str
    source: str

    def covers(self, run: Run) -> bool:
        """Whether the run's generator is one that was trained on these pictures."""
        info = run.record["generator"]
        return info.get("source") == "bundled" and info.get("name") in self.generators

    def save(self, folder: str | Path) -> Path:
        """Write `calibration/training.safetensors` into an encoder's folder; returns the file."""
        from safetensors.numpy import save

        facts: dict[str, Any] = {key: value for key, value in asdict(self).items() if key != "embeddings"}
        path = _path(Path(folder))
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, save({"embeddings": _in_8_bits(self.embeddings)}, metadata={"training": json.dumps(facts)}))
        return path


def as_stored(embeddings: np.ndarray) -> np.ndarray:
    """Unit rows as they come back from 8 bits a number, float32 [m, dim]; what came back once stays as it is."""
    return _unit(_in_8_bits(embeddings))


def threshold(strangers: np.ndarray, held_out: np.ndarray, copies: np.ndarray, *, rate: float = 0.01) -> Threshold:
    """The cosine that a share `rate` of different pictures reaches.

    Args:
        strangers: cosines of pictures known to differ, that choose it. held_out: others, that count its errors.
        copies: cosines of known copies, whose share above it is told.

    Raises:
        CalibrationError: no pictures to choose it or to count its errors.
    """
    if min(len(strangers), len(held_out), len(copies)) == 0:
        raise _none()
    at = float(np.quantile(strangers, 1 - rate))
    return Threshold(at, int((held_out >= at).sum()), len(held_out), float((copies >= at).mean()))


def threshold_of_copies(
    copies: np.ndarray, held_out: np.ndarray, strangers: np.ndarray, *, found: float = 0.95
) -> Threshold:
    """The cosine that a share `found` of known copies reaches.

    Args:
        copies: cosines of known copies, that choose it. held_out: others, whose share above it is told.
        strangers: cosines of pairs known to differ, that count its errors.

    Raises:
        CalibrationError: no pictures to choose it or to count its errors.
    """
    if min(len(copies), len(held_out), len(strangers)) == 0:
        raise _none()
    at = float(np.quantile(copies, 1 - found))
    return Threshold(at, int((strangers >= at).sum()), len(strangers), float((held_out >= at).mean()))


def _none() -> CalibrationError:
    return CalibrationError(
        "There are no pictures to choose a threshold with.",
        where="training reference",
        mend="Pass drawings of the calibration and the test split.",
    )


def load_training(encoder: Encoder | str) -> TrainingReference | None:
    """The training pictures that lie beside an encoder, or None where there are none; no torch is imported.

    Args:
        encoder: an encoder, or the name of a bundled one, or the path of one's folder.

    Raises:
        CalibrationError: the file is damaged, or was made with other weights.
    """
    from safetensors import SafetensorError, safe_open

    folder = find_folder(encoder) if isinstance(encoder, str) else encoder.folder
    if folder is None or not _path(folder).is_file():
        return None
    path = _path(folder)
    try:
        with safe_open(path, framework="numpy") as file:
            facts = json.loads(file.metadata()["training"])
            embeddings = _unit(file.get_tensor("embeddings"))
        found = TrainingReference(
            embeddings,
            memorised=Threshold(**facts["memorised"]),
            copies=Threshold(**facts["copies"]),
            generators=tuple(facts["generators"]),
            encoder_sha256=facts["encoder_sha256"],
            source=facts["source"],
        )
    except (SafetensorError, OSError, ValueError, TypeError, KeyError) as error:
        raise CalibrationError(f"The training pictures cannot be read: {error}", where=path, mend=_REFIT) from error
    if found.encoder_sha256 != (weights_sha256(folder) if isinstance(encoder, str) else encoder.sha256):
        raise CalibrationError("The training pictures were embedded with other weights.", where=path, mend=_REFIT)
    return found


def _in_8_bits(rows: np.ndarray) -> np.ndarray:
    """Each row in units of its own largest number; the length is restored by `_unit`."""
    return np.round(127 * rows / np.abs(rows).max(axis=1, keepdims=True)).astype(np.int8)


def _unit(rows: np.ndarray) -> np.ndarray:
    wide = rows.astype(np.float32)
    return wide / np.linalg.norm(wide, axis=1, keepdims=True)


def _path(folder: Path) -> Path:
    return folder / "calibration" / "training.safetensors"

"""How near unrelated pictures come to a training set, and so from where on a picture counts as a copy.

Two prints decide, the cosine of whole-image embeddings and the bits by which PDQ hashes differ. Each is held to half of
the stated false match rate, so that both together keep to it (Bonferroni). What is known of unrelated pictures is how
near their *nearest* training picture is, so that the rate is that of a whole search, not of a pair.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from auditkit.errors import DetectorError
from auditkit.files import write_atomic
from auditkit.stats.intervals import wilson
from auditkit.stats.known_negatives import Cut, at_size, auroc, cut, p_values, roc
from detectors.copies.search import FARTHEST

FILE = "calibration.safetensors"
RATE = 0.01
"""False match rate unless another is asked for: share of unrelated pictures called copies."""
_MEND = "calibrate again: auditkit copies calibrate INDEX --held-out FOLDER"
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Copies:
    """Copies made on purpose: t kinds of change of c training pictures each.

    Attributes:
        labels: of the changes, t.
        cosine: float64 [t, c], to the nearest training picture. bits: int64 [t, c], of PDQ, to the nearest.
        right: bool [t, c], whether the nearest by either print is the picture that the copy was made of.
    """

    labels: list[str]
    cosine: Floats
    bits: NDArray[np.int64]
    right: NDArray[np.bool_]


@dataclass(frozen=True)
class Thresholds:
    """From where on a picture counts as a copy.

    Attributes:
        rate: the false match rate asked for, of a search among `size` training pictures.
        cosine: a cosine above `cosine.threshold` counts. bits: on minus the bits that differ, so that fewer bits than
            `-bits.threshold` count.
        low, high: 95% interval of the share of unrelated pictures that either calls a copy; NaN if insufficient. At
            least 90% confidence in all, since both cuts' intervals are added.
    """

    rate: float
    size: int
    cosine: Cut
    bits: Cut
    expected: float
    low: float
    high: float

    @property
    def status(self) -> str:
        """'ok', or 'insufficient' where the held-out pictures are too few for the rate."""
        return self.cosine.status

    @property
    def needed(self) -> int:
        """Held-out pictures that the rate asks for at least."""
        return self.cosine.needed

    def as_dict(self) -> dict[str, Any]:
        return {
            "rate": self.rate, "size": self.size, "status": self.status, "held_out": self.cosine.n,
            "held_out_needed": self.needed, "cosine_above": self.cosine.threshold,
            "bits_below": -self.bits.threshold, "false_match_rate": self.expected,
            "low": self.low, "high": self.high,
        }  # fmt: skip


@dataclass(frozen=True)
class Calibration:
    """What was learned from n held-out pictures and from planted copies; see `planting.calibrate`.

    Attributes:
        index: id of the index. encoder_sha256: of its encoder's weights. size: training pictures in it.
        cosine: float64 [n], of held-out pictures to their nearest training picture. bits: int64 [n], by PDQ.
    """

    index: str
    encoder_sha256: str
    size: int
    cosine: Floats
    bits: NDArray[np.int64]
    copies: Copies

    def thresholds(self, rate: float = RATE, *, size: int | None = None) -> Thresholds:
        """At most a share `rate` of unrelated pictures reaches them in a search among `size` training pictures.

        Args:
            size: the calibrated index's own by default; another is reckoned as `auditkit.stats.known_negatives.at_size`
                says.

        Raises:
            DetectorError: a rate outside (0, 0.5].
        """
        size = check_size(self.size if size is None else size)
        half = float(at_size(check_rate(rate) / 2, self.size, size))
        cosine, bits = cut(self.cosine, half), cut(-self.bits.astype(np.float64), half)
        if cosine.status != "ok":
            return Thresholds(rate, size, cosine, bits, math.nan, math.nan, math.nan)
        sums = np.minimum([a + b for a, b in zip(_ends(cosine), _ends(bits), strict=True)], 1)
        expected, _, high = at_size(sums, size, self.size)
        # Either cut alone reaches the lower end; both may call the same pictures.
        low = at_size(max(cosine.low, bits.low), size, self.size)
        return Thresholds(rate, size, cosine, bits, float(expected), float(low), float(high))

    def p_values(self, cosine: ArrayLike, bits: ArrayLike, *, size: int | None = None) -> Floats:
        """How often an unrelated picture comes as near as these, float64 [m]: twice the smaller of the prints'.

        At most `rate` just where either print passes `thresholds(rate)`.
        """
        size = check_size(self.size if size is None else size)
        by_cosine = p_values(cosine, self.cosine)
        by_bits = p_values(-np.asarray(bits, np.float64), -self.bits.astype(np.float64))
        return np.minimum(1.0, 2 * at_size(np.minimum(by_cosine, by_bits), size, self.size))

    def found(self, rate: float = RATE) -> pd.DataFrame:
        """Share of planted copies that are found, a row for each kind of change and one for all.

        Columns: change, n (copies), found, low, high (Wilson, 95%; for all, NaN: one picture's copies are no
        independent ones), by_embedding, by_pdq (by either alone, at half the rate), right (the picture it was made of
        was named, of those found). NaN where the held-out pictures are too few for the rate.
        """
        at = self.thresholds(rate)
        labels, rows = [*self.copies.labels, "all"], []
        for number, label in enumerate(labels):
            part = slice(None) if label == "all" and number == len(labels) - 1 else slice(number, number + 1)
            cosine, bits = self.copies.cosine[part].ravel(), self.copies.bits[part].ravel()
            if at.status != "ok" or not len(cosine):
                rows.append([label, len(cosine), *[math.nan] * 6])
                continue
            a, b = cosine > at.cosine.threshold, -bits > at.bits.threshold
            hit, n = a | b, len(cosine)
            low, high = wilson(int(hit.sum()), n) if number < len(labels) - 1 else (math.nan, math.nan)
            right = float(self.copies.right[part].ravel()[hit].mean()) if hit.any() else math.nan
            rows.append([label, n, hit.mean(), float(low), float(high), a.mean(), b.mean(), right])
        columns = ["change", "n", "found", "low", "high", "by_embedding", "by_pdq", "right"]
        return pd.DataFrame(rows, columns=columns)

    def auroc(self) -> dict[str, float]:
        """How well each print tells planted copies, of all changes alike, from held-out pictures; NaN without."""
        bits = -self.bits.astype(np.float64)
        return {"embedding": auroc(self.copies.cosine, self.cosine), "pdq": auroc(-self.copies.bits, bits)}

    def roc(self) -> pd.DataFrame:
        """The curves: print, false_match_rate, found."""
        pairs = {
            "embedding": (self.copies.cosine, self.cosine),
            "pdq": (-self.copies.bits.astype(np.float64), -self.bits.astype(np.float64)),
        }
        curves = {name: roc(*pair) for name, pair in pairs.items()}
        frames = [pd.DataFrame({"print": n, "false_match_rate": f, "found": t}) for n, (f, t) in curves.items()]
        return pd.concat(frames, ignore_index=True)

    def save(self, folder: str | Path) -> Path:
        """Write `calibration.safetensors` into the index's folder; returns the file.

        Raises:
            RunError: it cannot be written.
        """
        from safetensors.numpy import save

        about = {"index": self.index, "encoder_sha256": self.encoder_sha256, "size": self.size}
        tensors = {"cosine": self.cosine, "bits": self.bits.astype(np.int64)}
        tensors |= {"copies.cosine": self.copies.cosine, "copies.bits": self.copies.bits.astype(np.int64)}
        tensors |= {"copies.right": self.copies.right.astype(np.uint8)}
        facts = json.dumps(about | {"labels": self.copies.labels})
        whole = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
        path = Path(folder) / FILE
        write_atomic(path, save(whole, metadata={"copies": facts}))
        return path


def _ends(one: Cut) -> tuple[float, float, float]:
    return one.expected, one.low, one.high


def load(folder: str | Path, *, index: str) -> Calibration | None:
    """The calibration beside an index, or None where there is none.

    Args:
        index: the id of the index, which it must be of.

    Raises:
        DetectorError: it is damaged, or of another index.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(folder) / FILE
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="numpy") as file:
            facts = json.loads(file.metadata()["copies"])
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
        copies = Copies(
            [str(label) for label in facts["labels"]],
            arrays["copies.cosine"], arrays["copies.bits"], arrays["copies.right"].astype(bool),
        )  # fmt: skip
        made = Calibration(
            facts["index"], facts["encoder_sha256"], int(facts["size"]), arrays["cosine"], arrays["bits"], copies
        )
        _check_shapes(made)
    except (SafetensorError, OSError, ValueError, TypeError, KeyError) as error:
        raise DetectorError(f"the calibration is damaged: {error}", where=path, mend=_MEND) from None
    if made.index != index:
        raise DetectorError("the calibration is of another index", where=path, mend=_MEND)
    return made


def _check_shapes(made: Calibration) -> None:
    copies = made.copies
    shapes = {copies.cosine.shape, copies.bits.shape, copies.right.shape}
    if len(shapes) != 1 or copies.cosine.ndim != 2 or len(copies.labels) != len(copies.cosine):
        raise ValueError("the planted copies do not fit together")
    if made.cosine.ndim != 1 or made.cosine.shape != made.bits.shape or made.size < 1:
        raise ValueError("the held-out pictures do not fit together")
    if not np.isfinite(made.cosine).all() or not np.isfinite(copies.cosine).all():
        raise ValueError("a cosine is not finite")
    if (made.bits < 0).any() or (made.bits > FARTHEST).any():
        raise ValueError("bits out of range")


def check_rate(rate: float) -> float:
    """Raise DetectorError for a false match rate outside (0, 0.5]."""
    if not 0 < rate <= 0.5:
        raise DetectorError(
            "a false match rate lies above 0 and up to 0.5", where=f"rate={rate:g}", mend="0.01 is usual"
        )
    return rate


def check_size(size: int) -> int:
    """Raise DetectorError for a size below 1."""
    if size < 1:
        raise DetectorError("a search goes among one image at least", where=f"size={size}", mend="give a size of 1 up")
    return size

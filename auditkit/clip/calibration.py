"""How far a zero-shot attribute may be believed: temperature, threshold, confusion on images of known truth.

A calibration belongs to one encoder's weights and one attribute's prompts, and lies beside the encoder as
`calibration/<attribute>.json`, with the posteriors of the images it was fitted on in
`calibration/<attribute>.safetensors`. It says nothing about images unlike those: see `auditkit.clip.domain`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from auditkit.clip.attributes import UNKNOWN, Attribute
from auditkit.clip.attributes import attribute as find_attribute
from auditkit.clip.domain import Domain, load_domain
from auditkit.clip.folder import find_folder, weights_sha256
from auditkit.clip.posteriors import Bin, calibration_error, decide, posteriors, reliability
from auditkit.errors import CalibrationError
from auditkit.files import write_atomic, write_json
from auditkit.stats.estimators.base import CalibrationSample

if TYPE_CHECKING:
    from auditkit.clip.encoders import Encoder

__all__ = ["Calibration", "Domain", "fit_calibration", "load_calibration", "load_domain"]

SURE = 0.75
"""Posterior, three to one, at which an image gets its label where the encoder's own errors do not ask for more."""

MIN_SOURCES = 20
"""Fewest distinct source images of a class; below it the class's errors are guesswork."""


class Reliability(BaseModel):
    """How often the likeliest class was right, by how sure the posterior was, on the images of the calibration."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    before: list[Bin]
    """With temperature 1."""
    after: list[Bin]
    """With the fitted temperature; on the images it was fitted on."""


class Calibration(BaseModel):
    """One attribute's calibration for one encoder. Two are equal where all that is written in their JSON is."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    encoder: str
    """Name of the encoder."""
    encoder_sha256: str
    """Of the encoder's weights; with other weights the calibration does not load."""
    attribute: str
    """Name of the attribute: gender, skin_tone, occupation."""
    prompts_sha256: str
    """Of the attribute's classes and prompts; with other prompts the calibration does not load."""
    classes: list[str]
    """The K classes, in order."""
    outcomes: list[str]
    """The K classes, then `unknown`."""
    counts: list[list[int]]
    """[K + 1 outcomes][K true classes]: images of each true class (column) that got each outcome (row).
    Several images may be copies of one source, so these are not independent counts: see n_sources."""
    weights: list[list[float]]
    """counts with each column divided by its sum: P(outcome | true class)."""
    n_sources: list[int]
    """Distinct source images of each true class: the sample size that the columns of weights rest on."""
    n_images: int
    """Images in all, copies included."""
    temperature: float
    """> 0; cosine * logit_scale is divided by it. Minimises the negative log-likelihood of the truth."""
    threshold: float
    """Least posterior at which an image gets a label; below it the outcome is unknown."""
    max_error: float
    """The error rate among labelled images that the threshold was chosen to keep."""
    labelled_error: float
    """The error rate among labelled images, on those the threshold was chosen on (so a little low)."""
    unknown_rate: float
    """Share of images left unknown at the threshold."""
    ece_before: float
    """Expected calibration error with temperature 1, 10 bins."""
    ece_after: float
    """Expected calibration error with the fitted temperature, 10 bins; on the images it was fitted on."""
    source: str
    """Which images: the corpus and split, in words."""
    made_by: str
    """The command that made it."""
    reliability: Reliability | None = None
    """The reliability curve; None in a calibration made before there was one."""
    sample_sha256: str = ""
    """Of the file of `sample`; empty in a calibration made before there was one."""
    sample: CalibrationSample | None = Field(default=None, exclude=True, repr=False)
    """The images it was fitted on, posteriors at the fitted temperature. None where their file is
    not there: estimators that need them then refuse."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Calibration) and self.model_dump() == other.model_dump()

    @property
    def n_effective(self) -> list[int]:
        """Independent images of each true class: the distinct sources. Copies of an image add none."""
        return self.n_sources

    def save(self, folder: str | Path) -> Path:
        """Write `calibration/<attribute>.json` and the sample beside it into an encoder's folder; returns the JSON."""
        path = _path(Path(folder), self.attribute)
        path.parent.mkdir(parents=True, exist_ok=True)
        if self.sample is not None:
            # The JSON last: until it is there, the old one refuses the new sample.
            write_atomic(path.with_suffix(SAMPLE), _packed(self.sample))
        write_json(path, self.model_dump())
        return path


def fit_calibration(
    cosines: np.ndarray,
    truth: Sequence[str],
    clusters: Sequence[str],
    *,
    encoder: Encoder,
    attribute: str | Attribute,
    source: str,
    made_by: str = "",
    max_error: float = 0.02,
    unknown_budget: float = 0.05,
    min_sources: int = MIN_SOURCES,
) -> Calibration:
    """Fit temperature and threshold, and count the confusion, on images of known truth.

    The temperature minimises the negative log-likelihood (Guo et al. 2017). The threshold is the smallest
    posterior at which the error among labelled images is at most `max_error`, and no lower than SURE, unless that
    left more than `unknown_budget` of these images unknown: an accurate encoder still declines what it is not
    three to one sure of, rather than force a label on whatever it is shown.

    Args:
        cosines: float [n, K]: image embeddings times `class_embeddings`, columns in the order of the classes.
        truth: n true classes.
        clusters: n names of source images: augmented copies of one image share a name.
        source: which images these are, in words.
        min_sources: fewest distinct sources of a class. Lower it only for an attribute whose shares are never
            corrected by this calibration (occupation).

    Raises:
        CalibrationError: an unknown class, a class with fewer sources than `min_sources`, or a threshold that would
            leave more than half of the images unknown.
    """
    attribute = find_attribute(attribute) if isinstance(attribute, str) else attribute
    classes = list(attribute.classes)
    cosines = np.asarray(cosines, np.float32)
    if cosines.shape != (len(truth), len(classes)) or len(clusters) != len(truth):
        raise CalibrationError(
            f"Cosines {cosines.shape} do not go with {len(truth)} truths and {len(clusters)} clusters.",
            where=attribute.name,
            mend=f"Pass [n, {len(classes)}] cosines, n truths and n clusters.",
        )
    if not np.isfinite(cosines).all():
        raise CalibrationError(
            "A cosine is not a finite number.", where=attribute.name, mend="Check the encoder's weights."
        )
    n_sources = _sources(truth, clusters, attribute, min_sources)
    index = np.array([classes.index(label) for label in truth])
    temperature = _fit_temperature(cosines, index, encoder.logit_scale)
    before = posteriors(cosines, encoder.logit_scale)
    after = posteriors(cosines, encoder.logit_scale, temperature)
    spare = float(np.quantile(after.max(axis=1), unknown_budget, method="lower"))
    threshold = max(_fit_threshold(after, index, max_error, attribute.name), min(SURE, spare))
    outcome = decide(after, threshold)
    labelled = outcome < len(classes)
    counts = np.zeros((len(classes) + 1, len(classes)), int)
    np.add.at(counts, (outcome, index), 1)
    origin = np.unique(np.asarray(clusters, str), return_inverse=True)[1].astype(np.intp)
    sample = CalibrationSample(after.astype(np.float64), index.astype(np.intp), origin)
    return Calibration(
        encoder=encoder.name,
        encoder_sha256=encoder.sha256,
        attribute=attribute.name,
        prompts_sha256=attribute.digest,
        classes=classes,
        outcomes=[*classes, UNKNOWN],
        counts=counts.tolist(),
        weights=(counts / counts.sum(axis=0)).tolist(),
        n_sources=n_sources,
        n_images=len(index),
        temperature=temperature,
        threshold=threshold,
        max_error=max_error,
        labelled_error=float((outcome != index)[labelled].mean()),
        unknown_rate=float((~labelled).mean()),
        ece_before=calibration_error(before, index),
        ece_after=calibration_error(after, index),
        source=source,
        made_by=made_by,
        reliability=Reliability(before=reliability(before, index, origin), after=reliability(after, index, origin)),
        sample_sha256=hashlib.sha256(_packed(sample)).hexdigest(),
        sample=sample,
    )


def load_calibration(encoder: Encoder | str, attribute: str) -> Calibration | None:
    """The calibration of an attribute that lies beside an encoder, or None where there is none.

    Args:
        encoder: an encoder, or the name of a bundled one, or the path of one's folder (no torch is imported).

    Raises:
        CalibrationError: a file is damaged, or was fitted with other weights or other prompts, or the sample is
            that of another calibration.
    """
    folder = find_folder(encoder) if isinstance(encoder, str) else encoder.folder
    if folder is None or not _path(folder, attribute).is_file():
        return None
    path = _path(folder, attribute)
    try:
        calibration = Calibration.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except (ValidationError, ValueError) as error:
        raise CalibrationError(
            f"The calibration cannot be read: {str(error).splitlines()[0]}", where=path, mend=_REFIT
        ) from error
    sha256 = weights_sha256(folder) if isinstance(encoder, str) else encoder.sha256
    if calibration.encoder_sha256 != sha256:
        raise CalibrationError("The calibration was fitted with other weights.", where=path, mend=_REFIT)
    if calibration.prompts_sha256 != find_attribute(attribute).digest:
        raise CalibrationError("The calibration was fitted with other prompts.", where=path, mend=_REFIT)
    sample = _load_sample(path.with_suffix(SAMPLE), calibration)
    return calibration if sample is None else calibration.model_copy(update={"sample": sample})


SAMPLE = ".safetensors"
"""Suffix of the file with a calibration's sample."""

_REFIT = "Fit it again (auditkit train clip), or restore the folder from where it came."


def _path(folder: Path, attribute: str) -> Path:
    return folder / "calibration" / f"{attribute}.json"


def _packed(sample: CalibrationSample) -> bytes:
    from safetensors.numpy import save

    return save(
        {
            "posterior": sample.posterior.astype(np.float32),
            "truth": sample.truth.astype(np.uint8),
            "source": sample.source.astype(np.int32),
        }
    )


def _load_sample(path: Path, calibration: Calibration) -> CalibrationSample | None:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    if not path.is_file():
        return None
    try:
        data = path.read_bytes()
        if hashlib.sha256(data).hexdigest() != calibration.sample_sha256:
            raise CalibrationError("The calibration's sample is not the one it was made with.", where=path, mend=_REFIT)
        found = load(data)
        posterior, truth, source = found["posterior"], found["truth"], found["source"]
    except (SafetensorError, OSError, KeyError) as error:
        raise CalibrationError(f"The calibration's sample cannot be read: {error}", where=path, mend=_REFIT) from error
    return CalibrationSample(posterior.astype(np.float64), truth.astype(np.intp), source.astype(np.intp))


def _sources(truth: Sequence[str], clusters: Sequence[str], attribute: Attribute, fewest: int) -> list[int]:
    """Distinct sources of each class, refused where they are too few."""
    found: dict[str, set[str]] = {label: set() for label in attribute.classes}
    for label, cluster in zip(truth, clusters, strict=True):
        if label not in found:
            raise CalibrationError(
                f"A true class is not one of the attribute's: {label!r}.",
                where=attribute.name,
                mend=f"The classes are: {', '.join(found)}.",
            )
        found[label].add(cluster)
    poor = {label: len(names) for label, names in found.items() if len(names) < fewest}
    if poor:
        raise CalibrationError(
            f"Too few source images: {', '.join(f'{label} has {count}' for label, count in poor.items())}.",
            where=attribute.name,
            mend=f"Pass at least {fewest} distinct images of each class.",
        )
    return [len(names) for names in found.values()]


def _fit_temperature(cosines: np.ndarray, truth: np.ndarray, logit_scale: float) -> float:
    from scipy.optimize import minimize_scalar

    logits = cosines.astype(np.float64) * logit_scale
    logits -= logits.max(axis=1, keepdims=True)  # so that no power overflows, at any temperature
    true_logit = float(logits[np.arange(len(truth)), truth].mean())

    def nll(log_temperature: float) -> float:
        scale = np.exp(-log_temperature)
        return float(np.log(np.exp(logits * scale).sum(axis=1)).mean() - true_logit * scale)

    # 1/50 to 50: wider than any trained model needs, and an end where the classes part perfectly.
    return float(np.exp(minimize_scalar(nll, bounds=(-np.log(50), np.log(50)), method="bounded").x))


def _fit_threshold(posterior: np.ndarray, truth: np.ndarray, max_error: float, where: str) -> float:
    confidence = posterior.max(axis=1).astype(np.float64)
    order = np.argsort(-confidence, kind="stable")
    confidence = confidence[order]
    errors = np.cumsum((posterior.argmax(axis=1) != truth)[order])
    rate = errors / np.arange(1, len(truth) + 1)
    # A threshold can only part images of different confidence: look at the last of each tie.
    last = np.append(confidence[:-1] > confidence[1:], True)
    allowed = np.flatnonzero(last & (rate <= max_error))
    if len(allowed) == 0 or 2 * (allowed[-1] + 1) < len(truth):
        reached = f"{allowed[-1] + 1} of {len(truth)}" if len(allowed) else "none"
        raise CalibrationError(
            f"An error rate of at most {max_error:.1%} can be kept only by leaving more than half unknown "
            f"({reached} images labelled).",
            where=where,
            mend="Train the encoder longer, or allow a larger max_error.",
        )
    at = int(allowed[-1])
    if at + 1 == len(truth):
        return 1 / posterior.shape[1]  # every image may have its label
    return float((confidence[at] + confidence[at + 1]) / 2)  # midway, so that rounding moves no image across

"""Whether images are of the kind that an encoder was calibrated on: distance to reference embeddings.

A calibration measured on emoji says nothing of photographs. The distance of an image is its mean cosine
distance to its k nearest reference images (kNN out-of-distribution detection, Sun et al. 2022).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from auditkit.clip.folder import find_folder, weights_sha256
from auditkit.errors import CalibrationError
from auditkit.files import write_atomic

if TYPE_CHECKING:
    from auditkit.clip.encoders import Encoder

_CHUNK = 1024  # rows at a time: 1,024 x 10,000 references is 40 MB
_REFIT = "Fit it again (auditkit train clip), or restore the folder from where it came."


@dataclass(frozen=True)
class Domain:
    """Reference embeddings, and how far from them an image of their kind may lie."""

    reference: np.ndarray
    """float32 [m, dim], unit rows."""
    threshold: float
    """Largest distance at which an image counts as inside: the 99th percentile among the reference images,
    each measured against those of other sources."""
    k: int
    """Neighbours that the distance is a mean over."""
    encoder_sha256: str
    """Of the weights that made the embeddings."""
    source: str
    """Which images, in words."""
    clusters: np.ndarray | None = None
    """int32 [m], images of one source image share a number; None in a reference made before they were kept."""

    @classmethod
    def fit(
        cls, embeddings: np.ndarray, clusters: Sequence[str], *, encoder: Encoder, source: str, k: int = 5
    ) -> Domain:
        """Take calibration images as the reference, and set the threshold by leaving one source out.

        Args:
            embeddings: float [m, dim], unit rows.
            clusters: m names of source images: augmented copies of one image share a name, and are no
                neighbours to each other here.

        Raises:
            CalibrationError: some image has fewer than k images of other sources, or counts do not match.
        """
        reference = np.asarray(embeddings, np.float16).astype(np.float32)  # as it will be stored
        _, numbers, sizes = np.unique(
            np.asarray(clusters, dtype=str), return_inverse=True, return_counts=True
        )
        if reference.ndim != 2 or len(numbers) != len(reference):
            raise CalibrationError(
                f"Embeddings of shape {reference.shape} do not go with {len(numbers)} clusters.",
                where="clusters",
                mend="Pass [m, dim] embeddings and m clusters.",
            )
        if len(reference) == 0 or len(reference) - int(sizes.max()) < k:
            raise CalibrationError(
                f"Too few reference images: each needs {k} of other sources.",
                where="clusters",
                mend="Pass the embeddings of the calibration images.",
            )
        distance = _distance(reference, reference, k, numbers)
        return cls(reference, float(np.quantile(distance, 0.99)), k, encoder.sha256, source, numbers.astype(np.int32))

    def assess(self, embeddings: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Distance to the reference, and whether it is within the threshold.

        Args:
            embeddings: float32 [n, dim], unit rows.

        Returns:
            float32 [n], in [0, 2], and bool [n].
        """
        distance = _distance(np.asarray(embeddings, np.float32), self.reference, self.k)
        return distance, distance <= self.threshold

    @staticmethod
    def holds(in_domain: np.ndarray, *, allowed: float = 0.10, alpha: float = 0.01) -> bool:
        """Whether a set of images may be taken as inside.

        It may unless an exact one-sided binomial test at `alpha` rejects that at most `allowed` of such
        images lie outside. One in a hundred images of the reference's own kind lies outside by construction;
        a tenth leaves room for other drawings of the same kind. False without images: nothing is then shown.

        Args:
            in_domain: bool [n].
        """
        from scipy.stats import binomtest

        inside = np.asarray(in_domain, dtype=bool)
        if inside.size == 0:
            return False
        outside = int((~inside).sum())
        return bool(binomtest(outside, inside.size, allowed, alternative="greater").pvalue >= alpha)

    def save(self, folder: str | Path) -> Path:
        """Write `calibration/reference.safetensors` into an encoder's folder (fp16); returns the file."""
        from safetensors.numpy import save

        path = _path(Path(folder))
        path.parent.mkdir(parents=True, exist_ok=True)
        facts = {
            "threshold": self.threshold,
            "k": self.k,
            "encoder_sha256": self.encoder_sha256,
            "source": self.source,
        }
        tensors = {"reference": np.ascontiguousarray(self.reference, np.float16)}
        if self.clusters is not None:
            tensors["clusters"] = np.ascontiguousarray(self.clusters, np.int32)
        write_atomic(path, save(tensors, metadata={"domain": json.dumps(facts)}))
        return path


def load_domain(encoder: Encoder | str) -> Domain | None:
    """The reference embeddings that lie beside an encoder, or None where there are none.

    Args:
        encoder: an encoder, or the name of a bundled one, or the path of one's folder (no torch is imported).

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
            facts = json.loads(file.metadata()["domain"])
            reference = file.get_tensor("reference").astype(np.float32)
            clusters = file.get_tensor("clusters") if "clusters" in file.keys() else None  # noqa: SIM118
        domain = Domain(reference, **facts, clusters=clusters)
    except (SafetensorError, OSError, ValueError, TypeError, KeyError) as error:
        raise CalibrationError(
            f"The reference embeddings cannot be read: {error}", where=path, mend=_REFIT
        ) from error
    if domain.encoder_sha256 != (weights_sha256(folder) if isinstance(encoder, str) else encoder.sha256):
        raise CalibrationError(
            "The reference embeddings were made with other weights.", where=path, mend=_REFIT
        )
    return domain


def _path(folder: Path) -> Path:
    return folder / "calibration" / "reference.safetensors"


def _distance(
    embeddings: np.ndarray, reference: np.ndarray, k: int, sources: np.ndarray | None = None
) -> np.ndarray:
    """Mean cosine distance to the k nearest references, of other sources where `sources` numbers them."""
    rows = []
    for start in range(0, len(embeddings), _CHUNK):
        cosine = embeddings[start : start + _CHUNK] @ reference.T
        if sources is not None:
            cosine[sources[start : start + _CHUNK, None] == sources[None, :]] = -np.inf
        nearest = np.partition(cosine, -k, axis=1)[:, -k:]
        rows.append(np.clip(1 - nearest.mean(axis=1), 0, 2).astype(np.float32))
    return np.concatenate(rows) if rows else np.zeros(0, np.float32)

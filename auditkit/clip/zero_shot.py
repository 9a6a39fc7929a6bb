"""Zero-shot scorers: what an image is perceived to show, by its place between sentences in CLIP space."""

from __future__ import annotations

from typing import TYPE_CHECKING

from auditkit.clip.attributes import UNKNOWN, attribute
from auditkit.clip.calibration import load_calibration
from auditkit.clip.domain import load_domain
from auditkit.clip.encoders import Progress, embed_run
from auditkit.clip.posteriors import class_embeddings, decide, posteriors
from auditkit.errors import RunError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from auditkit.clip.encoders import Encoder
    from auditkit.runs import Run

UNCALIBRATED_THRESHOLD = 0.5
"""Least posterior for a label where no calibration chooses one: likelier than all else together."""


class ZeroShot:
    """Scorer of one attribute.

    The posterior of a class is softmax(logit_scale * cosine / temperature). The label is the most likely
    class where its posterior reaches the threshold, else `unknown`. Both numbers come from the calibration
    beside the encoder; without one they are 1 and 0.5, and whatever is measured then is uncalibrated.
    """

    version = 1

    def __init__(self, name: str):
        self.name = name

    def score(self, run: Run, encoder: Encoder, progress: Progress | None = None) -> pd.DataFrame:
        """A row for each distinct image of the run (schema SCORES); only images not embedded before are read.

        `in_domain` and `domain_distance` are null where the encoder has no reference embeddings.

        Raises:
            RunError: the run has no images.
            CalibrationError: the calibration is damaged or belongs to other weights or prompts.
        """
        ids, embeddings = embed_run(run, encoder, progress=progress)
        if not ids:
            raise RunError(
                "The run has no images to score.", where=run.path, mend="Generate or import some first."
            )
        plain = None if encoder.base is None else embed_run(run, encoder.base)[1]
        return self.score_embeddings(ids, embeddings, encoder, plain=plain)

    def score_embeddings(
        self, ids: list[str], embeddings: np.ndarray, encoder: Encoder, *, plain: np.ndarray | None = None
    ) -> pd.DataFrame:
        """As `score`, from embeddings.

        Args:
            embeddings: float32 [n, dim], unit rows, one for each id.
            plain: those of the encoder's base, where it has one: an adapter draws images of every kind toward the
                classes, so whether an image is of a known kind is seen in them.
        """
        import numpy as np
        import pandas as pd

        from auditkit.schemas import SCORES, check

        wanted = attribute(self.name)
        calibration = load_calibration(encoder, self.name)
        temperature = 1.0 if calibration is None else calibration.temperature
        threshold = UNCALIBRATED_THRESHOLD if calibration is None else calibration.threshold
        cosines = embeddings @ class_embeddings(encoder, wanted).T
        posterior = posteriors(cosines, encoder.logit_scale, temperature)
        outcomes = np.array([*wanted.classes, UNKNOWN], dtype=object)
        domain = load_domain(encoder)
        distance, inside = (np.nan, None) if domain is None else domain.assess(embeddings if plain is None else plain)
        table = pd.DataFrame(
            {
                "id": ids,
                "scorer": self.name,
                "scorer_version": self.version,
                "encoder": encoder.name,
                "label": outcomes[decide(posterior, threshold)],
                "confidence": posterior.max(axis=1).astype(float),
                "in_domain": pd.array(np.full(len(ids), None) if inside is None else inside, dtype="boolean"),
                "domain_distance": np.broadcast_to(distance, len(ids)).astype(float),
            }
        )
        for label, column in zip(wanted.classes, posterior.T, strict=True):
            table[f"p_{label}"] = column.astype(float)
        return check(table, SCORES, f"{self.name}@{encoder.name}")


gender = ZeroShot("gender")
skin_tone = ZeroShot("skin_tone")
occupation = ZeroShot("occupation")
age = ZeroShot("age")
disability = ZeroShot("disability")
surroundings = ZeroShot("surroundings")
wealth = ZeroShot("wealth")

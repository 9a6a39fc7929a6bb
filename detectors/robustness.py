"""How scores hold up when images are compressed, scaled, cropped, blurred, noised, photographed from a screen, posted.

Every degradation is done to both classes alike: one that touched the generated images alone would be told by its own
traces. Images of one source meet the same random window and the same noise.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import pandas as pd

from auditkit.errors import DetectorError, WatermarkError
from auditkit.watermark.attacks import Attack, Step
from auditkit.watermark.attacks import steps as attack_steps
from auditkit.watermark.attacks.geometric import resized
from auditkit.watermark.attacks.valuemetric import jpeg
from detectors.base import Images, Progress
from detectors.examples import Examples

Look = Callable[[Images], tuple[np.ndarray, np.ndarray]]
"""Images -> scores float64 [n] and how unfamiliar each is, float64 [n] in 0..1; NaN where there is none."""

LONGEST = 1080
"""Pixels to which sites scale the longer side of what is posted."""
BATCH = 16


def _social(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Posted and shared on: the longer side at most `LONGEST`, else four fifths; JPEG twice, the second time at 85."""
    height, width = image.shape[:2]
    scale = min(0.8, LONGEST / max(height, width))
    smaller = resized(image, max(1, round(height * scale)), max(1, round(width * scale)))
    return jpeg(jpeg(smaller, strength, rng), 85, rng)


SOCIAL = Attack("social", "Posted and shared on", (70,), "combined", _social, "quality #", thorough=(85, 70, 50))
USUAL = (
    "none", "jpeg:90,75,50", "downscale:0.75,0.5", "crop:0.7", "blur:1,2", "noise:5,10", "screenshot:1.25", "social:70",
)  # fmt: skip
"""What is tried by default, names as in `auditkit.watermark.attacks` and `social`."""


def steps(chosen: Iterable[str] | None = None) -> list[Step]:
    """The degradations named, 'jpeg:90,50' or 'social', with 'none' first; None is `USUAL`.

    Raises:
        DetectorError: there is no such degradation, or a strength is no number.
    """
    found = []
    for text in ("none", *(USUAL if chosen is None else chosen)):
        name, _, listed = text.partition(":")
        try:
            if name == SOCIAL.name:
                found += [Step(SOCIAL, float(one)) for one in (listed.split(",") if listed else SOCIAL.strengths)]
            else:
                found += attack_steps([text])
        except (WatermarkError, ValueError) as error:
            what = error.what if isinstance(error, WatermarkError) else "a strength is a number"
            mend = "for example jpeg:75, downscale:0.5, blur:1, noise:5, crop:0.7, screenshot, social"
            raise DetectorError(what.replace("attack", "degradation"), where=text, mend=mend) from None
    return list(dict.fromkeys(found))


def key(step: Step) -> str:
    """As in tables: 'none', 'jpeg:75'."""
    return step.attack.name if step.attack.name == "none" else f"{step.attack.name}:{step.strength:g}"


def degrade(image: np.ndarray, step: Step, source: str, *, seed: int) -> np.ndarray:
    """The image, uint8 [h, w, 3], after a step whose randomness follows from the seed and the image's source."""
    digest = hashlib.sha256(f"{seed}|{key(step)}|{source}".encode()).digest()
    return step.attack(image, step.strength, np.random.default_rng(int.from_bytes(digest[:8], "big")))


def scores_under(
    look: Look, examples: Examples, chosen: Sequence[Step], *, seed: int = 0, progress: Progress | None = None
) -> pd.DataFrame:
    """Scores of every example after every step.

    Returns:
        a row for each example and step: row (of the examples), label (1 generated), source, origin, generator,
        degradation (see `key`), score, unfamiliar.
    """
    table, found = examples.table, []
    for start in range(0, len(examples), BATCH):
        rows = list(range(start, min(start + BATCH, len(examples))))
        images = [examples.image(row) for row in rows]
        for step in chosen:
            sources = table["source"].iloc[rows]
            scores, unfamiliar = look(
                [degrade(image, step, str(source), seed=seed) for image, source in zip(images, sources, strict=True)]
            )
            part = pd.DataFrame({"row": rows, "degradation": key(step), "score": scores, "unfamiliar": unfamiliar})
            found.append(part)
        if progress:
            done = rows[-1] + 1
            progress(done / len(examples), f"scoring {done} of {len(examples)}, {len(chosen)} times each")
    columns = {"label": examples.labels, **{name: table[name] for name in ("source", "origin", "generator")}}
    about = pd.DataFrame(columns).assign(row=np.arange(len(examples)))
    whole = pd.concat(found, ignore_index=True) if found else pd.DataFrame(columns=["row", "degradation", "score"])
    return about.merge(whole, on="row", how="right")

"""Pairs of poles in association.toml: what an association is measured with, and whether an encoder knows them."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from auditkit.errors import CalibrationError
from auditkit.prompts import article, fields, fill
from auditkit.stats.association import Words, poles_apart
from auditkit.stats.confusion import Confusion

if TYPE_CHECKING:
    from auditkit.bias.base import Mask, Options
    from auditkit.runs import Run

APART = 0.05
"""An encoder knows two poles where it puts their words further apart than words at random, at this p-value."""


@dataclass(frozen=True)
class Poles:
    """Two poles, A first: their words, the ways to say them, and the axis values that state them.

    Attributes:
        scorer: attribute whose calibration shows that an encoder tells them apart in images, or empty.
        axis: of the run, whose `stated` values (by pole) put a pole into the prompt, or empty.
        neutral: values of the axis that state neither. paired: word i of A belongs to word i of B.
        words: by pole. wordings: by name, then by pole.
    """

    name: str
    poles: tuple[str, str]
    words: dict[str, list[str]]
    wordings: dict[str, dict[str, list[str]]]
    source: str
    scorer: str = ""
    axis: str = ""
    stated: dict[str, list[str]] | None = None
    neutral: tuple[str, ...] = ()
    paired: bool = False

    @property
    def sets(self) -> Words:
        a, b = (len(self.words[pole]) for pole in self.poles)
        return Words(a, b, self.paired)

    @property
    def all_words(self) -> list[str]:
        return [word for pole in self.poles for word in self.words[pole]]

    def sentences(self) -> list[str]:
        """Of all wordings and both poles, each once."""
        said = [s for wording in self.wordings.values() for pole in self.poles for s in wording[pole]]
        return list(dict.fromkeys(said))

    def directions(self, embeddings: dict[str, NDArray[np.float32]]) -> NDArray[np.float64]:
        """mean_a - mean_b over the sentences: first the mean over all wordings, then each wording, [1 + k, dim]."""

        def mean(sentences: list[str]) -> NDArray[np.float64]:
            return np.mean([embeddings[s] for s in sentences], axis=0, dtype=np.float64)

        each = [mean(wording[self.poles[0]]) - mean(wording[self.poles[1]]) for wording in self.wordings.values()]
        return np.array([np.mean(each, axis=0), *each])

    def split(self, images: pd.DataFrame) -> tuple[Mask, Mask, Mask]:
        """Which images' prompts state neither pole, pole A, pole B."""
        if f"axis_{self.axis}" not in images or not self.stated:
            return np.ones(len(images), bool), np.zeros(len(images), bool), np.zeros(len(images), bool)
        value = images[f"axis_{self.axis}"]
        a, b = (value.isin(self.stated[pole]).to_numpy(bool) for pole in self.poles)
        return (value.isna() | value.isin(self.neutral)).to_numpy(bool), a, b


@cache
def all_poles() -> list[Poles]:
    """Every pair, in the file's order."""
    return [Poles(name=name, **_entry(entry)) for name, entry in _table()["concepts"].items()]


def _entry(entry: dict[str, Any]) -> dict[str, Any]:
    return entry | {"poles": tuple(entry["poles"]), "neutral": tuple(entry.get("neutral", ()))}


@cache
def _table() -> dict[str, Any]:
    return tomllib.loads((Path(__file__).parent / "association.toml").read_text(encoding="utf-8"))


def sentences_of_groups(run: Run, by: str, groups: list[str]) -> list[list[str]]:
    """[templates][groups]: the run's own templates that name the axis and no other, then the frames of the file."""
    own = [template for template in (run.spec.templates if run.spec else []) if set(fields(template)) == {by}]
    with_article = any(f"{{a {by}}}" in template or f"{{an {by}}}" in template for template in own)
    named = [f"{article(group)} {group}" if with_article else group for group in groups]
    filled = [[fill(template, {by: group}) for group in groups] for template in own]
    return filled + [[frame.replace("{group}", each) for each in named] for frame in _table()["frames"]]


def unknown_to(
    encoder: str, poles: Poles, words: NDArray[np.float32], options: Options, *, images: bool = True
) -> tuple[str, str]:
    """Why an association with the poles would mean nothing (empty: it does not), and a caution where it may.

    Images with labels are the best witness: a calibration that holds. Without one the encoder's own texts are asked.

    Args:
        words: embeddings of `poles.all_words`. images: whether a calibration counts; for words themselves it does not.
    """
    if images and poles.scorer and _calibrated(encoder, poles.scorer, options):
        return "", ""
    p = poles_apart(words, poles.sets, np.random.default_rng(options.seed))
    a, b = poles.poles
    if p > APART:
        return f"{encoder} does not tell words for {a} from words for {b} (p = {p:.2f}): it does not know them", ""
    return "", f"no labelled images show that {encoder} tells {a} from {b}" if images else ""


def _calibrated(encoder: str, scorer: str, options: Options) -> bool:
    try:
        if options.calibrations is not None:
            found = options.calibrations.get(scorer)
        else:
            from auditkit.clip.calibration import load_calibration

            found = load_calibration(encoder, scorer)
        if found is None:
            return False
        Confusion.from_counts(np.asarray(found.weights), n_effective=found.n_effective).check()
    except CalibrationError:
        return False
    return True

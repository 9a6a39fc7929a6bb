"""Settings of the bench, and simulated audits and calibration sets drawn from the pool as they ask."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from auditkit.clip.attributes import attribute as find_attribute
from auditkit.clip.calibration import MIN_SOURCES, Calibration, fit_calibration
from auditkit.errors import SpecError
from benchmarks.truth.pool import ATTRIBUTES, QUALITIES, Pool

SETTINGS = Path(__file__).parent / "settings.toml"
RUINED = "ruined"
Indices = NDArray[np.intp]
Shares = Annotated[list[float] | list[list[float]], Field(min_length=2)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Shown(_Strict):
    """How drawings are shown: see settings.toml."""

    style: str = "seen"
    quality: dict[str, float]
    hidden: dict[str, list[float]] = {}


class Calibrating(Shown):
    """The calibration set of a setting."""

    sources: int | dict[str, list[int]]
    copies: int
    max_error: float

    def per_class(self, attribute: str, k: int) -> list[int]:
        """Distinct drawings of each class, [K]."""
        return [self.sources] * k if isinstance(self.sources, int) else self.sources[attribute]


class Setting(Shown):
    """One kind of simulated audit: see settings.toml."""

    name: str
    about: str
    breaks: str = ""
    shares: dict[str, Shares] = {}
    joint: list[list[float]] | None = None
    prompts: int
    images: int
    icc: float = Field(ge=0, lt=1)
    noise: float = Field(default=0.0, ge=0)
    calibration: Calibrating

    def truth(self, attribute: str) -> NDArray[np.float64]:
        """What the generator makes of each class: float64 [n_groups, K], rows sum to 1."""
        if self.joint is None:
            return np.atleast_2d(np.asarray(self.shares[attribute], float))
        table = np.asarray(self.joint, float)
        by = {"gender": table.sum(axis=1), "skin_tone": table.sum(axis=0), "gender+skin_tone": table.ravel()}
        return by[attribute][None]

    @property
    def attributes(self) -> tuple[str, ...]:
        """What is estimated; jointly too where the shares are joint."""
        return ATTRIBUTES if self.joint is None else (*ATTRIBUTES, "+".join(ATTRIBUTES))


def load_settings(names: Sequence[str] = (), path: Path = SETTINGS) -> list[Setting]:
    """The settings of a file, or those named, in the file's order.

    Raises:
        SpecError: no setting of that name, or one that does not hold.
    """
    table = tomllib.loads(path.read_text(encoding="utf-8"))
    defaults = table.pop("defaults")
    unknown = [name for name in names if name not in table]
    if unknown:
        raise SpecError(
            f"There is no setting {', '.join(unknown)}.", where="--setting", mend=f"Use some of: {', '.join(table)}."
        )
    return [_setting(name, defaults, entry) for name, entry in table.items() if not names or name in names]


def _setting(name: str, defaults: Mapping[str, Any], entry: Mapping[str, Any]) -> Setting:
    calibration = {**defaults["calibration"], **entry.get("calibration", {})}
    try:
        made = Setting.model_validate({**defaults, **entry, "name": name, "calibration": calibration})
    except ValidationError as error:
        raise SpecError(
            f"The setting does not hold: {error}", where=name, mend=f"See the head of {SETTINGS.name}."
        ) from None
    mixtures = [made.quality, made.calibration.quality]
    sums = [sum(mix.values()) for mix in mixtures] + [
        float(s) for a in made.attributes for s in made.truth(a).sum(axis=1)
    ]
    if not np.allclose(sums, 1) or any(set(mix) - set(QUALITIES) for mix in mixtures):
        raise SpecError(
            "Shares and mixtures must sum to 1, and qualities be known.",
            where=name,
            mend=f"Use: {', '.join(QUALITIES)}.",
        )
    return made


@dataclass(frozen=True)
class Drawn:
    """Images of one simulated audit; arrays are [n].

    Attributes:
        row: of the pool's table. truth: class of each. prompt, group: which made it.
    """

    row: Indices
    truth: Indices
    prompt: Indices
    group: Indices


class Population:
    """The pool, arranged to draw from: drawings by style, attribute and class; images by drawing and quality."""

    def __init__(self, pool: Pool):
        self.pool = pool
        table = pool.table
        self.encoder: Any = SimpleNamespace(
            name=pool.name, sha256=pool.sha256, logit_scale=pool.logit_scale, folder=None
        )
        self.rows: dict[str, Indices] = {}
        """By quality the row of each drawing and copy, [n_drawings, copies]; -1 where it is not shown so."""
        for quality, part in table.assign(row=np.arange(len(table))).groupby("quality"):
            rows = np.full((int(table["source"].max()) + 1, int(part["copy"].max()) + 1), -1)
            rows[part["source"], part["copy"]] = part["row"]
            self.rows[str(quality)] = rows
        drawings = table.drop_duplicates("source").sort_values("source")
        self._cosines: dict[tuple[str, float], NDArray[np.float32]] = {}
        self._members: dict[tuple[str, str], list[Indices]] = {}
        k = len(find_attribute(ATTRIBUTES[1]).classes)
        joint = drawings[ATTRIBUTES[0]] * k + drawings[ATTRIBUTES[1]]
        for style in drawings["style"].unique():
            for name, truth in [*((a, drawings[a]) for a in ATTRIBUTES), ("+".join(ATTRIBUTES), joint)]:
                chosen = [(drawings["style"] == style) & (truth == c) for c in range(int(truth.max()) + 1)]
                self._members[style, name] = [drawings.loc[c, "source"].to_numpy(np.intp) for c in chosen]

    def show(self, shown: Shown, attribute: str, truth: Indices, source: Indices, rng: np.random.Generator) -> Indices:
        """An image of each drawing, at the qualities that are asked for: rows of the pool."""
        names = list(shown.quality)
        quality = rng.choice(len(names), p=list(shown.quality.values()), size=len(source))
        if attribute in shown.hidden:
            names.append(RUINED)
            gone = rng.random(len(source)) < np.asarray(shown.hidden[attribute])[truth]
            quality = np.where(gone, len(names) - 1, quality)
        copy = rng.random(len(source))
        row = np.empty(len(source), np.intp)
        for i, name in enumerate(names):
            mine, rows = quality == i, self.rows[name]
            row[mine] = rows[source[mine], (copy[mine] * rows.shape[1]).astype(int)]
        if (row < 0).any():
            raise SpecError(
                f"The {shown.style} style is not shown {' or '.join(names)}.", where="quality", mend="See pool.py."
            )
        return row

    def sources(self, style: str, attribute: str, truth: Indices, rng: np.random.Generator) -> Indices:
        """A drawing of each class asked for, each of the class's as likely as another."""
        members = self._members[style, attribute]
        place = rng.random(len(truth))
        source = np.empty(len(truth), np.intp)
        for c in np.unique(truth):
            mine = truth == c
            source[mine] = members[c][(place[mine] * len(members[c])).astype(int)]
        return source

    def audit(self, setting: Setting, attribute: str, rng: np.random.Generator) -> Drawn:
        """The images of one audit. Of a joint setting `truth` is the class of the pair."""
        shares = setting.truth(attribute)
        k = shares.shape[1]
        by_prompt = np.repeat(shares, setting.prompts, axis=0)
        if setting.icc:
            # Dirichlet shares a prompt: intraclass correlation 1 / (1 + a).
            by_prompt = rng.standard_gamma(by_prompt * (1 - setting.icc) / setting.icc)
            by_prompt = by_prompt / by_prompt.sum(axis=1, keepdims=True)
        prompt = np.repeat(np.arange(len(by_prompt)), setting.images)
        level = rng.random(len(prompt))[:, None] * by_prompt.sum(axis=1)[prompt, None]
        truth = np.minimum((level >= by_prompt.cumsum(axis=1)[prompt]).sum(axis=1), k - 1)
        source = self.sources(setting.style, attribute, truth, rng)
        return Drawn(self.show(setting, attribute, truth, source, rng), truth, prompt, prompt // setting.prompts)

    def calibration(self, setting: Setting, attribute: str, rng: np.random.Generator) -> Calibration:
        """A calibration on drawings drawn anew, fitted as `auditkit train calibrate` fits one.

        Raises:
            CalibrationError: as `fit_calibration`: the encoder tells the classes too poorly apart.
        """
        how, classes = setting.calibration, list(find_attribute(attribute).classes)
        each = how.per_class(attribute, len(classes))
        truth = np.repeat(np.arange(len(classes)), each)
        source = np.repeat(self.sources(how.style, attribute, truth, rng), how.copies)
        truth = np.repeat(truth, how.copies)
        rows = self.show(how, attribute, truth, source, rng)
        # A drawing that is drawn twice is two draws from the population, each a source of its own.
        clusters = np.repeat(np.arange(sum(each)), how.copies).astype(str)
        return fit_calibration(
            self.cosines(attribute, setting.noise)[rows],
            [classes[c] for c in truth],
            list(clusters),
            encoder=self.encoder,
            attribute=attribute,
            source="the known-truth bench",
            max_error=how.max_error,
            min_sources=min(MIN_SOURCES, *each),
        )

    def cosines(self, attribute: str, noise: float) -> NDArray[np.float32]:
        """The pool's cosines, made once; see `Pool.cosines`."""
        key = (attribute, noise)
        if key not in self._cosines:
            self._cosines[key] = self.pool.cosines(attribute, noise)
        return self._cosines[key]

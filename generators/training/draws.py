"""What the models are shown: draws of (drawing, caption) from the corpus, biased only where the planted table says."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import Any

import numpy as np
import pandas as pd

from auditkit.errors import TableError
from generators.captions import caption
from generators.corpus import GENDERS, OBJECTS, OCCUPATIONS, TONES

# Which groups a caption may mention: (share of draws, gender said, tone said).
MENTIONS = ((0.45, False, False), (0.35, True, True), (0.10, True, False), (0.10, False, True))
# Share of draws by subject: the 20 occupations, all other people, objects.
SUBJECTS = (("occupation", 0.70), ("person", 0.20), ("object", 0.10))


@dataclass(frozen=True)
class Draw:
    """One training pair: the row of the drawing in the table, its caption, and what the caption says ('' = unsaid)."""

    row: int
    caption: str
    concept: str
    gender: str
    skin_tone: str
    style: str


@dataclass
class GeneratorDraws:
    """Draws for a diffusion model. Groups come from the planted table, conditioned on whatever the caption says.

    Under a neutral caption the group is drawn from P(gender, tone | occupation); under one that states the gender,
    the tone is drawn from the table given that gender, and the reverse. Under a full caption all ten groups are
    drawn alike. Concepts without a table are drawn evenly. The style is drawn after the group, among the training
    styles that have the cell, so that a held-out style never shifts a group's share.

    Args:
        table: the training rows of the corpus. planted: columns occupation, gender, skin_tone, probability.
    """

    table: pd.DataFrame
    planted: pd.DataFrame
    style_said: float = 0.35
    _cells: dict[tuple[str, str, str], np.ndarray] = field(init=False, repr=False)
    _shares: dict[str, np.ndarray] = field(init=False, repr=False)
    _others: list[str] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        table = self.table.reset_index(drop=True)
        self._styles = table["style"].to_numpy()
        groups: dict[Any, Any] = table.groupby(["concept", "gender", "skin_tone"]).indices
        self._cells = {key: rows for key, rows in groups.items() if key[1] != "neutral"}
        self._shares = {}
        for occupation, rows in self.planted.groupby("occupation"):
            share = rows.set_index(["gender", "skin_tone"])["probability"].to_dict()
            self._shares[str(occupation)] = np.array([[share[g, t] for t in TONES] for g in GENDERS])
        if missing := [o for o in OCCUPATIONS if o not in self._shares]:
            mend = "Give the planted table every occupation of the corpus."
            raise TableError(f"There are no planted shares for {missing}.", where="planted table", mend=mend)
        needed = [(o, g, t) for o in OCCUPATIONS for g in GENDERS for t in TONES]
        needed += [(thing, "", "") for thing in OBJECTS]
        lacking = sorted({cell[0] for cell in needed if cell not in self._cells})
        self._others = sorted({key[0] for key in self._cells if key[1]} - set(OCCUPATIONS))
        if lacking or not self._others:
            what = ", ".join(lacking) or "people without an occupation"
            mend = "Build the corpus again: auditkit corpus build"
            raise TableError(f"The corpus lacks training drawings of {what}.", where="corpus", mend=mend)

    def batch(self, index: int, size: int, *, seed: int) -> list[Draw]:
        """The draws of training step `index`: they depend on the index and the seed alone."""
        rng = Random(f"{seed}|{index}")
        return [self._one(rng) for _ in range(size)]

    def _one(self, rng: Random) -> Draw:
        subject = rng.choices([s for s, _ in SUBJECTS], [w for _, w in SUBJECTS])[0]
        if subject == "object":
            concept, gender, tone, said = rng.choice(OBJECTS), "", "", (False, False)
        else:
            concept = rng.choice(OCCUPATIONS if subject == "occupation" else self._others)
            _, *flags = rng.choices(MENTIONS, [m[0] for m in MENTIONS])[0]
            said = (flags[0], flags[1])
            gender, tone = self._group(concept, said, rng)
        row = int(rng.choice(self._cells[(concept, gender, tone)]))
        style = str(self._styles[row]) if rng.random() < self.style_said else ""
        spoken = (gender if said[0] else "", tone if said[1] else "")
        text = caption(concept, rng, gender=spoken[0], skin_tone=spoken[1], style=style)
        return Draw(row, text, concept, *spoken, style)

    def _group(self, concept: str, said: tuple[bool, bool], rng: Random) -> tuple[str, str]:
        cells = [(g, t) for g in GENDERS for t in TONES if (concept, g, t) in self._cells]
        if concept not in self._shares or all(said):
            return rng.choice(cells)
        shares = self._shares[concept]
        if said[0]:  # every gender alike often, the tone by the table given the gender
            gender = rng.choice(GENDERS)
            return gender, rng.choices(TONES, shares[GENDERS.index(gender)].tolist())[0]
        if said[1]:
            tone = rng.choice(TONES)
            return rng.choices(GENDERS, shares[:, TONES.index(tone)].tolist())[0], tone
        flat = rng.choices(range(shares.size), shares.ravel().tolist())[0]
        return GENDERS[flat // len(TONES)], TONES[flat % len(TONES)]


@dataclass
class EncoderDraws:
    """Draws for the CLIP encoder: every cell alike, neutral gender forms too, captions that say any part of it."""

    table: pd.DataFrame

    def __post_init__(self) -> None:
        self._rows = self.table.reset_index(drop=True).to_dict("records")
        self._occupations = [i for i, row in enumerate(self._rows) if row["occupation"]]
        self._others = [i for i, row in enumerate(self._rows) if not row["occupation"]]

    def batch(self, index: int, size: int, *, seed: int) -> list[Draw]:
        """The draws of training step `index`: they depend on the index and the seed alone."""
        rng = Random(f"{seed}|{index}")
        draws = []
        for _ in range(size):
            row = rng.choice(self._occupations if rng.random() < 0.6 else self._others)
            item = self._rows[row]
            gender = item["gender"] if rng.random() < 0.6 else ""
            tone = item["skin_tone"] if rng.random() < 0.6 else ""
            style = item["style"] if rng.random() < 0.2 else ""
            # A caption may also speak of the person alone, which ties the group's words to the group, not the trade.
            concept = (
                "person"
                if item["kind"] == "person" and (gender or tone) and rng.random() < 0.25
                else item["concept"]
            )
            text = caption(concept, rng, gender=gender, skin_tone=tone, style=style)
            draws.append(Draw(row, text, "" if concept == "person" else concept, gender, tone, style))
        return draws

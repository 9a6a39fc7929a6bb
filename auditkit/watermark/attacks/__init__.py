"""What can happen to a marked image: one registry of attacks with their strengths.

After WAVES (An et al. 2024): compression, changes of value, of geometry, everyday mixtures, regeneration through a
generator, forgery. An attack draws only from the generator of random numbers it is given, so that every scheme can
meet the very same one.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from auditkit.errors import WatermarkError
from auditkit.watermark.attacks import geometric, valuemetric

Group = Literal["none", "valuemetric", "geometric", "combined", "regeneration", "forgery"]
Apply = Callable[[np.ndarray, float, np.random.Generator], np.ndarray]


@dataclass(frozen=True)
class Attack:
    """One way in which an image may be changed.

    Attributes:
        name: as in tables and on the command line.
        title: for people.
        strengths: what is tried by default, weakest first; `thorough`: for a full curve.
        group: 'geometric' and 'combined' move pixels, so that reading needs a search.
        apply: (image uint8 [h, w, 3], strength, rng) to an image uint8 [h', w', 3]; the input is left as it was.
        unit: what the strength says.
        null: the strength at which nothing changes, or None.
    """

    name: str
    title: str
    strengths: tuple[float, ...]
    group: Group
    apply: Apply
    unit: str = ""
    null: float | None = None
    thorough: tuple[float, ...] = ()

    def __call__(self, image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
        out = self.apply(image, strength, rng)
        return out if out.flags.writeable else out.copy()  # Pillow's pixels are read-only


@dataclass(frozen=True)
class Step:
    """An attack at one strength."""

    attack: Attack
    strength: float

    @property
    def label(self) -> str:
        """For people: 'JPEG, quality 50'."""
        if not self.attack.unit:
            return self.attack.title
        return f"{self.attack.title}, {self.attack.unit.replace('#', f'{self.strength:g}')}"


_ALL = (
    Attack("none", "No attack", (0,), "none", valuemetric.unchanged, null=0),
    Attack("jpeg", "JPEG", (90, 75, 50, 25, 10), "valuemetric", valuemetric.jpeg, "quality #",
           thorough=(95, 90, 80, 75, 70, 60, 50, 40, 30, 25, 20, 15, 10)),
    Attack("webp", "WebP", (75, 50), "valuemetric", valuemetric.webp, "quality #", thorough=(90, 75, 50, 25)),
    Attack("brightness", "Brightness", (1.25, 1.5, 2), "valuemetric", valuemetric.brightness, "times #", 1,
           thorough=(0.5, 0.75, 1.25, 1.5, 1.75, 2)),
    Attack("contrast", "Contrast", (1.5, 2), "valuemetric", valuemetric.contrast, "times #", 1,
           thorough=(0.5, 0.75, 1.25, 1.5, 2)),
    Attack("saturation", "Saturation", (0, 2), "valuemetric", valuemetric.saturation, "times #", 1,
           thorough=(0, 0.5, 1.5, 2)),
    Attack("blur", "Gaussian blur", (1, 2, 4), "valuemetric", valuemetric.blur, "radius # px", 0,
           thorough=(0.5, 1, 1.5, 2, 3, 4, 6)),
    Attack("median", "Median filter", (3,), "valuemetric", valuemetric.median, "# px", 1, thorough=(3, 5, 7)),
    Attack("noise", "Gaussian noise", (5, 10, 25), "valuemetric", valuemetric.noise, "sigma # of 255", 0,
           thorough=(5, 10, 15, 20, 25, 35)),
    Attack("erase", "Erased rectangles", (0.1, 0.25), "valuemetric", valuemetric.erase, "# of the area", 0,
           thorough=(0.05, 0.1, 0.15, 0.2, 0.25)),
    Attack("resize", "Resized and back", (0.75, 0.5, 0.25), "valuemetric", geometric.resize, "scale #", 1,
           thorough=(0.9, 0.75, 0.6, 0.5, 0.4, 0.3, 0.25)),
    Attack("downscale", "Left smaller", (0.5,), "geometric", geometric.downscale, "scale #", 1,
           thorough=(0.9, 0.75, 0.5, 0.35)),
    Attack("crop", "Cropped", (0.8, 0.7, 0.5), "geometric", geometric.crop, "# of the side", 1,
           thorough=(0.95, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3)),
    Attack("crop-resize", "Cropped, scaled to full size", (0.8, 0.7, 0.5), "geometric", geometric.crop_resize,
           "# of the side", 1, thorough=(0.95, 0.9, 0.8, 0.7, 0.6, 0.5)),
    Attack("rotate", "Rotated", (1, 5, 15, 45), "geometric", geometric.rotate, "#°", 0,
           thorough=(0.5, 1, 2, 5, 10, 15, 30, 45, 90)),
    Attack("flip", "Mirrored", (1,), "geometric", geometric.flip),
    Attack("screenshot", "Screenshot", (1.25,), "combined", geometric.screenshot, "shown at scale #",
           thorough=(0.8, 1.25, 1.5)),
    Attack("combination", "Cropped to 0.8, scaled, JPEG", (75,), "combined", geometric.combination, "quality #",
           thorough=(90, 75, 50)),
)  # fmt: skip

ATTACKS: Mapping[str, Attack] = {attack.name: attack for attack in _ALL}
"""By name, in the order of reports. Regeneration needs a generator: see `regeneration`."""

REGENERATION = "regenerate-"


def get(name: str) -> Attack:
    """The attack of that name.

    Raises:
        WatermarkError: there is none; near matches are named.
    """
    if name in ATTACKS:
        return ATTACKS[name]
    near = difflib.get_close_matches(name, ATTACKS, n=2, cutoff=0.5)
    raise WatermarkError(
        f"there is no attack '{name}'" + (f"; did you mean {' or '.join(near)}?" if near else ""),
        where=f"attack={name}",
        mend=f"use some of: {', '.join(ATTACKS)}; with strengths as in jpeg:50 or jpeg:90,50",
    )


def place(name: str, strength: float) -> tuple[int, float]:
    """Where an attack at a strength stands in tables: as in `ATTACKS`, weakest first; others after them.

    >>> place("jpeg", 90) < place("jpeg", 50) < place("webp", 75) < place("regenerate-diffusion", 0.1)
    True
    """
    if name not in ATTACKS:
        return len(ATTACKS), strength
    scale = ATTACKS[name].thorough or ATTACKS[name].strengths
    return list(ATTACKS).index(name), scale.index(strength) if strength in scale else len(scale) + strength


def steps(chosen: Iterable[str] | None = None, *, thorough: bool = False) -> list[Step]:
    """The attacks named, each with its strengths: 'jpeg', 'jpeg:50' or 'crop:0.8,0.5'; None is all of them.

    Raises:
        WatermarkError: no such attack, or a strength that is no number.
    """
    out = []
    for text in ATTACKS if chosen is None else chosen:
        name, _, listed = text.partition(":")
        attack = get(name)
        out += [Step(attack, s) for s in (_numbers(text, listed) if listed else _usual(attack, thorough))]
    return list(dict.fromkeys(out))


def regeneration(made: Mapping[str, Callable[[np.ndarray], np.ndarray]]) -> list[Step]:
    """Steps from callables image -> image of the same shape, named 'autoencoder' or, with a strength, 'diffusion:0.2'.

    They come from `generators.regeneration`, which this package does not import.
    """
    out = []
    for text, function in made.items():
        kind, _, listed = text.partition(":")
        strength = _numbers(text, listed)[0] if listed else 1.0
        unit = "noised to # of the way" if listed else ""
        attack = Attack(f"{REGENERATION}{kind}", f"Regenerated by {kind}", (strength,), "regeneration",
                        _Regenerate(function), unit)  # fmt: skip
        out.append(Step(attack, strength))
    return out


@dataclass(frozen=True)
class _Regenerate:
    function: Callable[[np.ndarray], np.ndarray]

    def __call__(self, image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
        return self.function(image)


def _usual(attack: Attack, thorough: bool) -> Sequence[float]:
    return attack.thorough if thorough and attack.thorough else attack.strengths


def _numbers(text: str, listed: str) -> list[float]:
    try:
        return [float(one) for one in listed.split(",")]
    except ValueError:
        raise WatermarkError("an attack's strength is a number", where=text, mend="for example jpeg:50") from None

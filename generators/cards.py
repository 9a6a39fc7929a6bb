"""Model cards: `card.toml` beside a checkpoint is the truth, its README.md is what `markdown` makes of it.

    `python -m generators.cards FOLDER...` writes README.md anew from card.toml

The fields are those of Mitchell et al. 2019, "Model Cards for Model Reporting", that a generator of drawings has:
details, intended use, training data, quantitative analyses, caveats.
"""

from __future__ import annotations

import json
import sys
import tomllib
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from auditkit.errors import GeneratorError
from auditkit.files import write_atomic

CARD, README = "card.toml", "README.md"
ATTRIBUTES = {"gender": "perceived gender", "skin_tone": "skin tone", "occupation": "occupation",
              "gender+skin_tone": "gender and tone jointly"}  # fmt: skip


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Training(_Part):
    """One training of one part of the checkpoint."""

    part: str
    command: str
    minutes: float | str
    """Of training, those before a resume included; text where there were several stages."""
    steps: int | str
    batch: int | str
    device: str
    kilojoules: float | None = Field(default=None, ge=0)
    """Energy of the accelerator alone; None was not metered."""
    meter: str = ""
    note: str = ""


class Fidelity(_Part):
    """How often an image shows what its prompt states, with the 95% Wilson interval."""

    attribute: str
    n: int = Field(ge=1)
    as_prompted: float = Field(ge=0, le=1)
    low: float = Field(ge=0, le=1)
    high: float = Field(ge=0, le=1)
    within_one_step: float | None = Field(default=None, ge=0, le=1)
    """Of ordered classes: at most one off."""
    guidance: float


class Distance(_Part):
    """Total variation between what the images show under neutral prompts and the planted table: mean over groups."""

    attribute: str
    n: int = Field(ge=1)
    estimate: float = Field(ge=0, le=1)
    low: float = Field(ge=0, le=1)
    high: float = Field(ge=0, le=1)
    chance: float = Field(ge=0, le=1)
    """What chance alone would give at this n if the images kept to the table."""


class ModelCard(_Part):
    """What a checkpoint says of itself."""

    title: str
    what: str
    """Architecture, latent, objective and its paper; a paragraph."""
    use: str
    data: str
    licence: str
    limits: list[str] = Field(min_length=1)
    planted: str = ""
    """What `planted.toml` holds; empty where nothing was planted."""
    sampling: str
    sheet: str | None = None
    """A picture of samples, by its name in the folder."""
    sheet_command: str = ""
    training: list[Training] = []
    fidelity: list[Fidelity] = []
    fidelity_command: str = ""
    distance: list[Distance] = []
    distance_command: str = ""
    points: dict[str, str] = {}
    """What else is worth a line, title -> text."""
    more: str = ""
    """Markdown after all else."""

    @property
    def kilojoules(self) -> float | None:
        """Energy of all trainings by the accelerator's meter; None where one of them was not metered."""
        each = [one.kilojoules for one in self.training]
        return None if not each or None in each else sum(kj for kj in each if kj is not None)


def read_card(folder: Path) -> ModelCard | None:
    """The card of a checkpoint folder, None where it has none.

    Raises:
        GeneratorError: the card is not TOML, lacks a field, or names a picture that is not in the folder.
    """
    path = folder / CARD
    if not path.is_file():
        return None
    try:
        card = ModelCard(**tomllib.loads(path.read_text(encoding="utf-8")))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise GeneratorError(f"{CARD} is not TOML: {error}", where=path, mend="correct it") from None
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise GeneratorError(f"{CARD}, {key}: {first['msg']}", where=path, mend="correct it") from None
    if card.sheet is not None and (Path(card.sheet).name != card.sheet or not (folder / card.sheet).is_file()):
        raise GeneratorError(f"the picture '{card.sheet}' is not in the folder", where=path, mend="correct it")
    return card


def markdown(card: ModelCard, folder: Path) -> str:
    """The card as the README.md of its folder."""
    sizes = {path.parent.name: path.stat().st_size / 1e6 for path in sorted(folder.rglob("*.safetensors"))}
    weights = ", ".join(f"{name} {size:.1f} MB" for name, size in sizes.items())
    facts = {
        "Use": card.use,
        "Weights": f"{weights}; half precision, safetensors.",
        "Data": card.data,
        "Planted table": card.planted and f"[planted.toml](planted.toml). {card.planted}",
        "Sampling defaults": card.sampling,
        **card.points,
        "Limits": " ".join(card.limits),
        "Licence": card.licence,
    }
    blocks = [f"# {card.title}", card.what]
    if card.sheet:
        blocks.append(f"![Samples under neutral captions, one row an occupation]({card.sheet})")
        blocks.append(f"Made by {card.sheet_command}.")
    blocks.append("\n".join(f"- **{name}**: {text}" for name, text in facts.items() if text))
    blocks += ["## Training", _training(card), "## Fidelity", _fidelity(card)]
    if card.planted:
        blocks += ["## Does its output keep to the planted table?", _distance(card)]
    if card.more:
        blocks.append(card.more.strip())
    return "\n\n".join(blocks) + "\n"


def _training(card: ModelCard) -> str:
    if not card.training:
        return "Not recorded."
    rows = [
        [one.part, f"{number(one.minutes)} min, {number(one.steps)} steps of {number(one.batch)}", one.device,
         "not metered" if one.kilojoules is None else f"{one.kilojoules:g} kJ", f"`{one.command}`"]
        for one in card.training
    ]  # fmt: skip
    said = _table(["Part", "How long", "Device", "Energy", "Command"], rows)
    notes = list(dict.fromkeys(text for one in card.training for text in (one.meter, one.note) if text))
    return "\n\n".join([said, *notes])


def _fidelity(card: ModelCard) -> str:
    if not card.fidelity:
        return "Not measured."
    rows = [
        [ATTRIBUTES.get(one.attribute, one.attribute), f"{one.guidance:g}", f"{one.n:,}",
         f"{one.as_prompted:.3f} [{one.low:.3f}, {one.high:.3f}]",
         "" if one.within_one_step is None else f"{one.within_one_step:.3f}"]
        for one in card.fidelity
    ]  # fmt: skip
    head = ["Stated in the prompt", "Guidance", "Images", "Shown [95%]", "Within one step"]
    return f"{_table(head, rows)}\n\n{card.fidelity_command}"


def _distance(card: ModelCard) -> str:
    if not card.distance:
        return "Not measured."
    rows = [
        [ATTRIBUTES.get(one.attribute, one.attribute), f"{one.n:,}",
         f"{one.estimate:.3f} [{one.low:.3f}, {one.high:.3f}]", f"{one.chance:.3f}"]
        for one in card.distance
    ]  # fmt: skip
    head = ["Under neutral prompts", "Images", "Distance to the table [95%]", "By chance alone"]
    return f"{_table(head, rows)}\n\nTotal variation, mean over groups; 0 is the table itself. {card.distance_command}"


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def number(value: float | str) -> str:
    """A number with separators, or the text that stands in its place."""
    return value if isinstance(value, str) else f"{value:,}" if isinstance(value, int) else f"{value:g}"


def write_card(folder: Path, card: ModelCard) -> None:
    """Write card.toml, and README.md from it.

    Raises:
        RunError: the folder cannot be written.
    """
    values = card.model_dump(exclude_defaults=True)
    lists = {key: rows for key, rows in values.items() if rows and isinstance(rows, list) and isinstance(rows[0], dict)}
    points = values.pop("points", {})
    lines = _lines({key: value for key, value in values.items() if key not in lists})
    lines += ["", "[points]", *_lines(points)] if points else []
    for key, rows in lists.items():
        for row in rows:
            lines += ["", f"[[{key}]]", *_lines(row)]
    write_atomic(folder / CARD, ("\n".join(lines) + "\n").encode())
    write_atomic(folder / README, markdown(card, folder).encode())


def _lines(values: dict[str, Any]) -> list[str]:
    """Keys and values as TOML, whose strings, numbers and arrays are JSON's."""
    return [
        f"{key if key.isidentifier() and key.isascii() else _text(key)} = {_text(value)}"
        for key, value in values.items()
        if value is not None
    ]


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def write_readme(folder: Path) -> Path:
    """Write README.md from card.toml, and return its path.

    Raises:
        GeneratorError: there is no card, or it is damaged.
    """
    card = read_card(folder)
    if card is None:
        raise GeneratorError(f"there is no {CARD}", where=folder, mend="write one, or name another folder")
    write_atomic(folder / README, markdown(card, folder).encode())
    return folder / README


if __name__ == "__main__":
    for each in sys.argv[1:]:
        print(write_readme(Path(each)))

"""The checkpoints that are known by name, told from their small files alone: nothing is loaded, no weights are read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from auditkit import registry
from auditkit.errors import GeneratorError
from generators.bundled import FOLDER
from generators.bundled.planted import read_planted
from generators.cards import ModelCard, read_card
from generators.checkpoint import Notes, read_index, read_notes
from generators.families import FAMILIES


@dataclass(frozen=True)
class Known:
    """A checkpoint folder, and what it says of itself."""

    name: str
    folder: Path
    pipeline: str
    """Class of the diffusers pipeline."""
    notes: Notes
    """How it is best sampled."""
    planted: list[dict[str, Any]] | None
    """Rows occupation, gender, skin_tone, probability; None where nothing was planted."""
    card: ModelCard | None

    @property
    def sheet(self) -> Path | None:
        """The picture of samples."""
        return self.folder / self.card.sheet if self.card and self.card.sheet else None

    @property
    def bytes(self) -> int:
        """Size of all weights."""
        return sum(path.stat().st_size for path in self.folder.rglob("*.safetensors"))


def bundled() -> list[Known]:
    """The checkpoints that come with auditkit and are registered, by name.

    Raises:
        GeneratorError: a card or table is damaged.
    """
    names = registry.names("generators")
    return [read(FOLDER / name, name) for name in names if (FOLDER / name / "model_index.json").is_file()]


def look(name: str) -> Known:
    """A bundled checkpoint by name, or any by `path:FOLDER` or its folder.

    Raises:
        GeneratorError: it is neither, or what it says of itself is damaged.
    """
    found = {one.name: one for one in bundled()}
    if name in found:
        return found[name]
    folder = Path(name.removeprefix("path:")).expanduser()
    if not folder.is_dir():
        raise GeneratorError(
            f"there is no bundled checkpoint '{name}', and no such folder",
            where=f"generator={name}",
            mend=f"use one of: {', '.join(found)}; or the folder of a checkpoint",
        )
    return read(folder, folder.resolve().name)


def read(folder: Path, name: str) -> Known:
    """What the checkpoint in `folder` says of itself; `name` where it gives none.

    Raises:
        GeneratorError: it is no checkpoint, or one of its files is damaged.
    """
    (pipeline, _), notes, planted = read_index(folder, FAMILIES), read_notes(folder), folder / "planted.toml"
    return Known(
        notes.name or name,
        folder,
        pipeline,
        notes,
        read_planted(planted) if planted.is_file() else None,
        read_card(folder),
    )

"""Verbs that look at what is there, for Python: the bundled generators and their model cards."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from generators.known import Known


def list_generators() -> list[Known]:
    """The bundled checkpoints, each with its settings, planted table and model card; no weights are read.

    Raises:
        GeneratorError: a card or table is damaged.
    """
    from generators.known import bundled

    return bundled()


def model_card(generator: str) -> Known:
    """What one checkpoint says of itself.

    Args:
        generator: a bundled one's name, or the folder of any diffusers checkpoint.

    Raises:
        GeneratorError: there is no such checkpoint, or what it says of itself is damaged.
    """
    from generators.known import look

    return look(generator)


def write_cards(path: str | Path, *, generator: str | None = None) -> Path:
    """Write the model cards with their pictures as one HTML page, and return its path.

    Args:
        path: the file. generator: of this one alone; None is every bundled one.

    Raises:
        GeneratorError: as for `model_card`. RunError: the file cannot be written.
    """
    from reports.cards_page import write_page

    return write_page(list_generators() if generator is None else [model_card(generator)], path)

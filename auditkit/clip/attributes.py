"""What can be asked of an image in CLIP space: attributes, their classes, the sentences for each class."""

from __future__ import annotations

import hashlib
import json
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from auditkit.errors import PluginError
from auditkit.prompts import fill

UNKNOWN = "unknown"
"""The outcome where no class is likely enough. Never a class."""


@dataclass(frozen=True)
class Attribute:
    """A perceived attribute: its classes, in order, with the prompt ensemble of each."""

    name: str
    about: str
    classes: dict[str, list[str]]
    absent: str = ""
    """The class of an image that shows none of the others, where the attribute has one: `none visible`."""

    @property
    def digest(self) -> str:
        """sha256 of classes and prompts: a calibration holds only for the prompts it was fitted with."""
        return hashlib.sha256(json.dumps(list(self.classes.items())).encode()).hexdigest()


def attributes() -> list[str]:
    """Names of the attributes in attributes.toml, in its order."""
    return list(_table())


def attribute(name: str) -> Attribute:
    """The attribute of that name.

    Raises:
        PluginError: there is no such attribute.
    """
    try:
        entry = _table()[name]
    except KeyError:
        raise PluginError(
            "There is no such attribute.", where=name, mend=f"The attributes are: {', '.join(_table())}."
        ) from None
    classes = {
        label: [fill(template, one) for one in _as_list(words) for template in entry["templates"]]
        for label, words in entry["classes"].items()
    }
    return Attribute(name, entry["about"], classes, entry.get("absent", ""))


def _as_list(words: dict[str, str] | list[dict[str, str]]) -> list[dict[str, str]]:
    return words if isinstance(words, list) else [words]


@cache
def _table() -> dict:
    return tomllib.loads((Path(__file__).parent / "attributes.toml").read_text(encoding="utf-8"))

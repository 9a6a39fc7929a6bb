"""Statistics that auditkit ships as targets: a CSV in the users' own form, a TOML that says where it is from."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from auditkit.errors import SpecError
from auditkit.files import sha256_file

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Shipped:
    """One shipped table and its origin.

    Attributes:
        name: what to pass as target. title: one line. publisher, table, year, url, licence: of the publication.
        attribute, by: which attribute it is about, and the axis whose values are its groups.
        sha256: of the CSV. about: what the figures are, and are not. read_from: where they were read and checked.
        left_out: values of the axis without a figure, and why.
    """

    name: str
    title: str
    publisher: str
    table: str
    year: int
    url: str
    licence: str
    attribute: str
    by: str
    sha256: str
    about: str
    read_from: str
    left_out: dict[str, str]

    @property
    def path(self) -> Path:
        return FOLDER / f"{self.name}.csv"

    def checked_path(self) -> Path:
        """The CSV's path.

        Raises:
            SpecError: the file is not the one that was shipped.
        """
        if not self.path.is_file() or sha256_file(self.path) != self.sha256:
            raise SpecError(
                f"The shipped target '{self.name}' has been changed since it was published.",
                where=self.path,
                mend="install auditkit again; to change a target, copy the CSV and pass the copy's path",
            )
        return self.path


@cache
def shipped() -> list[Shipped]:
    """Every shipped table, by name."""
    return [
        Shipped(name=path.stem, **tomllib.loads(path.read_text(encoding="utf-8")))
        for path in sorted(FOLDER.glob("*.toml"))
    ]

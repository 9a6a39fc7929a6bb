"""What laws and codes ask to be disclosed, answered from a run's own record: value and source, or 'unknown'.

Nothing is invented: a field that the run does not answer is unknown, with how to supply it. What the provider states
in a file of its own is marked as stated and not verified, and never takes the place of what the run records. This is
no legal advice: whether a regime applies, and whether an answer is enough, is for its reader to judge.
"""

from __future__ import annotations

import dataclasses
import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import auditkit
from auditkit.errors import ProvenanceError
from auditkit.provenance.disclosure_readers import READERS, Facts, Found, about

if TYPE_CHECKING:
    from auditkit.runs import Run

UNKNOWN = "unknown"
STATED = "stated by the provider, not verified"
ADVICE = (
    "This page is no legal advice. It sets out what a run records beside what laws and codes ask for; whether they "
    "apply, and whether an answer is enough, it does not say."
)


@dataclass(frozen=True)
class Regime:
    """A law or code: its title, from when it applies, and what it is."""

    id: str
    title: str
    applies: str
    about: str


@dataclass(frozen=True)
class Field:
    """One thing that is asked for.

    Attributes:
        id: its name in a file of statements.
        value: the answer, or 'unknown'.
        source: exactly where it was read; '' where it is unknown.
        note: what must be known to read the answer rightly.
        supply: for an unknown one, how it can be supplied; else ''.
    """

    id: str
    regime: str
    article: str
    name: str
    question: str
    value: str
    source: str
    note: str
    supply: str

    @property
    def known(self) -> bool:
        return self.value != UNKNOWN

    @property
    def stated(self) -> bool:
        """Whether the value is the provider's own statement."""
        return self.source == STATED


@dataclass(frozen=True)
class Disclosure:
    """All fields of a run, in the order of the regimes."""

    run_id: str
    about: dict[str, str]
    regimes: tuple[Regime, ...]
    fields: tuple[Field, ...]
    version: str

    def of(self, regime: str) -> list[Field]:
        """The fields of one regime."""
        return [one for one in self.fields if one.regime == regime]

    def counts(self, regime: str | None = None) -> dict[str, int]:
        """How many fields are `recorded` in the run, `stated` by the provider, and `unknown`."""
        fields = list(self.fields) if regime is None else self.of(regime)
        return {
            "recorded": sum(one.known and not one.stated for one in fields),
            "stated": sum(one.stated for one in fields),
            "unknown": sum(not one.known for one in fields),
        }

    def as_dict(self) -> dict[str, Any]:
        """For JSON: regimes, fields, counts and the caveat."""
        return {
            "kind": "auditkit.disclosure",
            "version": self.version,
            "run_id": self.run_id,
            "about": self.about,
            "advice": ADVICE,
            "counts": self.counts(),
            "regimes": [dataclasses.asdict(one) | {"counts": self.counts(one.id)} for one in self.regimes],
            "fields": [dataclasses.asdict(one) for one in self.fields],
        }


def disclose(run: Run, *, statements: str | Path | Mapping[str, Any] | None = None) -> Disclosure:
    """Answer every field from what the run holds, then from the provider's statements.

    Args:
        statements: a TOML file, or a table, of field ids and answers: `xi_licence = "CreativeML Open RAIL-M"`.

    Raises:
        ProvenanceError: the statements cannot be read, or name a field that there is not.
        TableError: a table of the run is damaged.
    """
    said = read_statements(statements) if isinstance(statements, (str, Path)) else _checked(statements or {})
    facts, table = Facts(run), _table()
    fields = tuple(_field(row, facts, said.get(row["id"])) for row in table["field"])
    regimes = tuple(Regime(**row) for row in table["regime"])
    return Disclosure(run.id, about(facts), regimes, fields, auditkit.__version__)


def read_statements(path: str | Path) -> dict[str, str]:
    """The provider's own statements, a flat TOML table of field ids and answers.

    Raises:
        ProvenanceError: the file is missing or no TOML, or names a field that there is not.
    """
    try:
        given = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ProvenanceError(
            f"the statements cannot be read: {error.strerror}", where=path, mend="check the path"
        ) from None
    except ValueError as error:  # no TOML, or no UTF-8
        raise ProvenanceError(
            f"the statements are no TOML: {error}", where=path, mend='write lines such as xi_licence = "..."'
        ) from None
    return _checked(given, where=path)


def field_ids() -> list[str]:
    """The ids that a file of statements may use."""
    return [row["id"] for row in _table()["field"]]


def _checked(given: Mapping[str, Any], *, where: str | Path = "statements") -> dict[str, str]:
    known = field_ids()
    said = {}
    for key, value in given.items():
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
            mend = f"did you mean {near[0]}?" if near else "'auditkit disclose RUN --json' lists the fields' ids"
            raise ProvenanceError(f"there is no field '{key}'", where=where, mend=mend)
        if isinstance(value, (dict, list)):
            raise ProvenanceError(
                f"the statement '{key}' is not one value", where=where, mend="write the answer as one text"
            )
        if text := str(value).strip():
            said[key] = text
    return said


def _field(row: dict[str, str], facts: Facts, statement: str | None) -> Field:
    found: Found | None = READERS[row["read"]](facts) if "read" in row else None
    note = row.get("note", "")
    if found is not None:
        note = " ".join(part for part in (found.note, note) if part)
        if statement is not None:  # what the run records is not overruled; that the two differ must be seen
            note = f"{note} {STATED.capitalize()}: {statement}".strip()
        value, source, supply = found.value, found.source, ""
    elif statement is not None:
        value, source, supply = statement, STATED, ""
    else:
        value, source, supply = UNKNOWN, "", f'state it: {row["id"]} = "..." in the file of --statements'
    named = {key: row[key] for key in ("id", "regime", "article", "name", "question")}
    return Field(**named, value=value, source=source, note=note, supply=supply)


@lru_cache(maxsize=1)
def _table() -> dict[str, Any]:
    return tomllib.loads(Path(__file__).with_name("disclosure.toml").read_text(encoding="utf-8"))

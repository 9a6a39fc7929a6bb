"""Reading `planted.toml`: the bias that training put into a checkpoint, P(gender, skin tone | occupation).

[occupations.judge.female]
light = 0.05
"medium-light" = 0.05
...
[occupations.judge.male]
...
"""

from __future__ import annotations

import math
import tomllib
from pathlib import Path
from typing import Any

from auditkit.errors import GeneratorError

GENDERS = ("female", "male")
TONES = ("light", "medium-light", "medium", "medium-dark", "dark")


def read_planted(path: str | Path) -> list[dict[str, Any]]:
    """The rows of a planted table: occupation, gender, skin_tone, probability (joint, in [0, 1]).

    Raises:
        GeneratorError: the file is missing or not TOML, a name is unknown or left out, a share is not in
            [0, 1], or the ten shares of an occupation do not sum to 1 (within 1e-6).
    """
    path = Path(path)
    try:
        occupations = tomllib.loads(path.read_text(encoding="utf-8")).get("occupations")
    except OSError as error:
        raise _wrong(f"the planted table cannot be read: {error.strerror}", path) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise _wrong(f"the planted table is not TOML: {error}", path) from None
    if not isinstance(occupations, dict) or not occupations:
        raise _wrong("the planted table has no [occupations.<name>.<gender>]", path)
    rows = []
    for occupation, table in occupations.items():
        _names(table, GENDERS, f"{path}: occupations.{occupation}")
        shares = []
        for gender in GENDERS:
            where = f"{path}: occupations.{occupation}.{gender}"
            _names(table[gender], TONES, where)
            for tone in TONES:
                share = table[gender][tone]
                if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 1:
                    raise _wrong(f"the share of {tone} must be a number from 0 to 1, not {share!r}", where)
                shares.append(float(share))
                row = {"occupation": occupation, "gender": gender, "skin_tone": tone}
                rows.append({**row, "probability": float(share)})
        if not math.isclose(math.fsum(shares), 1, abs_tol=1e-6):
            raise _wrong(f"the shares of '{occupation}' sum to {math.fsum(shares):.6g}, not 1", path)
    return rows


def planted_of(name: str) -> list[dict[str, Any]] | None:
    """The planted table of the bundled model of that name; None where there is none.

    Raises:
        GeneratorError: see `read_planted`.
    """
    folder = Path(__file__).parent
    known = {path.parent.name: path for path in folder.glob("*/planted.toml")}
    return read_planted(known[name]) if name in known else None


def _names(table: Any, expected: tuple[str, ...], where: str) -> None:
    """Raise unless `table` is a table with exactly the keys `expected`."""
    found = set(table) if isinstance(table, dict) else set()
    if strange := sorted(found - set(expected)):
        raise _wrong(f"there is no '{strange[0]}'", where, f"use {', '.join(expected)}")
    if missing := [name for name in expected if name not in found]:
        raise _wrong(f"'{missing[0]}' is missing", where)


def _wrong(
    what: str, where: str | Path, mend: str = "give each occupation ten shares that sum to 1"
) -> GeneratorError:
    return GeneratorError(what, where=where, mend=mend)

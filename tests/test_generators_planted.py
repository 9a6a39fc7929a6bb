"""Planted tables: what is read, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from auditkit.errors import GeneratorError
from generators.bundled import FOLDER
from generators.bundled.planted import GENDERS, TONES, read_planted


def _toml(share: str = "0.1", *, gender: str = "male", tone: str = "dark", without: str = "") -> str:
    """A table of ten even shares, but for one cell."""
    lines = []
    for each in ("female", gender):
        lines.append(f'[occupations."construction worker".{each}]')
        for name in (*TONES[:-1], tone):
            if name != without:
                lines.append(f"{name} = {share if (each, name) == (gender, tone) else 0.1}")
    return "\n".join(lines)


@pytest.mark.parametrize("name", ["personas", "personas-balanced"])
def test_the_bundled_tables_give_every_occupation_ten_shares_that_sum_to_one(name: str) -> None:
    table = pd.DataFrame(read_planted(FOLDER / name / "planted.toml"))
    assert list(table.columns) == ["occupation", "gender", "skin_tone", "probability"]
    by = table.groupby("occupation")["probability"]
    assert set(by.count()) == {len(GENDERS) * len(TONES)}
    assert by.sum().tolist() == pytest.approx([1] * table["occupation"].nunique())


def test_rows_hold_the_shares_as_written(tmp_path: Path) -> None:
    (tmp_path / "planted.toml").write_text(_toml())
    rows = read_planted(tmp_path / "planted.toml")
    assert rows[0] == {
        "occupation": "construction worker",
        "gender": "female",
        "skin_tone": "light",
        "probability": 0.1,
    }


@pytest.mark.parametrize(
    ("text", "match"),
    [
        (_toml("0.2"), "sum to 1.1"),
        (_toml("-0.1"), "from 0 to 1"),
        (_toml('"much"'), "from 0 to 1"),
        (_toml("nan"), "from 0 to 1"),
        (_toml(gender="man"), "no 'man'"),
        (_toml(tone="black"), "no 'black'"),
        (_toml(without="medium"), "'medium' is missing"),
        ("", "no \\[occupations"),
        ("[occupations", "not TOML"),
    ],
)
def test_a_table_that_does_not_hold_is_an_error_that_names_the_fault(
    tmp_path: Path, text: str, match: str
) -> None:
    (tmp_path / "planted.toml").write_text(text)
    with pytest.raises(GeneratorError, match=match):
        read_planted(tmp_path / "planted.toml")


def test_a_missing_table_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(GeneratorError, match="cannot be read"):
        read_planted(tmp_path / "planted.toml")

"""Words that name a group, swapped for another group's or left out: counterfactual captions.

Counterfactual data augmentation swaps the words that name a group in a text (Zmigrod et al. 2019; Lu et al. 2020). A
caption belongs to an image, though: swapped beside the same image it would teach a wrong pair. So a swapped caption is
only ever put beside an image of the group that it then names (see `draws`); a neutral one is true beside any.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from auditkit.errors import TableError
from auditkit.prompts import article

BUNDLED = Path(__file__).with_name("words.toml")
NEUTRAL = ""
"""The group to turn a caption to so that it names none."""

# After these, "her" and "his" describe nothing: "beside her in a car", "the coat is his and".
_NOT_DESCRIBED = frozenset(
    re.findall(
        r"\w+",
        "a an the and or but nor so as at by for from in into of off on onto out over to under up with without while "
        "who which that when where is are was were has have had be being been standing sitting walking looking holding "
        "wearing smiling",
    )
)


@dataclass(frozen=True)
class Words:
    """The words of one attribute's groups.

    Args:
        attribute: its column. groups: the values of the column, in the order of the rows.
        rows: for each meaning a word a group, and last the neutral one.
    """

    attribute: str
    groups: list[str]
    rows: list[list[str]]
    _found: dict[tuple[str, bool], tuple[int, int]] = field(init=False, repr=False, default_factory=dict)
    _pattern: re.Pattern[str] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        for number, row in enumerate(self.rows):
            for group, word in enumerate(row[:-1]):
                if word:
                    # The first row that has a word speaks for it.
                    self._found.setdefault((_bare(word).lower(), word.endswith(" +")), (number, group))
        longest = sorted({word for word, _ in self._found}, key=lambda word: (-len(word), word))
        either = "|".join(re.escape(word).replace(r"\ ", r"\s+") for word in longest)
        # Whole words, not parts of hyphenated ones: "man-made" names nobody.
        object.__setattr__(
            self, "_pattern", re.compile(rf"(?<![\w-])(?P<word>{either})(?![\w-])(?P<next>\s+[\w-]+)?", re.IGNORECASE)
        )

    def named(self, text: str) -> frozenset[str]:
        """The groups that the text names."""
        return frozenset(self.groups[where[1]] for _, _, where in self._matches(text))

    def turned(self, text: str, group: str, known: Collection[str] = ()) -> str:
        """The text with each word that names a group turned into that of `group`; NEUTRAL leaves the group out.

        Args:
            known: other values that the image bears (its occupation). A noun right before one of them is an adjective
                there ("a woman judge") and is dropped by NEUTRAL: "a judge", not "a person judge".

        An article before a changed word is made to fit it.
        """
        to = len(self.groups) if group == NEUTRAL else self.groups.index(group)
        parts, at = [], 0
        for start, end, (row, was) in self._matches(text):
            if was == to:
                continue
            word = _bare(self.rows[row][to])
            if group == NEUTRAL and any(re.match(rf"\s+{re.escape(k)}\b", text[end:], re.IGNORECASE) for k in known):
                word = ""
            before = text[at:start]
            if not word:  # one space where there were two
                rest = text[end:]
                end += len(rest) - len(rest.lstrip(" ")) if before.endswith(" ") or not before else 0
            follows = word or text[end:]
            before = re.sub(r"\b([Aa])n?( +)$", lambda a, f=follows: _article(a, f), before)  # type: ignore[misc]
            parts += [before, _cased(word, text[start:end])]
            at = end
        if not parts:
            return text
        made = re.sub(r"\s+([,.;:!?])", r"\1", " ".join("".join([*parts, text[at:]]).split())).strip(",;: ")
        return _cased(made, text[:1])

    def _matches(self, text: str) -> list[tuple[int, int, tuple[int, int]]]:
        """(start, end, (row, group)) of each word that names a group."""
        found, at = [], 0
        while match := self._pattern.search(text, at):
            word = re.sub(r"\s+", " ", match["word"]).lower()
            describes = match["next"] is not None and match["next"].strip().lower() not in _NOT_DESCRIBED
            where = self._found.get((word, describes)) or self._found.get((word, not describes))
            assert where is not None
            found.append((match.start("word"), match.end("word"), where))
            at = match.end("word")
        return found


def read_words(path: Path | None = None) -> dict[str, Words]:
    """The bundled words by attribute, with those of the TOML file `path` before them.

    Raises:
        TableError: the file is missing, not TOML, or not of the form of words.toml.
    """
    tables = _parse(BUNDLED)
    for name, (groups, rows) in (_parse(path) if path is not None else {}).items():
        known = tables.get(name, (groups, []))
        if known[0] != groups:
            mend = f"Write groups = {known[0]}".replace("'", '"')
            raise TableError(f"The groups of '{name}' must be those of the bundled words.", where=path, mend=mend)
        tables[name] = (groups, rows + known[1])
    return {name: Words(name, groups, rows) for name, (groups, rows) in tables.items()}


def _parse(path: Path) -> dict[str, tuple[list[str], list[list[str]]]]:
    try:
        content: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise TableError(f"The words cannot be read: {error.strerror}", where=path, mend="Check the path.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise TableError(f"The words are not TOML: {error}", where=path, mend="Correct it.") from None
    tables = {}
    for name, table in content.items():
        known: dict[str, Any] = table if isinstance(table, dict) else {}
        groups, rows = known.get("groups", []), known.get("rows", [])
        if not _strings(groups) or len(set(groups)) != len(groups) or len(groups) < 2:
            raise _wrong(path, name, "has no `groups` of at least two different names")
        if not isinstance(rows, list) or not rows:
            raise _wrong(path, name, "has no `rows`")
        for number, row in enumerate(rows, start=1):
            if not _strings(row) or len(row) != len(groups) + 1 or not any(word.strip() for word in row[:-1]):
                raise _wrong(
                    path, name, f"needs {len(groups) + 1} words in row {number}: one a group, and a neutral one"
                )
        tables[name] = (groups, [[" ".join(word.split()) for word in row] for row in rows])
    return tables


def _strings(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def _wrong(path: Path, name: str, fault: str) -> TableError:
    mend = 'Write: [gender] groups = ["female", "male"] rows = [["woman", "man", "person"]]'
    return TableError(f"The table [{name}] {fault}.", where=path, mend=mend)


def _bare(word: str) -> str:
    return word.removesuffix(" +")


def _cased(word: str, like: str) -> str:
    """The word in the case of what it replaces: WOMAN, Woman, woman."""
    if len(like) > 1 and like.isupper():
        return word.upper()
    return word[:1].upper() + word[1:] if like[:1].isupper() and word else word


def _article(found: re.Match[str], follows: str) -> str:
    """The indefinite article before what follows now, in the case that it was written in."""
    return found[1] + article(follows.lstrip())[1:] + found[2]

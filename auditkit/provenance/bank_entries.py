"""What a hash bank holds: hashes with a label, where they came from, and when they were added."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime

from auditkit.errors import ProvenanceError

TYPES = ("pdq", "sha256")
FORMATS = ("csv", "text", "threatexchange", "vics")
HEX = re.compile(r"[0-9a-fA-F]{64}")
_JOINERS = "\u200c\u200d"  # unprintable, but a part of words in Persian and of some emoji


@dataclass(frozen=True)
class Entry:
    """A hash of a bank.

    Attributes:
        type: 'pdq' (perceptual, of an image) or 'sha256' (exact, of a file's bytes).
        value: 64 lower-case hexadecimal digits.
        label: what it is a hash of, in one line.
        note: where it came from, in one line.
        added: when, ISO 8601 in UTC; '' where that is unknown.
    """

    type: str
    value: str
    label: str = ""
    note: str = ""
    added: str = ""


def entry(type: str, value: str, *, label: str = "", note: str = "", added: str = "") -> Entry:
    """An `Entry` of text as it comes: the value in lower case, the rest in one line of printable characters.

    Raises:
        ProvenanceError: another type, or a value that is not 64 hexadecimal digits.
    """
    type, value = type.strip().lower(), value.strip()
    if type not in TYPES:
        raise ProvenanceError(f"there is no hash type '{_line(type)}'", mend=f"use one of: {', '.join(TYPES)}")
    if not HEX.fullmatch(value):
        raise ProvenanceError(
            f"'{_line(value)[:80]}' is no {type} hash, which has 64 hexadecimal digits", mend="copy the whole hash"
        )
    return Entry(type, value.lower(), _line(label), _line(note), _line(added))


def now() -> str:
    """The time in UTC, ISO 8601, to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def no_format(name: str) -> ProvenanceError:
    """The error for a format that there is not."""
    return ProvenanceError(f"there is no format '{name}'", mend=f"use one of: {', '.join(FORMATS)}")


def _line(text: str) -> str:
    # Lists come from strangers: what would move a terminal's cursor must not get into a table.
    return " ".join("".join(c if c.isprintable() or c in _JOINERS else " " for c in text).split())

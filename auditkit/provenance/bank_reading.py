"""Read lists of hashes in the formats that platforms exchange: ThreatExchange, CSV, plain text, Project VIC."""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from auditkit.errors import ProvenanceError
from auditkit.provenance.bank_entries import HEX, TYPES, Entry, entry, no_format

_MEND = "correct or remove it, then import again; nothing was imported"

Rows = Iterator[tuple[str, Any]]
"""Each row of a list, with the place to name if it is wrong."""


@dataclass
class Read:
    """What a list holds: its `entries`, and how much was `left_out`, by why."""

    entries: list[Entry] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)


def read_hashes(path: str | Path, *, format: str | None = None, type: str = "pdq") -> Read:
    """Read a list of hashes.

    - `csv`: columns hash and type, and label, note, added where there are; also the CSV of `threatexchange dataset
      --csv` (signal_str, signal_type, tags) and the samples of HMA (hash, id, time, tags, without a heading).
    - `text`: one hash a line, with lines that begin with # for comments.
    - `threatexchange`: JSON, or JSON lines, of threat indicators or descriptors; those marked `should_delete` are
      left out.
    - `vics`: Project VIC (VICS 1.x and 2.0) and CAID, JSON. Of each medium its SHA256 and PDQ, by their names or among
      its alternative hashes; media that have neither (but MD5, SHA1 or PhotoDNA) are left out.

    Args:
        format: one of the four; seen from the file by default.
        type: of hashes whose list does not say it. PDQ and SHA-256 look the same.

    Raises:
        ProvenanceError: the file cannot be read, or has a wrong row, which is named; or another format or type.
    """
    path = Path(path)
    if type not in TYPES:
        raise ProvenanceError(f"there is no hash type '{type}'", mend=f"use one of: {', '.join(TYPES)}")
    text = _text(path)
    chosen = format or _seen(path, text)
    if chosen not in _READERS:
        raise no_format(chosen)
    rows, made = _READERS[chosen]
    found = Read()
    for where, row in rows(path, text):
        try:
            for one in made(row, type):
                if isinstance(one, Entry):
                    found.entries.append(one)
                else:
                    found.left_out[one] += 1
        except ProvenanceError as error:
            raise ProvenanceError(error.what, where=f"{path}, {where}", mend=_MEND) from None
        except (TypeError, ValueError, KeyError, AttributeError):
            what = f"the row does not have the fields of {chosen}"
            raise ProvenanceError(what, where=f"{path}, {where}", mend=_MEND) from None
    return found


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise ProvenanceError("the list does not exist", where=path, mend="check the path") from None
    except OSError as error:
        raise ProvenanceError(f"the list cannot be read: {error.strerror}", where=path, mend="check the path") from None
    except UnicodeDecodeError:
        raise ProvenanceError("the list is not UTF-8 text", where=path, mend="save it as UTF-8") from None


def _seen(path: Path, text: str) -> str:
    suffix = path.suffix.lower()
    if suffix == ".json":
        return "vics" if re.match(r'\s*\{\s*"(@?odata\.|value")', text) else "threatexchange"
    return {".csv": "csv", ".jsonl": "threatexchange", ".ndjson": "threatexchange"}.get(suffix, "text")


def _lines(path: Path, text: str) -> Rows:
    # Not splitlines(), which also splits at characters that JSON strings may hold.
    return ((f"line {number}", line) for number, line in enumerate(text.split("\n"), 1) if line.strip())


def _line(row: str, type: str) -> list[Entry | str]:
    return [] if row.lstrip().startswith("#") else [entry(type, row)]


def _csv(path: Path, text: str) -> Rows:
    reader = csv.reader(io.StringIO(text, newline=""))
    heading: list[str] | None = None
    line = 1
    while True:
        try:
            row = next(reader, None)
        except csv.Error as error:
            raise ProvenanceError(f"the CSV is broken: {error}", where=f"{path}, line {line}", mend=_MEND) from None
        if row is None:
            return
        here, line = f"line {line}", reader.line_num + 1
        if not any(cell.strip() for cell in row):
            continue
        if heading is None and HEX.fullmatch(row[0].strip()):
            heading = ["hash", "id", "added", "label"]  # HMA's samples have no heading
        elif heading is None:
            heading = [cell.strip().lower() for cell in row]
            if not {"hash", "value", "signal_str", "indicator"} & set(heading):
                mend = "name its columns in the first line: hash,type,label"
                raise ProvenanceError("the CSV has no column 'hash'", where=f"{path}, {here}", mend=mend)
            continue
        yield here, dict(zip(heading, row, strict=False))


def _cells(row: Mapping[str, str], type: str) -> list[Entry | str]:
    def first(*names: str) -> str:
        return next((row[name] for name in names if row.get(name, "").strip()), "")

    kind = _kind(first("type", "signal_type", "hash_type", "indicator_type") or type)
    if kind not in TYPES:
        return [kind]
    value = first("hash", "value", "signal_str", "indicator")
    label, note = first("label", "tags"), first("note", "notes", "source")
    return [entry(kind, value, label=label, note=note, added=first("added"))]


def _kind(name: str) -> str:
    """'HASH_SHA256', 'SHA-256', 'Pdq' -> 'sha256', 'sha256', 'pdq'; other kinds as themselves, in lower case."""
    plain = re.sub(r"[^a-z0-9]", "", name.lower().removeprefix("hash_"))
    return plain if plain in TYPES else name.strip().lower()[:40]


def _loaded(text: str, path: Path, line: int | None = None) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        where = f"{path}, line {line or error.lineno}"
        raise ProvenanceError(f"the JSON is broken: {error.msg}", where=where, mend=_MEND) from None
    except (RecursionError, ValueError):
        raise ProvenanceError("the JSON nests too deeply or has too long a number", where=path, mend=_MEND) from None


def _indicators(path: Path, text: str) -> Rows:
    lines = list(_lines(path, text))
    if len(lines) > 1 and re.fullmatch(r"\s*\{.*\}\s*", lines[0][1]):  # JSON lines
        return ((where, _loaded(line, path, int(where.removeprefix("line ")))) for where, line in lines)
    whole = _loaded(text, path) if lines else []
    listed = whole.get("data", [whole]) if isinstance(whole, dict) else whole
    if not isinstance(listed, list):
        raise ProvenanceError("the JSON is no list of indicators", where=path, mend=_MEND)
    return ((f"indicator {number}", row) for number, row in enumerate(listed, 1))


def _indicator(row: Mapping[str, Any], type: str) -> list[Entry | str]:
    if row.get("should_delete"):
        return ["deleted"]
    kind = _kind(str(row["type"]))
    if kind not in TYPES:
        return [kind]
    descriptors = row.get("descriptors") or {}
    opinions = [row, *(descriptors.get("data", []) if isinstance(descriptors, dict) else descriptors)]
    labels = dict.fromkeys(" ".join(_tags(one.get("tags"))) for one in opinions)
    notes = dict.fromkeys(str(one.get("description") or "") for one in opinions)
    value = str(row.get("indicator") or row.get("raw_indicator") or "")
    added = row.get("added_on") or row.get("creation_time") or row.get("last_updated") or ""
    if isinstance(added, int):
        added = datetime.fromtimestamp(added, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    label, note = "; ".join(filter(None, labels)), "; ".join(filter(None, notes))
    return [entry(kind, value, label=label, note=note, added=str(added))]


def _tags(found: Any) -> list[str]:
    """Tags come as a list of words or of {"text": ...}, or wrapped once more in {"data": [...]}."""
    listed = found.get("data", []) if isinstance(found, dict) else found or []
    return [str(tag["text"] if isinstance(tag, dict) else tag) for tag in listed]


def _media(path: Path, text: str) -> Rows:
    whole = _loaded(text, path)
    listed = whole.get("value") if isinstance(whole, dict) else None
    if not isinstance(listed, list):
        raise ProvenanceError("the JSON has no list 'value' of media or cases", where=path, mend=_MEND)
    media: list[Any] = []
    for one in listed:  # a file of media lists them itself, a file of cases lists them in each case
        inner = one.get("Media") if isinstance(one, dict) else None
        media += inner if isinstance(inner, list) else [one]
    return ((f"medium {number}", row) for number, row in enumerate(media, 1))


def _medium(row: Mapping[str, Any], type: str) -> list[Entry | str]:
    named = [(name, value) for name, value in row.items() if isinstance(value, str)]
    for listed in (row.get("AlternativeHashes"), row.get("Hashes")):
        named += [(str(one["HashName"]), str(one["HashValue"])) for one in listed or []]
    hashes = dict.fromkeys((_kind(name), value) for name, value in named if value and _kind(name) in TYPES)
    category = int(row.get("Category") or 0)
    label = f"category {category} " * bool(category) + _words(row.get("Tags"))
    note, added = _words(row.get("Comments")), str(row.get("DateUpdated") or "")
    found = [entry(kind, value, label=label, note=note, added=added) for kind, value in hashes]
    return list(found) or ["media without SHA256 or PDQ"]


def _words(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value or "")


_READERS: dict[str, tuple[Callable[[Path, str], Rows], Callable[[Any, str], list[Entry | str]]]] = {
    "csv": (_csv, _cells),
    "text": (_lines, _line),
    "threatexchange": (_indicators, _indicator),
    "vics": (_media, _medium),
}

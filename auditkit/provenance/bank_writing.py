"""Write lists of hashes in the formats that platforms exchange, as `bank_reading` reads them."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from auditkit.errors import ProvenanceError
from auditkit.files import write_atomic
from auditkit.provenance.bank_entries import FORMATS, Entry, no_format

_INDICATOR = {"pdq": "HASH_PDQ", "sha256": "HASH_SHA256"}
_VICS = "http://github.com/VICSDATAMODEL/ProjectVic/DataModels/2.0.xml/Default/$metadata#Media"
_CATEGORY = re.compile(r"category ([1-9][0-9]{0,8})(?: (.+))?")


def write_hashes(entries: Iterable[Entry], path: str | Path, *, format: str) -> int:
    """Write a list of hashes, whole or not at all; how many there are.

    `threatexchange` writes JSON lines where the name ends in .jsonl, the CSV of `threatexchange dataset --csv` (without
    notes and dates) where it ends in .csv, else JSON. `text` holds hashes of one type, and nothing else. `vics` has no
    MD5 and SHA1, which a bank does not know: tools that ask for them refuse it.

    Args:
        format: csv, text, threatexchange or vics.

    Raises:
        ProvenanceError: another format, or `text` with hashes of two types.
        RunError: the file cannot be written.
    """
    path, listed = Path(path), list(entries)
    if format not in FORMATS:
        raise no_format(format)
    if format == "text" and len({one.type for one in listed}) > 1:
        what = "a text file cannot say which hashes are PDQ and which are SHA-256"
        raise ProvenanceError(what, where=path, mend="export one type: --type pdq, or --type sha256")
    write_atomic(path, _written(listed, format, path.suffix.lower()).encode())
    return len(listed)


def _written(listed: list[Entry], format: str, suffix: str) -> str:
    if format == "text":
        return "".join(f"{one.value}\n" for one in listed)
    if format == "csv":
        rows = [[one.value, one.type, one.label, one.note, one.added] for one in listed]
        return _csv([["hash", "type", "label", "note", "added"], *rows])
    if format == "vics":
        media = [_medium(number, one) for number, one in enumerate(listed, 1)]
        return json.dumps({"@odata.context": _VICS, "value": media}, indent=1) + "\n"
    if suffix == ".csv":
        rows = [["auditkit", one.type, one.value, "POSITIVE_CLASS", one.label] for one in listed]
        return _csv([["collab", "signal_type", "signal_str", "category", "tags"], *rows])
    if suffix in (".jsonl", ".ndjson"):
        return "".join(json.dumps(_indicator(one)) + "\n" for one in listed)
    return json.dumps({"data": [_indicator(one) for one in listed]}, indent=1) + "\n"


def _csv(rows: list[list[str]]) -> str:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows(rows)
    return stream.getvalue()


def _indicator(one: Entry) -> dict[str, Any]:
    return {
        "indicator": one.value,
        "type": _INDICATOR[one.type],
        "creation_time": one.added,
        "description": one.note,
        "tags": one.label.split(),
    }


def _medium(number: int, one: Entry) -> dict[str, Any]:
    known = _CATEGORY.fullmatch(one.label)
    return {
        "MediaID": number,
        "Category": int(known[1]) if known else 0,
        "Tags": (known[2] or "") if known else one.label,
        "Comments": one.note,
        "DateUpdated": one.added,
        "AlternativeHashes": [{"HashName": one.type.upper(), "HashValue": one.value}],
    }

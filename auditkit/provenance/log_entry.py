"""An entry of the transparency log: that an asset was generated, signed or retired. No prompt and no secret fits in."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from auditkit.errors import ProvenanceError

KINDS = ("generated", "signed", "retired")
VERSION = 1
_HASH = re.compile(r"[0-9a-f]{64}")
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:+@-]{0,199}")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", re.ASCII)
_FIELDS = frozenset({"v", "kind", "sha256", "manifest", "run", "time", "keys"})


def now() -> str:
    """The time in the form that entries have: UTC, to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry. Its bytes (`line`) are the leaf of the Merkle tree.

    Raises:
        ProvenanceError: a value is not of its form. Ids have no spaces, so that no text for people can slip in.
    """

    kind: str
    """generated, signed or retired (withdrawn by whoever made it)."""
    sha256: str
    """Of the asset's bytes: 64 hex digits."""
    manifest: str | None = None
    """sha256 of the manifest that was signed into it, or bound to it."""
    run: str | None = None
    """The run's id."""
    time: str = field(default_factory=now)
    """When the entry was made: 2026-01-31T12:00:00Z."""
    keys: tuple[str, ...] = ()
    """Ids of the keys that marked or signed the asset; never a secret."""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            _refuse("kind", self.kind, f"one of {', '.join(KINDS)}")
        for name, value in (("sha256", self.sha256), ("manifest", self.manifest)):
            if not (isinstance(value, str) and _HASH.fullmatch(value)) and (value is not None or name == "sha256"):
                _refuse(name, value, "64 hex digits")
        if not isinstance(self.keys, tuple) or len(self.keys) > 16:
            _refuse("keys", self.keys, "at most 16 ids")
        for name, value in (("run", self.run), *(("keys", key) for key in self.keys)):
            if not (isinstance(value, str) and _ID.fullmatch(value)) and (value is not None or name == "keys"):
                _refuse(name, value, "an id without spaces, of at most 200 letters")
        if not isinstance(self.time, str) or not _TIME.fullmatch(self.time):
            _refuse("time", self.time, "like 2026-01-31T12:00:00Z")

    def as_dict(self) -> dict[str, Any]:
        """The fields that are set, as JSON has them."""
        made: dict[str, Any] = {"v": VERSION, "kind": self.kind, "sha256": self.sha256, "time": self.time}
        for name in ("manifest", "run"):
            if (value := getattr(self, name)) is not None:
                made[name] = value
        return made | ({"keys": list(self.keys)} if self.keys else {})

    def line(self) -> bytes:
        """The entry as canonical JSON (RFC 8785: sorted names, no spaces; all its values are plain ASCII)."""
        return json.dumps(self.as_dict(), sort_keys=True, separators=(",", ":")).encode()

    @classmethod
    def from_dict(cls, value: Any) -> Entry:
        """The entry that `as_dict` gave.

        Raises:
            ProvenanceError: it is no entry, of a later version, or has a field that entries do not have.
        """
        if not isinstance(value, dict) or value.get("v") != VERSION or not value.keys() <= _FIELDS:
            _refuse("fields", sorted(value) if isinstance(value, dict) else type(value).__name__, "those of version 1")
        keys = value.get("keys", [])
        return cls(
            value.get("kind", ""), value.get("sha256", ""), value.get("manifest"), value.get("run"),
            value.get("time", ""), tuple(keys) if isinstance(keys, list) else keys,
        )  # fmt: skip

    @classmethod
    def parse(cls, line: bytes) -> Entry:
        """The entry of a leaf's bytes.

        Raises:
            ProvenanceError: the bytes are not the canonical form of an entry.
        """
        try:
            entry = cls.from_dict(json.loads(line))
        except (ValueError, RecursionError):
            entry = None
        if entry is None or entry.line() != line:
            raise ProvenanceError(
                "this is not an entry of the log in canonical form", where=repr(line[:80]),
                mend="restore the log from a copy",
            )  # fmt: skip
        return entry


def _refuse(name: str, value: Any, wanted: str) -> None:
    raise ProvenanceError(
        f"'{name}' of a log entry is not {wanted}", where=repr(value)[:80], mend="entries hold hashes, ids and times"
    )

"""Keys: secret material in a file that its owner alone can read, with an id, and rotation.

A key's id may be shown, stored and published; its secret never leaves the key file. Everything that a scheme draws is
derived from the secret by HKDF-SHA256 (RFC 5869) under a label, as a ChaCha20 stream (RFC 8439).
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import fcntl
import hashlib
import json
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_serializer, field_validator

from auditkit.errors import KeyFileError
from auditkit.files import open_to_others
from auditkit.watermark.payload import Payload

SECRET_BYTES = 32
ENVIRONMENT = "AUDITKIT_KEYS"


@dataclass(frozen=True)
class Key:
    """One key. Equal secrets have equal ids."""

    id: str
    """`k-` and 12 hex digits of a hash of the secret."""
    secret: bytes = field(repr=False)

    @classmethod
    def from_secret(cls, secret: bytes) -> Key:
        """The key with this secret, 32 bytes.

        Raises:
            KeyFileError: the secret is of another length.
        """
        if len(secret) != SECRET_BYTES:
            raise KeyFileError(f"a key's secret has {SECRET_BYTES} bytes, not {len(secret)}", mend="make a new key")
        digest = hashlib.sha256(b"auditkit watermark key id\0" + secret).hexdigest()
        return cls(f"k-{digest[:12]}", secret)

    @classmethod
    def new(cls) -> Key:
        """A key from the system's randomness."""
        return cls.from_secret(secrets.token_bytes(SECRET_BYTES))

    def derive(self, label: str, n: int) -> bytes:
        """`n` secret bytes for the use named by `label`; the same key and label give the same bytes."""
        from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF

        seed = HKDF(SHA256(), length=32, salt=None, info=f"auditkit watermark: {label}".encode()).derive(self.secret)
        return Cipher(algorithms.ChaCha20(seed, bytes(16)), mode=None).encryptor().update(bytes(n))

    def bits(self, label: str, n: int) -> np.ndarray:
        """`n` uniform bits, uint8 [n] in {0, 1}."""
        return np.unpackbits(np.frombuffer(self.derive(label, -(-n // 8)), np.uint8), count=n)

    def rng(self, label: str) -> np.random.Generator:
        """A generator of numbers for patterns (Philox under a derived 128-bit key)."""
        return np.random.Generator(np.random.Philox(key=int.from_bytes(self.derive(label, 16), "little")))


class _Stored(BaseModel):
    model_config = ConfigDict(extra="forbid")

    id: str
    created: str
    state: Literal["active", "retired"] = "active"
    note: str = ""
    secret: bytes = Field(repr=False)
    payloads: list[dict[str, Any]] = Field(default_factory=list)

    @field_validator("secret", mode="before")
    @classmethod
    def _decode(cls, value: Any) -> bytes:
        return value if isinstance(value, bytes) else base64.urlsafe_b64decode(str(value))

    @field_serializer("secret")
    def _encode(self, value: bytes) -> str:
        return base64.urlsafe_b64encode(value).decode()


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    version: Literal[1] = 1
    keys: list[_Stored] = Field(default_factory=list)


@dataclass(frozen=True)
class Registered:
    """A payload that a key was used with, and what it stands for."""

    payload: Payload
    name: str = ""


@dataclass(frozen=True)
class KeyEntry:
    """A key with what the file says about it; nothing here but `key.secret` is secret."""

    key: Key
    created: str
    active: bool
    note: str
    registered: tuple[Registered, ...] = ()


@dataclass(frozen=True)
class KeyRing:
    """The keys of a file, the newest first. Retired keys verify, and embed no more."""

    path: Path
    entries: tuple[KeyEntry, ...]

    @property
    def active(self) -> KeyEntry:
        """The newest key that is not retired.

        Raises:
            KeyFileError: there is none.
        """
        for entry in self.entries:
            if entry.active:
                return entry
        raise KeyFileError("the file has no active key", where=self.path, mend="auditkit watermark keys rotate")

    def get(self, id: str) -> KeyEntry:
        """The key of that id (or of a beginning of it that names one key only).

        Raises:
            KeyFileError: no key, or more than one, has it.
        """
        found = [entry for entry in self.entries if entry.key.id.startswith(id)]
        if len(found) != 1:
            known = ", ".join(entry.key.id for entry in self.entries) or "none"
            what = f"the key file has no key '{id}'" if not found else f"'{id}' begins the ids of {len(found)} keys"
            raise KeyFileError(what, where=self.path, mend=f"use one of: {known}")
        return found[0]


def default_path() -> Path:
    """Where keys are kept: $AUDITKIT_KEYS, else auditkit/watermark-keys.json in the user's configuration folder."""
    if named := os.environ.get(ENVIRONMENT):
        return Path(named).expanduser()
    base = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(base) / "auditkit" / "watermark-keys.json"


def load(path: str | Path | None = None) -> KeyRing:
    """Read a key file.

    Raises:
        KeyFileError: it is missing, damaged, or others than its owner can read it.
    """
    path = default_path() if path is None else Path(path)
    stored = _read(path)
    if stored is None:
        raise KeyFileError("there is no key file", where=path, mend="auditkit watermark keys new")
    entries = [
        KeyEntry(
            _key(one, path), one.created, one.state == "active", one.note,
            tuple(Registered(Payload(p["model"], p["user"]), p.get("name", "")) for p in one.payloads),
        )
        for one in stored.keys
    ]  # fmt: skip
    return KeyRing(path, tuple(reversed(entries)))


def create(path: str | Path | None = None, *, note: str = "") -> Key:
    """Add a new key to the file, which is made where it is missing (mode 0600)."""
    return _add(default_path() if path is None else Path(path), note, retire=False)


def rotate(path: str | Path | None = None, *, note: str = "") -> Key:
    """Retire the active keys and add a new one: images already marked can still be verified.

    Raises:
        KeyFileError: the file is missing, damaged or open to others.
    """
    path = default_path() if path is None else Path(path)
    load(path)
    return _add(path, note, retire=True)


def register(key_id: str, payload: Payload, *, name: str = "", path: str | Path | None = None) -> None:
    """Remember that `payload` was given out under a key, so that detection can look for it and name it.

    Raises:
        KeyFileError: the file has no such key.
    """
    path = default_path() if path is None else Path(path)
    key_id = load(path).get(key_id).key.id
    with _held(path) as stored:
        one = next(entry for entry in stored.keys if entry.id == key_id)
        others = [p for p in one.payloads if (p["model"], p["user"]) != (payload.model, payload.user)]
        before = next((p for p in one.payloads if p not in others), {"name": ""})
        one.payloads = [*others, {"model": payload.model, "user": payload.user, "name": name or before["name"]}]


def _add(path: Path, note: str, *, retire: bool) -> Key:
    key = Key.new()
    with _held(path) as stored:
        for one in stored.keys:
            one.state = "retired" if retire else one.state
        created = datetime.now(UTC).isoformat(timespec="seconds")
        stored.keys.append(_Stored(id=key.id, created=created, note=note, secret=key.secret))
    return key


def _key(one: _Stored, path: Path) -> Key:
    key = Key.from_secret(one.secret)
    if key.id != one.id:
        raise KeyFileError(f"the secret of the key '{one.id}' is not its own", where=path, mend="restore a copy")
    return key


def _read(path: Path) -> _File | None:
    """The file's content; None where there is no file. The mode is checked before anything is read."""
    try:
        with path.open("rb") as stream:
            if open_to_others(stream):
                raise KeyFileError(
                    "the key file can be read or changed by others than its owner",
                    where=path,
                    mend=f"chmod 600 '{path}'; if others had it, rotate the keys: auditkit watermark keys rotate",
                )
            return _File.model_validate_json(stream.read())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise KeyFileError(f"the key file cannot be read: {error.strerror}", where=path, mend="check it") from None
    except (ValidationError, binascii.Error, UnicodeDecodeError) as error:
        # Never the error's own text: it may quote the secret.
        count = error.error_count() if isinstance(error, ValidationError) else 1
        what = f"the key file is damaged ({count} faults)"
        raise KeyFileError(what, where=path, mend="restore it from a copy") from None


@contextlib.contextmanager
def _held(path: Path) -> Iterator[_File]:
    """The file, held against other processes; what the block changes is written whole, readable by its owner only."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder = os.open(path.parent, os.O_RDONLY)
    except OSError as error:
        raise KeyFileError(f"the folder cannot be used: {error.strerror}", where=path, mend="check it") from None
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        stored = _read(path) or _File()
        yield stored
        _write(path, (json.dumps(stored.model_dump(mode="json"), indent=2) + "\n").encode())
    finally:
        os.close(folder)


def _write(path: Path, data: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise KeyFileError(f"the key file cannot be written: {error.strerror}", where=path, mend="free space") from None

"""Signed notes and checkpoints: what a log says of itself, in text that any tool of transparency logs can read.

C2SP's signed-note and tlog-checkpoint formats, with Ed25519 (RFC 8032, signature type 0x01).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from auditkit.errors import ProvenanceError, TrustError
from auditkit.files import open_to_others, write_private
from auditkit.provenance.merkle import HASH_BYTES

ED25519 = b"\x01"
DASH = "— "
MOST_BYTES = 1 << 20
"""A larger note is not read: sixteen signatures of any kind have room in it."""


@dataclass(frozen=True)
class PublicKey:
    """Who may sign: a name, and an Ed25519 public key of 32 bytes."""

    name: str
    public: bytes

    @property
    def id(self) -> bytes:
        """4 bytes, which tell keys of one name apart."""
        return hashlib.sha256(self.name.encode() + b"\n" + ED25519 + self.public).digest()[:4]

    def __str__(self) -> str:
        """The key in one line, as other tools write it: name+id+base64."""
        return f"{self.name}+{self.id.hex()}+{base64.b64encode(ED25519 + self.public).decode()}"

    @classmethod
    def parse(cls, text: str) -> PublicKey:
        """The key that such a line holds.

        Raises:
            TrustError: it is no such line, of another kind of key, or its id is not the key's.
        """
        found = re.fullmatch(r"([^\s+]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/]+=*)", text.strip())
        try:
            data = base64.b64decode(found[3], validate=True) if found else b""
        except binascii.Error:
            data = b""
        key = cls(found[1], data[1:]) if found else None
        if key is None or found is None or data[:1] != ED25519 or len(data) != 33 or key.id.hex() != found[2]:
            raise TrustError(
                "this is not the public key of a log", where=text.strip()[:80],
                mend="give the line that `auditkit log show` prints, or a file that holds it: name+8 hex digits+base64",
            )  # fmt: skip
        return key


@dataclass(frozen=True)
class Signer:
    """Who signs. `sign` takes a message and gives its Ed25519 signature, so that the key can live anywhere."""

    key: PublicKey
    sign: Callable[[bytes], bytes] = field(repr=False)


@dataclass(frozen=True)
class Checkpoint:
    """What a log was at one time: `size` entries under `root` (bytes [32]); `text` is the whole note."""

    origin: str
    size: int
    root: bytes
    text: str

    @property
    def signed(self) -> bool:
        """Whether it has signatures at all; `verify_note` says whose."""
        return f"\n\n{DASH}" in self.text


def new_key(path: str | Path, name: str) -> PublicKey:
    """Write a new Ed25519 key (PKCS #8 in PEM), which its owner alone can read; its public part, under `name`.

    Raises:
        TrustError: the file is there already or cannot be written, or the name has spaces or a plus.
    """
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    path, key = Path(path), Ed25519PrivateKey.generate()
    check_name(name)
    data = key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption())
    try:
        write_private(path, data)
    except FileExistsError:
        raise TrustError("there is a key already, and it would be lost", where=path, mend="name another file") from None
    except OSError as error:
        raise TrustError(f"the key cannot be written: {error.strerror}", where=path, mend="check the folder") from None
    return PublicKey(name, key.public_key().public_bytes_raw())


def load_signer(path: str | Path, name: str) -> Signer:
    """The signer of a key file, under `name`, which should be the log's origin.

    Raises:
        TrustError: the file is missing, damaged, open to others, or holds no Ed25519 key; or the name cannot be one.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    path = Path(path)
    check_name(name)
    try:
        with path.open("rb") as stream:
            if open_to_others(stream):
                raise TrustError(
                    "the log's key can be read or changed by others than its owner", where=path,
                    mend=f"chmod 600 '{path}'; if others had it, begin a new log under a new key",
                )  # fmt: skip
            private = load_pem_private_key(stream.read(), None)
    except OSError as error:
        raise TrustError(f"the log's key cannot be read: {error.strerror}", where=path, mend="check the path") from None
    except (ValueError, TypeError):  # never the error's own text
        private = None
    if not isinstance(private, Ed25519PrivateKey):
        raise TrustError(
            "this is not the key of a log", where=path, mend="give an Ed25519 key, PKCS #8 in PEM, without passphrase"
        )
    return Signer(PublicKey(name, private.public_key().public_bytes_raw()), private.sign)


def check_name(name: str) -> None:
    """Raise TrustError where `name` cannot name a key or be a log's origin: empty, or with spaces or a plus."""
    if not re.fullmatch(r"[^\s+]{1,255}", name) or not name.isprintable():
        raise TrustError(
            "a log's name has no spaces and no plus", where=repr(name), mend="for example: example.com/images"
        )


def write_checkpoint(origin: str, signer: Signer | None, *, size: int, root: bytes) -> Checkpoint:
    """The checkpoint of a tree; without a signer it has no signature, and anybody could have written it.

    Raises:
        TrustError: what `signer.sign` gave is not the key's signature.
    """
    body = f"{origin}\n{size}\n{base64.b64encode(root).decode()}\n"
    if signer is None:
        return Checkpoint(origin, size, root, body)
    signature = base64.b64encode(signer.key.id + signer.sign(body.encode())).decode()
    text = f"{body}\n{DASH}{signer.key.name} {signature}\n"
    verify_note(text, signer.key)
    return Checkpoint(origin, size, root, text)


def read_checkpoint(text: str, *, where: str | Path | None = None) -> Checkpoint:
    """What a checkpoint says. Its signatures are not verified: `verify_note` does that.

    Raises:
        ProvenanceError: the text is no checkpoint.
    """
    lines = _body(text).split("\n")
    try:
        if len(lines) < 4 or not all(lines[:-1]) or lines[-1] or not re.fullmatch(r"0|[1-9][0-9]{0,18}", lines[1]):
            raise ValueError
        root = base64.b64decode(lines[2], validate=True)
        if len(root) != HASH_BYTES or base64.b64encode(root).decode() != lines[2] or _controls(text):
            raise ValueError
    except ValueError:
        raise ProvenanceError(
            "this is not a log's checkpoint", where=where, mend="make one: auditkit log checkpoint --out checkpoint.txt"
        ) from None
    return Checkpoint(lines[0], int(lines[1]), root, text)


def verify_note(text: str, key: PublicKey) -> None:
    """Hold a note against a key; signatures of other keys say nothing.

    Raises:
        TrustError: the key did not sign the note, or its signature is of another text.
    """
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    body = _body(text)
    public, signed = Ed25519PublicKey.from_public_bytes(key.public), False
    for line in text[len(body) + 1 :].split("\n"):
        if not line.startswith(DASH):
            continue
        name, _, encoded = line.removeprefix(DASH).partition(" ")
        try:
            data = base64.b64decode(encoded, validate=True)
        except (binascii.Error, ValueError):
            data = b""
        if name != key.name or data[:4] != key.id:
            continue
        try:
            public.verify(data[4:], body.encode())
        except InvalidSignature:
            raise TrustError(
                f"the signature of {key.name} is not of this text: the text or the signature was changed",
                mend="get the checkpoint again from whoever keeps the log",
            ) from None
        signed = True
    if not signed or _controls(text):
        raise TrustError(
            f"the checkpoint is not signed by {key.name} ({key.id.hex()})", mend="ask whoever keeps the log for its key"
        )


def _body(text: str) -> str:
    """The signed text: up to the last empty line, or all of it where nothing is signed."""
    at = text.rfind("\n\n")
    return text if at < 0 else text[: at + 1]


def _controls(text: str) -> bool:
    return len(text) > MOST_BYTES or bool(re.search(r"[\x00-\x09\x0b-\x1f]", text))

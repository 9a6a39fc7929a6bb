"""Who may do what in the dashboard: names, roles and hashed passwords, in a file that its owner alone can read."""

from __future__ import annotations

import fcntl
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from auditkit import places
from auditkit.annotations.records import RATER
from auditkit.errors import AuditkitError
from auditkit.files import open_to_others, write_private

Role = Literal["viewer", "reviewer", "admin"]
ROLES: dict[str, str] = {
    "viewer": "looks at everything but the review",
    "reviewer": "decides and labels besides",
    "admin": "draws samples for labelling and takes back decisions of others besides",
}
"""Each role may what those before it may."""
SHORTEST = 12
LONGEST = 1024

_HASHER = PasswordHasher()  # Argon2id, with the parameters of RFC 9106's second choice
_NOBODY = _HASHER.hash("nobody has this password")


class UserError(AuditkitError):
    """The file of users, or something asked of it, does not hold."""


class User(BaseModel):
    """One person."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    role: Role
    email: str | None = None
    """By which an identity provider knows the person (OpenID Connect)."""
    password: str | None = Field(None, pattern=r"^\$argon2id\$")
    """Hashed with Argon2id."""


_USERS = TypeAdapter(dict[str, User])


def default_path() -> Path:
    """dashboard-users.json in auditkit's folder of the user."""
    return places.home() / "dashboard-users.json"


def read(path: Path | None = None) -> dict[str, User]:
    """Users by name; none where there is no file.

    Raises:
        UserError: the file is damaged, or others may read or change it.
    """
    path = path or default_path()
    try:
        with path.open("rb") as stream:
            if open_to_others(stream):
                raise UserError("others may read the file of users", where=path, mend=f"chmod 600 {path}")
            found = _USERS.validate_json(stream.read())
    except FileNotFoundError:
        return {}
    except (OSError, ValidationError) as error:
        why = error.strerror if isinstance(error, OSError) else error.errors(include_input=False)[0]["msg"]
        raise UserError(
            f"the file of users cannot be read: {why}", where=path, mend="restore it from a copy, or add users anew"
        ) from None
    for name in found:
        _check_name(name, path)
    return found


def add(
    name: str, role: str, *, password: str | None = None, email: str | None = None, path: Path | None = None
) -> User:
    """Add a user, or give one of that name another role, password or e-mail address.

    Args:
        name: a pseudonym, which stands beside the user's decisions.
        password: at least 12 signs; it is kept as its hash only. None keeps the one there is.

    Raises:
        UserError: something does not hold; nothing is written then.
    """
    path = path or default_path()
    _check_name(name, path)
    if role not in ROLES:
        raise UserError(f"there is no role '{role[:30]}'", where=name, mend=f"use one of: {', '.join(ROLES)}")
    if password is not None and not SHORTEST <= len(password) <= LONGEST:
        raise UserError(
            f"the password has {len(password)} signs", where=name, mend=f"use {SHORTEST} or more; a few words will do"
        )
    with _writing(path) as users:
        before = users.get(name)
        hashed = _HASHER.hash(password) if password is not None else before.password if before else None
        address = _address(email, name) if email else before.email if before else None
        if hashed is None and address is None:
            raise UserError("the user could not log in", where=name, mend="give a password or an e-mail address")
        if address and any(one.email == address for other, one in users.items() if other != name):
            raise UserError("another user has that e-mail address", where=name, mend="auditkit dashboard-user list")
        users[name] = User(role=role, email=address, password=hashed)  # type: ignore[arg-type]
        return users[name]


def remove(name: str, *, path: Path | None = None) -> None:
    """Take a user out; what they decided stays in the logs.

    Raises:
        UserError: there is no such user.
    """
    path = path or default_path()
    with _writing(path) as users:
        if users.pop(name, None) is None:
            raise UserError(f"there is no user '{name[:40]}'", where=path, mend="auditkit dashboard-user list")


def verify(users: dict[str, User], name: str, password: str) -> bool:
    """Whether the password is the user's. It takes as long where there is no such user."""
    one = users.get(name)
    hashed = one.password if one is not None and one.password else None
    try:
        _HASHER.verify(hashed or _NOBODY, password[:LONGEST])
    except (VerificationError, InvalidHashError):
        return False
    return hashed is not None and len(password) <= LONGEST


def by_email(users: dict[str, User], email: str) -> str | None:
    """The name of the user whom an identity provider knows by that address."""
    return next((name for name, one in users.items() if one.email and one.email == email.strip().lower()), None)


def _check_name(name: str, path: Path) -> None:
    if not re.fullmatch(RATER, name):
        raise UserError(
            "a user is named by a pseudonym: up to 32 letters, digits, - and _",
            where=path,
            mend="name another; an address is given with --email",
        )


def _address(email: str, name: str) -> str:
    address = email.strip().lower()
    if not re.fullmatch(r"[^@\s]+@[^@\s]+", address) or len(address) > 254:
        raise UserError("that is no e-mail address", where=name, mend="write it as ana@example.org")
    return address


@contextmanager
def _writing(path: Path) -> Iterator[dict[str, User]]:
    """The users, held for writing; what they are at the end is written, unless an error came first."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        users = read(path)
        yield users
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        text = json.dumps({name: one.model_dump() for name, one in sorted(users.items())}, indent=2) + "\n"
        try:
            write_private(temporary, text.encode())
            os.replace(temporary, path)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise UserError(
                f"the file of users cannot be written: {error.strerror}", where=path, mend="make the folder writable"
            ) from error
    finally:
        os.close(folder)

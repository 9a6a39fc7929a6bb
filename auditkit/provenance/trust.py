"""Whom to trust: trust anchors as named, versioned lists, what they were on a date, and when they run out.

A list is a folder below `places.home()/trust` with a file a version, so that a verdict can be given as it would have
been given on an earlier date. Lists are imported from a file: your own anchors, or an official list such as C2PA's.
Nothing is downloaded.
"""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, ValidationError

from auditkit.errors import TrustError
from auditkit.files import write_json
from auditkit.places import home
from auditkit.provenance.certificates import common_name, fingerprint, may_sign, read_certificates, to_pem

if TYPE_CHECKING:
    from cryptography import x509

KINDS = ("private", "official")
SOON = 90
"""Days ahead that the forecast looks by default."""
MOST_DAYS = 1_000_000
"""Further ahead there is no calendar."""
MAX_CHAIN = 8


class _Stored(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str
    version: str
    in_force: str
    """The day from which this version counts, ISO 8601."""
    kind: str
    source: str
    pem: str


@dataclass(frozen=True)
class TrustList:
    """One version of a list."""

    name: str
    version: str
    in_force: date
    kind: str
    """'private' or 'official': who answers for it. It changes no verdict, and is told beside it."""
    source: str
    """The file it was imported from, for people."""
    anchors: tuple[x509.Certificate, ...]

    @property
    def pem(self) -> str:
        return to_pem(list(self.anchors))


@dataclass(frozen=True)
class Anchor:
    """One certificate of a list, for tables."""

    name: str
    fingerprint: str
    valid_from: datetime
    valid_to: datetime
    lists: tuple[str, ...] = ()

    def row(self) -> dict[str, Any]:
        return {
            "name": self.name, "sha256": self.fingerprint, "valid_from": self.valid_from.isoformat(),
            "valid_to": self.valid_to.isoformat(), "lists": list(self.lists),
        }  # fmt: skip


@dataclass(frozen=True)
class Difference:
    """What the second of two lists has and lacks, by certificate."""

    added: tuple[Anchor, ...]
    removed: tuple[Anchor, ...]
    kept: tuple[Anchor, ...]


def folder() -> Path:
    """Where lists are kept."""
    return home() / "trust"


def import_list(
    name: str,
    source: str | Path,
    *,
    version: str | None = None,
    in_force: date | None = None,
    kind: str = "private",
    where: str | Path | None = None,
) -> TrustList:
    """Keep the certificates of a PEM file as a version of a list, new or known.

    Args:
        version: by default the day it is in force, with a number behind it where there is one already.
        in_force: the day from which it counts; today by default.

    Raises:
        TrustError: no certificate in the file, no such kind, a name that is no name, or the version is there already.
    """
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,63}", name):
        raise TrustError(
            "a list's name has lower case letters, digits, - and _", where=name, mend="choose another name"
        )
    if kind not in KINDS:
        raise TrustError(
            f"'{kind}' is no kind of trust list", where=f"kind={kind}", mend=f"use one of: {', '.join(KINDS)}"
        )
    day = in_force or datetime.now(UTC).date()
    anchors = list({fingerprint(each): each for each in read_certificates(source)}.values())
    root = Path(where or folder()) / name
    before = {each.version for each in _versions(root)} if root.is_dir() else set()
    if version is None:
        version = str(day)
        number = 2
        while version in before:
            version, number = f"{day}.{number}", number + 1
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", version):
        raise TrustError("a version has letters, digits, '.', - and _", where=version, mend="choose another version")
    if version in before:
        raise TrustError(
            f"the list '{name}' has a version {version} already", where=root, mend="name another --version"
        )
    stored = _Stored(
        name=name, version=version, in_force=str(day), kind=kind, source=Path(str(source)).name, pem=to_pem(anchors)
    )
    write_json(root / f"{version}.json", stored.model_dump())
    return _opened(stored)


def lists(*, as_of: date | None = None, where: str | Path | None = None) -> list[TrustList]:
    """Of every list the version in force on a day (today by default), by name; lists that began later are left out."""
    root, day = Path(where or folder()), as_of or datetime.now(UTC).date()
    found = []
    for path in sorted(root.glob("*/")) if root.is_dir() else []:
        in_force = [each for each in _versions(path) if each.in_force <= day]
        if in_force:
            found.append(in_force[-1])
    return found


def get(spec: str, *, where: str | Path | None = None) -> TrustList:
    """A list by name (its newest version), by 'name@version', or the anchors of a PEM file.

    Raises:
        TrustError: there is no such list, version or file.
    """
    name, _, version = spec.partition("@")
    root = Path(where or folder()) / name
    if re.fullmatch(r"[a-z0-9_-]+", name) and root.is_dir():
        versions = _versions(root)
        chosen = [each for each in versions if each.version == version] if version else versions
        if chosen:
            return chosen[-1]
        known = ", ".join(each.version for each in versions)
        raise TrustError(f"the list '{name}' has no version '{version}'", where=root, mend=f"use one of: {known}")
    path = Path(spec)
    if not path.is_file():
        raise TrustError(
            "there is no such trust list or file",
            where=spec,
            mend="'auditkit trust list' names the lists that are here",
        )
    return TrustList(path.name, "file", date.min, "private", path.name, tuple(read_certificates(path)))


def remove(name: str, *, where: str | Path | None = None) -> int:
    """Forget a list with all its versions; how many there were.

    Raises:
        TrustError: there is no such list.
    """
    root = Path(where or folder()) / name
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", name) or not root.is_dir():
        raise TrustError("there is no such trust list", where=name, mend="auditkit trust list")
    files = sorted(root.glob("*.json"))
    shutil.rmtree(root)
    return len(files)


def anchors(*, as_of: date | None = None, files: tuple[str | Path, ...] = (), where: str | Path | None = None) -> str:
    """PEM of all anchors: of the lists in force, and of further files for this call."""
    chosen = [each for one in lists(as_of=as_of, where=where) for each in one.anchors]
    for path in files:
        chosen += read_certificates(path)
    return to_pem(list({fingerprint(each): each for each in chosen}.values()))


def forecast(*, days: int = SOON, now: datetime | None = None, where: str | Path | None = None) -> list[Anchor]:
    """Anchors of the lists in force that run out within `days`, or have run out, the soonest first."""
    now = now or datetime.now(UTC)
    limit = now + timedelta(days=min(days, MOST_DAYS))
    named: dict[str, tuple[x509.Certificate, list[str]]] = {}
    for one in lists(as_of=now.date(), where=where):
        for each in one.anchors:
            named.setdefault(fingerprint(each), (each, []))[1].append(one.name)
    found = [_anchor(each, tuple(names)) for each, names in named.values() if each.not_valid_after_utc <= limit]
    return sorted(found, key=lambda each: each.valid_to)


def diff(first: TrustList, second: TrustList) -> Difference:
    """What changed from one list, or version, to another."""
    before = {fingerprint(each): each for each in first.anchors}
    after = {fingerprint(each): each for each in second.anchors}

    def rows(keys: set[str], among: dict[str, x509.Certificate]) -> tuple[Anchor, ...]:
        return tuple(_anchor(among[key]) for key in among if key in keys)

    return Difference(
        rows(set(after) - set(before), after),
        rows(set(before) - set(after), before),
        rows(set(before) & set(after), after),
    )


def chains_to(chain: list[x509.Certificate], pem: str, when: datetime) -> bool:
    """Whether a signing chain, end entity first, led to one of the anchors on that date (RFC 5280, 6, in short).

    Signatures, dates and the basic constraint of each authority are checked, and that the end entity may sign claims.
    Revocation is not: that would need the network.
    """
    from cryptography import x509

    if not chain or not pem or not may_sign(chain[0]):
        return False
    roots = read_certificates(pem.encode())
    current, path_length = chain[0], 0
    for _ in range(MAX_CHAIN):
        if not current.not_valid_before_utc <= when <= current.not_valid_after_utc:
            return False
        if any(fingerprint(current) == fingerprint(root) for root in roots):
            return True
        issuer = next((each for each in [*roots, *chain] if each != current and _issued(current, each)), None)
        if issuer is None:
            return False
        try:
            constraint = issuer.extensions.get_extension_for_class(x509.BasicConstraints).value
        except x509.ExtensionNotFound:
            return False
        if not constraint.ca or (constraint.path_length is not None and constraint.path_length < path_length):
            return False
        current, path_length = issuer, path_length + 1
    return False


def end_of(day: date) -> datetime:
    """The moment that 'as of' a day stands for: its last, so that all of that day counts."""
    return datetime.combine(day, time.max, UTC)


def _issued(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except Exception:  # another name, key or signature: cryptography raises several kinds
        return False
    return True


def _anchor(certificate: x509.Certificate, names: tuple[str, ...] = ()) -> Anchor:
    return Anchor(
        common_name(certificate.subject), fingerprint(certificate), certificate.not_valid_before_utc,
        certificate.not_valid_after_utc, names,
    )  # fmt: skip


def _versions(root: Path) -> list[TrustList]:
    """The versions of a list, the one that came into force first first."""
    found = []
    for path in root.glob("*.json"):
        try:
            found.append(_opened(_Stored.model_validate(json.loads(path.read_bytes()))))
        except (OSError, ValueError, ValidationError, TrustError) as error:
            raise TrustError(
                f"the trust list is damaged: {type(error).__name__}",
                where=path,
                mend="delete the file and import it again",
            ) from None
    return sorted(found, key=lambda each: (each.in_force, _numbered(each.version)))


def _numbered(version: str) -> list[tuple[int, str]]:
    """A key that sorts 2026-01-31.10 behind 2026-01-31.2."""
    return [(int(digits or 0), text) for digits, text in re.findall(r"(\d+)|(\D+)", version)]


def _opened(stored: _Stored) -> TrustList:
    return TrustList(
        stored.name, stored.version, date.fromisoformat(stored.in_force), stored.kind, stored.source,
        tuple(read_certificates(stored.pem.encode())),
    )  # fmt: skip

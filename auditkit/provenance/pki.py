"""A development PKI: a root, an intermediate and an end entity that may sign C2PA claims. Not for production.

Certificates follow C2PA's profile (specification 2.x, X.509 Certificates): P-256, v3, key identifiers, an end entity
with digitalSignature and the key purposes of claim signing, and no path from the end entity to issue others.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from auditkit.errors import TrustError
from auditkit.files import write_atomic, write_private

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

MARK = "NOT FOR PRODUCTION"
"""In every name of these certificates, so that nobody takes one for a real signer's."""
ORGANIZATION = f"auditkit development PKI - {MARK}"
CLAIM_SIGNING = "1.3.6.1.4.1.62558.2.1"
EMAIL_PROTECTION = "1.3.6.1.5.5.7.3.4"
"""Beside C2PA's own purpose, for validators that are configured for no other."""
TIME_STAMPING = "1.3.6.1.5.5.7.3.8"
NAME_BYTES = 64
"""The longest common name (RFC 5280, appendix A)."""
DAYS = 36500

README = f"""\
Development certificates, made by `auditkit keys pki`. {MARK}: anybody can make such a set, and no validator trusts it
but one that is given root.pem.

root.pem            trust anchor: give it to those who should trust these signatures (auditkit inspect FILE --trust root.pem)
signer.pem          end entity and intermediate certificate: auditkit sign FILE --cert signer.pem --key signer.key
signer.key          private key of the end entity; keep it to yourself
intermediate.key    private key of the intermediate
root.key            private key of the root
timestamp.pem/.key  for a time-stamping authority of your own (RFC 3161), under the same root
"""  # noqa: E501


@dataclass(frozen=True)
class Pki:
    """Where the files of a development PKI lie."""

    folder: Path
    root: Path
    chain: Path
    key: Path
    expires: datetime


def make_pki(
    folder: str | Path,
    *,
    name: str = "development signer",
    days: int = 365,
    starts: datetime | None = None,
) -> Pki:
    """Write a root, an intermediate, an end entity and a time-stamping authority into a new folder.

    Args:
        name: put into the end entity's common name, beside the mark.
        days: how long the end entity is valid, up to a hundred years; root and intermediate are valid ten times as
            long.
        starts: when validity begins; now less a minute by default.

    Raises:
        TrustError: the folder holds keys already, or cannot be written.
    """
    folder = Path(folder)
    if days < 1 or not name.strip():
        raise TrustError("a certificate needs a name and at least a day", where=f"name={name!r}, days={days}")
    if days > DAYS:
        raise TrustError("that is too long for a certificate", where=f"days={days}", mend=f"take at most {DAYS} days")
    if any(folder.glob("*.key")):
        raise TrustError(
            "the folder holds keys already, and they would be lost", where=folder, mend="name another folder (--out)"
        )
    begin = starts or datetime.now(UTC) - timedelta(minutes=1)
    root_key, between_key, signer_key, stamp_key = (_new_key() for _ in range(4))
    root = _certificate("root", root_key, None, begin, days * 10, authority=1)
    between = _certificate("intermediate", between_key, (root, root_key), begin, days * 10, authority=0)
    purposes = (CLAIM_SIGNING, EMAIL_PROTECTION)
    signer = _certificate(name.strip(), signer_key, (between, between_key), begin, days, purposes=purposes)
    stamp = _certificate(
        "time-stamping authority", stamp_key, (between, between_key), begin, days, purposes=(TIME_STAMPING,)
    )
    _write_private(folder / "root.key", root_key)
    _write_private(folder / "intermediate.key", between_key)
    _write_private(folder / "signer.key", signer_key)
    _write_private(folder / "timestamp.key", stamp_key)
    write_atomic(folder / "root.pem", _pem(root))
    write_atomic(folder / "timestamp.pem", _pem(stamp) + _pem(between))
    write_atomic(folder / "README.txt", README.encode())
    write_atomic(folder / "signer.pem", _pem(signer) + _pem(between))  # last: with it the set is whole
    return Pki(folder, folder / "root.pem", folder / "signer.pem", folder / "signer.key", signer.not_valid_after_utc)


def _new_key() -> EllipticCurvePrivateKey:
    from cryptography.hazmat.primitives.asymmetric import ec

    return ec.generate_private_key(ec.SECP256R1())


def _certificate(
    name: str,
    key: EllipticCurvePrivateKey,
    issuer: tuple[x509.Certificate, EllipticCurvePrivateKey] | None,
    begin: datetime,
    days: int,
    *,
    authority: int | None = None,
    purposes: tuple[str, ...] = (),
) -> x509.Certificate:
    """A certificate; `authority` is the path length of a CA, None an end entity; no issuer: signed by itself."""
    from cryptography import x509
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.x509.oid import NameOID

    named = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, ORGANIZATION)]
    subject = x509.Name([*named, x509.NameAttribute(NameOID.COMMON_NAME, _marked(name))])
    parent, parent_key = (None, key) if issuer is None else issuer
    by_key = x509.AuthorityKeyIdentifier.from_issuer_public_key(parent_key.public_key())
    critical, can_sign = authority is None, authority is not None
    usage = x509.KeyUsage(
        digital_signature=critical, key_cert_sign=can_sign, crl_sign=can_sign, content_commitment=False,
        key_encipherment=False, data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if parent is None else parent.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=can_sign, path_length=authority), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(by_key, critical=False)
    )
    if purposes:
        oids = [x509.ObjectIdentifier(each) for each in purposes]
        # RFC 3161, 2.3: a time-stamping authority's only purpose, marked critical.
        builder = builder.add_extension(x509.ExtendedKeyUsage(oids), critical=purposes == (TIME_STAMPING,))
    return builder.sign(parent_key, SHA256())


def _marked(name: str) -> str:
    """The name with the mark behind it, which stays whole however long the name is."""
    mark = f" ({MARK})"
    return name.encode()[: NAME_BYTES - len(mark)].decode(errors="ignore").rstrip() + mark


def _pem(certificate: x509.Certificate) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding

    return certificate.public_bytes(Encoding.PEM)


def _write_private(path: Path, key: EllipticCurvePrivateKey) -> None:
    """PKCS #8, readable by the owner alone from the first byte on."""
    from cryptography.hazmat.primitives import serialization as form

    data = key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption())
    try:
        write_private(path, data)
    except OSError as error:
        raise TrustError(f"the key cannot be written: {error.strerror}", where=path, mend="check the folder") from None

"""Certificates in PEM: reading, naming, and holding a chain together."""

from __future__ import annotations

from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from auditkit.errors import TrustError
from auditkit.files import sha256
from auditkit.provenance.reading import EKU

if TYPE_CHECKING:
    from cryptography import x509

BEGIN = b"-----BEGIN CERTIFICATE-----"
NOT_CLAIMS = ("1.3.6.1.5.5.7.3.8", "1.3.6.1.5.5.7.3.9", "2.5.29.37.0")
"""Key purposes that no signer of claims may have: time stamping, OCSP signing, any."""


def read_certificates(source: str | Path | bytes) -> list[x509.Certificate]:
    """Every certificate of a PEM file (comments between them are passed over) or of its bytes; DER holds one.

    Raises:
        TrustError: the file is missing, holds no certificate, or holds one that cannot be read.
    """
    from cryptography import x509

    where: str | Path = "bytes" if isinstance(source, bytes) else source
    data = source if isinstance(source, bytes) else _bytes(Path(source))
    mend = "give a file of certificates in PEM, each between BEGIN CERTIFICATE and END CERTIFICATE"
    if BEGIN not in data:
        try:
            return [x509.load_der_x509_certificate(data)]
        except (ValueError, x509.InvalidVersion):
            private = b"PRIVATE KEY" in data
            what = "this is a private key, not a certificate" if private else "the file holds no certificate"
            raise TrustError(what, where=where, mend=mend) from None
    found = []
    for number, part in enumerate(data.split(BEGIN)[1:], start=1):
        body = part.split(b"-----END CERTIFICATE-----")[0]
        try:
            found.append(x509.load_pem_x509_certificate(BEGIN + body + b"-----END CERTIFICATE-----\n"))
        except (ValueError, x509.InvalidVersion) as error:
            raise TrustError(f"certificate {number} cannot be read: {error}", where=where, mend=mend) from None
    return found


def to_pem(certificates: list[x509.Certificate]) -> str:
    """The certificates in PEM, one after the other."""
    from cryptography.hazmat.primitives.serialization import Encoding

    return "".join(each.public_bytes(Encoding.PEM).decode() for each in certificates)


def fingerprint(certificate: x509.Certificate) -> str:
    """sha256 of the certificate's DER bytes, 64 hex digits."""
    from cryptography.hazmat.primitives.serialization import Encoding

    return sha256(certificate.public_bytes(Encoding.DER))


def common_name(name: x509.Name) -> str:
    """A name for people: the common name, else the organization, else all of it."""
    from cryptography.x509.oid import NameOID

    for oid in (NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME):
        if found := name.get_attributes_for_oid(oid):
            return str(found[0].value)
    return name.rfc4514_string() or "(no name)"


def check_chain(chain: list[x509.Certificate], now: datetime, where: str | Path) -> None:
    """Hold a signing chain together, end entity first: each is issued by the next, all are valid, the first may sign.

    Raises:
        TrustError: it is out of order, self-signed, expired, not yet valid, or made for another purpose.
    """
    for certificate, issuer in pairwise(chain):
        try:
            certificate.verify_directly_issued_by(issuer)
        except Exception:  # a wrong name, key or signature: cryptography raises several kinds
            raise TrustError(
                f"'{common_name(certificate.subject)}' was not issued by '{common_name(issuer.subject)}'",
                where=where,
                mend="put the end entity first, then each certificate that issued the one before",
            ) from None
    if chain[0].issuer == chain[0].subject:
        raise TrustError(
            "the signing certificate is signed by itself, which C2PA does not allow",
            where=where,
            mend="use an end entity that an authority issued; for development: auditkit keys pki",
        )
    for certificate in chain:
        named = common_name(certificate.subject)
        if now > certificate.not_valid_after_utc:
            raise TrustError(
                f"the certificate '{named}' expired on {certificate.not_valid_after_utc:%Y-%m-%d}",
                where=where, mend="renew it; for development: auditkit keys pki --out FOLDER",
            )  # fmt: skip
        if now < certificate.not_valid_before_utc:
            raise TrustError(
                f"the certificate '{named}' is not valid before {certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC",
                where=where, mend="wait, or check this machine's clock",
            )  # fmt: skip

    if not may_sign(chain[0]):
        raise TrustError(
            f"the certificate '{common_name(chain[0].subject)}' was not issued for signing claims", where=where,
            mend="its extended key usage must be C2PA claim signing, document signing or email protection",
        )  # fmt: skip


def may_sign(certificate: x509.Certificate) -> bool:
    """Whether it was issued for signing claims: one of C2PA's purposes, and not for stamping times or for OCSP."""
    purposes = _purposes(certificate)
    return bool(purposes.intersection(EKU)) and not purposes.intersection(NOT_CLAIMS)


def _purposes(certificate: x509.Certificate) -> set[str]:
    """The extended key usages, as OIDs; none where there is no such extension or it cannot be read."""
    from cryptography import x509

    try:
        found = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except (x509.ExtensionNotFound, ValueError):
        return set()
    return {each.dotted_string for each in found}


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise TrustError("the file of certificates does not exist", where=path, mend="check the path") from None
    except OSError as error:
        raise TrustError(f"the file cannot be read: {error.strerror}", where=path, mend="check the path") from None

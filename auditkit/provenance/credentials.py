"""Who signs: a certificate chain, and a function that signs bytes, so that the private key can live anywhere."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auditkit.errors import TrustError
from auditkit.files import open_to_others
from auditkit.places import home
from auditkit.provenance.certificates import check_chain, common_name, fingerprint, read_certificates, to_pem
from auditkit.provenance.pki import MARK

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.hashes import HashAlgorithm

PASSPHRASE = "AUDITKIT_KEY_PASSPHRASE"
"""Environment variable with the passphrase of an encrypted key."""
COMMAND_SECONDS = 60


@dataclass(frozen=True)
class Credentials:
    """A signer. `sign` takes the bytes to be signed and gives the signature, as the algorithm defines it."""

    chain: str
    """PEM, end entity first."""
    algorithm: str
    """es256, es384, es512, ps256 or ed25519 (COSE's names, lower case)."""
    sign: Callable[[bytes], bytes] = field(repr=False)
    name: str
    issuer: str
    fingerprint: str
    """sha256 of the end entity's certificate."""
    expires: datetime
    private: bytes | None = field(default=None, repr=False)
    """PKCS #8 in PEM where the key is a file of ours. The library then knows the signature's size beforehand; for a
    callback it sets 10 kB aside in every image."""

    @property
    def development(self) -> bool:
        """Whether the certificate says that it is not for production."""
        return MARK in self.name or MARK in self.issuer

    def record(self) -> dict[str, Any]:
        """For run.json, the store and answers; nothing in it is secret."""
        return {
            "signer": self.name,
            "issuer": self.issuer,
            "algorithm": self.algorithm,
            "certificate_sha256": self.fingerprint,
            "expires": self.expires.isoformat(),
            "trust": "development" if self.development else "",
        }


def default_credentials() -> tuple[Path, Path]:
    """Certificate chain and key where nothing else is said: those of `auditkit keys pki`."""
    return home() / "pki" / "signer.pem", home() / "pki" / "signer.key"


def load_credentials(
    cert: str | Path | None = None, key: str | Path | None = None, *, command: str | None = None
) -> Credentials:
    """The signer of a certificate chain and a private key, or of a chain and a command that signs.

    Args:
        cert: PEM, end entity first; by default the development PKI's.
        key: PKCS #8 in PEM, readable by its owner alone; its passphrase, if it has one, in $AUDITKIT_KEY_PASSPHRASE.
        command: run with the bytes to be signed on its standard input, must print the raw signature: for a key in a
            hardware module or another service. No shell is used.

    Raises:
        TrustError: a file is missing or damaged, the key is open to others or does not belong to the certificate, or
            the certificate is expired or of a kind that C2PA does not allow.
    """
    if cert is None:
        cert, default_key = default_credentials()
        if not cert.exists():
            raise TrustError(
                "nothing says who signs", where=cert,
                mend="name a certificate and key (--cert, --key); for development: auditkit keys pki",
            )  # fmt: skip
        key = key or default_key
    chain = read_certificates(cert)
    check_chain(chain, datetime.now(UTC), cert)
    algorithm = _algorithm(chain[0].public_key(), cert)
    private = None
    if command is not None:
        sign = _by_command(command)
        _check_signs(sign, algorithm, chain[0].public_key(), command)
    else:
        if key is None:
            raise TrustError("a certificate without a key signs nothing", where=cert, mend="name the key (--key)")
        sign, private = _by_key(Path(key), chain[0], algorithm, cert)
    return Credentials(
        to_pem(chain), algorithm, sign, common_name(chain[0].subject), common_name(chain[0].issuer),
        fingerprint(chain[0]), chain[0].not_valid_after_utc, private,
    )  # fmt: skip


def _algorithm(public: Any, where: str | Path) -> str:
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    if isinstance(public, ec.EllipticCurvePublicKey):
        named = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}.get(public.curve.name)
        if named:
            return named
    if isinstance(public, ed25519.Ed25519PublicKey):
        return "ed25519"
    if isinstance(public, rsa.RSAPublicKey) and public.key_size >= 2048:
        return "ps256"
    raise TrustError(
        "C2PA does not allow this kind of key",
        where=where,
        mend="use P-256, P-384, P-521, Ed25519 or RSA from 2048 bit",
    )


def _by_key(
    path: Path, certificate: x509.Certificate, algorithm: str, cert: str | Path
) -> tuple[Callable[[bytes], bytes], bytes]:
    """What signs with the key of that file, and the key in PEM without passphrase."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization as form

    try:
        with path.open("rb") as stream:
            if open_to_others(stream):
                raise TrustError(
                    "the private key can be read or changed by others than its owner", where=path,
                    mend=f"chmod 600 '{path}'; if others had it, have the certificate revoked",
                )  # fmt: skip
            data = stream.read()
    except FileNotFoundError:
        raise TrustError("the private key does not exist", where=path, mend="check the path") from None
    except OSError as error:
        raise TrustError(f"the private key cannot be read: {error.strerror}", where=path, mend="check it") from None
    passphrase = os.environ.get(PASSPHRASE)
    try:
        private: Any = form.load_pem_private_key(data, passphrase.encode() if passphrase else None)
    except TypeError:  # a passphrase is missing, or given for a key without one
        what = "the private key is not encrypted" if passphrase else "the private key needs its passphrase"
        raise TrustError(what, where=path, mend=f"{'unset' if passphrase else 'set'} ${PASSPHRASE}") from None
    except (ValueError, UnsupportedAlgorithm):  # never the error's own text
        raise TrustError(
            "the private key cannot be read: damaged, of another form, or another passphrase", where=path,
            mend="give PKCS #8 in PEM",
        ) from None  # fmt: skip
    if _public_bytes(private.public_key()) != _public_bytes(certificate.public_key()):
        raise TrustError(
            f"the private key does not belong to the certificate '{common_name(certificate.subject)}'", where=path,
            mend=f"give the key that {cert} was issued for",
        )  # fmt: skip
    plain = private.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption())
    return _signer(private, algorithm), plain


def _signer(private: Any, algorithm: str) -> Callable[[bytes], bytes]:
    from cryptography.hazmat.primitives.asymmetric import ec, padding
    from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
    from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512

    def sign(data: bytes) -> bytes:
        if algorithm == "ed25519":
            return bytes(private.sign(data))
        if algorithm == "ps256":
            pss = padding.PSS(mgf=padding.MGF1(SHA256()), salt_length=32)
            return bytes(private.sign(data, pss, SHA256()))
        digest: HashAlgorithm = {"es256": SHA256(), "es384": SHA384(), "es512": SHA512()}[algorithm]
        r, s = decode_dss_signature(private.sign(data, ec.ECDSA(digest)))
        size = (private.curve.key_size + 7) // 8  # COSE wants both numbers at full length (RFC 9053, 2.1)
        return r.to_bytes(size, "big") + s.to_bytes(size, "big")

    return sign


def _by_command(command: str) -> Callable[[bytes], bytes]:
    try:
        arguments = shlex.split(command)
    except ValueError as error:
        raise TrustError(f"the command that signs cannot be read: {error}", mend="close its quotes") from None
    if not arguments:
        raise TrustError("the command that signs is empty", mend="name a program (--sign-with)")

    def sign(data: bytes) -> bytes:
        try:
            done = subprocess.run(arguments, input=data, capture_output=True, timeout=COMMAND_SECONDS)
        except subprocess.TimeoutExpired:
            raise _command_error(f"gave nothing within {COMMAND_SECONDS} s", command) from None
        except (OSError, ValueError) as error:
            raise _command_error(f"cannot be started: {getattr(error, 'strerror', None) or error}", command) from None
        if done.returncode:
            said = done.stderr.decode(errors="replace").strip().splitlines()
            why = f": {said[-1]}" if said else ""
            raise _command_error(f"failed with exit code {done.returncode}{why}", command)
        return done.stdout

    return sign


def _command_error(what: str, command: str) -> TrustError:
    """Names the program alone: its arguments may hold a PIN."""
    return TrustError(
        f"the command that signs {what}", where=shlex.split(command)[0],
        mend="it gets the bytes on standard input and must print the raw signature",
    )  # fmt: skip


def _check_signs(sign: Callable[[bytes], bytes], algorithm: str, public: Any, command: str) -> None:
    """Raise TrustError where what `sign` gives is no signature of this certificate's key."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric import ec, padding
    from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
    from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512

    probe = os.urandom(32)
    signature = sign(probe)
    try:
        if algorithm == "ed25519":
            public.verify(signature, probe)
        elif algorithm == "ps256":
            public.verify(signature, probe, padding.PSS(mgf=padding.MGF1(SHA256()), salt_length=32), SHA256())
        else:
            half = (public.curve.key_size + 7) // 8
            if len(signature) != 2 * half:
                raise ValueError("not r and s at full length")
            r, s = int.from_bytes(signature[:half], "big"), int.from_bytes(signature[half:], "big")
            digest: HashAlgorithm = {"es256": SHA256(), "es384": SHA384(), "es512": SHA512()}[algorithm]
            public.verify(encode_dss_signature(r, s), probe, ec.ECDSA(digest))
    except (InvalidSignature, ValueError):
        raise TrustError(
            "the command's signature does not belong to the certificate", where=shlex.split(command)[0],
            mend=f"it must print the raw {algorithm} signature (of ECDSA r and s, each at full length)",
        ) from None  # fmt: skip


def _public_bytes(public: Any) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return bytes(public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))

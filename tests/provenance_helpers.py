"""What the tests of provenance share: certificates, small images, signed images, and a time-stamping authority.

    from provenance_helpers import isolated, signed, verdict_of  # `isolated`: an autouse fixture, `# noqa: F401`

- `isolated` (autouse in every module that imports it): AUDITKIT_HOME, AUDITKIT_KEYS and the working directory lie in
  tmp_path; it gives tmp_path back.
- `pki()`: a development PKI, made once a session; read its files, never write them. `credentials()`: its signer,
  loaded. `root_pem()`: its trust anchor. `at_home(home)`: the PKI copied to where `auditkit sign` looks for it.
- `issued(folder, ...)`: chain and key files of another certificate under that PKI: expired, not yet valid, with other
  key purposes, signed by itself, of another algorithm, with another's key, with a passphrase.
- `picture(...)`, `image_bytes(fmt)` for fmt in `FORMATS`: 96 x 72 px with enough structure for a perceptual hash.
- `signed(fmt, ...)`: a `signing.Signature`; `verdict_of(bytes, ...)`: the verdict on a file, the root trusted.
- `tsa`: a fixture, the URL of a local RFC 3161 authority under the PKI's root; skips where openssl is missing.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import io
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization as form
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import NameOID
from PIL import Image

from auditkit.provenance.credentials import Credentials, load_credentials
from auditkit.provenance.manifest import Claim
from auditkit.provenance.pki import CLAIM_SIGNING, EMAIL_PROTECTION, Pki, make_pki
from auditkit.provenance.reading import read
from auditkit.provenance.signing import Signature, sign_bytes
from auditkit.provenance.verdict import Verdict, judge

SERVER_AUTH = "1.3.6.1.5.5.7.3.1"
DOCUMENT_SIGNING = "1.3.6.1.5.5.7.3.36"

FORMATS: dict[str, dict[str, Any]] = {
    "png": {"format": "PNG"},
    "png-alpha": {"format": "PNG", "alpha": True},
    "jpeg": {"format": "JPEG", "quality": 90},
    "jpeg-progressive": {"format": "JPEG", "quality": 90, "progressive": True},
    "webp": {"format": "WEBP", "quality": 80},
    "webp-lossless": {"format": "WEBP", "lossless": True},
    "webp-alpha": {"format": "WEBP", "quality": 80, "alpha": True},
}
PLAIN = ("png", "jpeg", "webp")
"""One of each container."""
SUFFIX = {"png": ".png", "jpeg": ".jpg", "webp": ".webp"}
"""By the first part of a format's name: `SUFFIX[fmt.split("-")[0]]`."""


@pytest.fixture(autouse=True)
def isolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nothing of the user's is read or written; gives tmp_path."""
    monkeypatch.setenv("AUDITKIT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("AUDITKIT_KEYS", str(tmp_path / "keys.json"))
    monkeypatch.delenv("AUDITKIT_KEY_PASSPHRASE", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@functools.cache
def pki() -> Pki:
    """A development PKI, made once a session."""
    folder = Path(tempfile.mkdtemp(prefix="auditkit-pki-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return make_pki(folder / "pki", starts=datetime.now(UTC) - timedelta(days=30))


@functools.cache
def credentials() -> Credentials:
    """The signer of `pki()`."""
    return load_credentials(pki().chain, pki().key)


def root_pem() -> str:
    """The trust anchor of `pki()`."""
    return pki().root.read_text()


def at_home(home: Path) -> Path:
    """The session's PKI where `auditkit sign` looks for it: `home` is $AUDITKIT_HOME, or what `isolated` gives."""
    home = home if home.name == "home" else home / "home"
    return Path(shutil.copytree(pki().folder, home / "pki"))


@dataclass(frozen=True)
class Issued:
    """Files of a certificate: `chain`, end entity first, and `key`."""

    chain: Path
    key: Path

    def load(self) -> Credentials:
        return load_credentials(self.chain, self.key)

    @property
    def unchecked(self) -> Credentials:
        """Its credentials without the checks of `load_credentials`: what a careless signer would sign with."""
        from auditkit.provenance.certificates import common_name, fingerprint, read_certificates
        from auditkit.provenance.credentials import _algorithm, _signer

        own = read_certificates(self.chain)[0]
        private = form.load_pem_private_key(self.key.read_bytes(), None)
        algorithm = _algorithm(own.public_key(), self.chain)
        return Credentials(
            self.chain.read_text(), algorithm, _signer(private, algorithm), common_name(own.subject),
            common_name(own.issuer), fingerprint(own), own.not_valid_after_utc, self.key.read_bytes(),
        )  # fmt: skip


def new_key(algorithm: str = "es256") -> Any:
    """A private key for es256, es384, es512, ed25519, ps256, or the weak 'p192' and 'rsa1024'."""
    if algorithm == "ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    if algorithm in ("ps256", "rsa1024"):
        return rsa.generate_private_key(65537, 2048 if algorithm == "ps256" else 1024)
    curve = {"es256": ec.SECP256R1, "es384": ec.SECP384R1, "es512": ec.SECP521R1, "p192": ec.SECP192R1}[algorithm]
    return ec.generate_private_key(curve())


def issued(
    folder: Path,
    name: str = "other",
    *,
    starts: timedelta = timedelta(days=-20),
    ends: timedelta = timedelta(days=20),
    purposes: tuple[str, ...] = (CLAIM_SIGNING, EMAIL_PROTECTION),
    algorithm: str = "es256",
    self_signed: bool = False,
    other_key: bool = False,
    passphrase: str | None = None,
    mode: int = 0o600,
) -> Issued:
    """Write a certificate under the intermediate of `pki()` and its key into `folder`.

    Args:
        starts, ends: of validity, from now; timedelta(days=-1) for `ends` is expired.
        self_signed: by its own key, no authority above it.
        other_key: the key file is of another certificate.
    """
    folder.mkdir(parents=True, exist_ok=True)
    private = new_key(algorithm)
    between = x509.load_pem_x509_certificates(pki().chain.read_bytes())[1]
    above = form.load_pem_private_key((pki().folder / "intermediate.key").read_bytes(), None)
    subject = x509.Name(
        [x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Tests"), x509.NameAttribute(NameOID.COMMON_NAME, name)]
    )
    signing_key, issuer = (private, subject) if self_signed else (above, between.subject)
    now = datetime.now(UTC)
    usage = dict.fromkeys(
        ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "key_cert_sign", "crl_sign",
         "encipher_only", "decipher_only"), False,
    )  # fmt: skip
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + starts)
        .not_valid_after(now + ends)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.KeyUsage(digital_signature=True, **usage), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(private.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signing_key.public_key()), critical=False)
    )
    if purposes:
        oids = [x509.ObjectIdentifier(each) for each in purposes]
        builder = builder.add_extension(x509.ExtendedKeyUsage(oids), critical=False)
    own = builder.sign(signing_key, None if isinstance(signing_key, ed25519.Ed25519PrivateKey) else SHA256())
    pem = own.public_bytes(form.Encoding.PEM)
    files = Issued(folder / f"{name}.pem", folder / f"{name}.key")
    files.chain.write_bytes(pem if self_signed else pem + between.public_bytes(form.Encoding.PEM))
    locked = form.BestAvailableEncryption(passphrase.encode()) if passphrase else form.NoEncryption()
    written = new_key(algorithm) if other_key else private
    files.key.write_bytes(written.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, locked))
    files.key.chmod(mode)
    return files


def picture(*, alpha: bool = False, seed: int = 0, size: tuple[int, int] = (96, 72)) -> Image.Image:
    """Smooth colours with structure enough for a perceptual hash, the same for the same seed."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (9, 12, 3), dtype=np.uint8))
    image = small.resize(size, Image.Resampling.BICUBIC)
    if alpha:
        image.putalpha(Image.fromarray(np.linspace(0, 255, size[0] * size[1]).astype(np.uint8).reshape(size[::-1])))
    return image


def image_bytes(fmt: str = "png", *, seed: int = 0, size: tuple[int, int] = (96, 72)) -> bytes:
    """A small image file in one of `FORMATS`."""
    options = dict(FORMATS[fmt])
    stream = io.BytesIO()
    picture(alpha=options.pop("alpha", False), seed=seed, size=size).save(stream, **options)
    return stream.getvalue()


def write_image(path: Path, fmt: str | None = None, *, seed: int = 0, size: tuple[int, int] = (96, 72)) -> Path:
    """`image_bytes` as a file; the format follows from the ending where none is given."""
    fmt = fmt or {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp"}[path.suffix]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(image_bytes(fmt, seed=seed, size=size))
    return path


def signed(
    fmt: str | bytes = "png",
    *,
    source_type: str | None = "trainedAlgorithmicMedia",
    by: Credentials | None = None,
    embed: bool = True,
    timestamp: str | None = None,
    parent: tuple[str, bytes] | None = None,
    components: tuple[tuple[str, bytes], ...] = (),
    seed: int = 0,
    **claim: Any,
) -> Signature:
    """A signed image: of one of `FORMATS`, or of the bytes given. `claim`: further fields of `manifest.Claim`."""
    data = fmt if isinstance(fmt, bytes) else image_bytes(fmt, seed=seed)
    title = claim.pop("title", "picture")
    if parent is not None:
        source_type = None
    return sign_bytes(
        data, Claim(title, source_type=source_type, **claim), by or credentials(), parent=parent,
        components=components, embed=embed, timestamp=timestamp,
    )  # fmt: skip


def verdict_of(data: bytes | Signature, *, anchors: str | None = None, sidecar: bytes | None = None) -> Verdict:
    """The verdict on a file's bytes (or a signature's); `pki()`'s root is trusted where no anchors are given."""
    if isinstance(data, Signature):
        sidecar = sidecar if data.embedded else data.manifest
        data = data.data
    return judge(read(data, anchors=root_pem() if anchors is None else anchors, sidecar=sidecar))


def pixels(data: bytes) -> np.ndarray:
    """The decoded samples of an image file, alpha and all, as Pillow gives them."""
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image).copy()


_TSA = """\
[tsa]
serial = {folder}/serial
signer_cert = {pki}/timestamp.pem
certs = {pki}/timestamp.pem
signer_key = {pki}/timestamp.key
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256, sha384, sha512
accuracy = secs:1
ess_cert_id_alg = sha256
ess_cert_id_chain = no
"""


@contextlib.contextmanager
def stamping(folder: Path, *, answer: bytes | None = None) -> Iterator[str]:
    """The URL of a time-stamping authority under the root of `pki()`, in a thread; `answer`: what it says instead."""
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "tsa.cnf"
    config.write_text(_TSA.format(folder=folder, pki=pki().folder))
    (folder / "serial").write_text("01\n")

    class Authority(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            query = folder / f"query-{threading.get_ident()}"
            query.write_bytes(self.rfile.read(int(self.headers["Content-Length"])))
            body = answer
            if body is None:
                command = ["openssl", "ts", "-reply", "-config", config, "-section", "tsa", "-queryfile", query]
                body = subprocess.run(command, capture_output=True, check=True).stdout
            self.send_response(200)
            self.send_header("Content-Type", "application/timestamp-reply")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Authority)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def tsa(tmp_path: Path) -> Iterator[str]:
    """The URL of a local RFC 3161 time-stamping authority."""
    if shutil.which("openssl") is None:
        pytest.skip("the openssl command, which the tests' time-stamping authority calls, is missing")
    with stamping(tmp_path / "tsa") as url:
        yield url


def mode(path: Path) -> int:
    """The permission bits of a file."""
    return os.stat(path).st_mode & 0o777

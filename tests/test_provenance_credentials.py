"""Who signs: what is refused before anything is signed, keys that live elsewhere, and secrets that never show."""

from __future__ import annotations

import json
import shlex
import sys
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives import serialization as form
from provenance_helpers import (
    DOCUMENT_SIGNING,
    SERVER_AUTH,
    at_home,
    credentials,
    isolated,  # noqa: F401
    issued,
    new_key,
    pki,
    signed,
    verdict_of,
)

from auditkit.errors import AuditkitError, TrustError
from auditkit.provenance.credentials import PASSPHRASE, load_credentials
from auditkit.provenance.pki import CLAIM_SIGNING, EMAIL_PROTECTION, MARK, TIME_STAMPING

SIGNS = """
import sys
sys.path[:0] = {path!r}
from auditkit.provenance.credentials import load_credentials
{before}
sys.stdout.buffer.write(load_credentials({chain!r}, {key!r}).sign(sys.stdin.buffer.read()))
"""


def command(tmp_path, files, *, before="", arguments=()):
    """A command that signs, with a key that `auditkit` itself is never shown."""
    script = tmp_path / "sign.py"
    text = SIGNS.format(path=sys.path, before=before, chain=str(files.chain), key=str(files.key))
    script.write_text(text)
    return shlex.join([sys.executable, str(script), *arguments])


def refused(said, *args, **kwargs):
    with pytest.raises(TrustError, match=said) as caught:
        load_credentials(*args, **kwargs)
    return caught.value


def test_nothing_at_hand_names_the_command_that_makes_a_signer():
    assert "auditkit keys pki" in str(refused("nothing says who signs"))


def test_without_a_name_the_development_pki_signs(isolated):  # noqa: F811
    at_home(isolated)
    assert load_credentials().fingerprint == credentials().fingerprint


def test_a_development_signer_says_so_in_its_record():
    assert credentials().development
    assert credentials().record()["trust"] == "development"


def test_a_signer_under_a_development_authority_is_one_for_development(tmp_path):
    found = issued(tmp_path, "other").load()
    assert MARK not in found.name
    assert MARK in found.issuer
    assert found.development


def test_a_chain_without_a_key_signs_nothing():
    refused("without a key", pki().chain)


def test_a_key_of_another_certificate_is_refused(tmp_path):
    files = issued(tmp_path, other_key=True)
    assert str(files.key) in str(refused("does not belong", files.chain, files.key))


def test_an_expired_certificate_is_refused_with_its_day(tmp_path):
    files = issued(tmp_path, ends=timedelta(days=-1))
    refused(r"expired on \d{4}-\d\d-\d\d", files.chain, files.key)


def test_a_certificate_that_is_not_valid_yet_is_refused(tmp_path):
    files = issued(tmp_path, starts=timedelta(days=1))
    refused("is not valid before", files.chain, files.key)


def test_a_certificate_signed_by_itself_is_refused(tmp_path):
    files = issued(tmp_path, self_signed=True)
    refused("signed by itself", files.chain, files.key)


def test_a_chain_out_of_order_is_refused(tmp_path):
    own, between = pki().chain.read_text().split("-----END CERTIFICATE-----\n")[:2]
    end = "-----END CERTIFICATE-----\n"
    (tmp_path / "chain.pem").write_text(between + end + own + end)
    assert "end entity first" in str(refused("was not issued by", tmp_path / "chain.pem", pki().key))


@pytest.mark.parametrize(
    "purposes",
    [(SERVER_AUTH,), (), (TIME_STAMPING,), (CLAIM_SIGNING, TIME_STAMPING), (CLAIM_SIGNING, "2.5.29.37.0")],
    ids=["server", "none", "time stamping", "claims and time stamping", "claims and any"],
)
def test_a_certificate_for_another_purpose_is_refused(tmp_path, purposes):
    files = issued(tmp_path, purposes=purposes)
    refused("not issued for signing claims", files.chain, files.key)


@pytest.mark.parametrize("purpose", [CLAIM_SIGNING, DOCUMENT_SIGNING, EMAIL_PROTECTION])
def test_each_purpose_of_the_profile_signs(tmp_path, purpose):
    files = issued(tmp_path, purposes=(purpose,))
    assert verdict_of(signed("png", by=files.load())).verdict == "trusted"


@pytest.mark.parametrize("algorithm", ["es256", "es384", "es512", "ps256", "ed25519"])
def test_each_algorithm_of_c2pa_signs(tmp_path, algorithm):
    found = issued(tmp_path, algorithm=algorithm).load()
    assert found.algorithm == algorithm
    assert verdict_of(signed("png", by=found)).signer.algorithm == algorithm


def test_a_kind_of_key_that_c2pa_does_not_allow_is_refused(tmp_path):
    files = issued(tmp_path, algorithm="rsa1024")
    refused("does not allow this kind of key", files.chain, files.key)


@pytest.mark.parametrize("bits", [0o644, 0o640, 0o604, 0o620])
def test_a_key_that_others_can_read_or_change_is_refused_with_the_mend(tmp_path, bits):
    files = issued(tmp_path, mode=bits)
    assert "chmod 600" in str(refused("others than its owner", files.chain, files.key))


@pytest.mark.parametrize("content", [b"", b"no key", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"])
def test_a_damaged_key_is_refused(tmp_path, content):
    path = tmp_path / "a.key"
    path.write_bytes(content)
    path.chmod(0o600)
    refused("cannot be read", pki().chain, path)


def test_a_missing_key_or_certificate_is_named(tmp_path):
    assert str(tmp_path / "a") in str(refused("private key does not exist", pki().chain, tmp_path / "a"))
    assert str(tmp_path / "b") in str(refused("file of certificates does not exist", tmp_path / "b", pki().key))


def test_a_key_given_as_a_certificate_is_told_apart():
    refused("this is a private key, not a certificate", pki().key, pki().key)


def test_a_certificate_given_as_a_key_is_refused(tmp_path):
    (tmp_path / "a.key").write_bytes(pki().root.read_bytes())
    (tmp_path / "a.key").chmod(0o600)
    refused("private key cannot be read", pki().chain, tmp_path / "a.key")


def test_a_key_with_a_passphrase_signs_when_the_environment_holds_it(tmp_path, monkeypatch):
    files = issued(tmp_path, passphrase="open sesame")
    refused("needs its passphrase", files.chain, files.key)
    monkeypatch.setenv(PASSPHRASE, "open sesame")
    assert verdict_of(signed("png", by=files.load())).verdict == "trusted"


def test_a_wrong_passphrase_is_refused_and_not_repeated(tmp_path, monkeypatch):
    files = issued(tmp_path, passphrase="open sesame")
    monkeypatch.setenv(PASSPHRASE, "hunter2")
    assert "hunter2" not in str(refused("another passphrase", files.chain, files.key))


def test_a_passphrase_for_a_key_without_one_says_so(monkeypatch):
    monkeypatch.setenv(PASSPHRASE, "hunter2")
    assert "hunter2" not in str(refused("is not encrypted", pki().chain, pki().key))


def test_a_command_signs_with_a_key_that_lives_elsewhere(tmp_path):
    files = issued(tmp_path)
    found = load_credentials(files.chain, command=command(tmp_path, files))
    assert found.private is None
    assert verdict_of(signed("png", by=found)).verdict == "trusted"


def test_a_command_that_signs_with_another_key_is_refused_before_anything_is_signed(tmp_path):
    files = issued(tmp_path)
    refused("does not belong to the certificate", pki().chain, command=command(tmp_path, files))


@pytest.mark.parametrize("cut", ["signature[:-1]", "signature + b'\\n'", "bytes(1) + signature[:32] + bytes(1) + "
                                 "signature[32:]", "b''"])  # fmt: skip
def test_a_signature_that_is_not_raw_at_full_length_is_refused(tmp_path, cut):
    script = tmp_path / "cut.py"
    inner = command(tmp_path, pki())
    script.write_text(
        "import shlex, subprocess, sys\n"
        f"done = subprocess.run(shlex.split({inner!r}), input=sys.stdin.buffer.read(), capture_output=True)\n"
        f"signature = done.stdout\nsys.stdout.buffer.write({cut})\n"
    )
    refused("does not belong", pki().chain, command=shlex.join([sys.executable, str(script)]))


@pytest.mark.parametrize(
    ("given", "said"),
    [("", "empty"), ("   ", "empty"), ("'open", "cannot be read"), ("/no/such/program", "cannot be started")],
)
def test_a_command_that_is_none_is_an_error(given, said):
    refused(said, pki().chain, command=given)


def test_a_command_that_fails_is_told_with_its_own_last_words(tmp_path):
    files = issued(tmp_path)
    failing = command(tmp_path, files, before="sys.exit('no card in the reader')")
    refused("exit code 1: no card in the reader", files.chain, command=failing)


def test_a_command_that_fails_later_is_its_own_error_and_not_the_librarys(tmp_path):
    files = issued(tmp_path)
    once = f"import os; os.mkdir({str(tmp_path / 'once')!r}) if not os.path.exists({str(tmp_path / 'once')!r}) else "
    found = load_credentials(files.chain, command=command(tmp_path, files, before=once + "sys.exit('card pulled')"))
    with pytest.raises(TrustError, match="card pulled"):
        signed("png", by=found)


def test_no_shell_runs_the_command(tmp_path):
    refused("does not belong|cannot be started|failed", pki().chain, command=f"echo; touch {tmp_path / 'pwned'}")
    assert not (tmp_path / "pwned").exists()


def test_the_arguments_of_a_command_are_never_told(tmp_path):
    files = issued(tmp_path)
    found = load_credentials(files.chain, command=command(tmp_path, files, arguments=["--pin", "31415926"]))
    assert "31415926" not in repr(found) + json.dumps(found.record())
    for before in ("sys.exit(3)", "print('x'); sys.exit(0)"):
        given = command(tmp_path, files, before=before, arguments=["--pin", "31415926"])
        assert "31415926" not in str(refused("the command", files.chain, command=given))


def test_neither_repr_nor_record_holds_the_key():
    body = pki().key.read_text().splitlines()[1]
    assert body in credentials().private.decode()
    assert body not in repr(credentials()) + json.dumps(credentials().record())


def test_no_error_of_a_key_holds_a_part_of_it(tmp_path):
    private = new_key()
    pem = private.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption()).decode()
    path = tmp_path / "a.key"
    for content in (pem, pem[:-60], pem.replace("PRIVATE KEY", "SECRET")):
        path.write_text(content)
        path.chmod(0o600)
        with pytest.raises(AuditkitError) as caught:
            load_credentials(pki().chain, path)
        assert pem.splitlines()[1][:20] not in f"{caught.value} {caught.value.as_dict()}"

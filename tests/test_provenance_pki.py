"""The development PKI: certificates by C2PA's profile, that say of themselves that they are not for production."""

from __future__ import annotations

import shutil
import subprocess
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from provenance_helpers import isolated, mode, pki  # noqa: F401

from auditkit.errors import TrustError
from auditkit.provenance.certificates import check_chain, common_name, read_certificates
from auditkit.provenance.pki import CLAIM_SIGNING, EMAIL_PROTECTION, MARK, TIME_STAMPING, make_pki

EVERY = ("root.pem", "signer.pem", "timestamp.pem")


def certificate(name, place=0):
    return read_certificates(pki().folder / name)[place]


def extension(name, kind, place=0):
    return certificate(name, place).extensions.get_extension_for_class(kind)


def purposes(name):
    return {each.dotted_string for each in extension(name, x509.ExtendedKeyUsage).value}


def test_the_end_entity_may_sign_claims_and_nothing_else():
    assert purposes("signer.pem") == {CLAIM_SIGNING, EMAIL_PROTECTION}
    usage = extension("signer.pem", x509.KeyUsage).value
    assert usage.digital_signature
    assert not any([usage.key_cert_sign, usage.crl_sign, usage.key_encipherment])


def test_the_end_entity_is_no_authority():
    found = extension("signer.pem", x509.BasicConstraints)
    assert found.critical
    assert not found.value.ca


def test_the_intermediate_may_issue_end_entities_and_no_authorities():
    found = extension("signer.pem", x509.BasicConstraints, 1)
    assert (found.critical, found.value.ca, found.value.path_length) == (True, True, 0)
    assert extension("signer.pem", x509.KeyUsage, 1).value.key_cert_sign


def test_the_root_may_issue_one_level_of_authorities():
    found = extension("root.pem", x509.BasicConstraints)
    assert (found.critical, found.value.ca, found.value.path_length) == (True, True, 1)
    assert certificate("root.pem").issuer == certificate("root.pem").subject


def test_the_time_stamping_certificate_has_that_one_purpose_marked_critical():
    assert purposes("timestamp.pem") == {TIME_STAMPING}
    assert extension("timestamp.pem", x509.ExtendedKeyUsage).critical


@pytest.mark.parametrize("name", EVERY)
def test_every_name_says_that_it_is_not_for_production(name):
    for each in read_certificates(pki().folder / name):
        for part in each.subject:
            assert MARK in part.value
    assert MARK in (pki().folder / "README.txt").read_text()


@pytest.mark.parametrize("name", ["n" * 200, "ü" * 60, "名前" * 30])
def test_the_mark_stays_whole_however_long_the_name_is(tmp_path, name):
    made = make_pki(tmp_path / "pki", name=name)
    found = common_name(read_certificates(made.chain)[0].subject)
    assert found.endswith(f"({MARK})")
    assert found[0] == name[0]
    assert len(found.encode()) <= 64


@pytest.mark.parametrize("name", ["root.key", "intermediate.key", "signer.key", "timestamp.key"])
def test_a_private_key_can_be_read_by_its_owner_alone(name):
    assert mode(pki().folder / name) == 0o600


def test_the_folder_of_keys_is_closed_to_others(tmp_path):
    assert mode(make_pki(tmp_path / "pki").folder) == 0o700


def test_no_private_key_lies_in_a_file_of_certificates():
    for name in EVERY:
        assert b"PRIVATE" not in (pki().folder / name).read_bytes()


def test_keys_that_are_there_are_never_replaced(tmp_path):
    made = make_pki(tmp_path / "pki")
    before = {path.name: path.read_bytes() for path in made.folder.iterdir()}
    with pytest.raises(TrustError, match="holds keys already"):
        make_pki(made.folder)
    assert {path.name: path.read_bytes() for path in made.folder.iterdir()} == before


def test_two_sets_share_no_key_and_no_serial_number(tmp_path):
    one, two = (read_certificates(make_pki(tmp_path / name).chain)[0] for name in "ab")
    assert one.public_key() != two.public_key()
    assert one.serial_number != two.serial_number


def test_the_signer_lives_as_long_as_was_asked_and_its_authorities_longer(tmp_path):
    starts = datetime(2026, 1, 1, tzinfo=UTC)
    made = make_pki(tmp_path / "pki", days=7, starts=starts)
    own, between = read_certificates(made.chain)
    assert made.expires == own.not_valid_after_utc == starts + timedelta(days=7)
    assert between.not_valid_after_utc == starts + timedelta(days=70)


@pytest.mark.parametrize(("asked", "said"), [({"days": 0}, "day"), ({"name": "  "}, "name"), ({"days": 10**7}, "long")])
def test_a_set_that_cannot_be_is_refused_and_nothing_is_written(tmp_path, asked, said):
    with pytest.raises(TrustError, match=said):
        make_pki(tmp_path / "pki", **asked)
    assert not (tmp_path / "pki").exists()


def test_a_folder_that_cannot_be_made_is_an_error_that_names_it(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(TrustError, match="file"):
        make_pki(tmp_path / "file" / "pki")


def test_the_chain_holds_together():
    check_chain(read_certificates(pki().chain), datetime.now(UTC), "chain")


def test_openssl_agrees_that_the_chain_leads_to_the_root():
    if shutil.which("openssl") is None:
        pytest.skip("the openssl command is missing")
    folder = pki().folder
    for name in ("signer.pem", "timestamp.pem"):
        command = ["openssl", "verify", "-x509_strict", "-CAfile", folder / "root.pem"]
        done = subprocess.run([*command, "-untrusted", folder / name, folder / name], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
